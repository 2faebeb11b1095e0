"""The flat views of a batch, made once and checked by address before each step.

An engine that walks memory needs each parameter, its gradient and its buffers as stretches of the
same length with the same elements at the same places. Tensors that lie densely and alike give such
views for nothing; those that do not are copied, worked on, and copied back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optzoo.engines.engine import Batch


class Layout:
    """What is flat in a batch: `rows[i]` holds the parameter and buffers of tensor i as views.

    `loose` are the tensors whose slots differ in layout, and empty ones are in neither. Slots are
    those of the batch, in its order; gradients come and go, see `grad`.
    """

    def __init__(self, batch: Batch) -> None:
        self.slots = batch.slots
        self.addresses = addresses(batch)
        self.rows: dict[int, list[Tensor]] = {}
        self.loose: list[int] = []
        for i, param in enumerate(batch.params):
            tensors = [slot[i] for slot in self.slots]
            if param.numel() == 0:
                continue
            if _are_alike(tensors):
                self.rows[i] = [_flat(t) for t in tensors]
            else:
                self.loose.append(i)

    def fits(self, batch: Batch) -> bool:
        """Whether the batch is still in the same memory."""
        return self.addresses == addresses(batch)

    def grad(self, batch: Batch, i: int) -> Tensor:
        """Return the gradient of a row flat, in the order of its parameter's elements."""
        grad, param = batch.grads[i].detach(), self.slots[0][i]
        if grad.is_contiguous() and param.is_contiguous():
            return grad.view(-1)
        if grad.stride() != param.stride():
            grad = torch.empty_like(param, dtype=grad.dtype).copy_(grad)
        return _flat(grad)

    def copied(self, batch: Batch, i: int) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Return a loose tensor's slots as dense copies, its flat gradient, and the slots.

        Copies lie in the order of the parameter's elements, as rows do: what depends on an
        element's place does not depend on how its buffers came to lie.
        """
        homes = [slot[i] for slot in self.slots]
        *copies, grad = [
            torch.empty_like(homes[0], dtype=t.dtype).copy_(t.detach())
            for t in (*homes, batch.grads[i])
        ]
        return copies, _flat(grad), homes

    def filled(self, batch: Batch, dtype: torch.dtype) -> Filled:
        """Return what a kernel works on in this step, with gradients as this dtype."""
        rows = list(self.rows.values())
        grads = [self.grad(batch, i) for i in self.rows]
        copies = []
        for i in self.loose:
            copied, grad, homes = self.copied(batch, i)
            copies.append((homes, copied))
            rows.append(copied)
            grads.append(grad)
        return Filled(rows, [g if g.dtype == dtype else g.to(dtype) for g in grads], copies)


@dataclass
class Filled:
    """The slots of each row, its gradient, and the copies among them with what they are copies of.

    Rows are those of the layout, then its loose tensors. It has to be kept until the step is done.
    """

    rows: list[list[Tensor]]
    grads: list[Tensor]
    copies: list[tuple[list[Tensor], list[Tensor]]]

    def write_back(self) -> None:
        """Copy what was worked on in a copy to where it belongs."""
        for homes, copied in self.copies:
            torch._foreach_copy_(homes, copied)


def addresses(batch: Batch) -> list[int]:
    """Return where the parameters and the buffers of a batch begin."""
    return [t.data_ptr() for slot in batch.slots for t in slot]


def _are_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors lie without gaps in the same order, so that flat views match."""
    if all(t.is_contiguous() for t in tensors):
        return True
    strides = tensors[0].stride()
    return _is_dense(tensors[0]) and all(t.stride() == strides for t in tensors)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill a stretch of memory, in whatever order of the dimensions."""
    step = 1
    dims = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(dim for dim in dims if dim[1] != 1):
        if stride != step:
            return False
        step *= size
    return True


def _flat(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return tensor.detach().view(-1)
    return tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())
