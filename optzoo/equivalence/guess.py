"""Guessing the exact number behind a float: a simple fraction, or a product of known factors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.program.expressions import ONE, Expr, Name, Num, call, div, mul, num, one_minus, sub

TOLERANCE = 1e-8
GAIN_TOLERANCE = 1e-6
MAX_FACTORS = 3


@dataclass(frozen=True)
class Guess:
    """An exact number."""

    value: Fraction


TRIVIAL = (Fraction(0), Fraction(1))


def guesses(name: str, x: float, slack: float, known: Mapping[str, Fraction]) -> Iterator[Guess]:
    """Yield exact numbers near `x`, the likeliest first.

    `name` is the hyperparameter that `x` is for, `slack` how far `x` may be off, and `known` are
    the other recipe's hyperparameters by name.
    """
    limit = max(TOLERANCE * max(abs(x), 1e-4), slack)
    namesake = [known[name]] if name in known else []
    for value in (*namesake, *TRIVIAL, *known.values()):
        if abs(x - float(value)) <= limit:
            yield Guess(value)
    for digits in (1, 2, 3):
        rounded = Fraction(f"{x:.{digits}g}")
        if abs(x - float(rounded)) <= limit:
            yield Guess(rounded)
            break
    for chosen, signs in _products(x, known):
        yield Guess(_value(chosen, signs))
    for denominator in (100, 10**4, 10**6):
        fraction = Fraction(x).limit_denominator(denominator)
        if abs(x - float(fraction)) <= limit:
            yield Guess(fraction)


def formulas_of(name: str, value: Fraction, known: Mapping[str, Fraction]) -> Iterator[Expr]:
    """Yield formulas in `known` whose value is `value`, the likeliest first, then the number."""
    if value not in TRIVIAL:
        if known.get(name) == value:
            yield Name(name)
        yield from (Name(n) for n, v in known.items() if v == value and n != name)
        for chosen, signs in _products(float(value), known):
            if not isinstance(_product(chosen, signs), Name) and _value(chosen, signs) == value:
                yield _product(chosen, signs)
    yield Num(value)


Factor = tuple[Expr, Fraction]


def _products(
    x: float, known: Mapping[str, Fraction]
) -> Iterator[tuple[Sequence[Factor], Sequence[int]]]:
    """Yield products and quotients near `x`: of up to three factors, or with one difference."""
    factors = list(known_factors(known))
    for count in range(1, MAX_FACTORS + 1):
        for chosen in itertools.combinations(factors, count):
            yield from _near(x, chosen)
    for difference in _differences(known):
        yield from _near(x, (difference,))
        for factor in factors:
            yield from _near(x, (factor, difference))


def _near(x: float, chosen: Sequence[Factor]) -> Iterator[tuple[Sequence[Factor], Sequence[int]]]:
    for signs in itertools.product((1, -1), repeat=len(chosen)):
        value = 1.0
        for (_, factor), sign in zip(chosen, signs, strict=True):
            value *= float(factor) ** sign
        if abs(x - value) <= TOLERANCE * abs(x):
            yield chosen, signs


def _differences(known: Mapping[str, Fraction]) -> Iterator[Factor]:
    for (a, x), (b, y) in itertools.permutations(known.items(), 2):
        if x > y > 0:
            yield sub(Name(a), Name(b)), x - y


def known_factors(known: Mapping[str, Fraction]) -> Iterator[tuple[Expr, Fraction]]:
    """Yield the factors that formulas are made of."""
    seen: set[Fraction] = {Fraction(0), Fraction(1)}
    for name, value in known.items():
        options: list[tuple[Expr, Fraction]] = [(Name(name), value)]
        if 0 < value < 1:
            options += [
                (one_minus(Name(name)), 1 - value),
                (call("add", ONE, Name(name)), 1 + value),
            ]
        for expr, factor in options:
            if factor not in seen:
                seen.add(factor)
                yield expr, factor


def _value(chosen: Sequence[Factor], signs: Sequence[int]) -> Fraction:
    value = Fraction(1)
    for (_, factor), sign in zip(chosen, signs, strict=True):
        value *= factor**sign
    return value


def _product(chosen: Sequence[Factor], signs: Sequence[int]) -> Expr:
    above: Expr = ONE
    below: Expr = ONE
    for (expr, _), sign in zip(chosen, signs, strict=True):
        if sign > 0:
            above = mul(above, expr)
        else:
            below = mul(below, expr)
    return div(above, below)


def guess_gain(
    gains: Sequence[float], known: Mapping[str, Fraction]
) -> Iterator[tuple[Expr, Guess]]:
    """Yield shapes f(t), made of 1 - h**t and t, with `gains[t-1] = c f(t)`; and guesses of c."""
    t = Name("t")
    shapes: list[tuple[Expr, list[float]]] = [(ONE, [1.0] * len(gains))]
    decays = {name: v for name, v in known.items() if 0 < v < 1}
    steps = range(1, len(gains) + 1)
    parts = [
        (one_minus(call("pow", Name(name), t)), [1 - float(v) ** s for s in steps])
        for name, v in decays.items()
    ]
    parts.append((t, [float(s) for s in steps]))
    for expr, values in parts:
        shapes.append((expr, values))
        shapes.append((div(num(1), expr), [1 / v for v in values]))
    for (a, u), (b, w) in itertools.permutations(parts, 2):
        shapes.append((div(a, b), [p / q for p, q in zip(u, w, strict=True)]))
    for expr, values in shapes:
        ratios = [g / v for g, v in zip(gains, values, strict=True)]
        middle = ratios[-1]
        if middle and all(abs(r - middle) <= GAIN_TOLERANCE * abs(middle) for r in ratios):
            for guess in guesses("", middle, GAIN_TOLERANCE * abs(middle), known):
                yield expr, guess
