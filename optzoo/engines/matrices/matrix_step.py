"""A step of a program that asks for rows, columns or whole matrices.

Parameters of equal sides are stacked (`stack`): every value is a tensor of matrices x rows x
columns, with sides of 1 where the program has them. What a step does not need is not computed:
conditions of `where` that are numbers of the host are decided first, and each way that they turn
out has lines of its own. Operations on elements are run in segments where there is somebody to run
them (`optzoo.program.tensors.segments`), and everything else one by one.

Where parameters are spread over processes, each matrix has an owner, which gathers it, takes its
step and hands the result back; owners are balanced by what a product of the matrix costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from optzoo.distributed.sharding import Owners, gathered, part_here
from optzoo.engines.engine import Batch
from optzoo.engines.matrices.matrix_values import MatrixDomain, Value
from optzoo.engines.matrices.stack import Stack, stacks
from optzoo.engines.matrices.sweeps import Segments
from optzoo.engines.torch_sides import sides_of
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import Program
from optzoo.program.simplify import conditions_of, decided
from optzoo.program.tensors.named_sides import FULL
from optzoo.program.tensors.segments import COLS, ROWS, Pieces, Segment, cut, one_by_one

_FLOATS = FloatDomain()
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MatrixStep:
    """Runs the lines of one program over batches, matrix by matrix."""

    def __init__(self, program: Program, segments: Segments | None = None) -> None:
        self.program, self.segments = program, segments
        self.conditions = conditions_of(program)
        self._pieces: dict[tuple[bool, ...], Pieces] = {}

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        pieces = self._pieces_for(scalars)
        is_double = batch.dtype == torch.float64
        domain = MatrixDomain(batch.dtype if is_double else _DTYPES[self.program.polar_dtype])
        owners = batch.shards.owners() if batch.shards is not None else None
        for whole, give_back in _wholes(batch, self.program, owners):
            found = [Stack(self.program, whole, members) for members in stacks(whole.params)]
            if self.segments is not None:  # all are compiled before anything is written
                self.segments.prepare(pieces, found)
            for stack in found:
                self._run(pieces, stack, scalars, domain)
            give_back()

    def _pieces_for(self, scalars: Mapping[Name, float]) -> Pieces:
        """Return a step with these scalars, in pieces."""
        held = [evaluate(each, _FLOATS, scalars) != 0 for each in self.conditions]
        key = tuple(held)
        if key not in self._pieces:
            known = dict(zip(self.conditions, held, strict=True))
            lines = decided(self.program, known)
            prepare = one_by_one if self.segments is None else cut
            self._pieces[key] = prepare(self.program, lines)
        return self._pieces[key]

    def _run(
        self, pieces: Pieces, stack: Stack, scalars: Mapping[Name, float], domain: MatrixDomain
    ) -> None:
        values: dict[Name, Value] = dict(scalars)
        values |= {ROWS: float(stack.rows), COLS: float(stack.cols)}
        for piece, last in zip(pieces.pieces, pieces.last, strict=True):
            if isinstance(piece, Segment):
                assert self.segments is not None
                self.segments.run(piece, pieces.shapes, stack, values)
            else:
                for name in names_in(piece.expr):
                    if name not in values:
                        values[name] = stack.entry(name)
                values[piece.target] = evaluate(piece.expr, domain, values)
            for name in last:
                values.pop(name, None)
        for name in set(pieces.at_end) - values.keys():  # the gradient, kept as it is
            values[name] = stack.entry(name)
        stored = [(name, _apart(values[name], stack)) for name in pieces.at_end]
        for name, new in stored:
            stack.store(name, new)


def _apart(value: Value, stack: Stack) -> Value:
    """Return a value that is to be stored, apart from the memory of what the step began with.

    Else it might be overwritten before it is read.
    """
    may_share = isinstance(value, Tensor) and stack.is_home(value)
    return value.clone() if may_share and isinstance(value, Tensor) else value


def _wholes(
    batch: Batch, program: Program, owners: Owners | None
) -> Iterator[tuple[Batch, Callable[[], None]]]:
    """Yield batches of whole tensors to step, and what is to be done after each.

    Where tensors are spread, that is in rounds of one tensor for each owner: all are gathered, each
    owner steps its own, and what has changed is handed out. The largest come first, so that the
    tensors of a round cost alike.
    """
    if owners is None:
        yield batch, lambda: None
        return
    full = {state.name for state in program.tensor_states if state.shape == FULL}
    ranked = sorted(range(len(batch.spread)), key=lambda i: (-_labour(batch.spread[i]), i))
    for start in range(0, len(ranked), owners.count):
        members = ranked[start : start + owners.count]
        chosen = batch.only(members)
        whole = _gathered(chosen, full)
        mine = whole.only([owners.rank] if owners.rank < len(members) else [])
        yield mine, partial(_hand_out, chosen, whole, full, owners)


def _labour(param: Tensor) -> int:
    """Return what the products of a matrix cost, in proportion."""
    small, large = sorted(sides_of(param))
    return large * small * small


def _gathered(batch: Batch, full: Collection[str]) -> Batch:
    def wholes(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [gathered(t, like) for t, like in zip(tensors, batch.spread, strict=True)]

    buffers = {n: wholes(t) if n in full else list(t) for n, t in batch.buffers.items()}
    return Batch(wholes(batch.params), wholes(batch.grads), buffers)


def _hand_out(batch: Batch, whole: Batch, full: Collection[str], owners: Owners) -> None:
    """Give what each owner has made to everyone, and keep the parts that belong here."""
    slots = [(batch.params, whole.params, True)]
    slots += [(batch.buffers[n], whole.buffers[n], n in full) for n in batch.buffers]
    for homes, wholes, is_cut in slots:
        for owner, (home, made) in enumerate(zip(homes, wholes, strict=True)):
            owners.hand_out(made, owner)
            if is_cut:
                home.copy_(part_here(made, batch.spread[owner]))
