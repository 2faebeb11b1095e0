"""The scalars of a step as an optimizer uses them: float64, finite, and where they must lie.

Everything that is a number is computed here before a tensor is touched: the scalar block, and the
expressions of numbers inside the tensor lines and views. What has no finite real value, and a
hyperparameter that has left its interval, is an error that leaves the step untaken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from optzoo.program.check import Sort, interval_of, intervals_of, sorts_of
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, names_in, walk
from optzoo.program.intervals import Interval
from optzoo.program.ir import Line, Program
from optzoo.program.numbers import NotRealError, RealDomain

_REALS = RealDomain()
_TOTAL = frozenset(["add", "sub", "mul", "neg", "square", "abs", "sign", "min", "max"])
"""Operations that have a value everywhere, finite on bounded intervals."""


class CheckedScalars:
    """The scalars of a program, step by step."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.coefficients = tuple(_coefficients(program))

    def __call__(
        self, inputs: Mapping[str, float], memory: Mapping[str, float]
    ) -> dict[Name, float]:
        """Return the scalars of one step; arguments as in `run_scalars`.

        Raises NotRealError, with the line and the step, for the first that has no value.
        """
        step = inputs["t"]
        values = {Name(name): value for name, value in inputs.items()}
        values |= {Name(name, "prev"): value for name, value in memory.items()}
        for hyper in self.program.hypers:
            value = inputs[hyper.name]
            free = hyper.name == "lr"  # a scheduler moves it, and may round it below 0
            if not math.isfinite(value) or not (free or value in hyper.interval):
                source = ("hyperparameters", hyper.name)
                line = Line(Name(hyper.name), Name(hyper.name), source, hyper.interval)
                raise outside(line, value).at(line, step)
        for line in self.program.scalars:
            values[line.target] = checked_value(line, values, step)
        for line in self.coefficients:
            checked_value(line, values, step)
        return values


def checked_value(line: Line, values: Mapping[Name, float], step: float) -> float:
    """Return the value of a line of numbers at a step. Raises NotRealError, placed there."""
    try:
        value = evaluate(line.expr, _REALS, values)
        if line.within is not None and value not in line.within:
            raise outside(line, value)
    except NotRealError as error:
        raise error.at(line, step) from None
    return value


def outside(line: Line, value: float) -> NotRealError:
    """Return the error for a hyperparameter that is not where it must lie."""
    return NotRealError(f"the value {value:.17g} is outside {line.within}")


def _coefficients(program: Program) -> Iterator[Line]:
    """Yield the largest expressions of numbers in tensor lines and views that may have no value."""
    sorts, intervals = sorts_of(program), intervals_of(program)
    seen: set[Expr] = set()
    views = (Line(Name(v.name), v.expr, v.source) for v in program.views)
    for line in (*program.step, *views):
        for expr in _numbers(line.expr, sorts):
            if expr not in seen and not _has_value(expr, intervals):
                seen.add(expr)
                yield Line(line.target, expr, line.source)


def _numbers(expr: Expr, sorts: Mapping[Name, Sort]) -> Iterator[Call]:
    if not isinstance(expr, Call):
        return
    if all(sorts[name] == "scalar" for name in names_in(expr)):
        yield expr
        return
    for arg in expr.args:
        yield from _numbers(arg, sorts)


def _has_value(expr: Call, intervals: Mapping[Name, Interval]) -> bool:
    """Whether an expression is certain to be a finite real number."""
    calls = [node for node in walk(expr) if isinstance(node, Call)]
    return all(node.op in _TOTAL and interval_of(node, intervals).is_bounded for node in calls)
