"""Engines: interpreters that train. The interface they share, and the table that names them.

An engine receives a batch of parameters that share a clock, a device and a dtype, with this
step's gradients and the buffers, and updates parameters and buffers in place. Adding an engine is
one file and one row of `ENGINES`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from optzoo.distributed.sharding import Shards
from optzoo.engines.build import CompilationError, compiler
from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.program.expressions import Name
from optzoo.program.ir import PARAM, Program
from optzoo.program.ops import Scope


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a parameter of this dtype is updated."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Rounding:
    """What the random bits of one step are made of, beside the slot and the place of an element.

    `key` has 64 bits and is another one in each step; `places` are the parameters' positions in the
    optimizer, in the order of the batch.
    """

    key: int
    places: Sequence[int]


@dataclass
class Batch:
    """Parameters that take one step together.

    Element i of every list belongs to parameter i and has its shape. `params` and `buffers` are in
    the dtype of the arithmetic (float32, or float64 for float64 parameters); `grads` may be
    narrower and are never written. Where parameters are spread over processes, all lists hold this
    process's shards, some of them perhaps empty, and norms go through `shards.whole_norms`;
    `spread` are then the parameters as they are spread. Buffers with other sides than their
    parameter are whole in every process. An engine that is a `NarrowEngine` may be handed
    parameters and buffers in bfloat16, and `rounding` says then with which random bits they are
    stored; or the bfloat16 parameters that `params` are wide copies of as `shown`, to take up what
    was loaded into them and to round the new ones into.

    The same batch comes back every step, with new `grads`, for as long as the same tensors take
    their steps together; `memo` is for what an engine wants to find again then.
    """

    params: list[Tensor]
    grads: list[Tensor]
    buffers: dict[str, list[Tensor]]
    shards: Shards | None = None
    spread: Sequence[Tensor] = ()
    memo: dict[str, Any] = field(default_factory=dict)
    rounding: Rounding | None = None
    shown: list[Tensor] = field(default_factory=list)

    @property
    def slots(self) -> list[list[Tensor]]:
        """What a step changes: the parameters, the buffers, and what is shown."""
        return [self.params, *self.buffers.values(), *([self.shown] if self.shown else [])]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the arithmetic."""
        return arithmetic(self.params[0].dtype)

    @property
    def narrow(self) -> frozenset[str]:
        """What is stored in bfloat16: names of buffers, and `param`."""
        slots = {PARAM.id: self.params, **self.buffers}
        return frozenset(name for name, held in slots.items() if held[0].dtype == torch.bfloat16)

    def only(self, chosen: Sequence[int]) -> Batch:
        """Return a new batch of some of the parameters, without `memo`, `rounding` and `shown`."""
        return Batch(
            [self.params[i] for i in chosen],
            [self.grads[i] for i in chosen] if self.grads else [],
            {name: [tensors[i] for i in chosen] for name, tensors in self.buffers.items()},
            self.shards,
            [self.spread[i] for i in chosen] if self.spread else (),
        )


class Engine(Protocol):
    """Runs one program on torch tensors.

    `crosses_shards` says whether the engine's norms go through `batch.shards`; one that has none is
    not used where a program has a norm and parameters are spread over processes.
    """

    crosses_shards: ClassVar[bool]

    def __init__(self, program: Program) -> None: ...

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        ...

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view; `batch.grads` is not used."""
        ...


@runtime_checkable
class NarrowEngine(Protocol):
    """An engine that may work on what is stored in bfloat16, without copies of it."""

    def stores_narrow(self, batch: Batch) -> bool:
        """Return whether `step` would take this batch with what is narrow in it.

        It widens what it reads and stores it rounded stochastically: to one of the two neighbours,
        right in the mean, with bits that depend on `batch.rounding`, the slot and the element's
        place alone. What is `shown` it rounds to nearest. Where it says no, and for other engines,
        what is narrow is copied.
        """
        ...


def check_scope(engine: Engine, program: Program, batch: Batch) -> None:
    """Raise InputError when a program has norms, tensors are sharded and the engine cannot."""
    if batch.shards is None or engine.crosses_shards or program.scope is Scope.ELEMENTWISE:
        return
    name = type(engine).__name__
    raise InputError(
        Diagnostic(
            "sharded-norm",
            f"{program.name} has a norm of whole tensors, and {name} sees only this process's "
            "shards",
            hint="use `engine=auto`",
        )
    )


ENGINES = {
    "compiled": "optzoo.engines.compiled:CompiledEngine",
    "foreach": "optzoo.engines.foreach:ForeachEngine",
    "reference": "optzoo.engines.reference:ReferenceEngine",
}
"""Engines by name: module and class."""


WORTH_COMPILING = 5 * 10**8
"""Updates of one number (parameters times steps) from which compiling pays on CPU: a kernel saves
two nanoseconds or more on each, and takes half a second to make, once on a machine."""

ASSUMED_STEPS = 1_000
"""Steps that a run is taken to have where nobody says."""


def choose_engine(device: str, parameters: int, total_steps: int | None) -> str:
    """Return the engine that `auto` stands for.

    `compiled` on CUDA where there is Triton, and on CPU where there is a C compiler and
    `parameters` times `total_steps` reaches `WORTH_COMPILING`; else `foreach`. The rule knows
    nothing but the run and the machine, so that a run that is resumed has the same engine again.
    """
    is_long = parameters * (total_steps or ASSUMED_STEPS) >= WORTH_COMPILING
    is_compiled = has_triton() if device == "cuda" else device == "cpu" and is_long and has_cc()
    return "compiled" if is_compiled else "foreach"


def has_cc() -> bool:
    """Whether there is a C compiler."""
    try:
        compiler()
    except CompilationError:
        return False
    return True


def has_triton() -> bool:
    """Whether there is Triton."""
    return importlib.util.find_spec("triton") is not None


def engine_class(name: str) -> type[Engine]:
    """Return an engine by name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        hint = did_you_mean(name, [*ENGINES, "auto"], what="engines")
        raise InputError(Diagnostic("unknown-name", f"`{name}` is not an engine", hint=hint))
    module, _, attribute = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(importlib.import_module(module), attribute)
    return engine
