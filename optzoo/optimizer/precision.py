"""How narrow tensors are kept: widened before a step, rounded after it.

Arithmetic is float32 in every engine (float64 for float64 parameters). A buffer kept in bfloat16 is
rounded stochastically: a value between two neighbours becomes either, the nearer one more often,
and is right in the mean, where rounding to nearest would lose every change under half a unit. A
parameter narrower than the arithmetic is kept in one of four ways, `ROUNDINGS`.

An engine that loads and stores bfloat16 itself (`NarrowEngine`) is given what is kept as it is;
for the others it is copied, here, before and after a step.

Random bits come from generators of their own, seeded by the optimizer's seed, the time and the
place of the parameter: nothing else that draws numbers sees or disturbs them, and a run that is
resumed draws the same. No step is taken here: the optimizer calls the engine in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from optzoo.distributed.sharding import local
from optzoo.engines.engine import Batch, Engine, NarrowEngine, Rounding, arithmetic
from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.program.ir import PARAM

MASTER, COMPENSATION = "master", "compensation"
"""Keys, in the state of a narrow parameter, of its float32 copy and of what rounding took away."""

ROUNDINGS = {
    "master": "a float32 copy in the state, of which the parameter is a rounded view",
    "kahan": "what rounding took away is kept in the state, in the parameter's own dtype",
    "stochastic": "nothing is kept; bfloat16 parameters are rounded stochastically",
    "nearest": "nothing is kept; updates under half a unit in the last place are lost",
}
"""How a parameter narrower than the arithmetic is kept, by name."""

_MANTISSA_LOST = 16
"""Bits of a float32 that a bfloat16 lacks."""


def round_stochastically(wide: Tensor, generator: torch.Generator) -> Tensor:
    """Return float32 values as bfloat16, each one of its two neighbours, right in the mean.

    What bfloat16 represents stays as it is; infinities and NaN stay; a finite value beyond the
    largest bfloat16 goes where rounding to nearest takes it. Float64 values are float32 ones first.
    """
    wide = wide.float()
    noise = torch.randint(
        0,
        1 << _MANTISSA_LOST,
        wide.shape,
        dtype=torch.int32,
        device=wide.device,
        generator=generator,
    )
    noise.add_(wide.contiguous().view(torch.int32)).bitwise_and_(-1 << _MANTISSA_LOST)
    rounded = noise.view(torch.float32)
    is_usual = wide.abs() < torch.finfo(torch.bfloat16).max
    return torch.where(is_usual, rounded, wide).to(torch.bfloat16)


def with_compensation(param: Tensor, compensation: Tensor) -> Tensor:
    """Return what a parameter and its compensation stand for together, in float32."""
    wide = param.detach().float() + compensation.float()
    return torch.where(wide.to(param.dtype) == param, wide, param.float())


IN_CACHE = 1 << 17
"""Elements that are compared at a time."""

PORTION = 1 << 20
"""Elements that are worked on at a time where new tensors are made of them: a few megabytes."""


def portions(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of at most `PORTION` elements or one parameter."""
    taken: list[Tensor] = []
    elements = 0
    for param in params:
        if taken and elements + param.numel() > PORTION:
            yield taken
            taken, elements = [], 0
        taken.append(param)
        elements += param.numel()
    if taken:
        yield taken


@dataclass(frozen=True)
class Part:
    """Parameters of one device and dtype, the states they had, and their batch as it is kept.

    `places` are their positions in the optimizer.
    """

    params: list[Tensor]
    states: list[dict[str, Any]]
    batch: Batch
    places: list[int]
    sizes: list[int] = field(init=False)
    kind: tuple[torch.dtype, torch.device] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", [param.numel() for param in self.params])
        object.__setattr__(self, "kind", (self.params[0].dtype, self.params[0].device))

    def is_as_it_was(self) -> bool:
        """Return whether the parameters have the sizes, the dtype and the device they had."""
        dtype, device = self.kind
        params = self.params
        return (
            [param.numel() for param in params] == self.sizes
            and {param.dtype for param in params} == {dtype}
            and {param.device for param in params} == {device}
        )

    @property
    def has_narrow_params(self) -> bool:
        """Whether the parameters are narrower than the arithmetic."""
        dtype = self.params[0].dtype
        return dtype != arithmetic(dtype)

    @property
    def has_masters(self) -> bool:
        """Whether steps work on wide copies of narrow parameters, which the state keeps."""
        return self.has_narrow_params and PARAM.id not in self.batch.narrow

    def portions(self) -> Iterator[list[int]]:
        """Yield which parameters to work on together where what is narrow is copied.

        All at once where they are spread over processes, which must meet in the same order.
        """
        if self.batch.shards is not None:
            yield list(range(len(self.params)))
            return
        start = 0
        for portion in portions(self.params):
            yield list(range(start, start + len(portion)))
            start += len(portion)


