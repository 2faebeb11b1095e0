"""Kernels on the CPU: the C source of a step, loaded, and the table of tensors that it walks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from optzoo.engines.build import load
from optzoo.engines.engine import Batch, Rounding
from optzoo.engines.layout import Filled, Layout
from optzoo.engines.render.c import render_c
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.planning import Plan

CHUNK = 16_384
"""Elements that one thread takes at a time: all slots of a chunk together stay in its L2 cache."""

SERIAL = 1 << 15
"""Elements in all below which one thread is faster than waking more, as in torch's own kernels."""

ADDRESS = 1
"""Column of the gradients in a table's slots."""

Numbers = npt.NDArray[np.float64]
_FLOATS = FloatDomain()


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)


class Table:
    """The parameters of a batch as a kernel sees them: addresses by row, and chunks.

    Made once for the memory of a batch; `fill` puts in this step's gradients.
    """

    def __init__(self, batch: Batch) -> None:
        self.layout = Layout(batch)
        self.order = [*self.layout.rows, *self.layout.loose]
        """The batch's index of each row."""
        sizes = [batch.params[i].numel() for i in self.order]
        self.elements = sum(sizes)
        starts = [np.arange(0, size, CHUNK, dtype=np.int64) for size in sizes]
        counts = [len(each) for each in starts]
        self.owner = np.repeat(np.arange(len(sizes), dtype=np.int32), counts)
        self.start = np.concatenate([*starts, np.zeros(0, np.int64)])
        ends = np.minimum(self.start + CHUNK, np.repeat(np.array(sizes, np.int64), counts))
        self.length = (ends - self.start).astype(np.int32)
        self.rounding = batch.rounding
        self.slots = np.zeros((len(sizes), 1 + len(batch.slots)), dtype=np.uint64)
        for row, tensors in enumerate(self.layout.rows.values()):
            self._place(row, tensors)
        self.chunks = (
            len(self.owner), _address(self.owner), _address(self.start), _address(self.length)
        )  # fmt: skip

    def fill(self, batch: Batch, dtype: torch.dtype) -> Filled:
        """Put in the gradients, as this dtype, and copies of what is not flat."""
        filled = self.layout.filled(batch, dtype)
        for row in range(len(self.layout.rows), len(self.order)):
            self._place(row, filled.rows[row])
        self.slots[:, ADDRESS] = [grad.data_ptr() for grad in filled.grads]
        self.rounding = batch.rounding
        return filled

    def _place(self, row: int, tensors: Sequence[Tensor]) -> None:
        """Put in where the parameter, the buffers and what is shown of a row are."""
        param, *rest = tensors
        self.slots[row, 0] = param.data_ptr()
        self.slots[row, ADDRESS + 1 :] = [tensor.data_ptr() for tensor in rest]

    @staticmethod
    def grad_dtype(batch: Batch) -> torch.dtype:
        """Return the dtype in which a kernel reads the gradients of a batch."""
        return common_dtype(batch, GRADIENTS)


def common_dtype(batch: Batch, known: Collection[torch.dtype]) -> torch.dtype:
    """Return the dtype of all gradients, or where it is not one of the known that of the step."""
    dtypes = {grad.dtype for grad in batch.grads}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    return dtype if dtype is not None and dtype in known else batch.dtype


def random_keys(
    rounding: Rounding | None, order: Sequence[int], words: Sequence[int]
) -> npt.NDArray[np.uint64]:
    """Return the keys of each row's random words: a hash of the step, the place and the word.

    The hash is that of splitmix64 (Steele, Lea and Flood 2014).
    """
    assert rounding is not None, "what is narrow needs `Batch.rounding`"
    places = np.array([rounding.places[i] for i in order], dtype=np.uint64)
    x = ((places << np.uint64(32)) ^ np.uint64(rounding.key))[:, None]
    x = x + (np.array(words, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.ascontiguousarray(x ^ (x >> np.uint64(31)))


GRADIENTS = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
}
"""What gradients may be stored in; others are converted first."""


class Kernel:
    """The compiled step of a plan for one dtype of arithmetic and one of gradients.

    `narrow` is what is stored in bfloat16, `shown` whether that is there; see `Batch`. Raises
    CompilationError where nothing can be compiled.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: torch.dtype,
        grad_dtype: torch.dtype,
        narrow: Collection[str] = (),
        shown: bool = False,
    ) -> None:
        source = render_c(plan, GRADIENTS[dtype], GRADIENTS[grad_dtype], narrow, shown=shown)
        self._words = source.words
        library = load(source.text)
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        chunks = [integer, pointer, pointer, pointer]

        def function(name: str, *types: Any) -> Callable[..., None]:
            found = getattr(library, name)
            found.argtypes, found.restype = list(types), None
            return found  # type: ignore[no-any-return]

        rest = [pointer, pointer, pointer]
        keys = [pointer] if self._words else []
        self._step = function("step", *chunks, *rest, *keys, ctypes.c_int)
        self._passes = [
            (
                count,
                function(f"pass_{k}", *chunks, *rest, pointer, ctypes.c_int),
                function(f"norms_{k}", integer, pointer, pointer, integer, pointer),
                function(f"numbers_{k}", integer, pointer, pointer, pointer),
            )
            for k, count in enumerate(source.norms)
        ]
        self._numbers = source.numbers
        self._coefficients = source.coefficients

    def __call__(
        self,
        table: Table,
        scalars: Mapping[Name, float],
        whole_norms: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take the step on a filled table, in place.

        `whole_norms` makes norms of whole tensors from those of this process's shards: both have
        one row per row of the table and one column per norm of the pass, in float64.
        """
        threads = torch.get_num_threads() if table.elements >= SERIAL else 1
        values = [evaluate(expr, _FLOATS, scalars) for expr in self._coefficients]
        coefficients = np.array(values, dtype=np.float64)
        rows = len(table.slots)
        numbers = np.zeros((rows, self._numbers))
        slots, given, found = map(_address, (table.slots, coefficients, numbers))
        held: list[Numbers] = []
        for count, squares, norms, finish in self._passes:
            partial = np.empty((len(table.owner), count))
            squares(*table.chunks, slots, given, found, _address(partial), threads)
            held.append(np.empty((rows, count)))
            norms(
                len(table.owner), _address(table.owner), _address(partial), rows, _address(held[-1])
            )
            if whole_norms is not None:
                held[-1] = whole_norms(torch.from_numpy(held[-1])).contiguous().numpy()
            pointers = np.array([_address(each) for each in held], dtype=np.uint64)
            finish(rows, _address(pointers), given, found)
        rest: list[npt.NDArray[Any]] = []
        if self._words:
            rest = [random_keys(table.rounding, table.order, self._words)]
        self._step(*table.chunks, slots, given, found, *map(_address, rest), threads)
