"""Values that a step makes of fewer elements than their sides tell, and what goes over all of them.

A number or a row stands for a whole matrix where elements meet, since sides of 1 are repeated. A
reduction or a product has to see every element: what it is given is repeated first, wherever
the way of a condition, or what a buffer becomes at some steps, may have been smaller.
"""

from __future__ import annotations

from dataclasses import replace

from optzoo.program.expressions import ZERO, Call, Expr, Name, Num, add, mul
from optzoo.program.ir import GRAD, Line, Program
from optzoo.program.ops import OPS
from optzoo.program.tensors.named_sides import (
    FULL,
    GIVEN,
    NUMBER,
    Known,
    Shape,
    Side,
    join,
    shape_of,
)


def with_whole_operands(program: Program) -> Program:
    """Return a checked program whose reductions and products see all elements of their operands."""
    whole, step, pooled = WholeOperands(program), list[Line](), list[Line]()
    for line in program.step:
        step.append(replace(line, expr=whole.filled(line.expr)))
        whole.note(line.target, step[-1].expr)
    for line in program.pooled:
        expr = whole.operand(whole.filled(line.expr), shape_of(line.expr, whole.shapes))
        pooled.append(replace(line, expr=expr))
    return replace(program, step=tuple(step), pooled=tuple(pooled))


SIZES = ("rows", "cols", "size")


class WholeOperands:
    """What is known of the names of a step so far: their shapes, and the least made of each."""

    def __init__(self, program: Program) -> None:
        self.homes = {Name(state.name): state.shape for state in program.tensor_states}
        kept: dict[Name, Known] = {name.prev: shape for name, shape in self.homes.items()}
        self.shapes: dict[Name, Known] = {**GIVEN, **kept}
        self.least: dict[Name, Shape] = {}
        self.numbers: set[Expr] = set()

    def note(self, target: Name, expr: Expr) -> None:
        """Keep what is known of a name from the expression of its line."""
        self.least[target] = self.least_of(expr)
        self.numbers |= {target} if self.is_number(expr) else set()
        self.shapes[target] = self.homes.get(target, shape_of(expr, self.shapes))

    def filled(self, expr: Expr) -> Expr:
        """Return an expression in which reductions and products see all elements."""
        if not isinstance(expr, Call):
            return expr
        args = [self.filled(arg) for arg in expr.args]
        if not OPS[expr.op].on_scalars:
            shapes = [shape_of(arg, self.shapes) for arg in expr.args]
            args = [self.operand(arg, shape) for arg, shape in zip(args, shapes, strict=True)]
        return Call(expr.op, tuple(args), expr.span)

    def operand(self, expr: Expr, shape: Known) -> Expr:
        """Return a value repeated to its sides where it may have been made smaller."""
        if shape is None or self.least_of(expr) == shape:
            return expr
        return add(expr, mul(ZERO, some_tensor(shape)))

    def as_tensor(self, expr: Expr) -> Expr:
        """Return a value as a tensor, also where an engine would have a number of the host."""
        return add(expr, mul(ZERO, some_tensor(NUMBER))) if self.is_number(expr) else expr

    def is_number(self, expr: Expr) -> bool:
        """Whether an expression may be made of numbers of the host and of sizes alone."""
        if not isinstance(expr, Call):
            return expr in self.numbers or not isinstance(expr, Name) or expr not in self.shapes
        if expr.op == "where" and self.least_of(expr.args[0]) == NUMBER:
            return any(map(self.is_number, expr.args[1:]))
        return expr.op in SIZES or all(map(self.is_number, expr.args))

    def least_of(self, expr: Expr) -> Shape:
        """Return the sides that a value has at least, however conditions turn out."""
        if isinstance(expr, Num):
            return NUMBER
        if isinstance(expr, Name):
            return self.least.get(expr) or self.shapes.get(expr, NUMBER) or FULL
        if not OPS[expr.op].on_scalars:
            return shape_of(expr, self.shapes) or FULL
        args = [self.least_of(arg) for arg in expr.args]
        if expr.op == "where" and args[0] == NUMBER:
            return _meet(args[1], args[2])
        return join(*args) or FULL


def _meet(a: Shape, b: Shape) -> Shape:
    rows: Side = a.rows if a.rows == b.rows else "1"
    cols: Side = a.cols if a.cols == b.cols else "1"
    return Shape(rows, cols)


def some_tensor(shape: Shape) -> Expr:
    """Return some tensor of a shape."""
    turned = Call("transpose", (GRAD,))
    sides: dict[Shape, Expr] = {
        FULL: GRAD,
        Shape("cols", "rows"): turned,
        Shape("rows", "1"): Call("row_mean", (GRAD,)),
        Shape("cols", "1"): Call("row_mean", (turned,)),
        Shape("1", "cols"): Call("column_mean", (GRAD,)),
        Shape("1", "rows"): Call("column_mean", (turned,)),
        NUMBER: Call("norm", (GRAD,)),
        Shape("rows", "rows"): Call("matmul", (GRAD, turned)),
        Shape("cols", "cols"): Call("matmul", (turned, GRAD)),
    }
    return sides[shape]