@dataclass(frozen=True)
class Precision:
    """What an optimizer keeps narrow, and how: buffers by name, parameters by `rounding`."""

    buffers: Mapping[str, str]
    rounding: str = "master"
    seed: int = 0

    kept = (MASTER, COMPENSATION)

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            hint = did_you_mean(self.rounding, ROUNDINGS, what="ways")
            message = f"`param_rounding={self.rounding}`: parameters cannot be kept so"
            raise InputError(Diagnostic("bad-value", message, hint=hint))

    def of_rule(self, buffers: Mapping[str, str]) -> Precision:
        """Return the same for a rule with buffers of its own."""
        return self if buffers == self.buffers else replace(self, buffers=buffers)

    def check(self, param: Tensor) -> None:
        """Raise InputError for a parameter that cannot be kept as asked."""
        if self.rounding == "stochastic" and param.dtype == torch.float16:
            message = "stochastic rounding is for bfloat16 parameters, and one is float16"
            hint = "use `param_rounding='kahan'` or `'master'`"
            raise InputError(Diagnostic("bad-value", message, hint=hint))

    def buffer_dtype(self, name: str, param: Tensor) -> torch.dtype:
        """Return the dtype that a buffer of a parameter is kept in."""
        is_narrow = self.buffers.get(name) == "bfloat16"
        return torch.bfloat16 if is_narrow else arithmetic(param.dtype)

    def settle(self, state: MutableMapping[str, Any], param: Tensor) -> None:
        """Make the state keep a parameter as asked, whatever it and its dtype were before.

        A parameter that has been cast up is what its copy holds where it is that copy rounded.
        """
        if param.dtype == arithmetic(param.dtype):
            _take_up(state, param.detach())
            return
        wide: Tensor | None = state.get(MASTER)
        if wide is None and COMPENSATION in state:
            wide = with_compensation(param, state[COMPENSATION])
        self.check(param)
        if self.rounding == "master":
            state.pop(COMPENSATION, None)
            master = param.detach().float() if wide is None else wide
            state[MASTER] = master.to(arithmetic(param.dtype))
        else:
            state.pop(MASTER, None)
        if self.rounding == "kahan":
            if COMPENSATION not in state:
                lost = torch.zeros_like(param) if wide is None else (wide - param.detach().float())
                state[COMPENSATION] = lost.detach()
            state[COMPENSATION] = state[COMPENSATION].to(param.dtype)
        else:
            state.pop(COMPENSATION, None)

    def is_taken_as_kept(self, part: Part, engine: Engine) -> bool:
        """Return whether an engine's step works on what is stored, without copies."""
        batch = part.batch
        held = batch.params[0].dtype
        is_rounded = held == torch.bfloat16 and self.rounding == "stochastic"
        if held != batch.dtype and not is_rounded:
            return False
        return not batch.narrow or (
            isinstance(engine, NarrowEngine) and engine.stores_narrow(batch)
        )

    def batches(
        self, part: Part, engine: Engine, t: int, rank: int = 0
    ) -> Iterator[tuple[list[int], Batch]]:
        """Yield a part in batches that an engine takes: which parameters, and the batch.

        They are in the dtype of the arithmetic, but for what the engine itself widens and rounds.
        The gradients are those of the part's batch. What is stored as it is taken is the
        stored tensors themselves; weights that someone loaded into narrow parameters are taken up.
        """
        part.batch.shown = _shown(part, engine)
        if self.is_taken_as_kept(part, engine):
            if part.has_masters and not part.batch.shown:
                refresh_masters([local(param) for param in part.params], part.batch.params)
            if part.batch.narrow:
                part.batch.rounding = Rounding(_seed(self.seed, t, rank), part.places)
            yield list(range(len(part.params))), part.batch
            return
        for chosen in part.portions():
            yield chosen, self.widened(part, chosen)

    def round(self, part: Part, chosen: Sequence[int], wide: Batch, t: int, rank: int = 0) -> None:
        """Store the results of a step on a batch of `batches`, rounded as they are kept."""
        params = [local(part.params[i]) for i in chosen]
        if wide is part.batch:
            if part.has_masters and not wide.shown:
                torch._foreach_copy_(params, wide.params)
            return
        stored = part.batch.only(chosen)
        random = torch.Generator(wide.params[0].device)
        random.manual_seed(_seed(self.seed, t, part.places[chosen[0]], rank))
        for name, tensors in stored.buffers.items():
            for kept, new in zip(tensors, wide.buffers[name], strict=True):
                if kept is not new:
                    kept.copy_(round_stochastically(new, random))
        for i, param, new in zip(chosen, params, wide.params, strict=True):
            self._store(param, part.states[i], new, random)

    def _store(
        self, param: Tensor, state: Mapping[str, Tensor], new: Tensor, random: torch.Generator
    ) -> None:
        if param.dtype == new.dtype:
            return
        if self.rounding == "stochastic":
            param.copy_(round_stochastically(new, random))
            return
        param.copy_(new)
        if self.rounding == "kahan":
            local(state[COMPENSATION]).copy_(new - param.to(new.dtype))

    def widened(self, part: Part, chosen: Sequence[int]) -> Batch:
        """Return some of a part in the dtype of the arithmetic; what is narrow is copied."""
        batch = part.batch.only(chosen)
        wide = []
        for i, held in zip(chosen, batch.params, strict=True):
            param, state = local(part.params[i]), part.states[i]
            if MASTER in state:
                refresh_masters([param], [held])
                wide.append(held)
            elif COMPENSATION in state:
                wide.append(with_compensation(param, local(state[COMPENSATION])))
            else:
                wide.append(held if held.dtype == arithmetic(held.dtype) else held.detach().float())
        batch.params = wide
        dtype = arithmetic(wide[0].dtype)
        batch.buffers = {
            name: [t if t.dtype == dtype else t.to(dtype) for t in tensors]
            for name, tensors in batch.buffers.items()
        }
        return batch


