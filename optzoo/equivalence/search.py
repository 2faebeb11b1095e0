"""Finding the hyperparameters under which one recipe moves as another does.

A root of the fit is only a guess until its exact value, a simple number or a formula in the left
recipe's hyperparameters, has passed the exact comparison. A formula is named only when it holds at
other hyperparameters of the left recipe too.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

import numpy as np

from optzoo.equivalence.fitting.batch import UnknownOperationError, has_signs
from optzoo.equivalence.fitting.descent import rms
from optzoo.equivalence.fitting.fit import PROMISING, Fit, Root
from optzoo.equivalence.fitting.guess import (
    NOTHING,
    Constants,
    Guess,
    LrRule,
    formulas_of,
    guess_gain,
    guesses,
    rational_value,
)
from optzoo.equivalence.fitting.refine import refined
from optzoo.equivalence.ranks import too_many_momenta
from optzoo.equivalence.sides import Comparison, Conditions, Side, compare, own_lr
from optzoo.errors import InputError
from optzoo.program.expressions import (
    Expr,
    Name,
    Num,
    div,
    format_expression,
    format_number,
    mul,
    names_in,
    substitute,
)
from optzoo.program.ir import Program
from optzoo.program.parsing import parse_expression
from optzoo.recipe.recipe import Recipe

MAX_TRIES = 8
MAX_COMBINATIONS = 400
MOST_GUESSES = 8
MOST_OTHERS = 20
NEAR = 1e-8
"""A distance in float64 above which an exact guess is not worth a comparison."""
FAR = 1e-3
"""A distance over many steps in float64 at which two trajectories are others."""
FORMULA_DRAWS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """One hyperparameter of the right recipe: its value, and the formula it follows, if known.

    `text` is the exact value as `--set` takes it. The formula is in the left recipe's
    hyperparameters, and holds at others than these too.
    """

    name: str
    value: float
    text: str
    formula: Expr | None = None


@dataclass(frozen=True)
class Substitution:
    """Hyperparameters that make the right recipe the left one, proved by `comparison`.

    `lr` is the learning rate of the right recipe as an expression in that of the left and `t`,
    where a plain number does not do; `lr_formula` the same in the left recipe's hyperparameters,
    if it holds at others too. `general` says that formulas for all that changes hold at other
    hyperparameters of the left recipe.
    """

    changes: tuple[Change, ...]
    lr: Expr | None
    right: Side
    comparison: Comparison
    lr_formula: Expr | None = None
    general: bool = False

    @property
    def lr_moves(self) -> bool:
        """Whether the learning rate is no multiple of the left one."""
        return self.lr is not None and any(n.id == "t" for n in names_in(self.lr))


def find_substitution(
    left: Side,
    right: Recipe,
    conditions: Conditions,
    *,
    fixed: frozenset[str] = frozenset(),
    iterates_only: bool = False,
) -> Substitution | None:
    """Look for hyperparameters of `right`, other than `fixed`, that make it move as `left`.

    None says that none was found, not that there is none; see `too_many_momenta`.
    """
    if too_many_momenta(left, right) is not None:
        return None
    search = Search(left, conditions, iterates_only)
    for variant in search.variants(right, fixed):
        found = search.among(variant, fixed)
        if found is not None:
            return found
    return None


class Search:
    """What is looked for of one left recipe, in any right one."""

    def __init__(self, left: Side, conditions: Conditions, iterates_only: bool = False) -> None:
        self.left, self.conditions, self.iterates_only = left, conditions, iterates_only
        self.constants = Constants(left.recipe.program())

    def variants(self, right: Recipe, fixed: frozenset[str]) -> Iterator[Recipe]:
        """Yield the recipe with what its hyperparameters that are expressions may be.

        Their own expressions, those that the left recipe's hyperparameters are, and numbers.
        """
        knobs = right.hyperparameters
        moving = [n for n, h in knobs.items() if isinstance(h.default, str) and n not in fixed]
        yield right
        if not moving:
            return
        for text in self._own_expressions():
            if any(knobs[n].default != text for n in moving):
                try:
                    yield right.with_overrides(dict.fromkeys(moving, text))
                except InputError:
                    continue
        for start in (1.0, 0.5):
            legal = {n: start for n in moving if start in knobs[n].interval}
            if len(legal) == len(moving):
                yield right.with_overrides(legal)
                return

    def _own_expressions(self) -> Iterator[str]:
        """Yield the left recipe's hyperparameters that read t or T, their numbers put in."""
        known = self.constants.named
        for knob in self.left.recipe.hyperparameters.values():
            if isinstance(knob.default, str):
                expr = parse_expression(knob.default)
                expr = substitute(expr, lambda n: Num(known[n]) if n in known else None)
                if all(n.id in ("t", "T") for n in names_in(expr)):
                    yield format_expression(expr)

    def fit(self, right: Recipe, fixed: frozenset[str] = frozenset()) -> Fit:
        """Return the least-squares problem of one right recipe."""
        return Fit(
            self.left,
            right,
            self.conditions,
            fixed,
            self.iterates_only,
            self.constants.numbers(),
        )

    def among(
        self,
        right: Recipe,
        fixed: frozenset[str] = frozenset(),
        *,
        with_gains: bool | None = None,
    ) -> Substitution | None:
        """Look for hyperparameters of one right recipe.

        `with_gains` says whether the learning rate is freed at every step, by default last.
        """
        try:
            fit = self.fit(right, fixed)
            alike = fit.alike()
            for freed in (False, True) if with_gains is None else (with_gains,):
                for held in (alike, {}) if alike else ({},):
                    root = fit.solve(freed, held)
                    if not (root.found or freed) and root.error < PROMISING:
                        root = self._sharpened(fit, root, held)
                    found = self.prove(right, fit, root) if root.found else None
                    if found is not None:
                        return found
        except UnknownOperationError:
            pass
        return None

    def _sharpened(self, fit: Fit, root: Root, held: Mapping[str, float]) -> Root:
        """Return a root that float64 comes near to and does not reach, found in decimals."""
        found = self.refined(fit.program, root, held)
        return root if found is None else fit.at({n: float(v) for n, v in found.items()}, held)

    def refined(
        self, right: Program, root: Root, held: Mapping[str, float]
    ) -> dict[str, Fraction] | None:
        """Return a root in sixty digits; None where there is none near."""
        courses = replace(self.conditions, spread=False).courses()
        free = {n: x for n, x in root.values.items() if n not in held}
        program = right.with_values({n: Fraction(repr(x)) for n, x in held.items()})
        try:
            found = refined(self.left.program, program, courses, free)
        except (ArithmeticError, ValueError):  # no value near the root
            return None
        if found is None:
            return None
        return {**found, **{n: Fraction(repr(x)) for n, x in held.items()}}

    def prove(self, right: Recipe, fit: Fit, root: Root) -> Substitution | None:
        """Return the first exact guess at a root that passes the comparison, with its formulas."""
        return _Proof(self, right, fit).prove(root)


