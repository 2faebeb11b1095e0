"""A step on CPU in blocks that fit the cache; see `optzoo.interpreters.foreach`.

Large tensors are walked flat and in place, block by block; small ones are copied side by side into
a pack of one block, so that a thousand of them cost a few torch calls. A tape runs on each piece.
A norm needs a walk of its own before the one that stores; numbers per tensor are computed on the
host in float64.

Memory beside the model: one block per scratch slot of the tape and, for packs, one per slot of the
program, kept between steps; and, while it is worked on, a copy of one tensor whose slots differ in
layout. Nothing grows with the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optzoo.engine import Batch
from optzoo.interpreters.foreach_tape import Slot, Tape, tape_of_reductions, tape_of_step
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.numbers import FloatDomain
from optzoo.program.planning import plan_program

BLOCK = 131_072
"""Elements per block and thread: 512 KiB of float32 per slot, so that what a tape touches stays in
the L2 and L3 caches while starting a torch call, on every thread, is a small part of its time."""

MOST_THREADS = 8
"""Threads that blocks are sized for: more would outgrow the cache."""

SMALL = 16_384
"""Tensors with fewer elements are packed: updating one takes less time than starting the calls."""

_FLOATS = FloatDomain()


@dataclass
class Piece:
    """What a tape runs on: the parameter, gradient and buffers of `owners`, flat.

    `lengths` says how many elements belong to each owner; `homes` is where new values go that were
    computed in a copy, as views of the slots' own tensors, and `parts` the same places in the copy.
    """

    owners: Sequence[int]
    lengths: Sequence[int]
    values: list[Tensor]
    homes: list[Tensor] = field(default_factory=list)
    parts: list[Tensor] = field(default_factory=list)

    def write_back(self) -> None:
        """Copy new values to where they belong."""
        if self.homes:
            torch._foreach_copy_(self.homes, self.parts)


class Walk:
    """The flat views of one batch: made once, and checked against addresses before each step."""

    def __init__(self, batch: Batch, block: int) -> None:
        self.block = block
        self.slots = [batch.params, *batch.buffers.values()]
        self.addresses = _addresses(self.slots)
        self.wide = batch.params[0].dtype
        self.large: list[tuple[int, list[tuple[int, list[Tensor]]]]] = []
        self.packs: list[list[int]] = []
        self.loose: list[int] = []
        self.flats: dict[int, list[Tensor]] = {}
        filled = block
        for i, param in enumerate(batch.params):
            size = param.numel()
            tensors = [slot[i] for slot in self.slots]
            if size == 0:
                continue
            if not _are_alike(tensors):
                self.loose.append(i)
            elif size >= SMALL:
                cuts = [torch.split(_flat(t), block) for t in tensors]
                starts = range(0, size, block)
                self.large.append((i, list(zip(starts, map(list, zip(*cuts)), strict=True))))
            else:
                self.flats[i] = [_flat(t) for t in tensors]
                if filled + size > block:
                    self.packs.append([])
                    filled = 0
                self.packs[-1].append(i)
                filled += size

    def fits(self, batch: Batch, block: int) -> bool:
        """Whether this is still the same memory, to be cut in the same way."""
        slots = [batch.params, *batch.buffers.values()]
        return self.block == block and self.addresses == _addresses(slots)

    def grad(self, batch: Batch, i: int) -> Tensor:
        """Return a gradient flat, in the order of its parameter's elements."""
        grad, param = batch.grads[i].detach(), self.slots[0][i]
        if grad.is_contiguous() and param.is_contiguous():
            return grad.view(-1)
        if grad.stride() != param.stride():
            grad = torch.empty_like(param, dtype=grad.dtype).copy_(grad)
        return _flat(grad)


