"""Segments: the tensor lines of a step, cut where whole rows, columns or matrices have to be known.

Between two products, decompositions or reductions lie operations on elements, and an engine that
walks memory wants as many of those as can be done at once: a `Segment`. What ends a row, a column
or a whole tensor (`sum(x, row)`, `norm(x)`) is gathered on the way. Everything else, and what has
one number for each row or column, is a line of its own.

A line is put off until something waits for it, so that a segment reads an old value again rather
than keep a new one in memory. Nothing here computes, and nothing here knows of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from optzoo.program.expressions import (
    ONE,
    Call,
    Expr,
    Name,
    Num,
    format_expression,
    mul,
    names_in,
    substitute,
    walk,
)
from optzoo.program.ir import PARAM, Line, Program
from optzoo.program.ops import OPS, Scope
from optzoo.program.tensors.named_sides import FULL, GIVEN, NUMBER, Shape, join, shape_of

ROWS, COLS = Name("(rows)"), Name("(cols)")
"""Numbers that whoever runs the pieces gives: the rows and columns of the parameter."""

VIEWS = ("transpose", "diagonal")
"""Operations whose result may be the memory of what they are applied to."""


Spread = Literal["full", "row", "column", "one"]
"""What of a matrix has a number of its own: each element, row or column, or the matrix."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Lines on elements of one shape, and the reductions that end them.

    `reads` are tensors that are there before, `coefficients` numbers of the host by the name that
    stands for them in the lines. `keeps` are values that later pieces read, `stores` those that go
    into their home at once: nobody reads what it held any more.
    """

    shape: Shape
    lines: tuple[Line, ...]
    reductions: tuple[Line, ...]
    reads: tuple[Name, ...]
    coefficients: tuple[tuple[Name, Expr], ...]
    keeps: tuple[Name, ...] = ()
    stores: tuple[Name, ...] = ()


Piece = Segment | Line


@dataclass(frozen=True)
class Pieces:
    """A step in pieces, in order; `last[k]` are the names that nobody reads after piece k.

    `shapes` are those of all tensors by name. `at_end` are what goes into its home once all is
    done.
    """

    pieces: tuple[Piece, ...]
    last: tuple[tuple[Name, ...], ...]
    shapes: Mapping[Name, Shape]
    at_end: tuple[Name, ...]


def is_large(shape: Shape) -> bool:
    """Whether a value has a number for each element of a matrix."""
    return "1" not in shape


def spread_of(shape: Shape, within: Shape) -> Spread:
    """Return what of a matrix of one shape has a number of its own in another."""
    if shape == within:
        return "full"
    if shape == NUMBER:
        return "one"
    return "column" if shape.rows == "1" else "row"


def cut(program: Program, lines: Sequence[Line]) -> Pieces:
    """Return tensor lines of a program (see `decided`) in pieces."""
    splitter = _Splitter(program)
    kept = {line.target: line.expr for line in lines if line.expr == line.target.prev}
    for line in lines:
        if line.target not in kept:
            splitter.add(replace(line, expr=substitute(line.expr, kept.get)))
    pieces = _Schedule(splitter).pieces()
    changed = [name for name in splitter.homes if name not in kept]
    pieces = _with_outputs(pieces, splitter, changed)
    stored = {name for piece in pieces if isinstance(piece, Segment) for name in piece.stores}
    at_end = tuple(name for name in changed if name not in stored)
    return Pieces(
        tuple(pieces), _last_reads(pieces, splitter.shapes, at_end), splitter.shapes, at_end
    )


def one_by_one(program: Program, lines: Sequence[Line]) -> Pieces:
    """Return tensor lines of a program as they are, each a piece."""
    splitter = _Splitter(program)
    shapes = dict(splitter.shapes)
    for line in lines:
        known = shape_of(line.expr, shapes)
        shapes[line.target] = splitter.homes.get(line.target, known or FULL)
    made = {line.target: line.expr for line in lines}
    at_end = tuple(name for name in splitter.homes if made.get(name) != name.prev)
    return Pieces(tuple(lines), _last_reads(lines, shapes, at_end), shapes, at_end)


class _Splitter:
    """Gives whatever is no operation on elements, and is read by one, a line of its own."""

    def __init__(self, program: Program) -> None:
        self.homes = {PARAM: FULL, **{Name(s.name): s.shape for s in program.tensor_states}}
        self.shapes: dict[Name, Shape] = {
            name: shape for name, shape in GIVEN.items() if shape is not None
        }
        self.shapes |= {name.prev: shape for name, shape in self.homes.items()}
        self.lines: list[Line] = []
        self._named: dict[Expr, Name] = {}

    def add(self, line: Line) -> None:
        """Take up a line of the program, after what it needs."""
        expr, shape = self._split(line.expr)
        home = self.homes.get(line.target)
        if home is not None and shape != home and not _is_on_elements(expr):
            expr = self._name(expr, shape)
        self._emit(line.target, expr, shape if home is None else home, line)

    def _emit(self, target: Name, expr: Expr, shape: Shape | None, line: Line) -> None:
        if shape is not None:
            self.shapes[target] = shape
        self.lines.append(replace(line, target=target, expr=expr))

    def _name(self, expr: Expr, shape: Shape | None) -> Name:
        if expr not in self._named:
            self._named[expr] = name = Name(f"({format_expression(expr)})")
            self._emit(name, expr, shape, Line(name, expr))
        return self._named[expr]

    def _split(self, expr: Expr) -> tuple[Expr, Shape | None]:
        """Return an expression whose arguments are fit to be read; None: a number of the host."""
        if isinstance(expr, Num):
            return expr, None
        if isinstance(expr, Name):
            return expr, self.shapes.get(expr)
        if expr.op in ("rows", "cols", "size"):
            return self._sides(expr)
        if expr.op == "where" and self._is_branch(expr):
            return expr, shape_of(expr, self.shapes)
        parts = [self._split(arg) for arg in expr.args]
        shapes = [shape for _, shape in parts if shape is not None]
        if not shapes:
            return Call(expr.op, tuple(part for part, _ in parts), expr.span), None
        is_on_elements = OPS[expr.op].scope is Scope.ELEMENTWISE
        joined = join(*shapes) if is_on_elements else NUMBER
        assert joined is not None
        args = []
        for part, shape in parts:
            is_read = shape is not None and isinstance(part, Call)
            if is_on_elements:  # what is one number for many is computed once
                is_read = is_read and (not _is_on_elements(part) or shape != joined)
            args.append(self._name(part, shape) if is_read else part)
        result = Call(expr.op, tuple(args), expr.span)
        if is_on_elements:
            return result, joined
        return result, shape_of(result, self.shapes)

    def _sides(self, call: Call) -> tuple[Expr, None]:
        shape = shape_of(call.args[0], self.shapes)
        numbers: dict[str, Expr] = {"1": ONE, "rows": ROWS, "cols": COLS}
        rows, cols = (numbers[side] for side in shape or FULL)
        return {"rows": rows, "cols": cols, "size": mul(rows, cols)}[call.op], None

    def _is_branch(self, call: Call) -> bool:
        """Whether a number of the host decides what is computed, and not only what is taken."""
        _, level = self._split(call.args[0])
        return level is None and not all(map(_is_on_elements, call.args[1:]))


def _is_on_elements(expr: Expr) -> bool:
    calls = (node for node in walk(expr) if isinstance(node, Call))
    return all(OPS[call.op].scope is Scope.ELEMENTWISE for call in calls)


class _Schedule:
    """Chooses which lines make a segment, and when."""

    def __init__(self, splitter: _Splitter) -> None:
        self.shapes, self.waiting = splitter.shapes, list(splitter.lines)
        self.targets = {line.target for line in self.waiting}
        self.done: set[Name] = set()

    def pieces(self) -> list[Piece]:
        found: list[Piece] = []
        while self.waiting:
            alone = [line for line in self.waiting if self._is_alone(line)]
            ready = next((line for line in alone if self._needs(line) <= self.done), None)
            if ready is not None:
                self._finish([ready])
                found.append(ready)
            else:
                found.append(self._segment())
        return found

    def _is_alone(self, line: Line) -> bool:
        return not self._is_reduction(line) and not self._is_swept(line)

    def _is_swept(self, line: Line) -> bool:
        shape = self.shapes.get(line.target)
        return shape is not None and is_large(shape) and _is_on_elements(line.expr)

    def _is_reduction(self, line: Line) -> bool:
        match line.expr:
            case Call(op, (Name() as of,)) if OPS[op].reduces and OPS[op].kept != "block":
                return is_large(self.shapes[of])
        return False

    def _needs(self, line: Line) -> set[Name]:
        return set(names_in(line.expr)) & self.targets

    def _finish(self, lines: Iterable[Line]) -> None:
        gone = list(lines)
        self.done |= {line.target for line in gone}
        self.waiting = [line for line in self.waiting if line not in gone]

    def _segment(self) -> Segment:
        """Return the next segment: what something else waits for, or all that is left."""
        shapes = dict.fromkeys(
            self.shapes[line.target] for line in self.waiting if self._is_swept(line)
        )
        shapes |= dict.fromkeys(
            self.shapes[name]
            for line in self.waiting
            if self._is_reduction(line)
            for name in names_in(line.expr)
        )
        plans = [plan for shape in shapes if any(plan := self._within_reach(shape))]
        chosen = next((plan for plan in plans if plan[2] or plan[1]), plans[0])
        swept, reductions, wanted = chosen
        is_last = len(swept) + len(reductions) == len(self.waiting)
        is_idle = not wanted and not reductions
        lines = [line for line in swept if is_last or is_idle or line.target in wanted]
        self._finish([*lines, *reductions])
        return self._described(lines, reductions)

    def _within_reach(self, shape: Shape) -> tuple[list[Line], list[Line], set[Name]]:
        """Return what can be swept now in this shape, and which of it something waits for."""
        swept: list[Line] = []
        known = set(self.done)
        for line in self.waiting:
            is_here = self._is_swept(line) and self.shapes[line.target] == shape
            if is_here and self._needs(line) <= known:
                swept.append(line)
                known.add(line.target)
        reductions = [
            line
            for line in self.waiting
            if self._is_reduction(line)
            and self._needs(line) <= known
            and self.shapes[next(names_in(line.expr))] == shape
        ]
        here = {line.target for line in swept}
        wanted = {
            name
            for line in self.waiting
            if not self._is_swept(line) or self.shapes[line.target] != shape
            for name in self._needs(line) & here
        }
        for line in reversed(swept):
            if line.target in wanted:
                wanted |= self._needs(line) & here
        return swept, reductions, wanted

    def _described(self, lines: Sequence[Line], reductions: Sequence[Line]) -> Segment:
        shape = self.shapes[lines[0].target if lines else next(names_in(reductions[0].expr))]
        coefficients: dict[Name, Expr] = {}

        def lifted(expr: Expr) -> Expr:
            names = set(names_in(expr))
            if isinstance(expr, Num) or names & self.shapes.keys():
                if isinstance(expr, Call):
                    return Call(expr.op, tuple(map(lifted, expr.args)), expr.span)
                return expr
            name = expr if isinstance(expr, Name) else Name(f"({format_expression(expr)})")
            coefficients[name] = expr
            return name

        swept = tuple(replace(line, expr=lifted(line.expr)) for line in lines)
        here = {line.target for line in lines}
        read = dict.fromkeys(
            name
            for line in (*swept, *reductions)
            for name in names_in(line.expr)
            if name in self.shapes and name not in here
        )
        return Segment(shape, swept, tuple(reductions), tuple(read), tuple(coefficients.items()))


def _reads(piece: Piece) -> tuple[Name, ...]:
    return piece.reads if isinstance(piece, Segment) else tuple(names_in(piece.expr))


def _with_outputs(
    pieces: Sequence[Piece], splitter: _Splitter, changed: Sequence[Name]
) -> list[Piece]:
    """Say for each segment what of it is kept, and what goes into its home at once."""
    origins = _origins(pieces)
    alone = {piece.target for piece in pieces if isinstance(piece, Line)} & set(changed)
    result = list(pieces)
    for k, piece in enumerate(pieces):
        if not isinstance(piece, Segment):
            continue
        later = [name for other in pieces[k + 1 :] for name in _reads(other)]
        later += alone
        read = {origin for name in later for origin in origins.get(name, (name,))}
        made = [line.target for line in piece.lines]
        stores = tuple(n for n in made if n in changed and n.prev not in read)
        in_lines = {
            name for other in pieces[k + 1 :] if isinstance(other, Line) for name in _reads(other)
        }
        keeps = tuple(
            name
            for name in made
            if (name in later and (name not in stores or name in in_lines))
            or (name in changed and name not in stores)
        )
        result[k] = replace(piece, keeps=keeps, stores=stores)
    return result


def _origins(pieces: Sequence[Piece]) -> dict[Name, tuple[Name, ...]]:
    """Return, for what may be the memory of other values, those values."""
    origins: dict[Name, tuple[Name, ...]] = {}
    for piece in pieces:
        if isinstance(piece, Line):
            match piece.expr:
                case Name() as of:
                    origins[piece.target] = origins.get(of, (of,))
                case Call(op, (Name() as of, *_)) if op in VIEWS:
                    origins[piece.target] = origins.get(of, (of,))
                case Call("where", _):
                    origins[piece.target] = tuple(names_in(piece.expr))
    return origins


def _last_reads(
    pieces: Sequence[Piece], shapes: Mapping[Name, Shape], at_end: Sequence[Name]
) -> tuple[tuple[Name, ...], ...]:
    later = set(at_end)
    found = []
    for piece in reversed(pieces):
        names = set(_reads(piece)) & shapes.keys()
        found.append(tuple(name for name in names if name not in later))
        later |= names
    return tuple(found[::-1])
