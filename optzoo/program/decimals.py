"""Scalars as decimals: nothing cancels for a beta close to 1, and t may be a million.

`DECIMAL_RULES` is the arithmetic of `optzoo.program.numbers` once more, in as many digits as the
context has: 50 inside `precisely()`. Outside, Python's decimals have 28.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    InvalidOperation,
    Overflow,
    getcontext,
    localcontext,
)
from fractions import Fraction

from optzoo.program.numbers import LARGEST, not_real

DIGITS = 50
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620900")
_CONTEXT = Context(
    prec=DIGITS, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, capitals=1, clamp=0
)


def precisely() -> AbstractContextManager[Context]:
    """Return the context in which decimals have 50 digits."""
    return localcontext(_CONTEXT)


def power(base: Decimal, exponent: Decimal) -> Decimal:
    """Return base**exponent, with 0**0 = 1."""
    return Decimal(1) if exponent == 0 else base**exponent


def _half_life(start: Decimal, end: Decimal, fraction: Decimal) -> Decimal:
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise InvalidOperation
    if fraction <= 0 or start == end:
        return start
    if fraction >= 1:
        return end
    if 1 in (start, end):
        return Decimal(1)
    inverse = Decimal(0)
    for weight, decay in ((1 - fraction, start), (fraction, end)):
        if decay > 0:
            inverse += weight / decay.ln()
    return (1 / inverse).exp() if inverse else Decimal(0)


def _cospi(x: Decimal) -> Decimal:
    """Return cos(pi x) by its series, after folding x into [0, 1/2]."""
    if abs(x) >= Decimal(10) ** getcontext().prec:
        return Decimal(1)  # as many digits and more: an even number
    x = abs(x) % 2
    x = 2 - x if x > 1 else x
    if x > Decimal("0.5"):
        return -_cospi(1 - x)
    square, term, total, k = (PI * x) ** 2, Decimal(1), Decimal(1), 0
    while abs(term) > Decimal(10) ** -(getcontext().prec + 5):
        k += 2
        term = -term * square / (k * (k - 1))
        total += term
    return total


DECIMAL_RULES: dict[str, Callable[..., Decimal]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": power,
    "square": lambda a: a * a,
    "sqrt": lambda a: a.sqrt(),
    "abs": abs,
    "sign": lambda a: Decimal((a > 0) - (a < 0)),
    "min": min,
    "max": max,
    "exp": lambda a: a.exp(),
    "log": lambda a: a.ln(),
    "cospi": _cospi,
    "ratio": lambda a, b: a / b if b else Decimal(0),
    "positive": lambda a: Decimal(int(a > 0)),
    "half_life": _half_life,
}


_LARGEST = Decimal(LARGEST)


class DecimalDomain:
    """Scalars as decimals, each a real number that float64 could hold.

    A result that is none raises NotRealError; a division by 0 stays what decimals make of it.
    """

    def number(self, value: Fraction) -> Decimal:
        """Return the nearest decimal."""
        return Decimal(value.numerator) / Decimal(value.denominator)

    def apply(self, op: str, args: Sequence[Decimal]) -> Decimal:
        """Apply a scalar operation."""
        try:
            value = DECIMAL_RULES[op](*args)
        except (InvalidOperation, Overflow):
            if op == "div":
                raise
            raise not_real(op, args) from None
        if abs(value) > _LARGEST:
            raise not_real(op, args, f"{value:.3g}")
        return value
