"""Stacks: parameters of equal sides that are worked on together, and where their values live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from optzoo.engines.engine import Batch
from optzoo.engines.torch_sides import sides_of
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.tensors.named_sides import FULL, Shape

LARGEST = 1 << 22
"""Elements of the matrices that are worked on as one stack; a larger one goes alone."""


class Stack:
    """Some parameters of a batch, all of `rows` x `cols`, with their gradients and buffers.

    `homes` are their tensors by what they hold on entry.
    """

    def __init__(self, program: Program, batch: Batch, members: Sequence[int]) -> None:
        self.count, self.dtype = len(members), batch.dtype
        self.rows, self.cols = sides_of(batch.params[members[0]])
        self.shapes: dict[Name, Shape] = {PARAM.prev: FULL, GRAD: FULL}
        self.homes = {PARAM.prev: [batch.params[i].detach() for i in members]}
        self.homes[GRAD] = [batch.grads[i].detach() for i in members]
        for state in program.tensor_states:
            self.shapes[Name(state.name, "prev")] = state.shape
            held = batch.buffers[state.name]
            self.homes[Name(state.name, "prev")] = [held[i] for i in members]

    def sides(self, shape: Shape) -> tuple[int, int]:
        """Return the numbers of rows and columns that a shape has here."""
        sizes = {"1": 1, "rows": self.rows, "cols": self.cols}
        return sizes[shape.rows], sizes[shape.cols]

    def entry(self, name: Name) -> Tensor:
        """Return what is held on entry as matrices x rows x columns, in the arithmetic's dtype.

        One alone is a view where its layout allows.
        """
        rows, cols = self.sides(self.shapes[name])
        shaped = [tensor.reshape(rows, cols) for tensor in self.homes[name]]
        stacked = shaped[0].unsqueeze(0) if len(shaped) == 1 else torch.stack(shaped)
        return stacked.to(self.dtype)

    def is_home(self, tensor: Tensor) -> bool:
        """Whether a tensor may lie in memory that the step began with; several are copied."""
        if self.count > 1:
            return False
        if type(tensor) is not Tensor or tensor.is_meta:  # there is no memory to compare
            return True
        place = tensor.untyped_storage().data_ptr()
        held = (home for homes in self.homes.values() for home in homes)
        return any(place == home.untyped_storage().data_ptr() for home in held)

    def store(self, name: Name, new: float | Tensor) -> None:
        """Write a value into the homes of a name, repeated along sides of 1."""
        homes = self.homes[name.prev]
        if not isinstance(new, Tensor):
            for home in homes:
                home.fill_(new)
            return
        for home, matrix in zip(homes, new.expand(len(homes), -1, -1), strict=True):
            home.copy_(matrix.expand(sides_of(home)).reshape(home.shape))


def stacks(params: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield which parameters to work on together: of equal sides, up to `LARGEST` elements."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, param in enumerate(params):
        if param.numel():
            alike.setdefault(sides_of(param), []).append(i)
    for (rows, cols), members in alike.items():
        count = max(1, LARGEST // (rows * cols))
        yield from (members[i : i + count] for i in range(0, len(members), count))
