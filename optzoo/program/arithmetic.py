"""The arithmetic of scalars: one table of rules, with a few rows replaced for each kind of number.

What + - * / and comparisons can say is said once, for any number (`_shared`); roots, logarithms
and powers are rows of their own in floats (float64, what an optimizer computes in), in rationals
(exact, and an error where the value is not rational) and in decimals (as many digits as the context
has). Everything else that computes with numbers takes these tables; scalars as arrays and tensors,
which cannot branch, have their own.
"""

from __future__ import annotations

import math
import sys
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
from typing import Any, SupportsFloat

from optzoo.program.expressions import Call, Expr, Name, format_expression, number_expression
from optzoo.program.ir import Line

Rule = Callable[..., Any]

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


def _shared(number: Callable[[int], Any]) -> dict[str, Rule]:
    """Return the rules that need no more than a field with an order; `number` makes an integer."""
    return {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "neg": lambda a: -a,
        "square": lambda a: a * a,
        "abs": abs,
        "sign": lambda a: number((a > 0) - (a < 0)),
        "min": min,
        "max": max,
        "ratio": lambda a, b: a / b if b != 0 else number(0),
        "positive": lambda a: number(int(a > 0)),
        "less": lambda a, b: number(int(a < b)),
        "greater": lambda a, b: number(int(a > b)),
        "equal": lambda a, b: number(int(a == b)),
        "where": lambda condition, a, b: a if condition != 0 else b,
        "mod": lambda a, b: a - b * math.floor(a / b) if b != 0 else a,
    }


def _half_life_rule(number: Callable[[int], Any], exp: Rule, log: Rule) -> Rule:
    """Return `half_life` in a kind of number that has exponentials and logarithms.

    The decay whose half-life lies `fraction` of the way from that of start to end: 1/log(decay) is
    linear in the half-life. A decay of 0 has half-life 0 and a decay of 1 an infinite one, their
    limits: on the way to or from 1 the decay is 1. Raises ValueError for a decay outside [0, 1].
    AdEMAMix paper (arXiv 2409.03137), section 3; the official code adds 1e-8 inside the logarithm.
    """

    def half_life(start: Any, end: Any, fraction: Any) -> Any:
        if not (0 <= start <= 1 and 0 <= end <= 1):
            raise ValueError("a decay lies in [0, 1]")
        if fraction <= 0 or start == end:
            return start
        if fraction >= 1:
            return end
        if 1 in (start, end):
            return number(1)
        inverse = number(0)
        for weight, decay in ((1 - fraction, start), (fraction, end)):
            if decay > 0:
                inverse += weight / log(decay)
        return exp(1 / inverse) if inverse != 0 else number(0)

    return half_life


FLOAT: dict[str, Callable[..., float]] = _shared(float) | {
    "pow": math.pow,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "cospi": lambda a: math.cos(math.pi * math.fmod(a, 2.0)),
    "half_life": _half_life_rule(float, math.exp, math.log),
    "mod": lambda a, b: a % b if b != 0 else a,
    "tanh": math.tanh,
    "atan2": math.atan2,
}
"""Rules of float64. Beyond it they raise OverflowError, off the reals ValueError."""

half_life: Callable[[float, float, float], float] = FLOAT["half_life"]


def _quotient(a: float, b: float) -> float:
    if b != 0:
        return a / b
    is_nan = a == 0 or math.isnan(a)
    return math.nan if is_nan else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        is_odd = a < 0 and b % 2 == 1
        return -math.inf if is_odd else math.inf
    except ValueError:  # a negative number to a power that is not whole, or 0 to one below 0
        return math.nan if a < 0 else math.inf


def _exponential(a: float) -> float:
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


IEEE: dict[str, Callable[..., float]] = FLOAT | {
    "div": _quotient,
    "sqrt": lambda a: math.nan if a < 0 else math.sqrt(a),
    "pow": _power,
    "exp": _exponential,
    "log": lambda a: math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan),
}
"""Rules of float64 for elements of tensors: what IEEE gives where Python raises an error."""


# ------------------------------------------------------------------ rationals


class NotRationalError(ArithmeticError):
    """An operation whose result is not rational, or too long, was asked for in exact arithmetic."""


MAX_BITS = 1 << 16
"""Size of the integers of a rational; beyond it decimals are the faster way to the same answer."""


