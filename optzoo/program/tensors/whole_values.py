"""Values in the shape that they have by name, where a number of the host decides what is computed.

A `where` whose condition is a number is one of its two values and no more: `where(t == 1, 0, x)` is
the number 0 at first. Between elements that makes no difference, for numbers are repeated; a sum,
or a product with `@`, goes over every element that the value has by its shape. There zeros of that
shape are added, so that the program says it and each interpreter finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from optzoo.program.expressions import ZERO, Call, Expr, Name, Num, add, mul
from optzoo.program.ir import GRAD, Line
from optzoo.program.ops import OPS, Op
from optzoo.program.tensors.named_sides import (
    FULL,
    GIVEN,
    NUMBER,
    Known,
    Shape,
    ShapeError,
    join,
    shape_of,
)


def takes_numbers(op: Op) -> bool:
    """Whether an operation takes a tensor first, and numbers of the host after it."""
    return op.kept == "block" or op.name in ("polar", "block_polar", "power")


def in_shape(expr: Expr, shape: Shape) -> Expr:
    """Return an expression with zeros of a shape added."""
    return add(expr, mul(ZERO, _of_shape(shape)))


def whole(
    step: Sequence[Line], pooled: Sequence[Line], buffers: Mapping[Name, Shape]
) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """Return the lines of a step, and those summed over a model, with whole arguments.

    Lines whose sides do not fit stay as they are; the checker refuses them.
    """
    walker = _Whole(buffers)
    lines = tuple(walker.line(line) for line in step)
    summed = tuple(replace(line, expr=walker.summed(line.expr)) for line in pooled)
    return lines, summed


class _Whole:
    """`shapes` are what names have by their sides; `least` what may be there, None for a number."""

    def __init__(self, buffers: Mapping[Name, Shape]) -> None:
        self.shapes: dict[Name, Known] = {**GIVEN, **buffers}
        self.least: dict[Name, Known] = dict(self.shapes)

    def line(self, line: Line) -> Line:
        try:
            expr = self.expr(line.expr)
            self.shapes[line.target] = shape_of(expr, self.shapes)
        except ShapeError:
            self.shapes[line.target] = self.least[line.target] = FULL
            return line
        self.least[line.target] = self.least_of(expr)
        return replace(line, expr=expr)

    def expr(self, expr: Expr) -> Expr:
        """Return an expression whose reductions and products have whole arguments."""
        if not isinstance(expr, Call):
            return expr
        args = [self.expr(arg) for arg in expr.args]
        op = OPS[expr.op]
        if not op.on_scalars and expr.op not in ("rows", "cols", "size"):
            count = 1 if takes_numbers(op) else len(args)
            args = [*map(self.argument, args[:count]), *args[count:]]
        return Call(expr.op, tuple(args), expr.span)

    def argument(self, expr: Expr) -> Expr:
        """Return an argument in the shape that it has by its sides."""
        try:
            shape = shape_of(expr, self.shapes)
        except ShapeError:
            return expr
        return expr if shape is None or self.least_of(expr) == shape else in_shape(expr, shape)

    def summed(self, expr: Expr) -> Expr:
        """Return what is summed over a model; a number there counts once for each element."""
        found = self.expr(expr)
        return found if shape_of(found, self.shapes) == NUMBER else self.argument(found)

    def least_of(self, expr: Expr) -> Known:
        """Return the least shape that a value may come with; None for a number of the host."""
        if isinstance(expr, Num):
            return None
        if isinstance(expr, Name):
            return self.least.get(expr)
        if not OPS[expr.op].on_scalars:
            return shape_of(expr, self.shapes)
        parts = [self.least_of(arg) for arg in expr.args]
        if expr.op == "where" and self._is_number(expr.args[0]):
            return parts[1] if parts[1] == parts[2] else None
        found = [part for part in parts if part is not None]
        return join(*found) if found else None

    def _is_number(self, expr: Expr) -> bool:
        """Whether an expression is a number of the host: it asks tensors for nothing but sizes."""
        if isinstance(expr, Call):
            if expr.op in ("rows", "cols", "size"):
                return True
            return all(map(self._is_number, expr.args)) and OPS[expr.op].on_scalars
        return isinstance(expr, Num) or self.least.get(expr) is None


def _of_shape(shape: Shape) -> Expr:
    """Return some tensor of a shape."""
    turned = Call("transpose", (GRAD,))
    sides: dict[Shape, Expr] = {
        FULL: GRAD,
        NUMBER: Call("mean", (GRAD,)),
        Shape("cols", "rows"): turned,
        Shape("rows", "1"): Call("row_mean", (GRAD,)),
        Shape("cols", "1"): Call("row_mean", (turned,)),
        Shape("1", "cols"): Call("column_mean", (GRAD,)),
        Shape("1", "rows"): Call("column_mean", (turned,)),
        Shape("rows", "rows"): Call("matmul", (GRAD, turned)),
        Shape("cols", "cols"): Call("matmul", (turned, GRAD)),
    }
    return sides[shape]
