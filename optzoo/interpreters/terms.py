"""Sums of products: expressions multiplied out, so that equal ones cancel and look alike.

A factor is a name, or an operation left whole (a root, a power, a sum that is divided by).
Numbers are exact. Nothing is factored again: this is for short coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.program.expressions import (
    ONE,
    Call,
    Expr,
    Name,
    Num,
    add,
    call,
    div,
    format_expression,
    mul,
    sub,
)
from optzoo.program.ratios import TooLongError

MOST_TERMS = 500
"""Coefficients longer than that are for no one to read."""


Product = frozenset[tuple[Expr, int]]
"""Factors with their exponents, none of them 0."""
UNIT: Product = frozenset()


@dataclass(frozen=True)
class Terms:
    """A sum: the coefficient of each product, none of them 0."""

    parts: Mapping[Product, Fraction]

    @property
    def is_zero(self) -> bool:
        """Whether the sum is empty."""
        return not self.parts

    def __add__(self, other: Terms) -> Terms:
        parts = dict(self.parts)
        for product, value in other.parts.items():
            parts[product] = parts.get(product, Fraction(0)) + value
        return _clean(parts)

    def __mul__(self, other: Terms) -> Terms:
        if len(self.parts) * len(other.parts) > MOST_TERMS:
            raise TooLongError
        parts: dict[Product, Fraction] = {}
        for p, a in self.parts.items():
            for q, b in other.parts.items():
                key = _times(p, q)
                parts[key] = parts.get(key, Fraction(0)) + a * b
        return _clean(parts)

    def __neg__(self) -> Terms:
        return Terms({p: -a for p, a in self.parts.items()})

    def __sub__(self, other: Terms) -> Terms:
        return self + -other

    def over(self, other: Terms) -> Terms:
        """Return the quotient; a divisor of several terms becomes one factor."""
        if self.parts.keys() == other.parts.keys():
            ratios = {a / other.parts[p] for p, a in self.parts.items()}
            if len(ratios) == 1:
                return Terms({UNIT: ratios.pop()})
        return self * other.inverse()

    def inverse(self) -> Terms:
        """Return 1 over the sum. Raises ZeroDivisionError for an empty one."""
        if self.is_zero:
            raise ZeroDivisionError
        if len(self.parts) == 1:
            ((product, value),) = self.parts.items()
            return Terms({frozenset((f, -e) for f, e in product): 1 / value})
        return Terms({frozenset({(self.expr(), -1)}): Fraction(1)})

    def expr(self) -> Expr:
        """Return the sum as an expression, plain numbers first, then in alphabetical order."""
        ranked = sorted(self.parts.items(), key=lambda item: _rank(item[0], item[1]))
        total: Expr | None = None
        for product, value in ranked:
            term = _product_expr(product, abs(value))
            if total is None:
                total = term if value > 0 else call("neg", term)
            else:
                total = add(total, term) if value > 0 else sub(total, term)
        return Num(Fraction(0)) if total is None else total


def _clean(parts: Mapping[Product, Fraction]) -> Terms:
    return Terms({p: a for p, a in parts.items() if a != 0})


def _times(p: Product, q: Product) -> Product:
    exponents = dict(p)
    for factor, exponent in q:
        exponents[factor] = exponents.get(factor, 0) + exponent
    return frozenset((f, e) for f, e in exponents.items() if e != 0)


def _rank(product: Product, value: Fraction) -> tuple[bool, int, str]:
    return value < 0, len(product), format_expression(_product_expr(product, Fraction(1)))


def _product_expr(product: Product, value: Fraction) -> Expr:
    ranked = sorted(product, key=lambda item: format_expression(item[0]))
    above: Expr = Num(Fraction(value.numerator))
    below: Expr = Num(Fraction(value.denominator))
    for factor, exponent in ranked:
        power = factor if abs(exponent) == 1 else call("pow", factor, Num(Fraction(abs(exponent))))
        if exponent > 0:
            above = mul(above, power)
        else:
            below = mul(below, power)
    return div(above, below)


def terms_of(expr: Expr) -> Terms:
    """Return an expression multiplied out."""
    if isinstance(expr, Num):
        return _clean({UNIT: expr.value})
    if isinstance(expr, Name):
        return Terms({frozenset({(expr, 1)}): Fraction(1)})
    match expr.op, expr.args:
        case "add", (a, b):
            return terms_of(a) + terms_of(b)
        case "sub", (a, b):
            return terms_of(a) - terms_of(b)
        case "neg", (a,):
            return -terms_of(a)
        case "mul", (a, b):
            return terms_of(a) * terms_of(b)
        case "div", (a, b) if not terms_of(b).is_zero:
            return terms_of(a).over(terms_of(b))
        case "square", (a,):
            return terms_of(a) * terms_of(a)
    whole = Call(expr.op, tuple(terms_of(a).expr() for a in expr.args))
    return Terms({frozenset({(whole, 1)}): Fraction(1)})


ONE_TERM = terms_of(ONE)
ZERO_TERM = Terms({})


class TermsDomain:
    """Scalars as sums of products, for the linear interpreter."""

    def number(self, value: Fraction) -> Terms:
        """Return a literal."""
        return _clean({UNIT: value})

    def apply(self, op: str, args: Sequence[Terms]) -> Terms:
        """Apply an operation, multiplied out."""
        return terms_of(Call(op, tuple(a.expr() for a in args)))
