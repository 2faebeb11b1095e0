"""A step of a program that asks for rows, columns or whole matrices; see `optzoo.engines.foreach`.

Parameters of equal sides are stacked, up to `STACK` elements, and larger ones go alone, as views:
every value is a tensor of matrices x rows x columns, with sides of 1 where the program has them.
What a step does not need is not computed: conditions of `where` that are numbers of the host are
decided first, and each way that they turn out has lines of its own.

Where parameters are spread over processes, each matrix has an owner, which gathers it, takes its
step and hands the result back; owners are balanced by what a product of the matrix costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from optzoo.distributed.sharding import Owners, gathered, part_here
from optzoo.engines.decompositions import eigenbasis, orthonormal, symmetric_power
from optzoo.engines.elementwise import ELEMENTWISE
from optzoo.engines.engine import Batch
from optzoo.engines.torch_sides import sides_of
from optzoo.program.arithmetic import IEEE, FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, names_in
from optzoo.program.ir import GRAD, PARAM, Line, Program
from optzoo.program.ops import OPS
from optzoo.program.simplify import conditions_of, decided
from optzoo.program.tensors.elements import row_blocks
from optzoo.program.tensors.named_sides import FULL, Shape

STACK = 1 << 22
"""Elements of the matrices that are worked on as one stack."""

Value = float | Tensor

_FLOATS = FloatDomain()
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class MatrixStep:
    """Runs the lines of one program over batches, matrix by matrix."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.conditions = conditions_of(program)
        self._lines: dict[tuple[bool, ...], list[tuple[Line, list[Name]]]] = {}

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        lines = self._lines_for(scalars)
        is_double = batch.dtype == torch.float64
        domain = MatrixDomain(batch.dtype if is_double else _DTYPES[self.program.polar_dtype])
        owners = batch.shards.owners() if batch.shards is not None else None
        for whole, give_back in _wholes(batch, self.program, owners):
            for members in stacks(whole.params):
                self._step_stack(whole, members, scalars, lines, domain)
            give_back()

    def _lines_for(self, scalars: Mapping[Name, float]) -> list[tuple[Line, list[Name]]]:
        """Return the lines of a step with these scalars, each with the names it reads last."""
        held = [evaluate(each, _FLOATS, scalars) != 0 for each in self.conditions]
        key = tuple(held)
        if key not in self._lines:
            known = dict(zip(self.conditions, held, strict=True))
            self._lines[key] = _with_last_reads(self.program, decided(self.program, known))
        return self._lines[key]

    def _step_stack(
        self,
        batch: Batch,
        members: Sequence[int],
        scalars: Mapping[Name, float],
        lines: Sequence[tuple[Line, list[Name]]],
        domain: MatrixDomain,
    ) -> None:
        held = {Name(n): [tensors[i] for i in members] for n, tensors in batch.buffers.items()}
        homes = {PARAM: [batch.params[i] for i in members], **held}
        values: dict[Name, Value] = {**scalars, **stacked_values(self.program, batch, members)}
        for line, last in lines:
            values[line.target] = evaluate(line.expr, domain, values)
            for name in last:
                del values[name]
        made = {line.target: line.expr for line, _ in lines}
        stored = [
            (tensors, _apart(values[name], made.get(name)))
            for name, tensors in homes.items()
            if made.get(name) != name.prev
        ]
        for tensors, new in stored:
            _store(tensors, new)


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


