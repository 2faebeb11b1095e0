"""Segments with torch, in blocks that fit the cache: what `foreach` does between products on a CPU.

A block is a few rows of a matrix, a stretch of it where nothing depends on rows, or, of small
matrices, some of them side by side. Its lines are evaluated as they stand, and only then is
anything written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optzoo.engines.blocks import (
    BLOCK,
    MOST_THREADS,
    SMALL,
    Readable,
    run_block,
    with_last_reads,
)
from optzoo.engines.matrices.matrix_values import Value
from optzoo.engines.matrices.stack import Stack
from optzoo.engines.matrices.sweeps import (
    Places,
    Sweep,
    Values,
    coefficients_of,
    finished,
    gathered_by,
    kept_of,
    sweep_of,
)
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import Line
from optzoo.program.tensors.named_sides import Shape
from optzoo.program.tensors.segments import Pieces, Segment, Spread

_REDUCE: dict[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "sum": lambda a, dims: a.sum(dims, keepdim=True).double(),
    "square": lambda a, dims: torch.linalg.vector_norm(a, dim=dims, keepdim=True).double() ** 2,
    "largest": lambda a, dims: a.amax(dims, keepdim=True).double(),
    "smallest": lambda a, dims: a.amin(dims, keepdim=True).double(),
}
_JOIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "largest": torch.maximum,
    "smallest": torch.minimum,
}
_START = {"largest": -torch.inf, "smallest": torch.inf}


@dataclass(frozen=True)
class Portion:
    """Part of a stack: some rows and columns of some of its matrices."""

    members: slice
    rows: slice
    cols: slice

    def shape(self, count: int, sweep: Sweep) -> tuple[int, ...]:
        """Return how many matrices, rows and columns of a stack these are."""
        cuts = zip(
            (self.members, self.rows, self.cols), (count, sweep.rows, sweep.cols), strict=True
        )
        return tuple(len(range(*cut.indices(size))) for cut, size in cuts)

    def views(self, tensors: Sequence[Tensor], sides: tuple[int, int]) -> list[Tensor]:
        """Return this part of tensors, one a matrix, that have such sides; 1 is all there is."""
        rows = self.rows if sides[0] != 1 else slice(None)
        cols = self.cols if sides[1] != 1 else slice(None)
        return [tensor.view(sides)[rows, cols] for tensor in tensors[self.members]]


class SegmentBlocks:
    """Runs segments block by block; see the module docstring."""

    def __init__(self) -> None:
        self._lines: dict[Segment, Readable] = {}

    def prepare(self, pieces: Pieces, stacks: Sequence[Stack]) -> None:
        """Do nothing: there is nothing to build."""

    def run(
        self, segment: Segment, shapes: Mapping[Name, Shape], stack: Stack, values: Values
    ) -> None:
        """Run a segment, and add to `values` what it keeps and reduces."""
        sweep = sweep_of(segment, shapes, stack)
        known = coefficients_of(segment, values)
        places = Places(segment, shapes, stack, values)
        lines = self._lines_of(segment)
        outputs = [*segment.keeps, *segment.stores]
        totals = [_total(line, stack, sweep) for line in segment.reductions]
        for block in _blocks(sweep, stack.count):
            held: dict[Name, Value] = dict(known)
            for name, tensors, spread in zip(
                segment.reads, places.reads, sweep.spreads, strict=True
            ):
                held[name] = _read(block.views(tensors, _sides(spread, sweep)))
            run_block(lines, held, block.shape(stack.count, sweep))
            made = [block.views(tensors, (sweep.rows, sweep.cols)) for tensors in places.makes]
            for line, total in zip(segment.reductions, totals, strict=True):
                of = held[next(names_in(line.expr))]
                _gather(line, total, block, of, stack.dtype, sweep)
            for views, name in zip(made, outputs, strict=True):
                _store(views, held[name])
        for line, total in zip(segment.reductions, totals, strict=True):
            found = finished(line, total.numpy(), stack.sides(segment.shape))
            values[line.target] = torch.from_numpy(found).to(stack.dtype)
        places.settle()

    def _lines_of(self, segment: Segment) -> Readable:
        if segment not in self._lines:
            reduced = [name for line in segment.reductions for name in names_in(line.expr)]
            wanted = [*segment.keeps, *segment.stores, *reduced]
            self._lines[segment] = with_last_reads(segment.lines, (), wanted)
        return self._lines[segment]


def _blocks(sweep: Sweep, count: int) -> Iterator[Portion]:
    most = BLOCK * min(torch.get_num_threads(), MOST_THREADS)
    rows, cols = sweep.rows, sweep.cols
    if rows * cols < SMALL:
        for members in _slices(count, most // (rows * cols)):
            yield Portion(members, slice(0, rows), slice(0, cols))
        return
    for members in _slices(count, 1):
        for at in _slices(cols, most) if rows == 1 else _slices(rows, most // cols):
            yield (
                Portion(members, slice(0, 1), at)
                if rows == 1
                else Portion(members, at, slice(0, cols))
            )


def _slices(count: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    for begin in range(0, count, step):
        yield slice(begin, min(begin + step, count))


def _sides(spread: Spread, sweep: Sweep) -> tuple[int, int]:
    return (
        sweep.rows if spread in ("full", "row") else 1,
        sweep.cols if spread in ("full", "column") else 1,
    )


def _read(views: Sequence[Tensor]) -> Value:
    """Return what is read as matrices x rows x columns, and one number as that."""
    if len(views) > 1:
        return torch.stack(list(views))
    return float(views[0]) if views[0].numel() == 1 else views[0].unsqueeze(0)


def _store(views: list[Tensor], new: Value) -> None:
    for_each = len(views), *views[0].shape
    if isinstance(new, Tensor):
        torch._foreach_copy_(views, list(new.expand(for_each).unbind()))
    else:
        for view in views:
            view.fill_(new)


def _total(line: Line, stack: Stack, sweep: Sweep) -> Tensor:
    rows = sweep.rows if kept_of(line) == "row" else 1
    cols = sweep.cols if kept_of(line) == "column" else 1
    start = _START.get(gathered_by(line), 0.0)
    return torch.full((stack.count, rows, cols), start, dtype=torch.float64)


_OVER = {"row": (-1,), "column": (-2,), "whole": (-2, -1)}
"""The sides that a reduction goes over, by what it keeps."""


def _gather(
    line: Line, total: Tensor, block: Portion, value: Value, dtype: torch.dtype, sweep: Sweep
) -> None:
    """Add what a block has of a reduction's argument to the total."""
    if not isinstance(value, Tensor):
        value = torch.full((), value, dtype=dtype)
    whole = value.expand(block.shape(len(total), sweep))
    by, kept = gathered_by(line), kept_of(line)
    part = _REDUCE[by](whole, _OVER[kept])
    home = total[block.members]
    home = home[:, block.rows] if kept == "row" else home
    home = home[:, :, block.cols] if kept == "column" else home
    home.copy_(_JOIN.get(by, torch.add)(home, part))