class BlockStep:
    """Runs the tapes of one program over batches."""

    def __init__(self, program: Program) -> None:
        self.plan = plan_program(program)
        self.tape = tape_of_step(self.plan)
        self.reductions = [tape_of_reductions(self.plan, k) for k in range(len(self.plan.passes))]
        self._scratch: dict[tuple[torch.dtype, int], list[Tensor]] = {}
        self._coefficients: dict[int, list[float]] = {}

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        block = BLOCK * min(torch.get_num_threads(), MOST_THREADS)
        walk = batch.memo.get("walk")
        if walk is None or not walk.fits(batch, block):
            walk = batch.memo["walk"] = Walk(batch, block)
        numbers: dict[Name, dict[int, float]] = {}
        tapes = (self.tape, *self.reductions)
        self._coefficients = {
            id(tape): [evaluate(expr, _FLOATS, scalars) for expr in tape.coefficients]
            for tape in tapes
        }
        for k, tape in enumerate(self.reductions):
            sums: list[dict[int, float]] = [{} for _ in tape.results]
            for piece in self._pieces(walk, batch):
                slots = self._run(tape, piece, numbers)
                for total, result in zip(sums, tape.results, strict=True):
                    found = slots[result]
                    assert isinstance(found, Tensor)
                    for i, value in zip(piece.owners, _sums(found, piece), strict=True):
                        total[i] = total.get(i, 0.0) + value
            self._conclude(k, _norms(sums, batch), numbers, scalars)
        for piece in self._pieces(walk, batch):
            self._run(self.tape, piece, numbers)
            piece.write_back()

    def _conclude(
        self,
        k: int,
        norms: Sequence[Sequence[float]],
        numbers: dict[Name, dict[int, float]],
        scalars: Mapping[Name, float],
    ) -> None:
        """Compute the numbers per tensor that the norms of pass k make known."""
        each = self.plan.passes[k]
        names = [reduction.name for reduction in each.reductions]
        for name, expr in each.numbers:
            numbers[name] = {
                i: evaluate(expr, _FLOATS, {**scalars, **dict(zip(names, found, strict=True))})
                for i, found in enumerate(zip(*norms, strict=True))
            }

    def _run(
        self,
        tape: Tape,
        piece: Piece,
        numbers: Mapping[Name, Mapping[int, float]],
    ) -> list[Slot]:
        lead = piece.values[0]
        slots: list[Slot] = [*piece.values]
        for name in tape.numbers:
            owned = [numbers[name][i] for i in piece.owners]
            if len(owned) == 1:
                slots.append(owned[0])
            else:
                lengths = torch.tensor(piece.lengths)
                slots.append(torch.tensor(owned, dtype=lead.dtype).repeat_interleave(lengths))
        slots += self._coefficients[id(tape)]
        slots += self._take(tape.scratch, lead.numel(), lead.dtype)
        tape.run(slots)
        return slots

    def _take(self, count: int, size: int, dtype: torch.dtype, first: int = 0) -> list[Tensor]:
        """Return scratch tensors; they are kept, and their content is anyone's."""
        most = first + count
        views = self._scratch.get((dtype, size), [])
        if len(views) < most:
            whole = self._scratch.setdefault((dtype, 0), [])
            if whole and whole[0].numel() < size:  # all larger from now on, and cut anew
                self._scratch = {k: v for k, v in self._scratch.items() if k[0] != dtype}
                whole = self._scratch[dtype, 0] = []
            length = whole[0].numel() if whole else max(size, BLOCK)
            while len(whole) < most:
                whole.append(torch.empty(length, dtype=dtype))
            views = self._scratch[dtype, size] = [tensor.narrow(0, 0, size) for tensor in whole]
        return views[first:most]

    def _pieces(self, walk: Walk, batch: Batch) -> Iterator[Piece]:
        for i, blocks in walk.large:
            grad = walk.grad(batch, i)
            for start, (param, *buffers) in blocks:
                size = param.numel()
                part = grad.narrow(0, start, size).to(walk.wide)
                yield Piece((i,), (size,), [param, part, *buffers])
        for members in walk.packs:
            yield self._pack(walk, batch, members)
        for i in walk.loose:
            originals = [slot[i] for slot in walk.slots]
            copies = [t.detach().clone(memory_format=torch.contiguous_format) for t in originals]
            param, *buffers = [copy.view(-1) for copy in copies]
            grad = batch.grads[i].detach().to(walk.wide).contiguous().view(-1)
            for start in range(0, param.numel(), walk.block):
                values = [t[start : start + walk.block] for t in (param, grad, *buffers)]
                last = start + walk.block >= param.numel()
                size = values[0].numel()
                yield Piece((i,), (size,), values, *((originals, copies) if last else ()))

    def _pack(self, walk: Walk, batch: Batch, members: Sequence[int]) -> Piece:
        flats = [walk.flats[i] for i in members]
        lengths = [each[0].numel() for each in flats]
        most = max(tape.scratch for tape in (self.tape, *self.reductions))
        values = self._take(len(walk.slots), sum(lengths), walk.wide, first=most)
        homes: list[Tensor] = []
        parts: list[Tensor] = []
        for value, column in zip(values, map(list, zip(*flats, strict=True)), strict=True):
            torch.cat(column, out=value)
            homes += column
            parts += torch.split(value, lengths)
        grads = torch.cat([walk.grad(batch, i) for i in members]).to(walk.wide)
        return Piece(members, lengths, [values[0], grads, *values[1:]], homes, parts)


def _norms(sums: Sequence[Mapping[int, float]], batch: Batch) -> list[list[float]]:
    """Return each norm of each tensor of a batch, across processes where it is spread over some."""
    norms = [[total.get(i, 0.0) ** 0.5 for i in range(len(batch.params))] for total in sums]
    if batch.shards is None:
        return norms
    held = [list(torch.tensor(each, dtype=torch.float64).unbind()) for each in norms]
    return [[float(norm) for norm in batch.shards.whole_norms(each)] for each in held]


def _sums(squares: Tensor, piece: Piece) -> list[float]:
    if len(piece.owners) == 1:
        return [float(squares.sum())]
    lengths = torch.tensor(piece.lengths)
    sums: list[float] = torch.segment_reduce(squares.double(), "sum", lengths=lengths).tolist()
    return sums


def _addresses(slots: Sequence[Sequence[Tensor]]) -> list[int]:
    return [t.data_ptr() for tensors in slots for t in tensors]


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
    return tensor.detach().as_strided((tensor.numel(),), (1,))
