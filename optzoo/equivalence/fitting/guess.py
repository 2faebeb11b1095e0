"""Guessing the exact number behind a float: a simple one, or made of the other recipe's.

What the other recipe computes from its hyperparameters alone, such as 1 - a or exp(-1/tau), is a
number of it as much as the hyperparameters are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.arithmetic import FLOAT, NotRationalError
from optzoo.program.domain import evaluate
from optzoo.program.expressions import (
    ONE,
    Call,
    Expr,
    Name,
    Num,
    call,
    div,
    format_expression,
    mul,
    names_in,
    num,
    one_minus,
    sub,
    substitute,
    walk,
)
from optzoo.program.ir import Program
from optzoo.program.ops import OPS

TOLERANCE = 1e-8
GAIN_TOLERANCE = 1e-6
MOST_SLACK = 0.05
NOTHING = 1e-6
"""What an unknown may be, if it makes no difference, to be taken for 0; and how near to 1 a factor
is none."""
MAX_FACTORS = 3
MOST_PARTS = 24
"""Expressions of the other recipe that are looked at."""
MOST_LITERALS = 4
LONGEST = 120
"""Characters of such an expression."""
TRIVIAL = (Fraction(0), Fraction(1))


@dataclass(frozen=True)
class Guess:
    """An exact number: as an expression in numbers, and in the other recipe's hyperparameters."""

    number: float
    value: Expr
    formula: Expr

    @property
    def rational(self) -> Fraction | None:
        """The number, where it is rational."""
        return rational_value(self.value)


def rational_value(expr: Expr) -> Fraction | None:
    """Return the value of an expression in numbers; None where it is not rational."""
    try:
        value = evaluate(expr, ReferenceDomain("rational"), {})
    except (NotRationalError, ArithmeticError, ValueError):
        return None
    return value if isinstance(value, Fraction) else None


def float_value(expr: Expr, values: Mapping[Name, float]) -> float | None:
    """Return the value of an expression in float64; None where it has none."""
    try:
        return float(_evaluated(expr, values))
    except (ArithmeticError, ValueError):
        return None


def _evaluated(expr: Expr, values: Mapping[Name, float]) -> float:
    if isinstance(expr, Num):
        return float(expr.value)
    if isinstance(expr, Name):
        return values[expr]
    return float(FLOAT[expr.op](*(_evaluated(arg, values) for arg in expr.args)))


class Constants:
    """The numbers of a program: its hyperparameters, and what it computes from those alone.

    `moving` are the scalars and their parts that also read `t`, as expressions in hyperparameters,
    `literals` the sizes of the numbers that it writes.
    """

    def __init__(self, program: Program) -> None:
        self.hypers = {h.name: h.value for h in program.hypers}
        self.parts: list[Expr] = []
        self.moving: list[Expr] = []
        self.literals: dict[Fraction, None] = {}
        self._collect(program)

    def _collect(self, program: Program) -> None:
        constant = {Name(n) for n in self.hypers if n != "lr"}
        inlined: dict[Name, Expr] = {}
        seen: dict[str, None] = {}
        lines = [(line.target, line.expr) for line in program.lines]
        for target, expr in [*lines, *((None, view.expr) for view in program.views)]:
            whole = substitute(expr, inlined.get)
            names = set(names_in(whole))
            if target is not None and names <= constant | {Name("t")} and _on_scalars(whole):
                inlined[target] = whole
            for node in walk(whole):
                if isinstance(node, Num) and node.value not in TRIVIAL:
                    self.literals[abs(node.value)] = None
                used = set(names_in(node))
                if not isinstance(node, Call) or not used or not _on_scalars(node):
                    continue
                text = format_expression(node)
                if used <= constant | {Name("t")} and len(text) <= LONGEST and text not in seen:
                    seen[text] = None
                    place = self.moving if Name("t") in used else self.parts
                    if len(place) < MOST_PARTS:
                        place.append(node)

    @property
    def named(self) -> dict[Name, Fraction]:
        """The hyperparameters by name."""
        return {Name(n): v for n, v in self.hypers.items()}

    def floats(self) -> dict[Name, float]:
        """Return the hyperparameters as floats."""
        return {n: float(v) for n, v in self.named.items()}

    def numbers(self) -> list[float]:
        """Return what the parts come to, and 1 less that."""
        values = [float_value(part, self.floats()) for part in self.parts]
        found = [v for v in values if v is not None]
        return list(dict.fromkeys([*found, *(1 - v for v in found if 0 < v < 1)]))

    def guess(self, formula: Expr) -> Guess | None:
        """Return a formula in the hyperparameters as a guess; None where it has no value."""
        number = float_value(formula, self.floats())
        if number is None:
            return None
        known = self.named
        value = substitute(formula, lambda n: Num(known[n]) if n in known else None)
        rational = rational_value(value)
        return Guess(number, value if rational is None else Num(rational), formula)

    def factors(self, *, parts: bool = True) -> list[Guess]:
        """Return the factors that formulas are made of, no two of one value."""
        options: list[Expr] = []
        for name, value in self.hypers.items():
            options.append(Name(name))
            if 0 < value < 1:
                options += [one_minus(Name(name)), call("add", ONE, Name(name))]
        options += [Num(value) for value in itertools.islice(self.literals, MOST_LITERALS)]
        for part in self.parts if parts else ():
            options += [part, one_minus(part)]
        found: dict[float, Guess] = {}
        for formula in options:
            guess = self.guess(formula)
            if guess is not None and guess.number and abs(guess.number - 1) > NOTHING:
                found.setdefault(guess.number, guess)
        return list(found.values())


