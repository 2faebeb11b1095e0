"""Kernels on GPUs: the Triton source of a step, imported, and the table of tensors that it walks.

With `TRITON_INTERPRET=1` the same kernels run on CPU tensors, which is how they are tested where
there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from optzoo.engines.block_values import BlockDomain, settled
from optzoo.engines.build import CompilationError, load_module
from optzoo.engines.engine import Batch
from optzoo.engines.kernel import common_dtype, random_keys
from optzoo.engines.layout import Filled, Layout
from optzoo.engines.render.dialect import UnwritableError
from optzoo.engines.render.triton import render_triton
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.planning import Pass, Plan

BLOCK = 4096
"""Elements that one program of a launch works on."""

GRADIENTS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""What gradients may be stored in; others are converted first."""

_FLOATS = FloatDomain()
_NUMBERS = BlockDomain()


class DeviceTable:
    """The parameters of a batch as a kernel sees them: see `kernel.Table`; all of it on the device.

    Addresses of gradients go over only when they change.
    """

    def __init__(self, batch: Batch) -> None:
        self.layout = Layout(batch)
        self.order = [*self.layout.rows, *self.layout.loose]
        self.device = batch.params[0].device
        sizes = [batch.params[i].numel() for i in self.order]
        counts = [-(-size // BLOCK) for size in sizes]
        blocks = [(row, at) for row, size in enumerate(sizes) for at in range(0, size, BLOCK)]
        owner = torch.tensor([row for row, _ in blocks], dtype=torch.int32)
        start = torch.tensor([at for _, at in blocks], dtype=torch.int64)
        ends = [min(BLOCK, sizes[row] - at) for row, at in blocks]
        self.blocks = len(blocks)
        self.owner, self.start = owner.to(self.device), start.to(self.device)
        self.length = torch.tensor(ends, dtype=torch.int32).to(self.device)
        self.counts = torch.tensor(counts, dtype=torch.int64).to(self.device)
        self._addresses: list[list[int]] = []
        self.slots = torch.zeros(0)
        self.rounding = batch.rounding

    def fill(self, batch: Batch, dtype: torch.dtype) -> Filled:
        """Put in the gradients, as this dtype, and copies of what is not flat."""
        filled = self.layout.filled(batch, dtype)
        addresses = [
            [param.data_ptr(), grad.data_ptr(), *(tensor.data_ptr() for tensor in rest)]
            for (param, *rest), grad in zip(filled.rows, filled.grads, strict=True)
        ]
        if addresses != self._addresses:
            self._addresses = addresses
            self.slots = _on_device(torch.tensor(addresses, dtype=torch.int64), self.device)
        self.rounding = batch.rounding
        return filled

    @staticmethod
    def grad_dtype(batch: Batch) -> torch.dtype:
        """Return the dtype in which a kernel reads the gradients of a batch."""
        return common_dtype(batch, GRADIENTS)


class DeviceKernel:
    """The Triton step of a plan for one dtype of arithmetic and one of gradients.

    `narrow` is what is stored in bfloat16, `shown` whether that is there; see `Batch`. Raises
    CompilationError where there is no Triton.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: torch.dtype,
        grad_dtype: torch.dtype,
        narrow: Collection[str] = (),
        shown: bool = False,
    ) -> None:
        try:
            import triton  # noqa: F401
        except ImportError as error:
            raise CompilationError("there is no triton: pip install triton") from error
        self.plan, self.dtype = plan, dtype
        try:
            source = render_triton(plan, _name(dtype), _name(grad_dtype), narrow, shown=shown)
        except UnwritableError as error:
            raise CompilationError(str(error)) from None
        self._words = source.words
        self.coefficients = source.coefficients
        module = load_module(source.text)
        self._step = module.step
        self._passes = [getattr(module, f"pass_{k}") for k in range(len(source.norms))]

    def __call__(
        self,
        table: DeviceTable,
        scalars: Mapping[Name, float],
        whole_norms: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take the step on a filled table, in place.

        `whole_norms` is what `kernel.Kernel` takes.
        """
        values = [evaluate(expr, _FLOATS, scalars) for expr in self.coefficients]
        coefficients = _on_device(torch.tensor(values, dtype=self.dtype), table.device)
        known: dict[Name, Any] = {
            name: value for (name, _), value in zip(self.plan.coefficients, values, strict=False)
        }
        numbers: dict[Name, Tensor] = {}
        norms: dict[Name, Any] = {}
        names = [name for name, _ in self.plan.numbers]
        for launch, each in zip(self._passes, self.plan.passes, strict=True):
            count = len(each.reductions)
            partial = torch.empty(table.blocks, count, dtype=self.dtype, device=table.device)
            args = (table.owner, table.start, table.length, table.slots, coefficients)
            launch[(table.blocks,)](*args, self._rows(table, names, numbers), partial, BLOCK=BLOCK)
            found = torch.segment_reduce(
                partial.double(), "sum", lengths=table.counts, axis=0
            ).sqrt()
            if whole_norms is not None:
                found = whole_norms(found)
            norms |= _columns(each, found)
            for name, expr in each.numbers:
                value = settled(evaluate(expr, _NUMBERS, {**known, **norms}))
                assert isinstance(value, Tensor)
                numbers[name] = value
        args = (table.owner, table.start, table.length, table.slots, coefficients)
        rows = self._rows(table, names, numbers)
        keys = [self._keys(table)] if self._words else []
        self._step[(table.blocks,)](*args, rows, *keys, BLOCK=BLOCK)

    def _keys(self, table: DeviceTable) -> Tensor:
        """Return the keys of each row's random words, each as its lower and its upper 32 bits."""
        keys = random_keys(table.rounding, table.order, self._words)
        return _on_device(torch.from_numpy(keys.astype("<u8").view("<i4")), table.device)

    def _rows(
        self, table: DeviceTable, names: list[Name], numbers: Mapping[Name, Tensor]
    ) -> Tensor:
        """Return the numbers of each row, as far as they are known."""
        result = torch.zeros(len(table.order), len(names), dtype=self.dtype, device=table.device)
        for k, name in enumerate(names):
            if name in numbers:
                result[:, k] = numbers[name]
        return result


def _columns(each: Pass, found: Tensor) -> dict[Name, Tensor]:
    return {r.name: found[:, k] for k, r in enumerate(each.reductions)}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device: one copy, which nothing waits for."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
