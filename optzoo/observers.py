"""Observers by name: the short texts that ask for an average riding along with a run.

tail:0.1     mean of the last tenth of the iterates:  weight min(1, 1/(0.1 t))
ema:0.999    exponential average, unbiased from the first step:  weight (1 - d)/(1 - d**t)
uniform      mean of all iterates:  weight 1/t
"""

from __future__ import annotations

from contextlib import suppress

from optzoo.errors import Diagnostic, InputError
from optzoo.program.expressions import Expr, ExpressionError, parse_expression


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
