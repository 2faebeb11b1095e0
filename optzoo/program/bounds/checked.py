"""The scalars of a step as an optimizer uses them: float64, finite, and where they must lie.

Everything that is a number is computed here before a tensor is touched: the scalar block, and the
expressions of numbers inside the tensor lines and views. What has no finite real value, and a
hyperparameter that has left its interval, is an error that leaves the step untaken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from optzoo.program.arithmetic import LARGEST_FLOAT32, NotRealError, RealDomain
from optzoo.program.bounds.ranges import TOTAL, does_not_hold, guarded, interval_of
from optzoo.program.check import Sort, intervals_of, sorts_of
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, format_expression, names_in, walk
from optzoo.program.intervals import Interval
from optzoo.program.ir import MODEL_STEP, Hyper, Line, Program

_REALS = RealDomain()
_FLOAT32 = Interval(-LARGEST_FLOAT32, LARGEST_FLOAT32)


class CheckedScalars:
    """The scalars of a program, step by step."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.coefficients = tuple(_coefficients(program))

    def __call__(
        self, inputs: Mapping[str, float], memory: Mapping[str, float], *, narrow: bool = False
    ) -> dict[Name, float]:
        """Return the scalars of one step; arguments as in `run_scalars`.

        `narrow` says that tensors are computed with in float32, which must hold what they are
        multiplied by. Raises NotRealError, with the line and the step, for the first that has no
        value.
        """
        step = inputs["t"]
        values = {line.target: 0.0 for line in self.program.pooled} | {MODEL_STEP: inputs["t"]}
        values |= {Name(name): value for name, value in inputs.items()}
        values |= {Name(name, "prev"): value for name, value in memory.items()}
        for hyper in self.program.hypers:
            value = inputs[hyper.name]
            free = hyper.name == "lr"  # a scheduler moves it, and may round it below 0
            if not math.isfinite(value) or not (free or value in hyper.interval):
                line = _given(hyper)
                raise outside(line, value).at(line, step)
        for line in self.program.scalars:
            values[line.target] = checked_value(line, values, step)
        for line in self.coefficients:
            value = checked_value(line, values, step)
            if narrow and abs(value) > LARGEST_FLOAT32:
                reason = f"{value:.6g} meets tensors in float32, and is more than that holds"
                raise NotRealError(reason).at(line, step)
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
    if line.expr == line.target:
        return NotRealError(f"{value:.17g} is outside {line.within}")
    return NotRealError(f"`{format_expression(line.expr)}` is {value:.17g}, outside {line.within}")


def _given(hyper: Hyper) -> Line:
    name = Name(hyper.name)
    return Line(name, name, ("hyperparameters", hyper.name, "default"), hyper.interval)


def _coefficients(program: Program) -> Iterator[Line]:
    """Yield what tensors are multiplied by, where it may have no value or be large.

    That is the largest expressions of numbers in tensor lines and views; one that is a name stands
    for the line of that name.
    """
    sorts, intervals = sorts_of(program), intervals_of(program)
    places = {Name(hyper.name): _given(hyper) for hyper in program.hypers}
    places |= {line.target: line for line in program.scalars}
    views = (Line(Name(v.name), v.expr, v.source) for v in program.views)
    seen: set[Expr] = set()
    for line in (*program.step, *views):
        for expr, conditions in _numbers(line.expr, sorts, ()):
            wanted = guarded(expr, conditions)
            if wanted in seen or _is_small(expr, intervals):
                continue
            seen.add(wanted)
            place = places.get(expr, line) if isinstance(expr, Name) else line
            yield Line(place.target, wanted, place.source)


def _numbers(
    expr: Expr, sorts: Mapping[Name, Sort], conditions: tuple[Expr, ...]
) -> Iterator[tuple[Expr, tuple[Expr, ...]]]:
    """Yield expressions of numbers, each with the conditions under which it is computed."""
    if all(sorts[name] == "scalar" for name in names_in(expr)):
        yield expr, conditions
    elif isinstance(expr, Call):
        found = [conditions] * len(expr.args)
        if expr.op == "where" and all(sorts[n] == "scalar" for n in names_in(expr.args[0])):
            condition = expr.args[0]
            found[1:] = [(*conditions, condition), (*conditions, does_not_hold(condition))]
        for arg, known in zip(expr.args, found, strict=True):
            yield from _numbers(arg, sorts, known)


def _is_small(expr: Expr, intervals: Mapping[Name, Interval]) -> bool:
    """Whether an expression is certain to be a real number that float32 holds."""
    nodes = list(walk(expr))
    if any(isinstance(node, Call) and node.op not in TOTAL for node in nodes):
        return False
    return all(_FLOAT32.includes(interval_of(node, intervals)) for node in nodes)