def _seed(*numbers: int) -> int:
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _take_up(state: MutableMapping[str, Any], param: Tensor) -> None:
    """Give a parameter that has been cast up what was kept while it was narrow, and forget that."""
    master, compensation = state.pop(MASTER, None), state.pop(COMPENSATION, None)
    if master is None and compensation is None:
        return
    wide = param + compensation.to(param.dtype) if master is None else master.to(param.dtype)
    for narrow in (torch.bfloat16, torch.float16):
        is_rounded = wide.to(narrow).to(param.dtype) == param
        param.copy_(torch.where(is_rounded, wide, param))


def _shown(part: Part, engine: Engine) -> list[Tensor]:
    """Return the parameters of a part if the engine keeps them and their wide copies in step."""
    batch = part.batch
    if not part.has_masters or part.kind[0] != torch.bfloat16:
        return []
    if not isinstance(engine, NarrowEngine):
        return []
    batch.shown = batch.shown or [local(param) for param in part.params]
    return batch.shown if engine.stores_narrow(batch) else []


def refresh_masters(params: Sequence[Tensor], masters: Sequence[Tensor]) -> None:
    """Let weights that someone loaded into narrow parameters win over copies that are stale."""
    for p, master in zip(params, masters, strict=True):
        if not _rounds_to(master, p):
            torch.where(master.to(p.dtype) == p, master, p.to(master.dtype), out=master)


def _rounds_to(master: Tensor, param: Tensor) -> bool:
    """Return whether a copy is seen to be fresh: its bits, rounded, are the parameter's.

    Block by block in the cache, on the CPU, since on a GPU the host would wait for the answer.
    """
    if type(param) not in (Tensor, torch.nn.Parameter) or param.device.type != "cpu":
        return False
    if not (param.is_contiguous() and master.is_contiguous()):
        return False
    held, wide = _bits(param.detach()), master.detach().view(-1)
    rounded = torch.empty(min(IN_CACHE, len(wide)), dtype=param.dtype, device="cpu")
    return all(
        np.array_equal(
            held[start : start + IN_CACHE],
            _bits(rounded[: len(wide) - start].copy_(wide[start : start + IN_CACHE])),
        )
        for start in range(0, len(wide), IN_CACHE)
    )


def _bits(tensor: Tensor) -> npt.NDArray[np.int16]:
    """Return 16-bit numbers as bits, which compare several times as fast."""
    return tensor.view(-1).view(torch.int16).numpy()
