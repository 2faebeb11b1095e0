"""Segments on the CPU: their C source, loaded, and run on a stack of matrices.

A segment reads parameters and buffers where they lie, and writes them there; values in between are
new tensors.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from optzoo.engines.build import compiler, load
from optzoo.engines.kernel import GRADIENTS, SERIAL
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
from optzoo.engines.render.c_segment import BAND, CHUNK, render_segment
from optzoo.program.expressions import Name
from optzoo.program.ir import Line
from optzoo.program.tensors.named_sides import Shape
from optzoo.program.tensors.segments import Pieces, Segment, Spread

Function = Callable[..., None]
_GATHER = {"largest": np.max, "smallest": np.min}
_JOINED = {"row": (2,), "column": (1,), "whole": (1, 2)}
"""The axes of the parts of a reduction, by what it keeps."""


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
                    sweep = sweep_of(piece, pieces.shapes, stack)
                    self._function(piece, sweep.spreads, stack.dtype)

    def run(
        self, segment: Segment, shapes: Mapping[Name, Shape], stack: Stack, values: Values
    ) -> None:
        """Run a segment, and add to `values` what it keeps and reduces."""
        sweep = sweep_of(segment, shapes, stack)
        function = self._function(segment, sweep.spreads, stack.dtype)
        sides = stack.sides(segment.shape)
        places = Places(segment, shapes, stack, values)
        columns = [[t.data_ptr() for t in each] for each in (*places.reads, *places.makes)]
        slots = np.array(columns, dtype=np.uint64).T.copy()
        coefficients = np.array([*coefficients_of(segment, values).values()], dtype=np.float64)
        is_large = stack.count * sides[0] * sides[1] >= SERIAL
        partial = [_partial(line, segment, stack, sweep) for line in segment.reductions]
        homes = np.array([each.ctypes.data for each in partial], dtype=np.uint64)
        function(
            stack.count, sweep.rows, sweep.cols, _band(segment, sweep), slots.ctypes.data,
            coefficients.ctypes.data, homes.ctypes.data,
            torch.get_num_threads() if is_large else 1,
        )  # fmt: skip
        for line, parts in zip(segment.reductions, partial, strict=True):
            gather = _GATHER.get(gathered_by(line), np.sum)
            gathered = gather(parts, axis=_JOINED[kept_of(line)], keepdims=True)
            shape = (stack.count, *_sides_of(line, sweep))
            found = finished(line, gathered.reshape(shape), sides)
            values[line.target] = torch.from_numpy(found).to(stack.dtype)
        places.settle()

    def _function(
        self, segment: Segment, spreads: tuple[Spread, ...], dtype: torch.dtype
    ) -> Function:
        key = (segment, spreads, dtype)
        if key not in self._functions:
            begin = time.perf_counter()
            by_name = dict(zip(segment.reads, spreads, strict=True))
            library = load(render_segment(segment, by_name, GRADIENTS[dtype]))
            function: Function = library.segment
            pointer, integer = ctypes.c_void_p, ctypes.c_int64
            library.segment.argtypes = [*[integer] * 4, *[pointer] * 3, ctypes.c_int]
            library.segment.restype = None
            self._functions[key] = function
            self.compile_seconds += time.perf_counter() - begin
        return self._functions[key]


def _band(segment: Segment, sweep: Sweep) -> int:
    """Return how many rows one thread takes at a time."""
    least = BAND if any(kept_of(line) == "column" for line in segment.reductions) else 1
    return max(least, CHUNK // sweep.cols)


def _partial(line: Line, segment: Segment, stack: Stack, sweep: Sweep) -> npt.NDArray[np.float64]:
    """Return where the parts of a reduction go; `render.c_segment` says how they lie."""
    parts = -(-sweep.cols // CHUNK)
    bands = -(-sweep.rows // _band(segment, sweep))
    shapes = {"row": (sweep.rows, parts), "column": (bands, sweep.cols), "whole": (bands, parts)}
    return np.empty((stack.count, *shapes[kept_of(line)]))


def _sides_of(line: Line, sweep: Sweep) -> tuple[int, int]:
    return {"row": (sweep.rows, 1), "column": (1, sweep.cols)}.get(kept_of(line), (1, 1))
