"""Sides: what shape a value has, by the names of its sides and not by numbers.

A parameter is a matrix of `rows` x `cols` (its first side, and all others together; a vector is a
matrix of one column). A value has two sides, each `rows`, `cols` or `1`. Operations on elements
join them: 1 joins anything, equal sides stay, and anything else is an error. Shapes are thus known
and checked from names alone, without a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from optzoo.program.expressions import Call, Expr, Name, Num, format_expression, walk
from optzoo.program.ops import OPS

Side = Literal["1", "rows", "cols"]


class Shape(NamedTuple):
    """The sides of a value."""

    rows: Side
    cols: Side

    def __str__(self) -> str:
        return f"{self.rows} x {self.cols}"

    @property
    def words(self) -> str:
        """What such a value is called."""
        match self:
            case ("1", "1"):
                return "one number"
            case ("rows", "1"):
                return f"a number for each row ({self})"
            case ("1", "cols"):
                return f"a number for each column ({self})"
            case ("rows", "cols"):
                return f"a tensor like the parameter ({self})"
        return f"a matrix of {self}"


FULL = Shape("rows", "cols")
NUMBER = Shape("1", "1")

GIVEN = {Name("grad"): FULL, Name("param", "prev"): FULL}
"""Shapes of what a step is given."""

Known = Shape | None
"""A shape, or None for what follows from itself alone and fits anything so far."""


class ShapeError(ValueError):
    """Sides that do not fit. `expr` is the operation at fault."""

    def __init__(self, expr: Call, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.expr, self.message, self.hint = expr, message, hint


def join(*shapes: Known) -> Known:
    """Return the shape that values of these shapes have together; None where they do not fit.

    A shape that is not known yet is left out; where none is known, neither is theirs.
    """
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    rows, cols = _joined([s.rows for s in known]), _joined([s.cols for s in known])
    return None if rows is None or cols is None else Shape(rows, cols)


def _joined(sides: Sequence[Side]) -> Side | None:
    named = {side for side in sides if side != "1"}
    if len(named) > 1:
        return None
    return named.pop() if named else "1"


def fits(shape: Known, home: Shape) -> bool:
    """Whether a value of one shape can be kept as another, repeated along sides of 1."""
    return shape is None or join(shape, home) == home


def shape_of(expr: Expr, shapes: Mapping[Name, Known], *, is_patient: bool = False) -> Known:
    """Return the shape of an expression; numbers of the host count as one number.

    A number that meets what is not known yet is one number, or not known either for who
    `is_patient`. Raises ShapeError for sides that do not fit.
    """
    if isinstance(expr, Num):
        return NUMBER
    if isinstance(expr, Name):
        return shapes.get(expr, NUMBER)
    args = [shape_of(arg, shapes, is_patient=is_patient) for arg in expr.args]
    op = OPS[expr.op]
    if op.reduces is not None:
        return _reduced(op.kept, args[0])
    match expr.op:
        case "rows" | "cols" | "size" | "model_sum":
            return NUMBER
        case "matmul":
            known = _product(expr, *args)
            return _ends(expr, shapes, is_patient=is_patient) if None in args else known
        case "transpose":
            return None if args[0] is None else Shape(args[0].cols, args[0].rows)
        case "polar" | "block_polar" | "orthonormal":
            return args[0]
        case "identity" | "eigenbasis" | "power" | "diagonal":
            return _of_square(expr, args[0])
        case "order":
            return _of_column(expr, args[0])
        case "row_take" | "column_take":
            return _taken(expr, *args)
    if is_patient and None in args:
        args = [shape for shape in args if shape != NUMBER]
    return _elementwise(expr, args)


def _reduced(kept: str, shape: Known) -> Known:
    match kept:
        case "whole":
            return NUMBER
        case "column":
            return None if shape is None else Shape("1", shape.cols)
    return None if shape is None else Shape(shape.rows, "1")


def _product(expr: Call, a: Known, b: Known) -> Known:
    if a is None or b is None:
        return None
    if a.cols != b.rows:
        message = f"`{format_expression(expr)}` multiplies {a} by {b}"
        hint = "the inner sides of `@` are the same: turn one of them with `.T`"
        raise ShapeError(expr, message, hint)
    return Shape(a.rows, b.cols)


def _ends(expr: Call, shapes: Mapping[Name, Known], *, is_patient: bool) -> Known:
    """Return the shape of a product with a factor that is not known: that of its outer sides.

    Statistics that whiten one another (`grad @ R.prev @ grad.T`) are told by nothing else.
    """
    first: Expr = expr
    last: Expr = expr
    while isinstance(first, Call) and first.op == "matmul":
        first = first.args[0]
    while isinstance(last, Call) and last.op == "matmul":
        last = last.args[1]
    begin, end = (shape_of(each, shapes, is_patient=is_patient) for each in (first, last))
    return None if begin is None or end is None else Shape(begin.rows, end.cols)


def _of_square(expr: Call, shape: Known) -> Known:
    if shape is None:
        return None
    if shape.rows != shape.cols:
        what = "an identity matrix has" if expr.op == "identity" else f"`{expr.op}` takes"
        message = f"{what} two sides of the same name, and this is {shape.words}"
        hint = "such as `grad @ grad.T`, of rows x rows"
        if expr.op == "power":
            hint += "; of each element it is `x**p`"
        if expr.op == "identity":
            hint = "say whose: `identity(grad @ grad.T)` is of rows x rows"
        raise ShapeError(expr, message, hint)
    return Shape(shape.rows, "1") if expr.op == "diagonal" else shape


def _of_column(expr: Call, shape: Known) -> Known:
    if shape is not None and shape.cols != "1":
        message = f"`order` takes a column, and this is {shape.words}"
        raise ShapeError(expr, message, "such as `diagonal(x)`, or `mean(x, row)`")
    return shape


def _taken(expr: Call, values: Known, places: Known) -> Known:
    if values is None or places is None:
        return values
    side = values.rows if expr.op == "row_take" else values.cols
    if places != Shape(side, "1"):
        which = expr.op.removesuffix("_take")
        message = (
            f"`take` of a {which} wants a place for each of {side}, and this is {places.words}"
        )
        raise ShapeError(expr, message)
    return values


def _elementwise(expr: Call, args: Sequence[Known]) -> Known:
    known = [shape for shape in args if shape is not None]
    if not known:
        return None
    joined = join(*known)
    if joined is None:
        pairs = zip(expr.args, args, strict=False)
        told = [
            f"`{format_expression(arg)}` is {s.words}"
            for arg, s in pairs
            if s not in (None, NUMBER)
        ]
        raise ShapeError(expr, f"these do not fit: {', and '.join(told)}", _turned(known))
    return joined


def _turned(shapes: Sequence[Shape]) -> str:
    if any(s.cols == "rows" or s.rows == "cols" for s in shapes):
        return "sides are told apart by name: turn one of them with `.T`, or multiply with `@`"
    return "sides of 1 join anything; of the others both have the same name"


def kept_shapes(
    lines: Sequence[tuple[Name, Expr]], starts: Mapping[str, Known]
) -> dict[str, Shape]:
    """Return the shape of every buffer: that of what its line makes, together with its start.

    `starts` holds what is known of each, None where nothing is. A buffer that follows from itself
    alone is like the parameter; one that starts as an identity matrix of its own sides has those of
    what it is multiplied with. Lines whose sides do not fit say nothing; the checker refuses them.
    """
    found = dict(starts)
    for is_patient in (True, False):
        if not is_patient:
            found |= {
                name: _of_factor(name, lines, found) for name in _own_identities(lines, found)
            }
        for _ in range(2 * len(found) + 1):  # a side only ever goes from 1 to a name
            before = dict(found)
            _look(lines, found, is_patient=is_patient)
            if found == before:
                break
    return {name: shape or FULL for name, shape in found.items()}


def _look(
    lines: Sequence[tuple[Name, Expr]], found: dict[str, Known], *, is_patient: bool
) -> dict[Name, Known]:
    """Join what is known of each buffer with what its line makes of it; return what is known."""
    shapes: dict[Name, Known] = dict(GIVEN)
    shapes |= {Name(name, "prev"): shape for name, shape in found.items()}
    for target, expr in lines:
        try:
            shape = shape_of(expr, shapes, is_patient=is_patient)
        except ShapeError:
            shape = None
        if target.id in found:
            joined = join(shape, found[target.id])
            shape = found[target.id] = found[target.id] if joined is None else joined
        shapes[target] = shape
    return shapes


def _own_identities(
    lines: Sequence[tuple[Name, Expr]], found: Mapping[str, Known]
) -> Iterator[str]:
    """Yield buffers that start as an identity matrix of their own sides, known from nothing yet."""
    for _, expr in lines:
        for node in walk(expr):
            match node:
                case Call("identity", (Name(own, "prev"),)) if found.get(own, FULL) is None:
                    yield own


def _of_factor(name: str, lines: Sequence[tuple[Name, Expr]], found: Mapping[str, Known]) -> Known:
    """Return the shape of a square buffer that is multiplied with something known.

    One that is not is like the parameter, so that the checker asks whose sides it has.
    """
    shapes = _look(lines, dict(found), is_patient=True)
    identity = Call("identity", (Name(name, "prev"),))
    own: set[Expr] = {Name(name), Name(name, "prev")}
    own |= {target for target, expr in lines if identity in walk(expr)}
    own |= {Call("transpose", (each,)) for each in own}
    for _, expr in lines:
        for node in walk(expr):
            match node:
                case Call("matmul", (a, b)) if a in own or b in own:
                    try:
                        other = shape_of(b if a in own else a, shapes, is_patient=True)
                    except ShapeError:
                        continue
                    if other is not None:
                        side = other.rows if a in own else other.cols
                        return Shape(side, side)
    return FULL
