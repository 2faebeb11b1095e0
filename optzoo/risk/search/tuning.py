"""The hyperparameters with the least expected risk, certified.

Each optimum starts from Halton's points, the recipe's own values and the optima of the batch sizes
beside it; the simplex takes the best of these down. What may still be wrong is looked for, and
told: a family must do no worse than itself with one knob held at its own value (nesting), no worse
from its neighbours' optima, and no worse than differential evolution finds; and an optimum on a
bound of the search is no optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from optzoo.errors import Diagnostic, InputError
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.recipe.values import Value, check_total_steps
from optzoo.risk.expected import LinearRecipe, checked_steps
from optzoo.risk.regression.problem import Problem
from optzoo.risk.regression.spectra import Vector
from optzoo.risk.search.knobs import Knob, find_knobs, freed
from optzoo.risk.search.minimise import Box, Minimum, best_of, differential_evolution, nelder_mead

POINTS, MOST_POINTS = {1: 24, 2: 96, 3: 256}, 512
"""Points that a search begins with, by the number of knobs; beside a neighbour's optimum 96 do."""
STARTS = 3
"""How many of them are taken down."""
EVALUATIONS = 300
"""Bound of one descent, for each knob."""
ROUGHLY, FINELY = 1e-3, 1e-8
"""Relative differences of the risk that end a descent: of all starts, and of the best."""
AGREED = 3e-3
"""Where the descents of a search end within that, there is one bottom."""
FIRST_LENGTH = 1_000
"""Steps that the search for the shortest run begins with."""
NEAR, POINTS_NEAR, STARTS_NEAR = 0.25, 48, 12
"""Half the side of the box around an optimum, its points for each knob, and how many go down."""
ROUNDS = 6
"""How often what lies around is looked at, at most."""
NOTICED = 1e-6
"""A relative improvement that counts as one in a certificate."""
EVOLUTION = "differential evolution"
"""Stands among the knobs for what held none: no knob has a blank in its name."""
SMALLEST = -300 * math.log(10)
"""The logarithm of the least risk that is tuned: float64 ends there."""
DIVERGED = 1e4
"""A run ends when its risk is that many times the start and the noise."""


@dataclass(frozen=True)
class Certificate:
    """What was tried against an optimum, each as the factor by which the risk fell; 1 is none.

    `nesting` are the least risks with one knob at the recipe's own value, over the optimum;
    `evolution` is what differential evolution found, over it. Both are at least 1 - 1e-6.
    """

    bounds: Mapping[str, str] = field(default_factory=dict)
    nesting: Mapping[str, float] = field(default_factory=dict)
    evolution: float | None = None
    evaluations: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bounds": dict(self.bounds),
            "nesting": dict(self.nesting),
            "evolution": self.evolution,
            "evaluations": self.evaluations,
        }


@dataclass(frozen=True)
class Tuned:
    """The best hyperparameters of a recipe at one batch size and length.

    `values` are the tuned ones, `hyperparameters` all; `rates` those that are learning rates, in
    units of the critical one.
    """

    recipe: str
    view: str
    batch: float
    steps: int
    risk: float
    values: Mapping[str, float]
    hyperparameters: Mapping[str, float | str]
    rates: Mapping[str, float]
    certificate: Certificate


