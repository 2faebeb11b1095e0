"""Named schedules, running scalars, learning-rate schedules and observers, as expressions.

A learning rate is multiplied by an expression in `t`, the step counted from 1, and `T`, the total
steps. A setup's `schedule` section and `--lr-schedule` say which, in the same words; the latter as
KIND or KIND:ARGS:

constant  linear  cosine     what is left after the warmup, until step T
wsd                          constant, then linear over the last `decay` steps
warmup                       another word for constant
warmup=N                     rise over N steps, or over that fraction of T when N < 1   [0]
start=F                      where the rise starts, as a fraction of lr                 [0.1]
final=F                      where the fall ends, as a fraction of lr                   [0.1]
decay=N                      of wsd: steps, or a fraction of T when N < 1               [0.2]

A bare number stands for `warmup`: `cosine:100`. Anything else is read as an expression in `t` and
`T`, such as `min(1, t/100)`.

An observer is the short text that asks for an average riding along with a run:

tail:0.1     mean of the last tenth of the iterates:  weight min(1, 1/(0.1 t))
ema:0.999    exponential average, unbiased from the first step:  weight (1 - d)/(1 - d**t)
uniform      mean of all iterates:  weight 1/t
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from optzoo.errors import Diagnostic, InputError
from optzoo.files.documents import number_or_text
from optzoo.program.arithmetic import NotRealError, RealDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import (
    ONE,
    ZERO,
    Expr,
    Name,
    add,
    call,
    div,
    mul,
    names_in,
    num,
    one_minus,
    sub,
)
from optzoo.program.parsing import ExpressionError, parse_expression
from optzoo.recipe.sections import RunningSpec, ScheduleSpec

STEP, TOTAL = Name("t"), Name("T")
LR_KINDS = ("constant", "linear", "cosine", "wsd")
_DEFAULTS = {"warmup": "0", "start": "0.1", "final": "0.1", "decay": "0.2"}
_HINT = (
    "write `constant`, `linear`, `cosine:100`, `cosine:warmup=100,start=0.1,final=0`, "
    "`wsd:warmup=100,decay=0.2`, or an expression in `t` and `T`"
)


# ------------------------------------------------- scalars of recipes


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
            return call("pow", STEP, given("exponent"))
        case "inverse_time":
            return div(given("k"), add(given("k"), STEP))
        case "one_minus_inverse_time":
            return call("max", ZERO, one_minus(div(given("k"), STEP)))
    start, end = given("start"), given("end")
    fraction = call("min", ONE, div(STEP, given("over")))
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


# ------------------------------------------------- learning rates


@dataclass(frozen=True)
class LrMultiplier:
    """What a learning rate is multiplied by in a run of `total_steps`; `text` is what was asked."""

    text: str
    factor: Expr
    total_steps: int

    def at(self, t: int) -> float:
        """Return the factor of step t, counted from 1, in float64.

        Raises InputError where it has no value, or is negative.
        """
        value = _value(self.text, self.factor, self.total_steps, t)
        if value < 0:
            raise _bad(f"`{self.text}` is {value:.4g} at step {t:,}: no learning rate is negative")
        return value


def make_lr_factor(
    kind: str,
    total_steps: int,
    *,
    warmup: int,
    start: float | Fraction,
    final: float | Fraction,
    decay: int,
) -> Expr:
    """Return what the learning rate is multiplied by, over a rise of `warmup` steps.

    `kind` is one of `LR_KINDS`, or an expression in `t` and `T`; `decay` steps are the last ones of
    `wsd`. From step T + 1 on the factor stays where the fall ends. Raises InputError for what is no
    schedule.
    """
    past = sub(STEP, ONE)
    if kind == "constant":
        shape: Expr = ONE
    elif kind in LR_KINDS:
        fall = total_steps - decay if kind == "wsd" else warmup
        part = div(sub(past, num(fall)), num(total_steps - fall))
        progress = call("min", ONE, call("max", ZERO, part))
        height = one_minus(progress)
        if kind == "cosine":
            height = div(add(ONE, call("cospi", progress)), num(2))
        shape = add(num(final), mul(one_minus(num(final)), height))
    else:
        shape = _expression(kind)
    if not warmup:
        return shape
    rise = add(num(start), div(mul(one_minus(num(start)), past), num(warmup)))
    # t - warmup passes 0 and reaches 1 where the rise does: rounding cannot leave it an ulp below
    rise = call("max", rise, sub(STEP, num(warmup)))
    return mul(shape, call("min", ONE, rise))


def parse_lr_schedule(text: str, total_steps: int) -> Expr:
    """Return what the learning rate is multiplied by at step t.

    Raises InputError for what is not a schedule, or has no room in `total_steps`.
    """
    kind, _, rest = text.strip().partition(":")
    kind = "constant" if kind == "warmup" else kind
    if kind not in LR_KINDS:
        return _expression(text)
    asked = _arguments(text, kind, rest)
    warmup = _steps(text, asked["warmup"], total_steps)
    decay = _steps(text, asked["decay"], total_steps)
    if kind == "wsd" and not 1 <= decay <= total_steps - warmup:
        raise _bad(f"`{text}`: the last {decay:,} steps do not fit after the warmup")
    return make_lr_factor(
        kind,
        total_steps,
        warmup=warmup,
        start=asked["start"],
        final=asked["final"],
        decay=decay,
    )


def _arguments(text: str, kind: str, rest: str) -> dict[str, Fraction]:
    allowed = ["warmup", "start"]
    if kind != "constant":
        allowed.append("final")
    if kind == "wsd":
        allowed.append("decay")
    asked = {name: Fraction(value) for name, value in _DEFAULTS.items()}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        name, equals, value = (p.strip() for p in part.rpartition("="))
        name = name if equals else "warmup"
        if name not in allowed:
            message = f"`{text}`: `{name}` is not an argument of `{kind}`"
            raise InputError(Diagnostic("unknown-name", message, hint=_HINT))
        number = number_or_text(value)  # what it cannot hold would be a long fraction
        if isinstance(number, str) or not math.isfinite(number):
            raise _bad(f"`{text}`: `{value}` is not a number")
        asked[name] = Fraction(value)
        if asked[name] < 0 or (name in ("start", "final") and asked[name] > 1):
            raise _bad(f"`{text}`: `{name}` is a fraction from 0 to 1, or a number of steps")
    return asked


def _steps(text: str, value: Fraction, total_steps: int) -> int:
    steps = int(value * total_steps) if value < 1 else int(value)
    if steps >= total_steps:
        raise _bad(f"`{text}`: {steps:,} steps have no room in {total_steps:,} total steps")
    return steps


def check_lr_schedule(text: str, factor: Expr, total_steps: int, steps: Sequence[int]) -> None:
    """Raise InputError for the first of the steps at which a schedule has no value."""
    for t in sorted(steps):
        _value(text, factor, total_steps, t)


def _value(text: str, factor: Expr, total_steps: int, t: int) -> float:
    try:
        return evaluate(factor, RealDomain(), {STEP: float(t), TOTAL: float(total_steps)})
    except NotRealError as error:
        raise _bad(f"`{text}` has no value at step {t:,}: {error}") from None


def _expression(text: str) -> Expr:
    """Return an expression in t and T; another text raises InputError."""
    try:
        expr = parse_expression(text)
    except ExpressionError as error:
        raise _bad(f"`{text}`: {error.message}") from None
    for name in names_in(expr):
        if name.id not in ("t", "T") or name.when != "now":
            raise _bad(f"`{text}` is not a learning-rate schedule: it reads `{name}`")
    return expr


def _bad(message: str) -> InputError:
    return InputError(Diagnostic("bad-value", message, hint=_HINT))


# ------------------------------------------------- observers


def parse_observer(text: str) -> Expr:
    """Return the weight of the newest iterate that an observer's text stands for."""
    kind, _, argument = text.partition(":")
    if kind == "uniform" and not argument:
        return parse_expression("1/t")
    try:
        number = float(argument)
    except ValueError:
        number = -1.0
    with suppress(ExpressionError):  # of more digits than an expression has
        if kind == "tail" and 0 < number <= 1:
            return parse_expression(f"min(1, 1/({argument}*t))")
        if kind == "ema" and 0 <= number < 1:
            return parse_expression(f"(1 - {argument})/(1 - {argument}**t)")
    raise InputError(
        Diagnostic(
            "bad-value",
            f"`{text[:100]}` is not an observer",
            hint="write `tail:0.1` (0 < delta <= 1), `ema:0.999` (0 <= decay < 1) or `uniform`",
        )
    )
