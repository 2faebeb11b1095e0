"""A step on CPU in blocks that fit the cache; see `optzoo.engines.foreach`.

Large tensors are walked flat, block by block; small ones are copied side by side into a pack of one
block, so that a thousand of them cost a few torch calls. On each piece the program's lines are
evaluated as they stand, every name a tensor of its own, and only then is anything written. A norm
needs a walk of its own before the one that stores; numbers per tensor are computed on the host in
float64.

Memory beside the model: one block per line and operation of the program and, for packs, one per
slot; and, while it is worked on, a copy of one tensor whose slots differ in layout. Nothing grows
with the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from optzoo.engines.block_values import BlockDomain, handed_over, settled
from optzoo.engines.engine import Batch
from optzoo.engines.layout import Layout
from optzoo.program.arithmetic import FloatDomain, IeeeDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import Line, Program
from optzoo.program.planning import plan_program

BLOCK = 131_072
"""Elements per block and thread: 512 KiB of float32 per value, so that what a step touches stays in
the L2 and L3 caches while starting a torch call, on every thread, is a small part of its time."""

MOST_THREADS = 8
"""Threads that blocks are sized for: more would outgrow the cache."""

SMALL = 16_384
"""Tensors with fewer elements are packed: updating one takes less time than starting the calls."""

_FLOATS, _ELEMENTS = FloatDomain(), IeeeDomain()

_BLOCKS = BlockDomain()
Value = float | Tensor

Readable = list[tuple[Line, list[Name]]]
"""Lines, each with the names whose tensors it may overwrite."""


@dataclass
class Piece:
    """What the lines run on: the parameter, gradient and buffers of `owners`, flat.

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


class BlockWalk:
    """How one batch is cut: `large` tensors into blocks, small ones together into `packs`."""

    def __init__(self, batch: Batch, block: int) -> None:
        self.block = block
        self.layout = Layout(batch)
        self.large: list[tuple[int, list[tuple[int, list[Tensor]]]]] = []
        self.packs: list[list[int]] = []
        filled = block
        for i, row in self.layout.rows.items():
            size = row[0].numel()
            if size >= SMALL:
                cuts = [torch.split(flat, block) for flat in row]
                starts = range(0, size, block)
                self.large.append((i, list(zip(starts, map(list, zip(*cuts)), strict=True))))
                continue
            if filled + size > block:
                self.packs.append([])
                filled = 0
            self.packs[-1].append(i)
            filled += size

    def fits(self, batch: Batch, block: int) -> bool:
        """Whether this is still the same memory, to be cut in the same way."""
        return self.block == block and self.layout.fits(batch)

    def pieces(self, batch: Batch) -> Iterator[Piece]:
        """Yield what the lines run on, piece by piece."""
        layout, wide = self.layout, batch.params[0].dtype
        for i, blocks in self.large:
            grad = layout.grad(batch, i)
            for start, (param, *buffers) in blocks:
                size = param.numel()
                part = grad.narrow(0, start, size).to(wide)
                yield Piece((i,), (size,), [param, part, *buffers])
        for members in self.packs:
            yield self._pack(batch, members)
        for i in layout.loose:
            copies, grad, homes = layout.copied(batch, i)
            grad = grad.to(wide)
            param, *buffers = [copy.view(-1) for copy in copies]
            for start in range(0, param.numel(), self.block):
                values = [t[start : start + self.block] for t in (param, grad, *buffers)]
                last = start + self.block >= param.numel()
                size = values[0].numel()
                yield Piece((i,), (size,), values, *((homes, copies) if last else ()))

    def _pack(self, batch: Batch, members: Sequence[int]) -> Piece:
        """Return small tensors side by side, as one piece."""
        rows = [self.layout.rows[i] for i in members]
        columns = [list(column) for column in zip(*rows, strict=True)]
        lengths = [flat.numel() for flat in columns[0]]
        param, *buffers = [torch.cat(column) for column in columns]
        grad = torch.cat([self.layout.grad(batch, i) for i in members]).to(param.dtype)
        homes = [home for column in columns for home in column]
        parts = [part for value in (param, *buffers) for part in torch.split(value, lengths)]
        return Piece(members, lengths, [param, grad, *buffers], homes, parts)


