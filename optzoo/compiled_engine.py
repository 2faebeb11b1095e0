"""The compiled engine: the source of a program's step, compiled once, run on every parameter.

Parameters that share an arithmetic share a kernel, in this optimizer and in others. What kernels do
not take goes through the eager engine in the same step: parameters that are not contiguous, on CPU
those too small to be worth a call of their own, and norms of tensors spread over processes. Where
nothing can be compiled the engine says so once and is the eager engine.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from optzoo.engine import Batch, engine_class
from optzoo.interpreters.compiled import LANES, CompilationError, Kernel, Row, Target
from optzoo.interpreters.source import step_source
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.numbers import FloatDomain
from optzoo.program.ops import Scope

DEVICES = ("cpu", "cuda")
ARITHMETIC = (torch.float32, torch.float64)
PLAIN = (Tensor, torch.nn.Parameter)
FEWEST = {"cpu": 2048, "cuda": 2 * LANES}
"""Elements below which a parameter goes to the eager engine, which takes many small ones at once;
also, inductor takes the sizes 0 and 1 for constants."""

_FLOATS = FloatDomain()


@dataclass(frozen=True)
class Piece:
    """A stretch of parameter `index` from `start` on: flat views of the parameter and buffers."""

    index: int
    start: int
    tensors: Row

    def with_grad(self, grads: Sequence[Tensor]) -> Row:
        """Return the row that a kernel takes."""
        param = self.tensors[0]
        grad = grads[self.index]
        if not grad.is_contiguous():
            grad = grad.contiguous()
        begin = grad.storage_offset() + self.start
        view = grad.as_strided(param.shape, param.stride(), begin)
        return (param, view, *self.tensors[1:])


@dataclass(frozen=True)
class Layout:
    """A batch cut up for kernels: `pieces` for them, `ends` and `others` for the eager engine."""

    addresses: list[int]
    pieces: list[Piece]
    ends: list[Piece]
    others: list[int]
    eager: Batch

    def fill(self, grads: Sequence[Tensor]) -> Batch:
        """Return the batch of the eager engine with its gradients."""
        rows = [end.with_grad(grads)[1] for end in self.ends]
        self.eager.grads = rows + [grads[i] for i in self.others]
        return self.eager


class CompiledEngine:
    """Run a program with kernels made by `torch.compile`; see the module docstring.

    `compile_seconds` is what compiling took for this engine, nothing where a kernel was at hand.
    """

    crosses_shards = True

    def __init__(self, program: Program) -> None:
        self.program = program
        self.source = step_source(program)
        self.whole = program.scope is not Scope.ELEMENTWISE
        self.eager = engine_class("foreach")(program)
        self.compile_seconds = 0.0
        self._kernels: dict[Target, Kernel | None] = {}

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        is_fake = type(batch.params[0]) not in PLAIN
        if is_fake or (batch.shards is not None and self.whole):
            self.eager.step(batch, scalars)
            return
        layout = batch.memo.get("layout")
        if layout is None or layout.addresses != _addresses(batch):
            layout = batch.memo["layout"] = self._lay_out(batch)
        numbers = [evaluate(expr, _FLOATS, scalars) for expr in self.source.coefficients]
        by_dtype: dict[torch.dtype, list[Row]] = {}
        for piece in layout.pieces:
            row = piece.with_grad(batch.grads)
            by_dtype.setdefault(row[1].dtype, []).append(row)
        device, dtype = batch.params[0].device, batch.params[0].dtype
        for grad_dtype, rows in by_dtype.items():
            target = Target(device, dtype, grad_dtype, self.whole)
            kernel = self._kernel(target)
            if kernel is None:
                self.eager.step(self._batch(rows), scalars)
                continue
            kernel(rows, _on_device(numbers, target))
            for row in rows:  # autograd is to see that these have changed
                increment_version((row[0], *row[2:]))
        if layout.eager.params:
            self.eager.step(layout.fill(batch.grads), scalars)

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view."""
        return self.eager.view(view, batch, values)

    def _lay_out(self, batch: Batch) -> Layout:
        pieces: list[Piece] = []
        ends: list[Piece] = []
        others: list[int] = []
        slots = (batch.params, *(batch.buffers[name] for name in self.source.buffers))
        for i, tensors in enumerate(zip(*slots, strict=True)):
            size = tensors[0].numel()
            if size < FEWEST.get(tensors[0].device.type, 0) or not _is_plain(tensors):
                others.append(i)
                continue
            flat = tuple(tensor.detach().view(-1) for tensor in tensors)
            if self.whole:
                pieces.append(Piece(i, 0, flat))
                continue
            end = size // LANES * LANES
            pieces.append(Piece(i, 0, tuple(tensor[:end].view(-1, LANES) for tensor in flat)))
            if end < size:
                ends.append(Piece(i, end, tuple(tensor[end:] for tensor in flat)))
        rows = [end.tensors for end in ends]
        rows += [tuple(slot[i] for slot in slots) for i in others]
        params, *buffers = map(list, zip(*rows, strict=True)) if rows else [[] for _ in slots]
        eager = Batch(params, [], dict(zip(self.source.buffers, buffers, strict=True)))
        return Layout(_addresses(batch), pieces, ends, others, eager)

    def _batch(self, rows: Sequence[Row]) -> Batch:
        params, grads, *buffers = map(list, zip(*rows, strict=True))
        return Batch(params, grads, dict(zip(self.source.buffers, buffers, strict=True)))

    def _kernel(self, target: Target) -> Kernel | None:
        if target not in self._kernels:
            source, width = self.source, 2 + len(self.source.buffers)
            begin = time.perf_counter()
            kernel = _kernel(source.text, source.name, width, len(source.coefficients), target)
            self.compile_seconds += time.perf_counter() - begin
            if isinstance(kernel, str):
                _say(f"{kernel}; `foreach` runs instead of `compiled`, with the same results")
            self._kernels[target] = None if isinstance(kernel, str) else kernel
        return self._kernels[target]


@functools.cache
def _kernel(text: str, name: str, width: int, coefficients: int, target: Target) -> Kernel | str:
    """Return the kernel of a step, or why there is none."""
    kind = target.device.type
    if kind not in DEVICES:
        return f"steps are compiled for {' and '.join(DEVICES)}, not for {kind}"
    try:
        return Kernel(text, name, width, coefficients, target)
    except CompilationError as error:
        return f"no step can be compiled for {kind} here ({error})"


@functools.cache
def _say(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def _is_plain(tensors: Row) -> bool:
    param = tensors[0]
    return (
        type(param) in PLAIN
        and param.dtype in ARITHMETIC
        and all(t.dtype == param.dtype and t.is_contiguous() for t in tensors)
    )


def _addresses(batch: Batch) -> list[int]:
    return [t.data_ptr() for slot in (batch.params, *batch.buffers.values()) for t in slot]


def _on_device(numbers: Sequence[float], target: Target) -> Tensor:
    """Return the coefficients where they are needed: one copy, which nothing waits for."""
    if target.device.type == "cpu":
        return torch.tensor(numbers, dtype=target.dtype)
    pinned = torch.tensor(numbers, dtype=target.dtype, pin_memory=True)
    return pinned.to(target.device, non_blocking=True)