def _on_scalars(expr: Expr) -> bool:
    return all(OPS[n.op].on_scalars for n in walk(expr) if isinstance(n, Call))


def guesses(name: str, x: float, slack: float, known: Constants) -> Iterator[Guess]:
    """Yield exact numbers near `x`, the likeliest first.

    `name` is the hyperparameter that `x` is for, `slack` how far `x` may be off, and `known` are
    the other recipe's numbers.
    """
    limit = max(TOLERANCE * max(abs(x), 1e-4), min(slack, MOST_SLACK * abs(x)))
    close = TOLERANCE * max(abs(x), 1e-4)
    near = [g for g in (*_simple(name, known), *_parts(known)) if abs(x - g.number) <= limit]
    yield from (g for g in near if abs(x - g.number) <= close)
    if abs(x) <= min(slack, NOTHING):
        yield _plain(Fraction(0))
    rounded = [Fraction(f"{x:.{digits}g}") for digits in (1, 2, 3, 4, 6)]
    for within in (close, limit):
        yield from itertools.islice((_plain(r) for r in rounded if abs(x - float(r)) <= within), 1)
    yield from (g for g in near if abs(x - g.number) > close)
    for formula in _products(x, known):
        guess = known.guess(formula)
        if guess is not None:
            yield guess
    for denominator in (100, 10**4, 10**6):
        fraction = Fraction(x).limit_denominator(denominator)
        if abs(x - float(fraction)) <= limit:
            yield _plain(fraction)


def _plain(value: Fraction) -> Guess:
    return Guess(float(value), Num(value), Num(value))


def _simple(name: str, known: Constants) -> Iterator[Guess]:
    """Yield the namesake, 0, 1, and the other hyperparameters."""
    hypers = known.hypers
    if name in hypers:
        yield Guess(float(hypers[name]), Num(hypers[name]), Name(name))
    yield from map(_plain, TRIVIAL)
    for other, value in hypers.items():
        if other != name:
            yield Guess(float(value), Num(value), Name(other))


def _parts(known: Constants) -> Iterator[Guess]:
    for part in known.parts:
        for formula in (part, one_minus(part)):
            guess = known.guess(formula)
            if guess is not None:
                yield guess


def formulas_of(name: str, value: Expr, known: Constants) -> Iterator[Expr]:
    """Yield formulas in `known` whose value is `value`, the likeliest first, then the number."""
    number = float_value(value, {})
    rational = rational_value(value)
    if number is not None and rational not in TRIVIAL:
        for guess in (*_simple(name, known), *_parts(known)):
            if _same(guess, number, rational):
                yield guess.formula
        for formula in _products(number, known):
            product = None if isinstance(formula, Name) else known.guess(formula)
            if product is not None and _same(product, number, rational):
                yield formula
    yield value


