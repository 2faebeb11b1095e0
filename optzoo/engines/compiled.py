"""The compiled engine: the source of a program's step, compiled once, run on every parameter.

On the CPU it is C (`render.c`, `kernel`), on a GPU Triton (`render.triton`, `gpu_kernel`), and one
call steps all parameters of a batch, whatever their shapes and layouts. Of programs that ask for
rows, columns or whole matrices it compiles what lies between the products, on the CPU
(`matrices.segment_kernel`). Where nothing can be compiled the engine says so once and is the eager
engine.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from optzoo.distributed.sharding import Shards
from optzoo.engines.build import CompilationError
from optzoo.engines.engine import Batch, engine_class, has_cc
from optzoo.engines.foreach import PLAIN
from optzoo.engines.gpu_kernel import DeviceKernel, DeviceTable
from optzoo.engines.kernel import Kernel, Table
from optzoo.engines.matrices.matrix_step import MatrixStep
from optzoo.engines.matrices.segment_kernel import SegmentKernels
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.planning import plan_program


class CompiledEngine:
    """Run a program with kernels of its own; see the module docstring."""

    crosses_shards = True
    kinds: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "cpu": (Table, Kernel),
        "cuda": (DeviceTable, DeviceKernel),
    }
    """Table and kernel by the type of the device; `cuda` is what torch calls ROCm's too."""

    def __init__(self, program: Program) -> None:
        self.plan = plan_program(program) if program.is_flat else None
        self.eager = engine_class("foreach")(program)
        self.segments = SegmentKernels() if self.plan is None and has_cc() else None
        self.matrices = MatrixStep(program, self.segments) if self.segments else None
        self._seconds = 0.0
        self._kernels: dict[tuple[Any, ...], Any] = {}

    @property
    def compile_seconds(self) -> float:
        """What building took for this engine, almost nothing where the cache had it."""
        return self._seconds + (self.segments.compile_seconds if self.segments else 0.0)

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        device = batch.params[0].device.type
        if self.matrices is not None and device == "cpu" and type(batch.params[0]) in PLAIN:
            self._step_matrices(self.matrices, batch, scalars)
            return
        if self.plan is None or type(batch.params[0]) not in PLAIN:
            self.eager.step(batch, scalars)
            return
        if device not in self.kinds:
            _say(f"steps are compiled for {' and '.join(self.kinds)}, not for {device}")
            self.eager.step(batch, scalars)
            return
        table_class, _ = self.kinds[device]
        grad_dtype = table_class.grad_dtype(batch)
        kernel = self._kernel(batch, grad_dtype)
        if kernel is None:
            self.eager.step(batch, scalars)
            return
        table = batch.memo.get("table")
        if table is None or not table.layout.fits(batch):
            table = batch.memo["table"] = table_class(batch)
        filled = table.fill(batch, grad_dtype)
        across = None
        if batch.shards is not None:
            across = functools.partial(_across, batch.shards, table.order, len(batch.params))
        kernel(table, scalars, across)
        filled.write_back()
        for slot in table.layout.slots:  # autograd is to see that these have changed
            increment_version(slot)

    def _step_matrices(
        self, matrices: MatrixStep, batch: Batch, scalars: Mapping[Name, float]
    ) -> None:
        try:
            matrices.step(batch, scalars)
        except CompilationError as error:
            self.matrices = None
            _say(f"no step can be compiled for cpu here ({error})")
            self.eager.step(batch, scalars)

    def stores_narrow(self, batch: Batch) -> bool:
        """Return whether there is a kernel that loads and stores what is narrow in this batch."""
        first = batch.params[0]
        if self.plan is None or type(first) not in PLAIN or first.device.type not in self.kinds:
            return False
        table, _ = self.kinds[first.device.type]
        return self._kernel(batch, table.grad_dtype(batch)) is not None

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view."""
        return self.eager.view(view, batch, values)

    def _kernel(self, batch: Batch, grad_dtype: torch.dtype) -> Any:
        """Return the kernel for a batch's device and dtypes, or None where there can be none."""
        device, dtype, narrow = batch.params[0].device.type, batch.dtype, batch.narrow
        key = (device, dtype, grad_dtype, narrow, bool(batch.shown))
        if key not in self._kernels:
            begin = time.perf_counter()
            try:
                self._kernels[key] = self.kinds[device][1](self.plan, *key[1:])
            except CompilationError as error:
                self._kernels[key] = None
                _say(f"no step can be compiled for {device} here ({error})")
            self._seconds += time.perf_counter() - begin
        return self._kernels[key]


def _across(shards: Shards, order: list[int], count: int, norms: Tensor) -> Tensor:
    """Return the norms of whole tensors; processes meet over every tensor, in the same order."""
    columns = []
    for column in norms.unbind(1):
        mine = norms.new_zeros(count)
        mine[order] = column
        columns.append(torch.stack(shards.whole_norms(list(mine.unbind())))[order])
    return torch.stack(columns, 1).to(norms)


@functools.cache
def _say(reason: str) -> None:
    message = f"{reason}; `foreach` runs instead of `compiled`, with the same results"
    warnings.warn(message, stacklevel=2)
