"""Finding the hyperparameters under which one recipe moves as another does.

A root of the fit is only a guess until its exact value, a simple number or a formula in the left
recipe's hyperparameters, has passed the exact comparison. A formula is named only when it holds at
other hyperparameters of the left recipe too.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

from optzoo.description.response import Response
from optzoo.equivalence.fit import Fit, OutOfRunsError, Root
from optzoo.equivalence.guess import Guess, formulas_of, guess_gain, guesses
from optzoo.equivalence.sides import Comparison, Conditions, Side, compare, own_lr
from optzoo.errors import InputError
from optzoo.interpreters.linear import LinearDomain, NotLinearError, run_linear
from optzoo.interpreters.random_point import DrawnDomain, DrawnInputs
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Expr, Name, Num, format_number, mul, substitute
from optzoo.program.ir import Program
from optzoo.recipe.recipe import Recipe

MAX_TRIES = 24
FORMULA_DRAWS = 2
RANK_STEPS = 7
Values = Mapping[str, Fraction]
T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """One hyperparameter of the right recipe: its value, and the formula it follows, if known.

    The formula is in the left recipe's hyperparameters, and holds at others than these too.
    """

    name: str
    value: Fraction
    formula: Expr | None = None


@dataclass(frozen=True)
class Substitution:
    """Hyperparameters that make the right recipe the left one, proved by `comparison`.

    `lr` is the learning rate of the right recipe as an expression in that of the left and `t`,
    where a plain number does not do.
    """

    changes: tuple[Change, ...]
    lr: Expr | None
    right: Side
    comparison: Comparison


def find_substitution(
    left: Side,
    right: Recipe,
    conditions: Conditions,
    *,
    fixed: frozenset[str] = frozenset(),
    iterates_only: bool = False,
) -> Substitution | None:
    """Look for hyperparameters of `right`, other than `fixed`, that make it move as `left`.

    None says that none was found, not that there is none.
    """
    needed, possible = _rank(left.undecayed.program, own_values=True), _rank(right.program())
    if needed is not None and possible is not None and needed > possible:
        return None  # the left has more momenta than the right can have
    fit = Fit(left, right, conditions, fixed, iterates_only)
    proof = _Proof(left, right, conditions, iterates_only)
    alike = fit.alike()
    for held in (alike, {}) if alike else ({},):
        for with_gains in (False, True):
            try:
                root = fit.solve(with_gains, held)
            except OutOfRunsError:
                return None
            found = None if root is None else proof.prove(root)
            if found is not None:
                return proof.with_formulas(found)
    return None


def _rank(program: Program, *, own_values: bool = False) -> int | None:
    """Return how many momenta a program has, at its own or drawn values; None if not linear."""
    values = {h.name: h.value for h in program.hypers} if own_values else {}
    rng = random.Random(0)
    domain: LinearDomain[Fraction] = LinearDomain(DrawnDomain(rng))
    inputs = DrawnInputs(program, rng, RANK_STEPS, values)
    try:
        run = run_linear(program, domain, range(1, RANK_STEPS + 1), inputs)
    except NotLinearError:
        return None
    return Response.of(run).rank


class _Proof:
    """From a root to a proof, and from numbers to formulas."""

    def __init__(
        self, left: Side, right: Recipe, conditions: Conditions, iterates_only: bool
    ) -> None:
        self.left, self.right, self.conditions = left, right, conditions
        self.iterates_only = iterates_only
        self.known: Values = {h.name: h.value for h in left.recipe.program().hypers}
        self.left_lr = own_lr(left.recipe.program())

    def prove(self, root: Root) -> Substitution | None:
        """Return the first exact guess at a root that passes the comparison."""
        options: list[list[Guess]] = []
        for name, value in root.values.items():
            near = guesses(name, value, root.slack[name], self.known)
            options.append(_distinct(near) or [Guess(Fraction(value))])
        rules: list[Expr | None] = [None]
        if root.gains is not None:
            firsts = {n: o[0].value for n, o in zip(root.values, options, strict=True)}
            known = {**firsts, **self.known}
            rules = [
                mul(mul(Name("lr"), Num(guess.value)), _in_numbers(shape, known))
                for shape, guess in guess_gain(root.gains, known)
            ]
        tries = itertools.product(rules, _simplest_first(options))
        for rule, chosen in itertools.islice(tries, MAX_TRIES):
            values = {n: g.value for n, g in zip(root.values, chosen, strict=True)}
            lr = values.get("lr")
            if lr is not None and "/" in format_number(lr):  # no decimal is exactly it
                del values["lr"]
                rule = mul(Name("lr"), Num(lr / self.left_lr))
            found = self.check(self.left, values, rule, self.conditions)
            if found is not None:
                return found
        return None

    def check(
        self, left: Side, values: Values, rule: Expr | None, conditions: Conditions
    ) -> Substitution | None:
        """Return these values as a substitution if they pass the comparison."""
        texts: dict[str, float | int | str] = {n: format_number(v) for n, v in values.items()}
        try:
            side = Side(self.right.with_overrides(texts), rule)
            comparison = compare(left, side, conditions)
        except InputError:
            return None
        if comparison.train or (comparison.eval and not self.iterates_only):
            return None
        changes = tuple(Change(n, v) for n, v in values.items())
        return Substitution(changes, rule, side, comparison)

    def with_formulas(self, found: Substitution) -> Substitution:
        """Return the substitution with the formulas that hold at other hyperparameters too."""
        options = [list(formulas_of(c.name, c.value, self.known)) for c in found.changes]
        if found.lr is not None:  # its numbers are those of these hyperparameters
            return found
        others = [self._other_left(seed) for seed in range(FORMULA_DRAWS)]
        for chosen in itertools.islice(_simplest_first(options), MAX_TRIES):
            named = dict(zip((c.name for c in found.changes), chosen, strict=True))
            if all(self._holds(left, named) for left in others):
                changes = tuple(
                    replace(c, formula=f if not isinstance(f, Num) else None)
                    for c, f in zip(found.changes, chosen, strict=True)
                )
                return replace(found, changes=changes)
        return found

    def _other_left(self, seed: int) -> Side:
        """Return the left recipe at other hyperparameters; those that are 0 or 1 stay."""
        rng = random.Random(seed)
        values: dict[str, float | int | str] = {}
        for name, value in self.known.items():
            factor = Fraction(rng.randint(80, 97), 100)
            if value not in (0, 1):
                is_decay = Fraction(1, 2) <= value < 1
                moved = 1 - (1 - value) * factor if is_decay else value * factor
                values[name] = format_number(moved)
        return Side(self.left.recipe.with_overrides(values))

    def _holds(self, left: Side, formulas: Mapping[str, Expr]) -> bool:
        known = {Name(h.name): h.value for h in left.recipe.program().hypers}
        exact = ReferenceDomain("rational")
        values = {}
        for name, formula in formulas.items():
            value = evaluate(formula, exact, known)
            assert isinstance(value, Fraction)
            values[name] = value
        rule = None
        lr = values.get("lr")
        if lr is not None and "/" in format_number(lr):
            del values["lr"]
            rule = mul(Name("lr"), Num(lr / own_lr(left.recipe.program())))
        short = replace(self.conditions, long_steps=0)
        return self.check(left, values, rule, short) is not None


def _distinct(found: Iterator[Guess]) -> list[Guess]:
    by_value: dict[Fraction, Guess] = {}
    for guess in itertools.islice(found, 8):
        by_value.setdefault(guess.value, guess)
    return list(by_value.values())


def _simplest_first(options: Sequence[Sequence[T]]) -> Iterator[tuple[T, ...]]:
    """Yield one choice for each unknown: all first ones, then changes of a single one."""
    first = tuple(o[0] for o in options)
    yield first
    for i, others in enumerate(options):
        for choice in others[1:]:
            yield (*first[:i], choice, *first[i + 1 :])


def _in_numbers(expr: Expr, known: Values) -> Expr:
    return substitute(expr, lambda n: Num(known[n.id]) if n.id in known else None)