def _same(guess: Guess, number: float, rational: Fraction | None) -> bool:
    if isinstance(guess.formula, Num):
        return False
    if rational is not None:
        return guess.rational == rational
    return guess.rational is None and abs(guess.number - number) <= TOLERANCE * abs(number)


def _products(x: float, known: Constants) -> Iterator[Expr]:
    """Yield products and quotients near `x`: of up to three factors, or with one difference."""
    own = known.factors(parts=False)
    for count in range(1, MAX_FACTORS + 1):
        for chosen in itertools.combinations(own, count):
            yield from _near(x, chosen)
    everything = known.factors()
    rates = [factor for factor in own if factor.formula == Name("lr")]
    for pair in itertools.combinations(everything, 2):
        yield from _near(x, pair)
        for rate in rates:
            yield from _near(x, (rate, *pair))
    for difference in _differences(known):
        yield from _near(x, (difference,))
        for factor in everything:
            yield from _near(x, (factor, difference))


def _near(x: float, chosen: Sequence[Guess]) -> Iterator[Expr]:
    for signs in itertools.product((1, -1), repeat=len(chosen)):
        value = 1.0
        for factor, sign in zip(chosen, signs, strict=True):
            value = value * factor.number if sign > 0 else value / factor.number
        if abs(x - value) <= TOLERANCE * abs(x):
            yield _product(chosen, signs)


def _differences(known: Constants) -> Iterator[Guess]:
    for (a, x), (b, y) in itertools.permutations(known.hypers.items(), 2):
        if x > y > 0:
            yield Guess(float(x - y), Num(x - y), sub(Name(a), Name(b)))


def _product(chosen: Sequence[Guess], signs: Sequence[int]) -> Expr:
    above: Expr = ONE
    below: Expr = ONE
    for factor, sign in zip(chosen, signs, strict=True):
        if sign > 0:
            above = mul(above, factor.formula)
        else:
            below = mul(below, factor.formula)
    return div(above, below)


@dataclass(frozen=True)
class LrRule:
    """A learning rate: lr times a number times a shape in `t` and the other's hyperparameters."""

    factor: Guess
    shape: Expr

    @property
    def formula(self) -> Expr:
        """The rule in the other recipe's hyperparameters."""
        return mul(mul(Name("lr"), self.factor.formula), self.shape)

    def expression(self, known: Constants) -> Expr:
        """Return the rule with the numbers of `known` put in."""
        names = {n: v for n, v in known.named.items() if n.id != "lr"}
        guess = known.guess(self.factor.formula) or self.factor
        shape = substitute(self.shape, lambda n: Num(names[n]) if n in names else None)
        return mul(mul(Name("lr"), guess.value), shape)


def guess_gain(gains: Sequence[float], known: Constants) -> Iterator[LrRule]:
    """Yield rules for the gain of each step, made of 1 - h**t, t and what `known` has."""
    steps = range(1, len(gains) + 1)
    parts: list[tuple[Expr, list[float]]] = []
    t = Name("t")
    decays = [g for g in known.factors() if 0 < g.number < 1]
    for guess in decays:
        power = one_minus(call("pow", guess.formula, t))
        parts.append((power, [1 - guess.number**s for s in steps]))
    parts.append((t, [float(s) for s in steps]))
    for expr in known.moving:
        values = [float_value(expr, {**known.floats(), t: float(s)}) for s in steps]
        if all(v is not None and v != 0 for v in values):
            parts.append((expr, [v for v in values if v is not None]))
    shapes: list[tuple[Expr, list[float]]] = [(ONE, [1.0] * len(gains))]
    for expr, numbers in parts:
        shapes.append((expr, numbers))
        shapes.append((div(num(1), expr), [1 / v for v in numbers]))
    for (a, u), (b, w) in itertools.permutations(parts, 2):
        shapes.append((div(a, b), [p / q for p, q in zip(u, w, strict=True)]))
    for expr, numbers in shapes:
        ratios = [g / v for g, v in zip(gains, numbers, strict=True)]
        middle = ratios[-1]
        if middle and all(abs(r - middle) <= GAIN_TOLERANCE * abs(middle) for r in ratios):
            for guess in guesses("", middle, GAIN_TOLERANCE * abs(middle), known):
                yield LrRule(guess, expr)
