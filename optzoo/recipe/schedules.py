"""Named schedules and running scalars, as expressions."""

from __future__ import annotations

from optzoo.program.expressions import ONE, Expr, Name, add, call, div, mul, num, one_minus, sub
from optzoo.recipe.schema import RunningSpec, ScheduleSpec

T = Name("t")


def lower_scalar(name: str, spec: Expr | ScheduleSpec | RunningSpec) -> Expr:
    """Return the expression that a scalar of a recipe stands for."""
    if isinstance(spec, ScheduleSpec):
        return _schedule(spec)
    if isinstance(spec, RunningSpec):
        return _running(name, spec)
    return spec


def _schedule(spec: ScheduleSpec) -> Expr:
    fraction = call("min", ONE, div(T, spec.over)) if spec.over is not None else ONE
    start, end = spec.start, spec.end
    match spec.schedule:
        case "constant":
            result = spec.value
        case "linear":
            result = add(start, mul(sub(end, start), fraction)) if start != num(0) else None
            result = result if result is not None else mul(end, fraction)
        case "half_life":
            result = call("half_life", start, end, fraction)
        case "cosine":
            rest = div(add(ONE, call("cospi", fraction)), num(2))
            result = add(end, mul(sub(start, end), rest))
        case "power":
            result = call("pow", T, spec.exponent)
        case "inverse_time":
            result = div(spec.k, add(spec.k, T))
        case "one_minus_inverse_time":
            result = call("max", num(0), one_minus(div(spec.k, T)))
    return result


def _running(name: str, spec: RunningSpec) -> Expr:
    prev = Name(name, "prev")
    if spec.sum is not None:
        return add(prev, spec.sum)
    if spec.product is not None:
        return mul(prev, spec.product)
    if spec.max is not None:
        return call("max", prev, spec.max)
    return spec.expr
