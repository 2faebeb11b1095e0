"""Learning-rate schedules by name, as expressions in `t` and `T` that lr is multiplied by.

KIND or KIND:ARGS, with the words and the meaning of a setup's `schedule` section:

constant  linear  cosine     what is left after the warmup, until step T
wsd                          constant, then linear over the last `decay` steps
warmup                       another word for constant
warmup=N                     rise over N steps, or over that fraction of T when N < 1   [0]
start=F                      where the rise starts, as a fraction of lr                 [0.1]
final=F                      where the fall ends, as a fraction of lr                   [0.1]
decay=N                      of wsd: steps, or a fraction of T when N < 1               [0.2]

A bare number stands for `warmup`: `cosine:100`. Anything else is read as an expression in `t` and
`T`, such as `min(1, t/100)`. Step t here is step t - 1 of a trainer that counts from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from optzoo.documents import number_or_text
from optzoo.errors import Diagnostic, InputError
from optzoo.program.arithmetic import NotRealError, RealDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Expr, ExpressionError, Name, names_in, parse_expression

KINDS = ("constant", "warmup", "linear", "cosine", "wsd")
_DEFAULTS = {"warmup": "0", "start": "0.1", "final": "0.1", "decay": "0.2"}
_HINT = (
    "write `constant`, `linear`, `cosine:100`, `cosine:warmup=100,start=0.1,final=0`, "
    "`wsd:warmup=100,decay=0.2`, or an expression in `t` and `T`"
)


def parse_lr_schedule(text: str, total_steps: int) -> Expr:
    """Return what the learning rate is multiplied by at step t.

    Raises InputError for what is not a schedule, or has no room in `total_steps`.
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in KINDS:
        return _expression(text)
    asked = _arguments(text, kind, rest)
    warmup = _steps(text, asked["warmup"], total_steps)
    start, final = asked["start"], asked["final"]
    decay = _steps(text, asked["decay"], total_steps)
    source = _shape(kind, warmup, final, decay, total_steps)
    if kind == "wsd" and not 1 <= decay <= total_steps - warmup:
        raise _bad(f"`{text}`: the last {decay:,} steps do not fit after the warmup")
    if warmup:
        rise = f"{start} + (1 - {start})*(t - 1)/{warmup}"
        source = f"({source})*min(1, {rise})"
    return parse_expression(source)


def _shape(kind: str, warmup: int, final: Fraction, decay: int, total: int) -> str:
    """Return the part after the warmup; it is 1 during the warmup."""
    if kind == "wsd":
        warmup = total - decay
    progress = f"min(1, max(0, (t - 1 - {warmup})/{total - warmup}))"
    match kind:
        case "linear" | "wsd":
            return f"{final} + (1 - {final})*(1 - {progress})"
        case "cosine":
            return f"{final} + (1 - {final})*(1 + cospi({progress}))/2"
    return "1"


def _arguments(text: str, kind: str, rest: str) -> dict[str, Fraction]:
    allowed = ["warmup", "start"]
    if kind not in ("constant", "warmup"):
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
    domain = RealDomain()
    for t in sorted(steps):
        try:
            evaluate(factor, domain, {Name("t"): float(t), Name("T"): float(total_steps)})
        except NotRealError as error:
            raise _bad(f"`{text}` has no value at step {t:,}: {error}") from None


def _expression(text: str) -> Expr:
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
