"""Which shipped recipe is this one, and at which hyperparameters? Else, which are near?

Every shipped recipe is asked in turn: what its traits forbid is left out, a few short descents say
how near the rest can come, and where they meet the hyperparameters are proved as `equiv` proves
them. What is no special case of a shipped recipe is then asked the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from optzoo.equivalence.cause import Cause, find_cause
from optzoo.equivalence.fitting.batch import UnknownOperationError
from optzoo.equivalence.fitting.fit import Root
from optzoo.equivalence.ranks import too_many_momenta
from optzoo.equivalence.search import Change, Search, Substitution
from optzoo.equivalence.sides import Conditions, Side
from optzoo.errors import InputError
from optzoo.files.shipped import shipped
from optzoo.identification.traits import Traits, possible_traits, traits_of
from optzoo.program.arithmetic import NotRealError
from optzoo.program.expressions import names_in, walk
from optzoo.program.parsing import parse_expression
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe, load_recipe

T = TypeVar("T")
Watch = Callable[[Sequence[str]], Iterable[str]]
"""Passes names on, one after the other, and may show how far it has come."""

WORTH_A_SEARCH = 0.02
"""A distance after a glance, relative to the move, up to which a full search follows."""
MOST_SEARCHES = 12
MET = 1e-7
"""A distance at which a glance has found a root, but for its last steps."""
MOST_MATCHES = 4
MOST_GAINS = 32
"""Recipes of which learning rates of another shape are tried."""
MOST_NEAREST = 3
MOST_CONTAINED = 4
DIGITS = 4


@dataclass(frozen=True)
class Match:
    """A shipped recipe that is the same method, and at which hyperparameters of `right`.

    That is the shipped recipe, or the one asked about if that contains it. `special` counts
    hyperparameters that had to be put at 0, at 1 or equal to another.
    """

    recipe: Recipe
    right: Recipe
    substitution: Substitution
    special: int

    @property
    def name(self) -> str:
        """The shipped recipe's name."""
        return self.recipe.name

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is not at its default."""
        knobs = self.right.hyperparameters
        return tuple(c for c in self.substitution.changes if c.value != knobs[c.name].default)

    @property
    def lr_moves(self) -> bool:
        """Whether its learning rate is no multiple of that of the recipe asked about."""
        return self.substitution.lr_moves

    @property
    def order(self) -> tuple[float, ...]:
        """Smaller is the better name: nothing special, few buffers, few hyperparameters."""
        program = self.recipe.program()
        effort = self.special + 2 * self.lr_moves
        buffers, knobs = len(program.tensor_states), len(program.hypers)
        length = sum(len(list(walk(c.formula or parse_expression(c.text)))) for c in self.changes)
        return (effort, buffers, length + knobs, len(self.name), len(program.lines))


@dataclass(frozen=True)
class Near:
    """A shipped recipe that is none, how near it was seen to come, where, and what parts the two.

    `distance` is the root mean square over ten steps, relative to the largest move.
    """

    name: str
    distance: float
    settings: dict[str, float]
    cause: Cause | None


@dataclass(frozen=True)
class Identification:
    """What is known of a recipe: the shipped ones that it is, the best name first; or the nearest.

    `contained` are shipped recipes, at their defaults, that the recipe becomes at other
    hyperparameters of its own. `iterates_only` says that evaluation points were left out;
    `evaluated_elsewhere` that no match has the same ones.
    """

    recipe: Recipe
    matches: tuple[Match, ...]
    contained: tuple[Match, ...]
    nearest: tuple[Near, ...]
    shipped: int
    iterates_only: bool
    evaluated_elsewhere: bool = False

    @property
    def known(self) -> bool:
        """Whether the recipe is a shipped one, up to its learning rate."""
        return bool(self.matches)

    @property
    def name(self) -> str | None:
        """The name of the shipped recipe that it is."""
        return self.matches[0].name if self.matches else None


def identify(
    recipe: Recipe, *, iterates_only: bool = False, watch: Watch = lambda names: names
) -> Identification:
    """Say which shipped recipe this is at its hyperparameters, or what is near.

    Evaluation points count unless `iterates_only`; where they alone differ, that is said. Raises
    InputError where the recipe has no value.
    """
    conditions = Conditions()
    recipe.check_steps(conditions.long_steps, total_steps=conditions.long_steps)
    known = {name: load_recipe(name) for name in sorted(shipped())}
    found = _Enquiry(recipe, known, conditions, iterates_only)
    matches, glances = found.matches(watch)
    elsewhere = False
    if not matches and not iterates_only:
        bare = _Enquiry(recipe, known, conditions, iterates_only=True, asked_before=True)
        matches, _ = bare.matches(watch, plain_only=True)
        elsewhere = bool(matches)
    contained = () if matches else found.contained(watch)
    nearest = () if matches else found.nearest(glances or found.glance_at_all(watch))
    return Identification(recipe, matches, contained, nearest, len(known), iterates_only, elsewhere)


class _Enquiry:
    """One recipe beside the shipped ones.

    `asked_before` says that evaluation points counted before, and were in the way.
    """

    def __init__(
        self,
        recipe: Recipe,
        known: dict[str, Recipe],
        conditions: Conditions,
        iterates_only: bool,
        asked_before: bool = False,
    ) -> None:
        self.recipe, self.known, self.conditions = recipe, known, conditions
        self.iterates_only, self.asked_before = iterates_only, asked_before
        self.left = Side(recipe)
        self.search = Search(self.left, conditions, iterates_only)

    # ------------------------------------------------------------ is it one of them?

    def matches(
        self, watch: Watch, *, plain_only: bool = False
    ) -> tuple[tuple[Match, ...], dict[str, Root]]:
        """Return the shipped recipes that it is, and how near each of them came.

        Learning rates of another shape are tried after all others, unless `plain_only`.
        """
        possible = self._possible()
        glances: dict[str, Root] = {}
        for with_gains in (False,) if plain_only else (False, True):
            names = sorted(possible, key=lambda n: glances[n].error if n in glances else 0.0)
            seen = self._glance(watch(names[:MOST_GAINS] if with_gains else names), with_gains)
            glances = glances or seen
            found: list[Match] = []
            for name in self._worth(seen):
                if len(found) == MOST_MATCHES or (found and seen[name].error > MET):
                    break
                match = self._match(name, with_gains)
                if match is not None:
                    found.append(match)
            if found:
                return tuple(sorted(found, key=lambda m: m.order)), glances
        return (), glances

    def _possible(self) -> list[str]:
        """Return the shipped recipes that it may be, for all that a look at its traits says."""
        own = self._traits(self.left)
        if own is None:
            return list(self.known)
        found = []
        for name, other in self.known.items():
            try:
                traits = possible_traits(other)
            except UnknownOperationError:  # nothing says that it may not be
                found.append(name)
                continue
            if self.asked_before and not (own.evaluates_elsewhere or traits.evaluates_elsewhere):
                continue
            if traits.can_be(own, self.iterates_only) and self._has_momenta(other):
                found.append(name)
        return found

    def _worth(self, seen: dict[str, Root]) -> list[str]:
        """Return the recipes that came near, those that met first, the simplest of them first."""

        def order(name: str) -> tuple[float, ...]:
            program, error = self.known[name].program(), seen[name].error
            if error > MET:
                return (1, error)
            return (0, len(program.tensor_states), len(program.hypers))

        names = [n for n in seen if seen[n].error <= WORTH_A_SEARCH]
        return sorted(names, key=order)[:MOST_SEARCHES]

    def _has_momenta(self, other: Recipe) -> bool:
        return too_many_momenta(self.left, other) is None

    def _traits(self, side: Side) -> Traits | None:
        try:
            return traits_of(side.program)
        except UnknownOperationError:
            return None

    def glance_at_all(self, watch: Watch) -> dict[str, Root]:
        """Return how near every shipped recipe comes, whatever its traits."""
        return self._glance(watch(list(self.known)), with_gains=False)

    def _glance(self, names: Iterable[str], with_gains: bool) -> dict[str, Root]:
        found: dict[str, Root] = {}
        for name in names:
            for variant in self.search.variants(self.known[name], frozenset()):
                with suppress(UnknownOperationError, InputError, NotRealError):
                    fit = self.search.fit(variant)
                    root = fit.plain(fit.glance(with_gains))
                    if name not in found or root.error < found[name].error:
                        found[name] = root
        return found

    def _match(self, name: str, with_gains: bool) -> Match | None:
        for variant in self.search.variants(self.known[name], frozenset()):
            found = self.search.among(variant, with_gains=with_gains)
            if found is not None:
                special = _special(found, self.known[name])
                return Match(self.known[name], self.known[name], found, special)
        return None

    # ------------------------------------------------------------ what it contains, what is near

    def contained(self, watch: Watch) -> tuple[Match, ...]:
        """Return shipped recipes at their defaults that this one becomes at other settings."""
        try:
            possible = possible_traits(self.recipe)
        except UnknownOperationError:
            return ()
        seen: dict[str, tuple[float, Search]] = {}
        for name in watch(list(self.known)):
            other = Side(self._without_decay(self.known[name]))
            own = self._traits(other)
            if own is None or not possible.can_be(own, self.iterates_only):
                continue
            if too_many_momenta(other, self.recipe) is not None:
                continue
            search = Search(other, self.conditions, self.iterates_only)
            with suppress(UnknownOperationError, InputError, NotRealError):
                seen[name] = search.fit(self.recipe).glance(False).error, search
        found: list[Match] = []
        for name in sorted(seen, key=lambda n: seen[n][0])[:MOST_SEARCHES]:
            if seen[name][0] <= WORTH_A_SEARCH and len(found) < MOST_CONTAINED:
                there = seen[name][1].among(self.recipe, with_gains=False)
                if there is not None:
                    special = _special(there, self.recipe)
                    found.append(Match(seen[name][1].left.recipe, self.recipe, there, special))
        return tuple(sorted(found, key=lambda m: m.order))

    def _without_decay(self, other: Recipe) -> Recipe:
        """Return a shipped recipe without weight decay, if the one asked about has none."""
        decays = [n for n in _decays(other) if other.hyperparameters[n].default]
        if not decays or _decays(self.recipe):
            return other
        return other.with_overrides(dict.fromkeys(decays, 0.0))

    def nearest(self, glances: dict[str, Root]) -> tuple[Near, ...]:
        """Return the shipped recipes that came nearest, and what parts them from this one."""
        names = sorted(glances, key=lambda n: glances[n].error)[:MOST_NEAREST]
        return tuple(self._near(name, glances[name]) for name in names)

    def _near(self, name: str, root: Root) -> Near:
        other = self.known[name]
        values = {n: float(f"{x:.{DIGITS}g}") for n, x in root.values.items()}
        knobs = other.hyperparameters
        settings = {
            n: x for n, x in values.items() if x != knobs[n].default and x in knobs[n].interval
        }
        cause = None
        with suppress(InputError, ArithmeticError):
            there = Side(other.with_overrides(dict(settings)))
            cause = find_cause(self.left, there, replace(self.conditions, long_steps=0))
        return Near(name, root.error, settings, cause)


def _decays(recipe: Recipe) -> list[str]:
    """Return the hyperparameters that the weight decay reads."""
    uses = (use for use in uses_of(recipe.spec) if use.loc[0] == "weight_decay")
    names = {name.id for use in uses for name in names_in(use.expr)}
    return sorted(names & {*recipe.hyperparameters} - {"lr"})


def _special(found: Substitution, recipe: Recipe) -> int:
    """Count the hyperparameters at 0, at 1 or equal to another where the default is not.

    A weight decay that is off is nothing special.
    """
    knobs = recipe.hyperparameters
    plain = {"lr", *_decays(recipe)}
    changes = [c for c in found.changes if c.value != knobs[c.name].default]
    ends = sum(c.value in (0.0, 1.0) and c.name not in plain for c in changes)
    inner = [c.value for c in found.changes if c.value not in (0.0, 1.0)]
    defaults = [knobs[c.name].default for c in found.changes if c.value not in (0.0, 1.0)]
    ties = (len(inner) - len(set(inner))) - (len(defaults) - len(set(defaults)))
    return ends + max(0, ties)