class _Family:
    """The risk of a recipe at one batch size, as a function of its knobs."""

    def __init__(self, seen: LinearRecipe, knobs: Sequence[Knob], problem: Problem, steps: int):
        self.seen, self.knobs, self.problem, self.steps = seen, list(knobs), problem, steps
        self.limit = DIVERGED * (2 * problem.start_risk + problem.label_noise)
        self.box = Box(
            np.array([knob.low for knob in knobs]), np.array([knob.high for knob in knobs])
        )
        self.evaluations = 0

    def values(self, point: Vector) -> dict[str, float]:
        """Return the hyperparameters at a point."""
        return {knob.name: knob.value(float(z)) for knob, z in zip(self.knobs, point, strict=True)}

    def point(self, values: Mapping[str, float]) -> Vector:
        """Return the point of hyperparameters."""
        return np.array([knob.variable(values[knob.name]) for knob in self.knobs])

    def __call__(self, point: Vector) -> float:
        """Return the logarithm of the risk."""
        self.evaluations += 1
        try:
            (risk,) = self.seen.risks(
                self.problem,
                [self.steps],
                self.steps,
                self.values(point),
                limit=self.limit,
                quick=True,
            )
        except InputError:  # a scalar has no value there
            return math.inf
        return math.log(risk) if 0 < risk < math.inf else (math.inf if risk else -math.inf)

    def descend(self, start: Vector, tolerance: float, wide: float) -> Minimum:
        """Return where a descent from a point ends; `wide` is the first step, in boxes."""
        width = wide * (self.box.high - self.box.low)
        return nelder_mead(self, self.box, start, width, EVALUATIONS * self.box.size, tolerance)

    def search(self, starts: Sequence[Vector], points: int) -> Minimum:
        """Return the best of the descents from given starts and from points all over the box."""
        given = best_of(self, starts, len(starts))
        spread = best_of(self, self.box.halton(points), STARTS) if points else []
        if not given and not spread:
            return Minimum(starts[0], math.inf)
        found = [self.descend(each.point, ROUGHLY, 0.04) for each in [*given, *spread]]
        values = [each.value for each in found]
        best = self.polish(min(found, key=lambda each: each.value))
        agreed = points and max(values) - min(values) < AGREED
        return best if agreed or not points else self.look_around(best)

    def polish(self, found: Minimum) -> Minimum:
        """Return the bottom of where a descent has ended, by two simplices of other sizes.

        In a narrow valley one may contract to a point that is none.
        """
        return self.descend(self.descend(found.point, FINELY, 0.004).point, FINELY, 0.02)

    def look_around(self, optimum: Minimum) -> Minimum:
        """Return the best of the bottoms near an optimum, from there again while that helps.

        Where little is noise the risk oscillates with the phase that a momentum ends in, and has
        as many bottoms as phases.
        """
        for _ in range(ROUNDS):
            low, high = optimum.point - NEAR, optimum.point + NEAR
            around = Box(self.box.inside(low), self.box.inside(high))
            points = best_of(self, around.halton(POINTS_NEAR * self.box.size), STARTS_NEAR)
            found = [self.descend(each.point, ROUGHLY, 0.002) for each in points]
            best = min(found, key=lambda each: each.value, default=optimum)
            if not best.value < optimum.value + ROUGHLY:
                return optimum
            best = self.polish(best)
            if not best.value < optimum.value - NOTICED:
                return optimum
            optimum = best
        return optimum

    def without(self, i: int, value: float) -> tuple[_Family, Callable[[Vector], Vector]]:
        """Return the family with one knob held, and how its points lie in this one."""
        held = self.knobs[i].variable(value)
        rest = [knob for j, knob in enumerate(self.knobs) if j != i]
        smaller = _Held(self, i, held, rest)
        return smaller, lambda point: np.insert(point, i, held)


class _Held(_Family):
    """A family with one knob held at `z`."""

    def __init__(self, whole: _Family, place: int, z: float, rest: Sequence[Knob]) -> None:
        super().__init__(whole.seen, rest, whole.problem, whole.steps)
        self.whole, self.place, self.z = whole, place, z

    def __call__(self, point: Vector) -> float:
        return self.whole(np.insert(point, self.place, self.z))


def tune(
    recipe: Recipe | str | Path,
    problem: Problem | Mapping[str, Any] | None = None,
    *,
    knobs: Sequence[str] = ("all",),
    steps: int,
    batches: Sequence[float] | None = None,
    view: str = "eval",
    lr_schedule: str = "constant",
    certify: bool = True,
    **hyperparameters: Value,
) -> list[Tuned]:
    """Return the hyperparameters with the least expected risk after `steps` steps, by batch size.

    `knobs` are names, or `all`: every number that the risk depends on. `batches` is the batch of
    the problem if left out. `certify` adds differential evolution and nesting. Raises
    InputError for knobs that are none, and where the risk underflows.
    """
    base = Problem.of(problem)
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    found = found.with_overrides(hyperparameters)
    sizes = [base.batch] if batches is None else list(batches)
    lengths = dict.fromkeys(sizes, steps)
    return tune_curve(found, base, lengths, knobs, view, lr_schedule, certify=certify)


