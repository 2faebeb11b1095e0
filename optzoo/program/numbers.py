"""The arithmetic of scalars: one table of float64 rules, shared by all numeric interpreters.

Scalars are computed on the host in float64. `FloatDomain` is that arithmetic as a domain, as IEEE
has it; `RealDomain` is the same where every value must be a finite real number.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import SupportsFloat

from optzoo.program.expressions import (
    Call,
    Expr,
    Name,
    format_expression,
    number_expression,
)
from optzoo.program.ir import Line

LARGEST = sys.float_info.max
"""The largest finite float64."""
LARGEST_FLOAT32 = 2.0**128 - 2.0**104
"""The largest finite float32."""


class NotRealError(ArithmeticError):
    """A scalar without a finite real value in float64, or outside the interval it must lie in.

    `reason` names the operation or the interval. `line` is the assignment it happened in and `step`
    the t of that step, both added by whoever knows them.
    """

    def __init__(self, reason: str, line: Line | None = None, step: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line, self.step = reason, line, step

    def at(self, line: Line, step: float | None) -> NotRealError:
        """Return this error with the place of it, unless it has one already."""
        if self.line is None:
            self.line, self.step = line, step
        return self

    def __str__(self) -> str:
        if self.line is None:
            return self.reason
        when = "" if self.step is None else f" at step {int(self.step):,}"
        return f"`{self.line.target}`{when}: {self.reason}"


def not_real(op: str, args: Sequence[SupportsFloat], value: object = None) -> NotRealError:
    """Return the error for an operation on numbers; `value` is what it came to, if anything."""
    text = format_expression(Call(op, tuple(map(_literal, args))))
    if value is None:
        return NotRealError(f"{text} is not a real number")
    return NotRealError(f"{text} is {value}, more than float64 holds")


def _literal(value: SupportsFloat) -> Expr:
    number = float(value)
    return number_expression(number) if math.isfinite(number) else Name(f"{value:.3g}")  # a decimal


def ratio(a: float, b: float) -> float:
    """Return a / b, and 0 where b is 0."""
    return a / b if b != 0 else 0.0


def half_life(start: float, end: float, fraction: float) -> float:
    """Return the decay whose half-life lies `fraction` of the way from that of start to end.

    1/log(decay) is linear in the half-life. A decay of 0 has half-life 0 and a decay of 1 an
    infinite one, their limits: on the way to or from 1 the decay is 1. Raises ValueError for a
    decay outside [0, 1].
    AdEMAMix paper (arXiv 2409.03137), section 3; the official code adds 1e-8 inside the logarithm.
    """
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise ValueError("a decay lies in [0, 1]")
    if fraction <= 0:
        return start
    if fraction >= 1:
        return end
    if 1 in (start, end):
        return 1.0
    inverse = sum(
        weight / math.log(decay)
        for weight, decay in ((1 - fraction, start), (fraction, end))
        if decay > 0
    )
    return math.exp(1 / inverse) if inverse != 0 else 0.0


def _sign(a: float) -> float:
    return float((a > 0) - (a < 0))


SCALAR_RULES: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": math.pow,
    "square": lambda a: a * a,
    "sqrt": math.sqrt,
    "abs": abs,
    "sign": _sign,
    "min": min,
    "max": max,
    "exp": math.exp,
    "log": math.log,
    "cospi": lambda a: math.cos(math.pi * math.fmod(a, 2.0)),
    "ratio": ratio,
    "positive": lambda a: 1.0 if a > 0 else 0.0,
    "half_life": half_life,
}


class FloatDomain:
    """Scalars as Python floats (float64)."""

    def number(self, value: Fraction) -> float:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply a scalar operation in float64."""
        return SCALAR_RULES[op](*args)


class RealDomain(FloatDomain):
    """Scalars as Python floats, each a finite real number.

    A literal or a result that is none raises NotRealError.
    """

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply a scalar operation in float64."""
        try:
            value = SCALAR_RULES[op](*args)
        except OverflowError:
            raise not_real(op, args, "too large") from None
        except (ValueError, ZeroDivisionError):
            raise not_real(op, args) from None
        if not math.isfinite(value):
            raise not_real(op, args, value)
        return value