def stacks(params: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield which parameters to work on together: of equal sides, up to `STACK` elements."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, param in enumerate(params):
        if param.numel():
            alike.setdefault(sides_of(param), []).append(i)
    for (rows, cols), members in alike.items():
        count = max(1, STACK // (rows * cols))
        yield from (members[i : i + count] for i in range(0, len(members), count))


def stacked_values(program: Program, batch: Batch, members: Sequence[int]) -> dict[Name, Tensor]:
    """Return the gradients, and the parameters and buffers on entry, of a stack."""
    rows, cols = sides_of(batch.params[members[0]])
    found = {GRAD: _stacked([batch.grads[i] for i in members], rows, cols)}
    found[PARAM.prev] = _stacked([batch.params[i] for i in members], rows, cols)
    for state in program.tensor_states:
        tensors = [batch.buffers[state.name][i] for i in members]
        found[Name(state.name, "prev")] = _stacked(tensors, *_sides(state.shape, rows, cols))
    return {name: value.to(batch.dtype) for name, value in found.items()}


def _sides(shape: Shape, rows: int, cols: int) -> tuple[int, int]:
    sizes = {"1": 1, "rows": rows, "cols": cols}
    return sizes[shape.rows], sizes[shape.cols]


def _stacked(tensors: Sequence[Tensor], rows: int, cols: int) -> Tensor:
    """Return tensors as matrices side by side; one alone, where its layout allows, as a view."""
    shaped = [tensor.detach().reshape(rows, cols) for tensor in tensors]
    return shaped[0].unsqueeze(0) if len(shaped) == 1 else torch.stack(shaped)


def _apart(value: Value, expr: Expr | None) -> Value:
    """Return a value that is to be stored, apart from the memory of what the step began with.

    A name, and a view of one, may stand for a buffer that is overwritten before it is read here.
    """
    may_share = isinstance(expr, Name) or (isinstance(expr, Call) and expr.op in _VIEWS)
    return value.clone() if may_share and isinstance(value, Tensor) else value


_VIEWS = ("transpose", "diagonal")


def _store(tensors: Sequence[Tensor], new: Value) -> None:
    """Write a value into its tensors, repeated along sides of 1."""
    if not isinstance(new, Tensor):
        for tensor in tensors:
            tensor.fill_(new)
        return
    for tensor, matrix in zip(tensors, new.expand(len(tensors), -1, -1), strict=True):
        rows, cols = sides_of(tensor)
        tensor.copy_(matrix.expand(rows, cols).reshape(tensor.shape))


def _with_last_reads(program: Program, lines: Sequence[Line]) -> list[tuple[Line, list[Name]]]:
    """Return each line with the names that nobody reads after it."""
    stores = {PARAM, *(Name(state.name) for state in program.tensor_states)}
    tensors = {GRAD, *stores, *(name.prev for name in stores), *(line.target for line in lines)}
    later = set(stores)
    result = []
    for line in reversed(lines):
        reads = set(names_in(line.expr)) & tensors
        result.append((line, [name for name in reads if name not in later]))
        later |= reads
    return result[::-1]


# ------------------------------------------------------------------ values


class MatrixDomain:
    """Floats, and tensors of matrices x rows x columns; products of `polar` are in `dtype`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def number(self, value: Fraction) -> Value:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[Any]) -> Value:
        """Apply an operation to numbers on the host, or to tensors and numbers."""
        if not any(isinstance(arg, Tensor) for arg in args):
            return _of_numbers(op, args)
        if op in ELEMENTWISE:
            return ELEMENTWISE[op](*args)
        if op == "polar":
            return _polar(self.dtype, *args)
        known = OPS[op]
        if known.kept == "block":
            return _block(known.reduces or "", *args)
        if known.reduces is not None:
            return _REDUCTIONS[known.reduces](args[0], _DIMS[known.kept])
        if op in _OF_TWO:
            like = next(arg for arg in args if isinstance(arg, Tensor))
            args = [_element(arg, like) for arg in args]
        return _MATRICES[op](*args)


def _of_numbers(op: str, args: Sequence[float]) -> float:
    """Apply an operation to numbers: of the host, or sizes, which are tensors of one element."""
    if op in IEEE:
        return IEEE[op](*args)
    like = torch.zeros((), dtype=torch.float64)
    value = MatrixDomain(like.dtype).apply(op, [_element(args[0], like), *args[1:]])
    return value if isinstance(value, float) else value.item()


def _element(value: Value, like: Tensor) -> Tensor:
    """Return a number as a matrix of one element."""
    return value if isinstance(value, Tensor) else like.new_full((1, 1, 1), value)


_DIMS = {"whole": (-2, -1), "row": (-1,), "column": (-2,)}


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "sum": lambda a, dims: a.sum(dims, keepdim=True),
    "mean": lambda a, dims: a.mean(dims, keepdim=True),
    "norm": lambda a, dims: torch.linalg.vector_norm(a, dim=dims, keepdim=True),
    "largest": lambda a, dims: a.amax(dims, keepdim=True),
    "smallest": lambda a, dims: a.amin(dims, keepdim=True),
}


def _block(name: str, a: Tensor, count: float) -> Tensor:
    """Reduce each block of rows, and repeat the result for its rows."""
    found = []
    for begin, end in row_blocks(a.shape[-2], count):
        part = _REDUCTIONS[name](a[..., begin:end, :], (-2, -1))
        found.append(part.expand(-1, end - begin, -1))
    return torch.cat(found, dim=-2)


def _polar(dtype: torch.dtype, a: Tensor, safety: float, eps: float, *numbers: float) -> Tensor:
    """Return the polar factor by Newton-Schulz steps, on the smaller side, in `dtype`."""
    is_tall = a.shape[-2] > a.shape[-1]
    x = a.mT if is_tall else a
    size = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    x = (x / (safety * size + eps)).to(dtype).contiguous()
    for k in range(0, len(numbers), 3):
        first, third, fifth = numbers[k : k + 3]
        gram = x @ x.mT
        mixed = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, mixed, x, beta=first)
    return (x.mT if is_tall else x).to(a.dtype)


def _identity(a: Tensor) -> Tensor:
    return torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a)


def _order(a: Tensor) -> Tensor:
    return torch.argsort(a, dim=-2, descending=True, stable=True).to(a.dtype)


def _places(numbers: Tensor, count: int) -> Tensor:
    return numbers.nan_to_num(0.0).clamp(0, count - 1).long()


def _side(side: Callable[[Tensor], int]) -> Callable[[Tensor], float]:
    return lambda a: float(side(a))


_MATRICES: dict[str, Callable[..., Value]] = {
    "rows": _side(lambda a: a.shape[-2]),
    "cols": _side(lambda a: a.shape[-1]),
    "size": _side(lambda a: a.shape[-2] * a.shape[-1]),
    "matmul": torch.matmul,
    "transpose": lambda a: a.mT,
    "identity": _identity,
    "diagonal": lambda a: a.diagonal(dim1=-2, dim2=-1).unsqueeze(-1),
    "orthonormal": orthonormal,
    "eigenbasis": eigenbasis,
    "power": symmetric_power,
    "order": _order,
    "row_take": lambda a, p: torch.take_along_dim(a, _places(p, a.shape[-2]), dim=-2),
    "column_take": lambda a, p: torch.take_along_dim(a, _places(p, a.shape[-1]).mT, dim=-1),
}
_OF_TWO = ("matmul", "row_take", "column_take")
"""Operations on two matrices, either of which may be a size."""
