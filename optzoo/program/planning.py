"""Plans: a program prepared for an engine that makes few passes over memory.

A plan separates what is one number per step (`coefficients`, computed on the host in float64), what
is one number per tensor (`numbers`, made of norms) and what is elementwise (`lines`). A norm ends a
pass over memory: `passes` holds, in order, what has to be computed for the norms of each.

Nothing here computes, and nothing here knows of torch. Values are those of the program: lifted
names stand for the same expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optzoo.program.bounds.ranges import does_not_hold, guarded
from optzoo.program.expressions import Call, Expr, Name, Num, format_expression, names_in
from optzoo.program.ir import GRAD, PARAM, Line, Program, lines_needed

PER_STEP, PER_TENSOR, ELEMENTWISE = range(3)
"""Levels of an expression: one number per step, one number per tensor, a tensor."""


@dataclass(frozen=True)
class NormReduction:
    """A norm over one tensor; `name` stands for it in `numbers`."""

    name: Name
    argument: Expr


@dataclass(frozen=True)
class Pass:
    """One pass over memory that ends in norms, and the numbers that are known once it is done."""

    lines: tuple[Line, ...]
    reductions: tuple[NormReduction, ...]
    numbers: tuple[tuple[Name, Expr], ...]


@dataclass(frozen=True)
class Plan:
    """See the module docstring.

    `coefficients` and `numbers` pair the name that stands for an expression in the lines with that
    expression; the name's id is the expression's own text. Coefficients are made of the program's
    scalars, numbers of coefficients and norms. `stores` are the names kept between steps, `param`
    first.
    """

    program: Program
    coefficients: tuple[tuple[Name, Expr], ...]
    passes: tuple[Pass, ...]
    lines: tuple[Line, ...]
    stores: tuple[Name, ...]

    @property
    def numbers(self) -> tuple[tuple[Name, Expr], ...]:
        """Numbers per tensor, of all passes."""
        return tuple(pair for each in self.passes for pair in each.numbers)

    @property
    def inputs(self) -> tuple[Name, ...]:
        """What an engine is given: the parameter, the gradient and the buffers on entry."""
        return (PARAM.prev, GRAD, *(Name(name, "prev") for name in self.buffers))

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the tensor states, in the program's order."""
        return tuple(state.name for state in self.program.tensor_states)


def plan_program(program: Program) -> Plan:
    """Return the plan of a checked program."""
    lifter = _Lifter(program)
    lines = [line for line in map(lifter.line, program.step) if line is not None]
    stores = (PARAM, *(Name(state.name) for state in program.tensor_states))
    coefficients = tuple(lifter.coefficients.items())
    return Plan(program, coefficients, lifter.passes(lines), _ordered(lines, stores), stores)


