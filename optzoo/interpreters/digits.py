"""The reference in decimal digits: numbers of `DIGITS` digits, or rationals where they suffice.

For deciding whether two programs are the same: what agrees to 40 digits at random points is no
coincidence of rounding. A tensor is the tuple of its elements. Slower than the reference, and as
plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction

from optzoo.program.decimals import DECIMAL_RULES

DIGITS = 70
"""Digits carried, far more than two programs are ever asked to agree to."""
MAX_BITS = 1 << 16
"""Size of the integers of a rational; beyond it decimals are the faster way to the same answer."""

Number = Decimal | Fraction
Value = Number | tuple[Number, ...]


class NotRationalError(ArithmeticError):
    """An operation whose result is not rational, or too long, was asked for in exact arithmetic."""


def _bits(a: Fraction) -> int:
    return max(a.numerator.bit_length(), a.denominator.bit_length())


def _exact_pow(a: Fraction, b: Fraction) -> Fraction:
    if b.denominator != 1 or abs(b) * _bits(a) > MAX_BITS:
        raise NotRationalError("pow")
    return a ** int(b)


def _exact_half_life(start: Fraction, end: Fraction, fraction: Fraction) -> Fraction:
    if start == end or fraction <= 0:
        return start
    if fraction >= 1:
        return end
    raise NotRationalError("half_life")


_EXACT: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "square": lambda a: a * a,
    "abs": abs,
    "sign": lambda a: Fraction((a > 0) - (a < 0)),
    "min": min,
    "max": max,
    "ratio": lambda a, b: a / b if b else Fraction(0),
    "positive": lambda a: Fraction(int(a > 0)),
    "pow": _exact_pow,
    "half_life": _exact_half_life,
}


class DigitsDomain:
    """Numbers and tuples of numbers: decimals, or rationals when `exact`.

    In rationals an operation whose result is not rational raises NotRationalError.
    """

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.rules: Mapping[str, Callable[..., Number]] = _EXACT if exact else DECIMAL_RULES
        self.context = Context(prec=DIGITS)

    def number(self, value: Fraction) -> Number:
        """Return a literal."""
        if self.exact:
            return value
        with localcontext(self.context):
            return Decimal(value.numerator) / Decimal(value.denominator)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation, element by element; a number meets every element."""
        with localcontext(self.context):
            if op == "norm":
                (tensor,) = args
                assert isinstance(tensor, tuple)
                squares: Number = sum((x * x for x in tensor[1:]), tensor[0] * tensor[0])  # type: ignore[operator]
                return self._rule("sqrt", [squares])
            sizes = {len(arg) for arg in args if isinstance(arg, tuple)}
            if not sizes:
                return self._rule(op, args)
            (size,) = sizes
            rows = [arg if isinstance(arg, tuple) else (arg,) * size for arg in args]
            return tuple(self._rule(op, row) for row in zip(*rows, strict=True))

    def _rule(self, op: str, args: Sequence[Value]) -> Number:
        rule = self.rules.get(op)
        if rule is None:
            raise NotRationalError(op)
        value = rule(*args)
        if isinstance(value, Fraction) and _bits(value) > MAX_BITS:
            raise NotRationalError(op)
        return value