class _Proof:
    """From a root to a proof, and from numbers to formulas."""

    def __init__(self, search: Search, right: Recipe, fit: Fit) -> None:
        self.search, self.right, self.fit = search, right, fit
        self.known = search.constants
        self.left_program = search.left.program
        self.parts_later = False

    def prove(self, root: Root) -> Substitution | None:
        """Return the first exact guess at a root that passes the comparison."""
        names = list(root.values)
        idle = {n for n, x in root.values.items() if root.slack[n] > max(abs(x), 1e-3)}
        options = [self._options(n, x, root, n in idle) for n, x in root.values.items()]
        rules: list[LrRule | None] = [None]
        if root.gains is not None:
            rules = [*itertools.islice(guess_gain(root.gains, self.known), MOST_GUESSES)]
        near = self._near(names, options, root)
        for rule, chosen in itertools.islice(itertools.product(rules, near), MAX_TRIES):
            values = dict(zip(names, chosen, strict=True))
            found = self._check(self.search, values, rule)
            if found is not None:
                return self._with_formulas(found, values, rule, idle)
        if root.gains is not None or self.parts_later:
            return None
        return self._to_all_digits(root)

    def _to_all_digits(self, root: Root) -> Substitution | None:
        """Return numbers in sixty digits, where none that is simple passed the comparison."""
        found = self.search.refined(self.right.program(), root, {})
        if found is None:
            return None
        values = {n: _plain(root.values[n], root.slack[n], v) for n, v in found.items()}
        return self._check(self.search, values, None)

    def _options(self, name: str, x: float, root: Root, idle: bool) -> list[Guess]:
        """Return exact numbers near an unknown; for one that is `idle` so far, any that is known.

        What makes no difference in the first steps may make one later.
        """
        found = _distinct(guesses(name, x, root.slack[name], self.known)) or [_as_it_is(x)]
        if idle:
            allows = self.fit.unknowns[name].allows
            seen = {_text(g) for g in found}
            others = (g for g in self.known.factors() if allows(g.number) and _text(g) not in seen)
            found += itertools.islice(others, MOST_OTHERS)
        return found

    def _near(
        self, names: Sequence[str], options: Sequence[Sequence[Guess]], root: Root
    ) -> list[tuple[Guess, ...]]:
        """Return the choices at which float64 sees no difference, the simplest first."""
        choices = list(itertools.islice(_simplest_first(options), MAX_COMBINATIONS))
        gains = root.gains or ()
        vectors = np.asarray([[*(g.number for g in choice), *gains] for choice in choices])
        errors = rms(self.fit.residual(names, vectors, root.gains is not None))
        kept = [c for c, e in zip(choices, errors, strict=True) if e < NEAR]
        if root.gains is not None or not kept:
            return kept
        vectors = np.asarray([[g.number for g in choice] for choice in kept])
        far = rms(self.fit.long_residual(names, vectors))
        if float(far.min()) > FAR:  # they part later; but a sign may turn by rounding alone
            self.parts_later = not (has_signs(self.fit.program) and has_signs(self.left_program))
            return [] if self.parts_later else kept[:1]
        return [c for c, e in zip(kept, far, strict=True) if e <= max(NEAR, 10 * far.min())]

    def _check(
        self, search: Search, values: Mapping[str, Guess], rule: LrRule | None, *, long: bool = True
    ) -> Substitution | None:
        """Return these values as a substitution if they pass the comparison."""
        left, known = search.left, search.constants
        lr = None if rule is None else rule.expression(known)
        given = dict(values)
        if "lr" in given and "/" in _text(given["lr"]):  # no decimal is exactly it
            lr = mul(Name("lr"), _quotient(given.pop("lr").value, own_lr(left.recipe.program())))
        texts = {n: _text(guess) for n, guess in given.items()}
        short = replace(search.conditions, long_steps=0)
        try:
            side = Side(self.right.with_overrides(texts), lr)
            for conditions in (short, search.conditions) if long else (short,):
                comparison = compare(left, side, conditions)
                if comparison.train or (comparison.eval and not search.iterates_only):
                    return None
        except InputError:
            return None
        changes = tuple(Change(n, g.number, _text(g)) for n, g in given.items())
        return Substitution(changes, lr, side, comparison)

    # ------------------------------------------------------------ formulas

    def _with_formulas(
        self,
        found: Substitution,
        values: Mapping[str, Guess],
        rule: LrRule | None,
        idle: Container[str],
    ) -> Substitution:
        """Return the substitution with the formulas that hold at other hyperparameters too.

        What is `idle` makes no difference, and has no formula.
        """
        names = list(values)
        options = [
            [g.value]
            if n in idle
            else list(itertools.islice(formulas_of(n, g.value, self.known), MOST_GUESSES))
            for n, g in values.items()
        ]
        choices = list(itertools.islice(_simplest_first(options), MAX_COMBINATIONS))
        for chosen in self._holding(names, choices, rule)[:MAX_TRIES]:
            if all(self._holds(other, names, chosen, rule) for other in self._others):
                formulas = {n: f for n, f in zip(names, chosen, strict=True) if any(names_in(f))}
                changes = tuple(replace(c, formula=formulas.get(c.name)) for c in found.changes)
                lr_formula = None
                if found.lr is not None:
                    lr_formula = formulas.get("lr") if rule is None else rule.formula
                return replace(found, changes=changes, lr_formula=lr_formula, general=True)
        return found

    @cached_property
    def _others(self) -> list[Search]:
        """The left recipe at other hyperparameters; those that are 0 or 1 stay."""
        found = []
        for seed in range(FORMULA_DRAWS):
            rng = random.Random(seed)
            values: dict[str, float | int | str] = {}
            for name, value in self.known.hypers.items():
                factor = Fraction(rng.randint(80, 97), 100)
                if value not in (0, 1):
                    is_decay = Fraction(1, 2) <= value < 1
                    moved = 1 - (1 - value) * factor if is_decay else value * factor
                    values[name] = format_number(moved)
            with suppress(InputError):  # outside an interval
                side = Side(self.search.left.recipe.with_overrides(values))
                found.append(Search(side, self.search.conditions, self.search.iterates_only))
        return found

    def _holding(
        self, names: Sequence[str], choices: Sequence[tuple[Expr, ...]], rule: LrRule | None
    ) -> list[tuple[Expr, ...]]:
        """Return the formulas at which float64 sees no difference at other hyperparameters."""
        left = list(choices)
        if rule is not None:  # learning rates that move are left to the comparison
            return left
        for other in self._others:
            kept, rows = [], []
            for formulas in left:
                values = [other.constants.guess(f) for f in formulas]
                if all(v is not None for v in values):
                    kept.append(formulas)
                    rows.append([v.number for v in values if v is not None])
            if not rows:
                return []
            errors = rms(other.fit(self.right).residual(names, np.asarray(rows), False))
            left = [f for f, e in zip(kept, errors, strict=True) if e < NEAR]
        return left

    def _holds(
        self, other: Search, names: Sequence[str], formulas: Sequence[Expr], rule: LrRule | None
    ) -> bool:
        found = {n: other.constants.guess(f) for n, f in zip(names, formulas, strict=True)}
        values = {n: g for n, g in found.items() if g is not None}
        if len(values) < len(names):
            return False
        return self._check(other, values, rule, long=False) is not None


