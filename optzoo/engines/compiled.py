"""The compiled engine: the source of a program's step, compiled once, run on every parameter.

On the CPU it is C (`render.c`, `build`), and one call steps all parameters of a batch, whatever
their shapes and layouts. Where nothing can be compiled the engine says so once and is the eager
engine.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from optzoo.engines.build import CompilationError
from optzoo.engines.engine import Batch, engine_class
from optzoo.engines.kernel import Kernel, Numbers, Table
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.numbers import FloatDomain
from optzoo.program.planning import plan_program
from optzoo.shards import Shards

_FLOATS = FloatDomain()


class CompiledEngine:
    """Run a program with kernels of its own; see the module docstring.

    `compile_seconds` is what building took for this engine, almost nothing where the cache had it.
    """

    crosses_shards = True

    def __init__(self, program: Program) -> None:
        self.plan = plan_program(program)
        self.eager = engine_class("foreach")(program)
        self.compile_seconds = 0.0
        self._kernels: dict[tuple[str, torch.dtype, torch.dtype], Kernel | None] = {}

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        device = batch.params[0].device.type
        if device != "cpu":
            _say(f"no step can be compiled for {device} here; `foreach` runs instead of `compiled`")
            self.eager.step(batch, scalars)
            return
        table: Table | None = batch.memo.get("table")
        if table is None or not table.layout.fits(batch):
            table = batch.memo["table"] = Table(batch)
        filled = table.fill(batch)
        kernel = self._kernel(device, batch.params[0].dtype, filled.grad_dtype)
        if kernel is None:
            self.eager.step(batch, scalars)
            return
        coefficients = [evaluate(expr, _FLOATS, scalars) for _, expr in self.plan.coefficients]
        across = None
        if batch.shards is not None:
            across = functools.partial(_across, batch.shards, table.order, len(batch.params))
        kernel(table, coefficients, across)
        filled.write_back()
        for slot in table.layout.slots:  # autograd is to see that these have changed
            increment_version(slot)

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view."""
        return self.eager.view(view, batch, values)

    def _kernel(self, device: str, dtype: torch.dtype, grad_dtype: torch.dtype) -> Kernel | None:
        key = (device, dtype, grad_dtype)
        if key not in self._kernels:
            begin = time.perf_counter()
            try:
                self._kernels[key] = Kernel(self.plan, dtype, grad_dtype)
            except CompilationError as error:
                self._kernels[key] = None
                _say(f"no step can be compiled for {device} here ({error}); `foreach` runs instead")
            self.compile_seconds += time.perf_counter() - begin
        return self._kernels[key]


def _across(shards: Shards, order: list[int], count: int, norms: Numbers) -> Numbers:
    """Return the norms of whole tensors; processes meet over every tensor, in the same order."""
    columns = []
    for column in norms.T:
        mine = torch.zeros(count, dtype=torch.float64)
        mine[order] = torch.from_numpy(np.ascontiguousarray(column))
        whole = shards.whole_norms(list(mine.unbind()))
        columns.append([float(whole[i]) for i in order])
    return np.array(columns, dtype=np.float64).T


@functools.cache
def _say(message: str) -> None:
    warnings.warn(message, stacklevel=2)
