"""Segments on the CPU: their C source, loaded, and run on a stack of matrices.

A segment reads parameters and buffers where they lie, and writes them there; values in between are
new tensors.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from optzoo.engines.build import compiler, load
from optzoo.engines.kernel import GRADIENTS, SERIAL
from optzoo.engines.matrices.stack import Stack
from optzoo.engines.render.c_segment import CHUNK, Spread, render_segment
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Name
from optzoo.program.ir import Line
from optzoo.program.ops import OPS
from optzoo.program.tensors.named_sides import Shape
from optzoo.program.tensors.segments import Pieces, Segment

_FLOATS = FloatDomain()
Function = Callable[..., None]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """How a segment walks a stack: `rows` x `cols` of each matrix, and what it reads spread so."""

    rows: int
    cols: int
    spreads: tuple[Spread, ...]


class SegmentKernels:
    """The compiled segments of a program, each for the layouts and dtypes that were asked for.

    Raises CompilationError where nothing can be compiled. `compile_seconds` is what building took.
    """

    def __init__(self) -> None:
        compiler()
        self.compile_seconds = 0.0
        self._functions: dict[tuple[Segment, tuple[Spread, ...], torch.dtype], Function] = {}

    def prepare(self, pieces: Pieces, stacks: Sequence[Stack]) -> None:
        """Build what these stacks need. Raises CompilationError."""
        for piece in pieces.pieces:
            if isinstance(piece, Segment):
                for stack in stacks:
                    sweep = _sweep(piece, pieces.shapes, stack)
                    self._function(piece, sweep.spreads, stack.dtype)

    def run(
        self,
        segment: Segment,
        shapes: Mapping[Name, Shape],
        stack: Stack,
        values: dict[Name, float | Tensor],
    ) -> None:
        """Run a segment, and add to `values` what it keeps and reduces."""
        sweep = _sweep(segment, shapes, stack)
        function = self._function(segment, sweep.spreads, stack.dtype)
        sides = stack.sides(segment.shape)
        columns = [_read(name, shapes[name], stack, values) for name in segment.reads]
        for name in segment.keeps:
            values[name] = kept = torch.empty((stack.count, *sides), dtype=stack.dtype)
            columns.append(_matrices(kept))
        loose: dict[Name, Tensor] = {}
        for name in segment.stores:
            homes = stack.homes[name.prev]
            if all(home.is_contiguous() for home in homes):
                increment_version(homes)
                columns.append([home.data_ptr() for home in homes])
            else:
                loose[name] = torch.empty((stack.count, *sides), dtype=stack.dtype)
                columns.append(_matrices(loose[name]))
        slots = np.array(columns, dtype=np.uint64).T.copy()
        found = [evaluate(expr, _FLOATS, _numbers(values)) for _, expr in segment.coefficients]
        coefficients = np.array(found, dtype=np.float64)
        parts = -(-sweep.cols // CHUNK)
        partial = np.empty((stack.count, sweep.rows, parts, len(segment.reductions)))
        is_large = stack.count * sides[0] * sides[1] >= SERIAL
        function(
            stack.count, sweep.rows, sweep.cols, slots.ctypes.data, coefficients.ctypes.data,
            partial.ctypes.data, torch.get_num_threads() if is_large else 1,
        )  # fmt: skip
        for k, line in enumerate(segment.reductions):
            reduced = torch.from_numpy(_reduced(line, partial[..., k], sides))
            values[line.target] = reduced.to(stack.dtype)
        for name, new in loose.items():
            stack.store(name, new)
            values[name] = new

    def _function(
        self, segment: Segment, spreads: tuple[Spread, ...], dtype: torch.dtype
    ) -> Function:
        key = (segment, spreads, dtype)
        if key not in self._functions:
            begin = time.perf_counter()
            by_name = dict(zip(segment.reads, spreads, strict=True))
            library = load(render_segment(segment, by_name, GRADIENTS[dtype]))
            function = library.segment
            pointer, integer = ctypes.c_void_p, ctypes.c_int64
            function.argtypes = [*[integer] * 3, *[pointer] * 3, ctypes.c_int]
            function.restype = None
            self._functions[key] = function
            self.compile_seconds += time.perf_counter() - begin
        return self._functions[key]


def _numbers(values: Mapping[Name, float | Tensor]) -> dict[Name, float]:
    return {name: value for name, value in values.items() if not isinstance(value, Tensor)}


def _sweep(segment: Segment, shapes: Mapping[Name, Shape], stack: Stack) -> Sweep:
    """Return how to walk a stack: as one long row each where nothing depends on rows."""
    rows, cols = stack.sides(segment.shape)
    by_row = any(_kept(line) == "row" for line in segment.reductions)
    spreads = [_spread(shapes[name], segment.shape) for name in segment.reads]
    exchanged: dict[Spread, Spread] = {}
    if rows == 1:
        exchanged = {"column": "full", "row": "one"}
    elif cols == 1 and not by_row:
        exchanged = {"row": "full", "column": "one"}
    spreads = [exchanged.get(spread, spread) for spread in spreads]
    if not by_row and {"row", "column"}.isdisjoint(spreads):
        rows, cols = 1, rows * cols
    return Sweep(rows, cols, tuple(spreads))


def _spread(shape: Shape, within: Shape) -> Spread:
    if shape == within:
        return "full"
    if shape == ("1", "1"):
        return "one"
    return "column" if shape.rows == "1" else "row"


def _read(name: Name, shape: Shape, stack: Stack, values: dict[Name, float | Tensor]) -> list[int]:
    """Return where each matrix of what is read begins."""
    home = stack.homes.get(name if name in stack.homes else name.prev)
    if name not in values:
        assert home is not None
        if all(t.is_contiguous() and t.dtype == stack.dtype for t in home):
            return [tensor.data_ptr() for tensor in home]
        values[name] = stack.entry(name)
    value = values[name]
    sides = stack.sides(shape)
    if not isinstance(value, Tensor):
        value = torch.full((1, 1, 1), value, dtype=stack.dtype)
    values[name] = whole = value.expand(stack.count, *sides).contiguous()
    return _matrices(whole)


def _matrices(tensor: Tensor) -> list[int]:
    """Return where each matrix of a contiguous stack begins."""
    step = tensor[0].numel() * tensor.element_size()
    return [tensor.data_ptr() + k * step for k in range(len(tensor))]


def _kept(line: Line) -> str:
    assert isinstance(line.expr, Call)
    return OPS[line.expr.op].kept


def _reduced(line: Line, partial: Numbers, sides: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a reduction from its parts: matrices x (rows or 1) x 1."""
    assert isinstance(line.expr, Call)
    known = OPS[line.expr.op]
    axes = (2,) if known.kept == "row" else (1, 2)
    size = sides[1] if known.kept == "row" else sides[0] * sides[1]
    gather = {"largest": np.max, "smallest": np.min}.get(known.reduces or "", np.sum)
    found: npt.NDArray[Any] = gather(partial, axis=axes).reshape(len(partial), -1, 1)
    if known.reduces == "norm":
        found = np.sqrt(found)
    return found / size if known.reduces == "mean" else found