def _plain(near: float, slack: float, value: Fraction) -> Guess:
    """Return a refined number; 0 where that is as near, and what makes no difference as it was."""
    if abs(near) <= min(slack, NOTHING):
        value = Fraction(0)
    elif slack > abs(near):
        value = Fraction(repr(near))
    return Guess(float(value), Num(value), Num(value))


def _quotient(a: Expr, b: Fraction) -> Expr:
    exact = rational_value(a)
    return div(a, Num(b)) if exact is None else Num(exact / b)


def _text(guess: Guess) -> str:
    exact = guess.rational
    return format_expression(guess.value) if exact is None else format_number(exact)


def _as_it_is(x: float) -> Guess:
    return Guess(x, Num(Fraction(x)), Num(Fraction(x)))


def _distinct(found: Iterator[Guess]) -> list[Guess]:
    by_value: dict[str, Guess] = {}
    for guess in itertools.islice(found, 3 * MOST_GUESSES):
        by_value.setdefault(_text(guess), guess)
    return list(by_value.values())[:MOST_GUESSES]


def _simplest_first(options: Sequence[Sequence[T]]) -> Iterator[tuple[T, ...]]:
    """Yield one choice for each unknown: the first ones, then later ones, by how late they are."""
    most = sum(len(o) - 1 for o in options)
    for total in range(most + 1):
        yield from (
            tuple(o[i] for o, i in zip(options, places, strict=True))
            for places in _places([len(o) for o in options], total)
        )


def _places(sizes: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    """Yield all indices below `sizes` that add up to `total`."""
    if not sizes:
        if total == 0:
            yield ()
        return
    for first in range(min(sizes[0] - 1, total) + 1):
        for rest in _places(sizes[1:], total - first):
            yield (first, *rest)