def tune_curve(
    recipe: Recipe,
    base: Problem,
    lengths: Mapping[float, int],
    names: Sequence[str],
    view: str,
    lr_schedule: str = "constant",
    *,
    certify: bool = True,
) -> list[Tuned]:
    """Return what `tune` does, with a number of steps for each batch size."""
    checked_steps(list(lengths.values()))
    for steps in lengths.values():
        check_total_steps(steps)
    families, own = _families(recipe, base, lengths, names, view, lr_schedule)
    optima: list[Minimum] = []
    for family in families:  # upwards, each from the optimum before it
        starts = [family.point(own)]
        points = POINTS.get(family.box.size, MOST_POINTS)
        if optima:
            starts.append(family.point(families[len(optima) - 1].values(optima[-1].point)))
            points = min(points, POINTS[2])
        optima.append(family.search(starts, points))
        if not math.isfinite(optima[-1].value) or optima[-1].value < SMALLEST:
            raise _no_value(family, optima[-1])
    tried: list[dict[str, float]] = [{} for _ in families]
    if certify:
        for i, family in enumerate(families):
            optima[i], tried[i] = _with_one_held(family, optima[i], own)
        middle = len(families) // 2
        optima[middle], tried[middle][EVOLUTION] = _evolved(families[middle], optima[middle])
    _exchange(families, optima)
    return [
        _tuned(family, optimum, recipe, values)
        for family, optimum, values in zip(families, optima, tried, strict=True)
    ]


