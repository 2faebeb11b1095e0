"""How narrow tensors are kept: widened before a step, rounded after it.

Arithmetic is float32 in every engine (float64 for float64 parameters). A buffer kept in bfloat16 is
rounded stochastically: a value between two neighbours becomes either, the nearer one more often,
and is right in the mean, where rounding to nearest would lose every change under half a unit. A
parameter narrower than the arithmetic is kept in one of four ways, `ROUNDINGS`.

Random bits come from generators of their own, seeded by the optimizer's seed, the time and the
place of the parameter: nothing else that draws numbers sees or disturbs them, and a run that is
resumed draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optzoo.distributed.sharding import local
from optzoo.engines.engine import Batch, Engine
from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.lineup import Part
from optzoo.parameters import COMPENSATION, MASTER, portions
from optzoo.program.expressions import Name

ROUNDINGS = {
    "master": "a float32 copy in the state, of which the parameter is a rounded view",
    "kahan": "what rounding took away is kept in the state, in the parameter's own dtype",
    "stochastic": "nothing is kept; bfloat16 parameters are rounded stochastically",
    "nearest": "nothing is kept; updates under half a unit in the last place are lost",
}
"""How a parameter narrower than the arithmetic is kept, by name."""

_MANTISSA_LOST = 16
"""Bits of a float32 that a bfloat16 lacks."""


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a parameter of this dtype is updated."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def round_stochastically(wide: Tensor, generator: torch.Generator) -> Tensor:
    """Return float32 values as bfloat16, each one of its two neighbours, right in the mean.

    What bfloat16 represents stays as it is; infinities and NaN stay; a finite value beyond the
    largest bfloat16 goes where rounding to nearest takes it.
    """
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
    is_usual = wide.isfinite() & rounded.isfinite()
    return torch.where(is_usual, rounded, wide).to(torch.bfloat16)


def with_compensation(param: Tensor, compensation: Tensor) -> Tensor:
    """Return what a parameter and its compensation stand for together, in float32."""
    wide = param.detach().float() + compensation.float()
    return torch.where(wide.to(param.dtype) == param, wide, param.float())


@dataclass(frozen=True)
class Precision:
    """What an optimizer keeps narrow, and how: buffers by name, parameters by `rounding`."""

    buffers: Mapping[str, str]
    rounding: str = "master"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            hint = did_you_mean(self.rounding, ROUNDINGS, what="ways")
            message = f"`param_rounding={self.rounding}`: parameters cannot be kept so"
            raise InputError(Diagnostic("bad-value", message, hint=hint))

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

    def settle(self, state: dict[str, Tensor], param: Tensor) -> None:
        """Make the state keep a narrow parameter as asked, whatever it was kept like before."""
        if param.dtype == arithmetic(param.dtype):
            return
        wide: Tensor | None = state.get(MASTER)
        if wide is None and COMPENSATION in state:
            wide = with_compensation(param, state[COMPENSATION])
        if self.rounding == "master":
            state.pop(COMPENSATION, None)
            if MASTER not in state:
                state[MASTER] = param.detach().float() if wide is None else wide
        else:
            state.pop(MASTER, None)
        if self.rounding == "kahan" and COMPENSATION not in state:
            lost = torch.zeros_like(param) if wide is None else (wide - param.detach().float())
            state[COMPENSATION] = lost.detach().to(param.dtype)
        elif self.rounding != "kahan":
            state.pop(COMPENSATION, None)

    def step(
        self, engine: Engine, part: Part, scalars: Mapping[Name, float], t: int, rank: int = 0
    ) -> None:
        """Take the step of a part whose gradients are in its batch; store each result rounded."""
        is_plain = not part.is_narrow and (MASTER in part.states[0] or not part.has_narrow_params)
        params = [local(param) for param in part.params]
        if is_plain:
            if part.has_narrow_params:
                refresh_masters(params, part.batch.params)
            engine.step(part.batch, scalars)
            if part.has_narrow_params:
                torch._foreach_copy_(params, part.batch.params)
            return
        for chosen in part.portions(portions):
            stored = part.batch.only(chosen)
            wide = self.widened(part, chosen)
            engine.step(wide, scalars)
            random = torch.Generator(wide.params[0].device)
            random.manual_seed(_seed(self.seed, t, part.places[chosen[0]], rank))
            for name, tensors in stored.buffers.items():
                for kept, new in zip(tensors, wide.buffers[name], strict=True):
                    if kept is not new:
                        kept.copy_(round_stochastically(new, random))
            for i, new in zip(chosen, wide.params, strict=True):
                self._store(params[i], part.states[i], new, random)

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
        """Return a batch in the dtype of the arithmetic; what is narrow is copied."""
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


def refresh_masters(params: Sequence[Tensor], masters: Sequence[Tensor]) -> None:
    """Let weights that someone loaded into narrow parameters win over copies that are stale."""
    for p, master in zip(params, masters, strict=True):
        torch.where(master.to(p.dtype) == p, master, p.to(master.dtype), out=master)
