"""Values of hyperparameters as people give them: numbers, or expressions in knobs, t and T."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.program.arithmetic import DecimalDomain, NotRealError, precisely
from optzoo.program.bounds.ranges import Never, interval_of
from optzoo.program.check import STEPS, Fault
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, constant_value, format_expression, names_in, walk
from optzoo.program.intervals import Interval
from optzoo.program.ops import OPS
from optzoo.program.parsing import ExpressionError, parse_expression
from optzoo.recipe.schema import RecipeSpec

Value = float | int | str

MAX_STEPS = 1 << 53
"""Steps that float64 counts one by one."""


STATE_DTYPES = ("float32", "bfloat16")
"""What buffers may be kept in between steps."""


@dataclass(frozen=True)
class Hyperparameter:
    """A knob of a recipe: its value here, the interval it must lie in, one line of doc.

    `default` is a float, or the text of an expression in other knobs, `t` and `T`.
    """

    name: str
    default: float | str
    interval: Interval
    doc: str


def check_total_steps(total_steps: float) -> None:
    """Raise InputError for a number of steps that is none, or that float64 cannot count.

    A run without an end may say infinity: what ends at `T` then never gets anywhere.
    """
    if not 1 <= total_steps <= MAX_STEPS and total_steps != math.inf:
        shown = f"{total_steps:,}" if abs(total_steps) <= MAX_STEPS else "the number given"
        message = f"`total_steps`: {shown} must be from 1 to {MAX_STEPS:,}"
        raise InputError(Diagnostic("bad-value", message))


def one_number(name: str, value: Any) -> Any:
    """Return a number of numpy or torch as one of Python; anything else as it is."""
    try:
        return value.item() if hasattr(value, "item") else value
    except (RuntimeError, ValueError):
        message = f"`{name}`: {tuple(value.shape)} numbers, where one is wanted"
        raise InputError(Diagnostic("bad-value", message)) from None


def plain_value(expr: Expr) -> float | str:
    """Return a float, or the text of an expression."""
    value = constant_value(expr)
    return format_expression(expr) if value is None else float(value)


def parse_value(name: str, value: Value, knobs: Mapping[str, Hyperparameter]) -> Expr:
    """Parse a value; ExpressionError for one that is none, or reads what it may not."""
    expr = parse_expression(value)
    if name == "lr" and constant_value(expr) is None:
        raise ExpressionError(
            "the learning rate is a number; a torch scheduler or the setup moves it"
        )
    for used in names_in(expr):
        if used.when != "now" or (used.id not in knobs and used.id not in ("t", "T")):
            hint = did_you_mean(used.id, [*knobs, "t", "T"])
            raise ExpressionError(
                f"a value may read hyperparameters, t and T, not `{used}`", hint=hint
            )
    return expr


def why_illegal(expr: Expr, interval: Interval, knobs: Mapping[str, Interval]) -> str | None:
    """Return why a value of a hyperparameter can never be legal, or None.

    What reads nothing is computed to 50 digits. For the rest the legal values of what it reads
    decide; what it comes to at a step is checked when it does.
    """
    for node in walk(expr):
        if isinstance(node, Call) and not OPS[node.op].on_scalars:
            return f"uses `{node.op}`, which takes a tensor"
    if not any(names_in(expr)):
        try:
            with precisely():
                number = float(evaluate(expr, DecimalDomain(), {}))
        except ArithmeticError as error:
            reason = str(error) if isinstance(error, NotRealError) else "it divides by 0"
            return f"has no value: {reason}"
        if number in interval:
            return None
        is_literal = constant_value(expr) is not None
        return f"is outside {interval}" if is_literal else f"is {number:.17g}, outside {interval}"
    never: Never = []
    legal = {**knobs, "t": STEPS, "T": STEPS}
    possible = interval_of(expr, {name: legal[name.id] for name in names_in(expr)}, never)
    if never:
        node, reason = never[0]
        return f"has no value: in `{format_expression(node)}` {reason}"
    if possible.meet(interval) is None:
        return f"lies in {possible}, outside {interval}"
    return None


def read_state_dtypes(
    wish: str | Mapping[str, str], known: Sequence[str], recipe: str
) -> str | Mapping[str, str]:
    """Return a dtype for all buffers, or dtypes by buffer, of which a text may be a list.

    Raises InputError for a buffer that is not `known`, and for a dtype that state is not kept in.
    """
    if isinstance(wish, str) and "=" in wish:
        pairs = (part.partition("=") for part in wish.split(","))
        wish = {name.strip(): dtype.strip() for name, _, dtype in pairs}
    faults = []
    for name, dtype in wish.items() if isinstance(wish, Mapping) else [("", wish)]:
        if name and name not in known:
            hint = did_you_mean(name, known, what="buffers")
            message = f"`{name}` is not a buffer of {recipe}"
            faults.append(Diagnostic("unknown-name", message, hint=hint))
        if dtype not in STATE_DTYPES:
            message = f"`{dtype}` is not a dtype that state is kept in"
            hint = f"one of {', '.join(STATE_DTYPES)}, or `BUFFER=DTYPE,...`"
            faults.append(Diagnostic("bad-value", message, hint=hint))
    if faults:
        raise InputError(*faults)
    return wish


def read_overrides(
    values: Mapping[str, Value], knobs: Mapping[str, Hyperparameter], recipe: str
) -> dict[str, Expr]:
    """Return hyperparameter values as expressions in the others, by name.

    Raises InputError for an unknown name or a value outside its interval, all at once.
    """
    intervals = {n: knob.interval for n, knob in knobs.items()}
    faults: list[Diagnostic] = []
    parsed: dict[str, Expr] = {}
    for name, value in values.items():
        if name not in knobs:
            hint = did_you_mean(name, knobs, what="hyperparameters")
            message = f"`{name}` is not a hyperparameter of {recipe}"
            faults.append(Diagnostic("unknown-name", message, hint=hint))
            continue
        try:
            parsed[name] = parse_value(name, value, knobs)
        except ExpressionError as error:
            message = f"`{name}={value}`: {error.message}"
            faults.append(Diagnostic("bad-value", message, hint=error.hint))
            continue
        reason = why_illegal(parsed[name], knobs[name].interval, intervals)
        if reason is not None:
            message, hint = f"`{name}={value}` {reason}", f"`{name}`: {knobs[name].doc}"
            faults.append(Diagnostic("bad-value", message, hint=hint))
    if faults:
        raise InputError(*faults)
    return parsed


def unknown_in_state_dtype(spec: RecipeSpec, buffers: Sequence[str]) -> list[Fault]:
    """Return names under `state_dtype` that are no buffers of the recipe, if any."""
    if not isinstance(spec.state_dtype, dict):
        return []
    return [
        Fault(
            "unknown-name",
            f"`{name}` is not a buffer of {spec.name}",
            ("state_dtype", name),
            hint=did_you_mean(name, buffers, what="buffers"),
            at_key=True,
        )
        for name in spec.state_dtype
        if name not in buffers
    ]
