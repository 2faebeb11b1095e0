"""A small algebra of rational functions, for printing coefficients the way a person writes them.

A `Ratio` is an expanded polynomial over a product of factors. The unknowns are *atoms*: a name at a
step relative to this one (`lr` one step ago), or a power whose exponent is the step count. Factors
are found by exact trial division, by atoms and by what the program itself divides by; no general
factorisation is attempted, and nothing here is approximate. Formulas can grow without bound, and
one that takes more work than `bounded` allows is given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol, TypeVar

N_co = TypeVar("N_co", covariant=True)


MAX_WORK = 100_000
"""Products and sums of monomials within one `bounded`; shipped recipes take a hundredth of that."""


class TooLongError(ArithmeticError):
    """A formula that takes more work to write out than it is worth."""


class _Work:
    left: int | None = None


@contextmanager
def bounded() -> Iterator[None]:
    """Raise TooLongError where the algebra inside takes more than `MAX_WORK`."""
    before, _Work.left = _Work.left, MAX_WORK
    try:
        yield
    finally:
        _Work.left = before


def _spend(amount: int) -> None:
    if _Work.left is not None:
        _Work.left -= amount
        if _Work.left < 0:
            raise TooLongError


@dataclass(frozen=True, order=True)
class Atom:
    """A name, `offset` steps after this one; with `power`, the name (or number) to the power t.

    A name that never changes has the offset 0. The step `t` itself is an atom too.
    """

    name: str
    offset: int = 0
    power: bool = False


STEP = Atom("t")
"""The step itself."""

Monomial = tuple[tuple[Atom, int], ...]
"""Atoms and their exponents, sorted by atom, all exponents positive."""


@dataclass(frozen=True, order=True)
class Poly:
    """A polynomial: monomials and their coefficients, no zeros, in a canonical order."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    @classmethod
    def make(cls, terms: Mapping[Monomial, Fraction]) -> Poly:
        """Return the polynomial of these terms, zeros dropped."""
        return cls(tuple(sorted((m, c) for m, c in terms.items() if c != 0)))

    @property
    def atoms(self) -> frozenset[Atom]:
        """Every atom that occurs."""
        return frozenset(a for monomial, _ in self.terms for a, _ in monomial)

    @property
    def is_zero(self) -> bool:
        """Whether this is the polynomial 0."""
        return not self.terms

    @property
    def constant(self) -> Fraction | None:
        """The number this polynomial is, or None."""
        if not self.terms:
            return Fraction(0)
        return self.terms[0][1] if self.terms[-1][0] == () else None

    def scaled(self, factor: Fraction) -> Poly:
        """Return the polynomial times a number."""
        return Poly.make({m: c * factor for m, c in self.terms})

    def __add__(self, other: Poly) -> Poly:
        _spend(len(self.terms) + len(other.terms))
        terms = dict(self.terms)
        for monomial, coefficient in other.terms:
            terms[monomial] = terms.get(monomial, Fraction(0)) + coefficient
        return Poly.make(terms)

    def __mul__(self, other: Poly) -> Poly:
        _spend(len(self.terms) * len(other.terms))
        terms: dict[Monomial, Fraction] = {}
        for m, c in self.terms:
            for n, d in other.terms:
                key = _times(m, n)
                terms[key] = terms.get(key, Fraction(0)) + c * d
        return Poly.make(terms)


def _times(m: Monomial, n: Monomial) -> Monomial:
    exponents = dict(m)
    for atom, k in n:
        exponents[atom] = exponents.get(atom, 0) + k
    return tuple(sorted(exponents.items()))


def number(value: Fraction | int) -> Poly:
    """Return a constant polynomial."""
    return Poly.make({(): Fraction(value)})


def unknown(atom: Atom) -> Poly:
    """Return the polynomial that is one atom."""
    return Poly.make({((atom, 1),): Fraction(1)})


ONE = number(1)
ZERO = number(0)