def bits(value: Fraction) -> int:
    """Return the size of the larger integer of a rational."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _rational_power(a: Fraction, b: Fraction) -> Fraction:
    if a == 1 or b == 0:
        return Fraction(1)
    if a == 0 and b > 0:
        return Fraction(0)
    if b.denominator == 2 and a >= 0:
        a, b = _rational_root(a), 2 * b
    if b.denominator != 1 or abs(b) * bits(a) > MAX_BITS:
        raise NotRationalError("pow")
    return a ** int(b)


def _rational_root(a: Fraction) -> Fraction:
    if a < 0:
        raise NotRationalError("sqrt")
    root = Fraction(math.isqrt(a.numerator), math.isqrt(a.denominator))
    if root * root != a:
        raise NotRationalError("sqrt")
    return root


def _only(op: str, argument: int, value: int) -> Rule:
    """Return the rule of a function that is rational at one argument alone."""

    def rule(a: Fraction) -> Fraction:
        if a != argument:
            raise NotRationalError(op)
        return Fraction(value)

    return rule


def _rational_cospi(a: Fraction) -> Fraction:
    if (3 * a).denominator == 1:  # Niven's theorem: 0, 1/2 and 1 are all there are
        return Fraction((2, 1, -1, -2, -1, 1)[int(3 * a) % 6], 2)
    if (2 * a).denominator == 1:
        return Fraction(0)
    raise NotRationalError("cospi")


def _rational_atan2(a: Fraction, b: Fraction) -> Fraction:
    if a != 0 or b < 0:
        raise NotRationalError("atan2")
    return Fraction(0)


_EXP, _LOG = _only("exp", 0, 1), _only("log", 1, 0)
RATIONAL: dict[str, Callable[..., Fraction]] = _shared(Fraction) | {
    "pow": _rational_power,
    "sqrt": _rational_root,
    "exp": _EXP,
    "log": _LOG,
    "cospi": _rational_cospi,
    "half_life": _half_life_rule(Fraction, _EXP, _LOG),
    "tanh": _only("tanh", 0, 0),
    "atan2": _rational_atan2,
}
"""Exact rules; NotRationalError where the value is not rational."""


def rational(op: str, args: Sequence[Fraction], max_bits: int = MAX_BITS) -> Fraction:
    """Apply an operation exactly. Raises NotRationalError also for a value that is too long."""
    value = Fraction(RATIONAL[op](*args))
    if bits(value) > max_bits:
        raise NotRationalError(op)
    return value


# ------------------------------------------------------------------ decimals

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


def _tanh(x: Decimal) -> Decimal:
    if abs(x) > 10 * getcontext().prec:
        return Decimal(1).copy_sign(x)
    twice = (2 * x).exp()
    return (twice - 1) / (twice + 1)


def _atan2(a: Decimal, b: Decimal) -> Decimal:
    """Return the angle of the point (b, a) in (-pi, pi], and 0 at the origin."""
    if b == 0:
        return (PI / 2).copy_sign(a) if a != 0 else Decimal(0)
    angle = _atan(a / b)
    if b > 0:
        return angle
    return angle - PI if a < 0 else angle + PI


def _atan(x: Decimal) -> Decimal:
    """Return the arc tangent by its series, after three halvings of the angle."""
    for _ in range(3):
        x = x / (1 + (1 + x * x).sqrt())
    square, term, total, k = x * x, x, x, 1
    while abs(term) > Decimal(10) ** -(getcontext().prec + 5):
        k += 2
        term = -term * square
        total += term / k
    return 8 * total


DECIMAL: dict[str, Callable[..., Decimal]] = _shared(Decimal) | {
    "pow": power,
    "sqrt": Decimal.sqrt,
    "exp": Decimal.exp,
    "log": Decimal.ln,
    "cospi": _cospi,
    "half_life": _half_life_rule(Decimal, Decimal.exp, Decimal.ln),
    "tanh": _tanh,
    "atan2": _atan2,
}
"""Rules of decimals, in as many digits as the context has: 50 inside `precisely()`."""


# ------------------------------------------------------------------ domains


class FloatDomain:
    """Scalars as Python floats (float64)."""

    def number(self, value: Fraction) -> float:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply a scalar operation in float64."""
        return FLOAT[op](*args)


class IeeeDomain(FloatDomain):
    """Elements of tensors as Python floats: what is no real number is nan or infinite."""

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply an operation to elements in float64."""
        return IEEE[op](*args)


class RealDomain(FloatDomain):
    """Scalars as Python floats, each a finite real number.

    A literal or a result that is none raises NotRealError.
    """

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply a scalar operation in float64."""
        try:
            value = FLOAT[op](*args)
        except OverflowError:
            raise not_real(op, args, "too large") from None
        except (ValueError, ZeroDivisionError):
            raise not_real(op, args) from None
        if not math.isfinite(value):
            raise not_real(op, args, value)
        return value


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
            value = DECIMAL[op](*args)
        except (InvalidOperation, Overflow, ValueError):
            if op == "div":
                raise
            raise not_real(op, args) from None
        if abs(value) > _LARGEST:
            raise not_real(op, args, f"{value:.3g}")
        return value