def tune_to_risk(
    recipe: Recipe,
    base: Problem,
    longest: Mapping[float, int],
    names: Sequence[str],
    view: str,
    risk: float,
    lr_schedule: str = "constant",
) -> list[tuple[Tuned, bool]]:
    """Return the shortest runs whose best hyperparameters reach a risk, by batch size.

    `longest` bounds the steps, batch by batch. Each comes with whether it reaches the risk: one
    that does not is the longest. The risk of the best hyperparameters is close to a power of the
    steps, and the bracket around the shortest run closes to one in a thousand.
    """
    found: list[tuple[Tuned, bool]] = []
    known: list[Mapping[str, float]] = []

    def at(batch: float, steps: int) -> Tuned:
        """Return the best at a length, from the optima known so far."""
        (family,), own = _families(recipe, base, {batch: steps}, names, view, lr_schedule)
        starts = [family.point(values) for values in [own, *known[-2:]]]
        optimum = family.search(
            starts, POINTS.get(family.box.size, MOST_POINTS) if not known else 0
        )
        if not math.isfinite(optimum.value):
            raise _no_value(family, optimum)
        known.append(family.values(optimum.point))
        return _tuned(family, optimum, recipe, {})

    for batch, last in longest.items():
        below: Tuned | None = None
        above: Tuned | None = None
        guess = found[-1][0].steps if found and found[-1][1] else FIRST_LENGTH
        halve = False
        while True:
            tuned = at(batch, min(guess, last))
            if tuned.risk > risk:
                above = tuned
            else:
                below = tuned
            if below is None:
                if tuned.steps >= last:
                    found.append((tuned, False))
                    break
                guess = 3 * tuned.steps
                continue
            if below.steps - (above.steps if above else 0) <= max(1, below.steps // 1000):
                found.append((below, True))
                break
            guess = (
                max(1, below.steps // 3) if above is None else _between(above, below, risk, halve)
            )
            halve = not halve
    return found


def _between(above: Tuned, below: Tuned, risk: float, halve: bool) -> int:
    """Return a length between one whose risk is above the wanted and one whose risk is below."""
    part = 0.5
    if not halve and above.risk > below.risk:
        part = math.log(above.risk / risk) / math.log(above.risk / below.risk)
    length: float = above.steps * (below.steps / above.steps) ** part
    wish = round(1.0003 * length)  # rather a little above: then the bracket closes from both sides
    return min(max(wish, above.steps + 1), below.steps - 1)


def _no_value(family: _Family, optimum: Minimum) -> InputError:
    batch = family.problem.batch
    if optimum.value > 0:
        return InputError(
            Diagnostic("diverges", f"every setting that was tried at batch {batch:g} diverges")
        )
    message = f"the risk at batch {batch:g} is below 1e-300: nothing to tune"
    hint = "add noise, take fewer steps, or ask for `--to-risk`"
    return InputError(Diagnostic("underflow", message, hint=hint))


def _families(
    recipe: Recipe,
    base: Problem,
    lengths: Mapping[float, int],
    names: Sequence[str],
    view: str,
    lr_schedule: str,
) -> tuple[list[_Family], dict[str, float]]:
    """Return a family for each batch size, and the recipe's own values of the knobs."""
    families = []
    seen: LinearRecipe | None = None
    own: dict[str, float] = {}
    for batch, steps in lengths.items():
        problem = replace(base, batch=batch)
        knobs = find_knobs(recipe, view, names, problem, steps)
        if seen is None:
            free = freed(recipe, [knob.name for knob in knobs])
            seen = LinearRecipe.of(free, view, lr_schedule=lr_schedule)
            for knob in knobs:
                default = recipe.hyperparameters[knob.name].default
                own[knob.name] = float(
                    free.hyperparameters[knob.name].default if isinstance(default, str) else default
                )
        families.append(_Family(seen, knobs, problem, steps))
    return families, own


def _with_one_held(
    family: _Family, optimum: Minimum, own: Mapping[str, float]
) -> tuple[Minimum, dict[str, float]]:
    """Return the optimum, or a better one, and the least value with each knob held in turn."""
    least: dict[str, float] = {}
    for i, knob in enumerate(family.knobs):
        if len(family.knobs) == 1:
            break
        smaller, lifted = family.without(i, own[knob.name])
        found = smaller.search([np.delete(optimum.point, i)], 0)
        least[knob.name] = found.value
        if found.value < optimum.value:
            optimum = family.search([optimum.point, lifted(found.point)], 0)
    return optimum, least


def _evolved(family: _Family, optimum: Minimum) -> tuple[Minimum, float]:
    """Return the optimum, or a better one, and the value that differential evolution found."""
    members = 8 * family.box.size
    found = differential_evolution(family, family.box, 12 * family.box.size, members=members)
    found = family.polish(found) if math.isfinite(found.value) else found
    return min(optimum, found, key=lambda each: each.value), found.value


def _exchange(families: Sequence[_Family], optima: list[Minimum]) -> None:
    """Start each family from the optima beside it, until none gains from that."""
    moved = True
    while moved:
        moved = False
        order = [*range(len(families)), *reversed(range(len(families)))]
        for i, j in itertools.pairwise(order):
            if i == j:
                continue
            start = families[j].point(families[i].values(optima[i].point))
            value = families[j](start)
            if value < optima[j].value + 0.05:  # what is far worse would end where the search did
                found = families[j].polish(families[j].descend(start, ROUGHLY, 0.01))
                if found.value < optima[j].value - NOTICED:
                    optima[j], moved = found, True


def _tuned(
    family: _Family,
    optimum: Minimum,
    recipe: Recipe,
    tried: Mapping[str, float],
) -> Tuned:
    values = family.values(optimum.point)
    (risk,) = family.seen.risks(family.problem, [family.steps], family.steps, values)
    bounds = {
        knob.name: bound
        for knob, z in zip(family.knobs, optimum.point, strict=True)
        if (bound := knob.bound(float(z))) is not None
    }
    rates = [knob.name for knob in family.knobs if knob.role == "rate"]
    over = {name: math.exp(value - optimum.value) for name, value in tried.items()}
    evolution = over.pop(EVOLUTION, None)
    knobs = {name: knob.default for name, knob in recipe.hyperparameters.items()}
    return Tuned(
        recipe.name,
        family.seen.view,
        family.problem.batch,
        family.steps,
        risk,
        values,
        {**knobs, **values},
        {name: values[name] / family.problem.critical_rate for name in rates},
        Certificate(bounds, over, evolution, family.evaluations),
    )