def divide(p: Poly, q: Poly) -> Poly | None:
    """Return p / q when that is a polynomial, else None."""
    atoms = sorted(p.atoms | q.atoms)

    def order(monomial: Monomial) -> tuple[int, ...]:
        exponents = dict(monomial)
        return tuple(exponents.get(atom, 0) for atom in atoms)

    lead, lead_coefficient = max(q.terms, key=lambda term: order(term[0]))
    rest, quotient = p, ZERO
    while not rest.is_zero:
        top, coefficient = max(rest.terms, key=lambda term: order(term[0]))
        step = _over(top, lead)
        if step is None:
            return None
        part = Poly.make({step: coefficient / lead_coefficient})
        quotient = quotient + part
        rest = rest + (part * q).scaled(Fraction(-1))
    return quotient


def _over(m: Monomial, n: Monomial) -> Monomial | None:
    exponents = dict(m)
    for atom, k in n:
        exponents[atom] = exponents.get(atom, 0) - k
        if exponents[atom] < 0:
            return None
    return tuple(sorted((a, k) for a, k in exponents.items() if k))


def normalised(p: Poly) -> tuple[Fraction, Poly]:
    """Return a number and a polynomial whose product is `p`, the same for all multiples of `p`.

    A constant term becomes positive, so that 1 - beta is preferred to beta - 1; coefficients
    become integers without a common divisor.
    """
    coefficients = [c for _, c in p.terms]
    content = Fraction(
        math.gcd(*(c.numerator for c in coefficients)),
        math.lcm(*(c.denominator for c in coefficients)),
    )
    lead = dict(p.terms).get((), coefficients[-1])
    scale = content if lead > 0 else -content
    return scale, p.scaled(1 / scale)


@dataclass(frozen=True)
class Ratio:
    """A number times a product of normalised polynomials; exponents may be negative."""

    scale: Fraction
    factors: tuple[tuple[Poly, int], ...] = ()

    @property
    def is_zero(self) -> bool:
        """Whether this is 0."""
        return self.scale == 0

    @property
    def constant(self) -> Fraction | None:
        """The number this is, or None."""
        return self.scale if not self.factors or self.scale == 0 else None

    @property
    def atoms(self) -> frozenset[Atom]:
        """Every atom that occurs."""
        return frozenset(a for p, _ in self.factors for a in p.atoms)


def make_ratio(scale: Fraction, factors: Iterable[tuple[Poly, int]]) -> Ratio:
    """Return the product, constants gathered, equal factors merged, common ones cancelled."""
    if scale == 0:
        return Ratio(Fraction(0))
    merged: dict[Poly, int] = {}
    pending = list(factors)
    while pending:
        poly, exponent = pending.pop()
        for part, times in factorised(poly):
            if part.constant is not None:
                if part.is_zero:
                    return Ratio(Fraction(0))
                scale *= part.constant ** (exponent * times)
            else:
                merged[part] = merged.get(part, 0) + exponent * times
        if not pending:
            pending = _cancelled(merged)
    return Ratio(scale, tuple(sorted((p, k) for p, k in merged.items() if k)))


def _cancelled(merged: dict[Poly, int]) -> list[tuple[Poly, int]]:
    """Divide one factor above the line by one below it where that goes without remainder."""
    for low in [p for p, k in merged.items() if k < 0 and len(p.terms) > 1]:
        for high in [p for p, k in merged.items() if k > 0 and len(p.terms) > 1]:
            for top, bottom in ((high, low), (low, high)):
                quotient = divide(top, bottom) if top.atoms >= bottom.atoms else None
                if quotient is not None:
                    merged[high] -= 1
                    merged[low] += 1
                    return [(quotient, 1 if top is high else -1)]
    return []


