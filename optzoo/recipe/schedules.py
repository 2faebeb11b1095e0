"""Named schedules and running scalars, as expressions."""

from __future__ import annotations

from optzoo.program.expressions import (
    ONE,
    ZERO,
    Expr,
    Name,
    add,
    call,
    div,
    mul,
    num,
    one_minus,
    sub,
)
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
    def given(key: str) -> Expr:
        value: Expr | None = getattr(spec, key)
        assert value is not None  # ScheduleSpec checks the keys of each schedule
        return value

    match spec.schedule:
        case "constant":
            return given("value")
        case "power":
            return call("pow", T, given("exponent"))
        case "inverse_time":
            return div(given("k"), add(given("k"), T))
        case "one_minus_inverse_time":
            return call("max", ZERO, one_minus(div(given("k"), T)))
    start, end = given("start"), given("end")
    fraction = call("min", ONE, div(T, given("over")))
    match spec.schedule:
        case "half_life":
            return call("half_life", start, end, fraction)
        case "cosine":
            rest = div(add(ONE, call("cospi", fraction)), num(2))
            return add(end, mul(sub(start, end), rest))
    if start == ZERO:
        return mul(end, fraction)
    return add(start, mul(sub(end, start), fraction))


def _running(name: str, spec: RunningSpec) -> Expr:
    prev = Name(name, "prev")
    if spec.sum is not None:
        return add(prev, spec.sum)
    if spec.product is not None:
        return mul(prev, spec.product)
    if spec.max is not None:
        return call("max", prev, spec.max)
    assert spec.expr is not None  # RunningSpec checks that one is given
    recurrence: Expr = spec.expr
    return recurrence
