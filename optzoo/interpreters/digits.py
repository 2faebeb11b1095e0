"""The reference in decimal digits: numbers of `DIGITS` digits, or rationals where they suffice.

For deciding whether two programs are the same: what agrees to 40 digits at random points is no
coincidence of rounding. A tensor is the tuple of its elements. Slower than the reference, and as
plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import cache

DIGITS = 70
"""Digits carried, far more than two programs are ever asked to agree to."""

Number = Decimal | Fraction
Value = Number | tuple[Number, ...]


class NotRationalError(ArithmeticError):
    """An operation whose result is not rational was asked for in exact arithmetic."""


@cache
def _pi() -> Decimal:
    """Return pi by Machin's formula, 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctan_inverse(n: int) -> Decimal:
        power = total = Decimal(1) / n
        sign, k = -1, 3
        while power > Decimal(10) ** (-DIGITS - 5):
            power /= n * n
            total += sign * power / k
            sign, k = -sign, k + 2
        return total

    return 16 * arctan_inverse(5) - 4 * arctan_inverse(239)


def _cospi(a: Decimal) -> Decimal:
    x = (a - 2 * (a / 2).to_integral_value()) * _pi()
    term = total = Decimal(1)
    k = 1
    while abs(term) > Decimal(10) ** (-DIGITS - 5):
        term *= -x * x / ((2 * k - 1) * (2 * k))
        total += term
        k += 1
    return total


def _half_life(start: Decimal, end: Decimal, fraction: Decimal) -> Decimal:
    """See `optzoo.program.numbers.half_life`."""
    if fraction <= 0:
        return start
    if fraction >= 1:
        return end
    inverse = sum(
        (w / d.ln() for w, d in ((1 - fraction, start), (fraction, end)) if d > 0), Decimal(0)
    )
    return (1 / inverse).exp() if inverse != 0 else Decimal(0)


def _pow(a: Decimal, b: Decimal) -> Decimal:
    return Decimal(1) if b == 0 else a**b


_EITHER: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "square": lambda a: a * a,
    "abs": abs,
    "sign": lambda a: type(a)((a > 0) - (a < 0)),
    "min": min,
    "max": max,
    "ratio": lambda a, b: a / b if b != 0 else type(b)(0),
    "positive": lambda a: type(a)(int(a > 0)),
}

_DECIMAL: dict[str, Callable[..., Number]] = {
    **_EITHER,
    "sqrt": lambda a: a.sqrt(),
    "exp": lambda a: a.exp(),
    "log": lambda a: a.ln(),
    "pow": _pow,
    "cospi": _cospi,
    "half_life": _half_life,
}


def _exact_pow(a: Fraction, b: Fraction) -> Fraction:
    if b.denominator != 1:
        raise NotRationalError("pow")
    return a ** int(b)


def _exact_half_life(start: Fraction, end: Fraction, fraction: Fraction) -> Fraction:
    if start == end or fraction <= 0:
        return start
    if fraction >= 1:
        return end
    raise NotRationalError("half_life")


_EXACT: dict[str, Callable[..., Number]] = {
    **_EITHER,
    "pow": _exact_pow,
    "half_life": _exact_half_life,
}


class DigitsDomain:
    """Numbers and tuples of numbers: decimals, or rationals when `exact`.

    In rationals an operation whose result is not rational raises NotRationalError.
    """

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact
        self.rules = _EXACT if exact else _DECIMAL
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
        return rule(*args)