@lru_cache(maxsize=4096)
def factorised(p: Poly) -> tuple[tuple[Poly, int], ...]:
    """Return factors of a polynomial: a number, atoms, 1 - atom, 1 + atom, and what is left."""
    if p.constant is not None:
        return ((p, 1),)
    found: list[tuple[Poly, int]] = []
    rest = p
    candidates = [unknown(a) for a in sorted(p.atoms)]
    candidates += [ONE + unknown(a).scaled(Fraction(s)) for a in sorted(p.atoms) for s in (-1, 1)]
    for candidate in candidates:
        times = 0
        while rest.constant is None and (quotient := divide(rest, candidate)) is not None:
            rest, times = quotient, times + 1
        if times:
            found.append((candidate, times))
    scale, rest = normalised(rest)
    return (number(scale), 1), *found, *(() if rest == ONE else ((rest, 1),))


def constant_ratio(value: Fraction | int) -> Ratio:
    """Return a number."""
    return Ratio(Fraction(value))


def atom_ratio(atom: Atom) -> Ratio:
    """Return an atom."""
    return Ratio(Fraction(1), ((unknown(atom), 1),))


def multiply(a: Ratio, b: Ratio) -> Ratio:
    """Return a * b."""
    return make_ratio(a.scale * b.scale, [*a.factors, *b.factors])


def invert(a: Ratio) -> Ratio:
    """Return 1 / a; ZeroDivisionError when a is 0."""
    return Ratio(1 / a.scale, tuple((p, -k) for p, k in a.factors))


def negate(a: Ratio) -> Ratio:
    """Return -a."""
    return Ratio(-a.scale, a.factors)


def combine(a: Ratio, b: Ratio) -> Ratio:
    """Return a + b: common factors stay outside, what remains is expanded and factored again."""
    if a.is_zero or b.is_zero:
        return b if a.is_zero else a
    left, right = dict(a.factors), dict(b.factors)
    common = {p: min(left.get(p, 0), right.get(p, 0)) for p in {*left, *right}}
    inner = ZERO
    for ratio, exponents in ((a, left), (b, right)):
        term = number(ratio.scale)
        for p, low in common.items():
            for _ in range(exponents.get(p, 0) - low):
                term = term * p
        inner = inner + term
    if inner.is_zero:
        return Ratio(Fraction(0))
    # a factor that the program divides by may divide the sum as a whole
    outer = dict(common)
    for p, low in common.items():
        while low < 0 and inner.constant is None and (quotient := divide(inner, p)) is not None:
            inner, low = quotient, low + 1
        outer[p] = low
    return make_ratio(Fraction(1), [*outer.items(), (inner, 1)])


def power(a: Ratio, exponent: int) -> Ratio:
    """Return a to an integer power."""
    base = a if exponent >= 0 else invert(a)
    count = abs(exponent)
    return Ratio(base.scale**count, tuple((p, k * count) for p, k in base.factors if count))


def substitute(ratio: Ratio, replace: Callable[[Atom], Ratio]) -> Ratio:
    """Return the ratio with every atom replaced."""
    result = constant_ratio(ratio.scale)
    for poly, exponent in ratio.factors:
        total = constant_ratio(0)
        for monomial, coefficient in poly.terms:
            term = constant_ratio(coefficient)
            for atom, count in monomial:
                term = multiply(term, power(replace(atom), count))
            total = combine(total, term)
        result = multiply(result, power(total, exponent))
    return result


class Field(Protocol[N_co]):
    """Numbers to evaluate in: how to make one, and what the atoms are."""

    def number(self, value: Fraction) -> N_co:
        """Return a literal."""
        ...

    def atom(self, atom: Atom) -> N_co:
        """Return the value of an atom."""
        ...


def value_of(ratio: Ratio, field: Field[Any]) -> Any:
    """Return the value of a ratio in a field of numbers."""
    total = field.number(ratio.scale)
    for poly, exponent in ratio.factors:
        part = field.number(Fraction(0))
        for monomial, coefficient in poly.terms:
            term = field.number(coefficient)
            for atom, count in monomial:
                term = term * field.atom(atom) ** count
            part = part + term
        total = total * part**exponent if exponent > 0 else total / part**-exponent
    return total