class BlockStep:
    """Runs the lines of one program over batches, block by block."""

    def __init__(self, program: Program) -> None:
        plan = self.plan = plan_program(program)
        olds = {name.prev for name in plan.stores}
        self.lines = with_last_reads(plan.lines, olds, plan.stores)
        self.reductions = [
            with_last_reads(
                each.lines, (), [n for r in each.reductions for n in names_in(r.argument)]
            )
            for each in plan.passes
        ]

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        block = BLOCK * min(torch.get_num_threads(), MOST_THREADS)
        walk = batch.memo.get("walk")
        if walk is None or not walk.fits(batch, block):
            walk = batch.memo["walk"] = BlockWalk(batch, block)
        plan = self.plan
        known = {name: evaluate(expr, _FLOATS, scalars) for name, expr in plan.coefficients}
        norms: dict[Name, list[float]] = {}
        numbers: dict[Name, list[float]] = {}
        for each, lines in zip(plan.passes, self.reductions, strict=True):
            sums: list[dict[int, float]] = [{} for _ in each.reductions]
            for piece in walk.pieces(batch):
                values = self._values(piece, known, numbers)
                run_block(lines, values)
                for total, reduction in zip(sums, each.reductions, strict=True):
                    found = settled(evaluate(reduction.argument, _BLOCKS, values))
                    for i, value in zip(piece.owners, _squares(found, piece), strict=True):
                        total[i] = total.get(i, 0.0) + value
            names = [reduction.name for reduction in each.reductions]
            norms |= zip(names, _norms(sums, batch), strict=True)
            for name, expr in each.numbers:
                numbers[name] = [
                    evaluate(expr, _ELEMENTS, {**known, **dict(zip(norms, found, strict=True))})
                    for found in zip(*norms.values(), strict=True)
                ]
        for piece in walk.pieces(batch):
            values = self._values(piece, known, numbers)
            run_block(self.lines, values)
            self._store(piece, values)

    def _values(
        self,
        piece: Piece,
        known: Mapping[Name, Value],
        numbers: Mapping[Name, Sequence[float]],
    ) -> dict[Name, Value]:
        """Return what every name stands for in a piece before its first line."""
        values = {**known, **dict(zip(self.plan.inputs, piece.values, strict=True))}
        for name, per_tensor in numbers.items():
            owned = [per_tensor[i] for i in piece.owners]
            if len(owned) == 1:
                values[name] = owned[0]
            else:
                lengths = torch.tensor(piece.lengths)
                column = torch.tensor(owned, dtype=piece.values[0].dtype)
                values[name] = column.repeat_interleave(lengths)
        return values

    def _store(self, piece: Piece, values: Mapping[Name, Value]) -> None:
        """Write the parameter and the buffers; a value that is one of them is read first."""
        places = dict(zip(self.plan.inputs, piece.values, strict=True))
        homes = [places[name.prev] for name in self.plan.stores]
        stored = []
        for home, name in zip(homes, self.plan.stores, strict=True):
            new = values[name]
            if new is home:
                continue
            if isinstance(new, Tensor) and any(new is other for other in homes):
                new = new.clone()
            stored.append((home, new))
        for home, new in stored:
            if isinstance(new, Tensor):
                home.copy_(new)
            else:
                home.fill_(new)
        piece.write_back()


def with_last_reads(
    lines: Sequence[Line], olds: Collection[Name], wanted: Iterable[Name]
) -> Readable:
    """Return each line with the names whose tensors it may overwrite.

    Those are names that the line reads once and nothing reads later: `olds`, and names that lines
    assign, but not what is `wanted` after the last line.
    """
    may_go = {*olds, *(line.target for line in lines)}
    later = set(wanted)
    result = []
    for line in reversed(lines):
        reads = Counter(names_in(line.expr))
        last = [n for n, count in reads.items() if count == 1 and n in may_go and n not in later]
        later |= reads.keys()
        result.append((line, last))
    return result[::-1]


def run_block(
    lines: Readable, values: dict[Name, Any], whole: tuple[int, ...] | None = None
) -> None:
    """Evaluate lines in order, adding each target to `values`; what is read last goes in them.

    `whole` is the shape of a block in which rows and columns are read too: a condition may choose
    one of those, and who writes into that needs a place for all elements.
    """
    for line, last in lines:
        for name in last:
            values[name] = handed_over(values[name])
        value = settled(evaluate(line.expr, _BLOCKS, values))
        if whole is not None and isinstance(value, Tensor) and value.shape != whole:
            value = value.expand(whole).clone()
        values[line.target] = value


def _norms(sums: Sequence[Mapping[int, float]], batch: Batch) -> list[list[float]]:
    """Return each norm of each tensor of a batch, across processes where it is spread over some."""
    norms = [[total.get(i, 0.0) ** 0.5 for i in range(len(batch.params))] for total in sums]
    if batch.shards is None:
        return norms
    held = [list(torch.tensor(each, dtype=torch.float64).unbind()) for each in norms]
    return [[float(norm) for norm in batch.shards.whole_norms(each)] for each in held]


def _squares(found: Value, piece: Piece) -> list[float]:
    """Return the sum of squares of a value over each of the owners of a piece."""
    if not isinstance(found, Tensor):  # the same number everywhere
        return [found * found * length for length in piece.lengths]
    squares = found * found
    if len(piece.owners) == 1:
        return [float(squares.sum())]
    lengths = torch.tensor(piece.lengths)
    sums: list[float] = torch.segment_reduce(squares.double(), "sum", lengths=lengths).tolist()
    return sums