class _Lifter:
    """Replaces expressions without tensors by names."""

    def __init__(self, program: Program) -> None:
        self.kept = {PARAM, *(Name(state.name) for state in program.tensor_states)}
        tensors = (GRAD, *(kept.prev for kept in self.kept))
        self.levels: dict[Name, int] = dict.fromkeys(tensors, ELEMENTWISE)
        self.inlined: dict[Name, Expr] = {}
        self.coefficients: dict[Name, Expr] = {}
        self.numbers: dict[Name, Expr] = {}
        self.reductions: dict[Name, Expr] = {}
        self.conditions: list[Expr] = []

    def line(self, line: Line) -> Line | None:
        """Return a line with its numbers lifted; None for a line that is a number itself."""
        level, expr = self.lift(line.expr)
        if level < ELEMENTWISE and line.target not in self.kept:
            self.inlined[line.target], self.levels[line.target] = expr, level
            return None
        self.levels[line.target] = ELEMENTWISE
        return Line(line.target, self.operand(level, expr), line.source)

    def lift(self, expr: Expr) -> tuple[int, Expr]:
        if isinstance(expr, Num):
            return PER_STEP, expr
        if isinstance(expr, Name):
            return self.levels.get(expr, PER_STEP), self.inlined.get(expr, expr)
        if expr.op == "norm":
            argument = self.operand(*self.lift(expr.args[0]))
            name = Name(f"norm({format_expression(argument)})")
            self.reductions[name] = argument
            return PER_TENSOR, name
        parts = self.ways(expr) if expr.op == "where" else [self.lift(arg) for arg in expr.args]
        top = max(level for level, _ in parts)
        if top == ELEMENTWISE:
            return top, Call(expr.op, tuple(self.operand(*part) for part in parts), expr.span)
        if top == PER_TENSOR:
            lifted = (self.operand(*p) if p[0] == PER_STEP else p[1] for p in parts)
            return top, Call(expr.op, tuple(lifted), expr.span)
        return top, Call(expr.op, tuple(part for _, part in parts), expr.span)

    def ways(self, choice: Call) -> list[tuple[int, Expr]]:
        """Lift a condition and its ways: numbers on a way are computed when it is gone."""
        parts = [self.lift(choice.args[0])]
        level, condition = parts[0]
        for way, holds in zip(choice.args[1:], (condition, does_not_hold(condition)), strict=True):
            self.conditions += [holds] if level == PER_STEP else []
            parts.append(self.lift(way))
            self.conditions = self.conditions[:-1] if level == PER_STEP else self.conditions
        return parts

    def operand(self, level: int, expr: Expr) -> Expr:
        """Return an operand of an elementwise operation: what is no tensor becomes a name."""
        if level == ELEMENTWISE or isinstance(expr, Num):
            return expr
        if level == PER_STEP:
            expr = guarded(expr, self.conditions)
        text = format_expression(expr)  # in brackets, so that different expressions stay different
        name = expr if isinstance(expr, Name) else Name(f"({text})")
        (self.numbers if level == PER_TENSOR else self.coefficients)[name] = expr
        return name

    def passes(self, lines: Sequence[Line]) -> tuple[Pass, ...]:
        depth = {
            name: self._depth(argument, lines) + 1 for name, argument in self.reductions.items()
        }
        passes = []
        for k in range(1, max(depth.values(), default=0) + 1):
            reductions = tuple(
                NormReduction(name, argument)
                for name, argument in self.reductions.items()
                if depth[name] == k
            )
            wanted = [name for each in reductions for name in names_in(each.argument)]
            numbers = tuple(
                (name, expr) for name, expr in self.numbers.items() if self._depth(expr, lines) == k
            )
            passes.append(Pass(lines_needed(lines, wanted), reductions, numbers))
        return tuple(passes)

    def _depth(self, expr: Expr, lines: Sequence[Line]) -> int:
        """Return how many passes must be over before an expression can be computed."""
        names = set(names_in(expr))
        for line in lines_needed(lines, names):
            names.update(names_in(line.expr))
        depths = [1 + self._depth(self.reductions[n], lines) for n in names if n in self.reductions]
        # a bare norm is a number under its own name, and no deeper than its pass
        numbers = [n for n in names if n in self.numbers and n not in self.reductions]
        depths += [self._depth(self.numbers[n], lines) for n in numbers]
        return max(depths, default=0)


def _ordered(lines: Sequence[Line], stores: Sequence[Name]) -> tuple[Line, ...]:
    """Order lines so that readers of `x.prev` come before the line that assigns `x`.

    An engine may then overwrite most old values as soon as new ones are known. Where lines read
    each other's previous values in a circle, one of them comes later all the same.
    """
    reads = {line.target: set(names_in(line.expr)) for line in lines}
    done: list[Line] = []
    waiting = list(lines)

    def is_ready(line: Line, *, patient: bool) -> bool:
        pending = {other.target for other in waiting if other is not line}
        if reads[line.target] & pending:
            return False
        if not patient or line.target not in stores:
            return True
        return not any(line.target.prev in reads[other] for other in pending)

    while waiting:
        ready = next((line for line in waiting if is_ready(line, patient=True)), None)
        if ready is None:
            ready = next(line for line in waiting if is_ready(line, patient=False))
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)
