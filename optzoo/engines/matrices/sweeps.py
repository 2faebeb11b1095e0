"""How a segment walks a stack, and where each matrix has what it reads and makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from optzoo.engines.matrices.stack import Stack
from optzoo.program.arithmetic import IeeeDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Name
from optzoo.program.ir import Line
from optzoo.program.ops import OPS, Op
from optzoo.program.tensors.named_sides import Shape
from optzoo.program.tensors.segments import Pieces, Segment, Spread, spread_of

Values = dict[Name, float | Tensor]
_NUMBERS = IeeeDomain()


class Segments(Protocol):
    """Whoever runs segments on stacks."""

    def prepare(self, pieces: Pieces, stacks: list[Stack]) -> None:
        """Get ready for these stacks, before anything is written."""
        ...

    def run(
        self, segment: Segment, shapes: Mapping[Name, Shape], stack: Stack, values: Values
    ) -> None:
        """Run a segment, and add to `values` what it keeps and reduces."""
        ...


@dataclass(frozen=True)
class Sweep:
    """How a segment walks a stack: `rows` x `cols` of each matrix, and what it reads spread so."""

    rows: int
    cols: int
    spreads: tuple[Spread, ...]


def sweep_of(segment: Segment, shapes: Mapping[Name, Shape], stack: Stack) -> Sweep:
    """Return how to walk a stack: as one long row each where nothing depends on rows."""
    rows, cols = stack.sides(segment.shape)
    is_flat = all(kept_of(line) == "whole" for line in segment.reductions)
    spreads = [spread_of(shapes[name], segment.shape) for name in segment.reads]
    exchanged: dict[Spread, Spread] = {}
    if rows == 1:
        exchanged = {"column": "full", "row": "one"}
    elif cols == 1 and is_flat:
        exchanged = {"row": "full", "column": "one"}
    spreads = [exchanged.get(spread, spread) for spread in spreads]
    if is_flat and {"row", "column"}.isdisjoint(spreads):
        rows, cols = 1, rows * cols
    return Sweep(rows, cols, tuple(spreads))


class Places:
    """Where each matrix of a stack has what a segment reads (`reads`) and makes (`makes`).

    Both hold contiguous tensors, first by name and then by matrix, in the segment's order: what it
    keeps and then what it stores. What is stored in memory with gaps is made elsewhere: `settle`
    copies it, and is called once all is made.
    """

    def __init__(
        self, segment: Segment, shapes: Mapping[Name, Shape], stack: Stack, values: Values
    ) -> None:
        self.stack, self.values = stack, values
        self.reads = [self._read(name, shapes[name]) for name in segment.reads]
        self._loose: dict[Name, Tensor] = {}
        new = (stack.count, *stack.sides(segment.shape))
        self.makes: list[list[Tensor]] = []
        for name in segment.keeps:
            values[name] = kept = torch.empty(new, dtype=stack.dtype)
            self.makes.append(list(kept.unbind()))
        for name in segment.stores:
            homes = stack.homes[name.prev]
            if all(home.is_contiguous() for home in homes):
                increment_version(homes)
                self.makes.append(homes)
            else:
                self._loose[name] = torch.empty(new, dtype=stack.dtype)
                self.makes.append(list(self._loose[name].unbind()))

    def settle(self) -> None:
        """Bring what was made elsewhere to where it belongs."""
        for name, new in self._loose.items():
            self.stack.store(name, new)
            self.values[name] = new

    def _read(self, name: Name, shape: Shape) -> list[Tensor]:
        stack, values = self.stack, self.values
        if name not in values:
            home = stack.homes[name if name in stack.homes else name.prev]
            if all(t.is_contiguous() and t.dtype == stack.dtype for t in home):
                return home
            values[name] = stack.entry(name)
        value = values[name]
        if not isinstance(value, Tensor):
            value = torch.full((1, 1, 1), value, dtype=stack.dtype)
        whole = value.expand(stack.count, *stack.sides(shape)).contiguous()
        values[name] = whole
        return list(whole.unbind())


def coefficients_of(segment: Segment, values: Values) -> dict[Name, float]:
    """Return the numbers of the host, and of sizes, that a segment's lines read."""
    numbers = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
    return {name: evaluate(expr, _NUMBERS, numbers) for name, expr in segment.coefficients}


Gathered = Literal["sum", "square", "largest", "smallest"]


def gathered_by(line: Line) -> Gathered:
    """Return how the parts of a reduction are gathered: see `finished`."""
    match _known(line).reduces:
        case "norm":
            return "square"
        case "largest" | "smallest" as extreme:
            return extreme
    return "sum"


def kept_of(line: Line) -> str:
    """Return what keeps a number of its own in a reduction: `row`, `column` or `whole`."""
    return _known(line).kept


def finished(
    line: Line, gathered: npt.NDArray[np.float64], sides: tuple[int, int]
) -> npt.NDArray[Any]:
    """Return a reduction from what all its elements were gathered to, on a matrix of such sides."""
    match _known(line).reduces:
        case "norm":
            return np.sqrt(gathered)
        case "mean":
            counts = {"row": sides[1], "column": sides[0]}
            return gathered / counts.get(kept_of(line), sides[0] * sides[1])
    return gathered


def _known(line: Line) -> Op:
    assert isinstance(line.expr, Call)
    return OPS[line.expr.op]
