"""Hyperparameters as variables of a search: their role, their unit and their bounds.

    rate      scales what a gradient does, alone or together with others; in units of the critical
              learning rate of SGD, so that its bounds are those of no problem in particular
    decay     in [0, 1): the logarithm of 1 - value
    share     in [0, 1] or (0, 1]: log odds
    size      any other: from 0 on in its own size, then in logarithms

A role is not declared: which hyperparameters are rates is seen from what a step does when they are
doubled.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.program.intervals import Interval
from optzoo.recipe.recipe import Recipe
from optzoo.risk.expected import LinearRecipe
from optzoo.risk.regression.problem import Problem
from optzoo.risk.search.minimise import PRIMES

Role = Literal["rate", "decay", "share", "size"]
SMALLEST_RATE, LARGEST_RATE = 1e-8, 1e5
"""Bounds of rates, in units of the critical learning rate: what multiplies an average, whose gain
is 1 - decay, may be large, and what multiplies a sum may be small."""
SMALLEST_SIZE, LARGEST_SIZE = 1e-3, 1e4
LONGEST_MEMORY = 100.0
"""Bound of 1/(1 - decay), in lengths of the run."""
ODDS = 1e7
"""Bound of the odds of a share."""
PROBE_STEPS = 12
MOST_KNOBS = len(PRIMES)


@dataclass(frozen=True)
class Knob:
    """A hyperparameter as a variable z of a search, from `low` to `high`."""

    name: str
    role: Role
    scale: float
    low: float
    high: float

    def value(self, z: float) -> float:
        """Return the hyperparameter at z."""
        match self.role:
            case "decay":
                return -math.expm1(-z)
            case "share":
                return 1 / (1 + math.exp(-z))
        return self.scale * math.sinh(z)

    def variable(self, value: float) -> float:
        """Return z of a value, in the bounds."""
        match self.role:
            case "decay":
                z = -math.log1p(-value) if value < 1 else math.inf
            case "share":
                inside = 0 < value < 1
                z = math.log(value / (1 - value)) if inside else math.inf * (value - 0.5)
            case _:
                z = math.asinh(value / self.scale)
        return min(max(z, self.low), self.high)

    def bound(self, z: float) -> str | None:
        """Return which bound z is on: `low` or `high`, or None; 0 is no bound but a value."""
        near = 1e-6 * (self.high - self.low)
        if z >= self.high - near:
            return "high"
        natural = self.role != "share" and self.value(self.low) == 0
        return "low" if z <= self.low + near and not natural else None


def find_knobs(
    recipe: Recipe, view: str, names: Sequence[str], problem: Problem, steps: int
) -> list[Knob]:
    """Return the knobs of those names: of all that the risk depends on for the name `all`.

    Raises InputError for a name that the recipe has not, or that the risk does not depend on.
    """
    known = recipe.hyperparameters
    for name in names:
        if name not in known and name != "all":
            message = f"`{name}` is not a hyperparameter of {recipe.name}"
            hint = did_you_mean(name, known, what="hyperparameters")
            raise InputError(Diagnostic("unknown-name", message, hint=hint))
    rates = rate_names(recipe)
    wanted = list(dict.fromkeys(names))
    if "all" in wanted:
        wanted = [n for n in live_names(recipe, view) if n in rates or known[n].default != 0]
        spare = "lr" not in recipe.spec.hyperparameters and len(rates) > 1
        wanted = [n for n in wanted if not (spare and n == "lr")]
    else:
        idle = set(wanted) - set(live_names(freed(recipe, wanted), view))
        if idle:
            message = f"the risk of {recipe.name} does not depend on `{sorted(idle)[0]}`"
            raise InputError(Diagnostic("idle-knob", message))
    if not 1 <= len(wanted) <= MOST_KNOBS:
        message = f"{len(wanted)} hyperparameters to tune: from 1 to {MOST_KNOBS} are"
        raise InputError(Diagnostic("bad-value", message, hint="name the ones that matter"))
    return [_knob(name, known[name].interval, name in rates, problem, steps) for name in wanted]


def _knob(name: str, interval: Interval, is_rate: bool, problem: Problem, steps: int) -> Knob:
    if is_rate:
        scale = SMALLEST_RATE * problem.critical_rate
        return Knob(name, "rate", scale, 0.0, math.asinh(LARGEST_RATE / SMALLEST_RATE))
    if interval.high == 1 and interval.low == 0:
        if interval.high_open:
            return Knob(name, "decay", 1.0, 0.0, math.log(LONGEST_MEMORY * max(steps, 2)))
        return Knob(name, "share", 1.0, -math.log(ODDS), math.log(ODDS))
    low, high = max(interval.low, -LARGEST_SIZE), min(interval.high, LARGEST_SIZE)
    low += SMALLEST_SIZE if interval.low_open else 0.0
    ends = (math.asinh(end / SMALLEST_SIZE) for end in (low, high))
    return Knob(name, "size", SMALLEST_SIZE, *ends)


def freed(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """Return the recipe with numbers for these knobs that nothing is folded away at."""
    knobs = recipe.hyperparameters
    values = {name: _inner(knobs[name].interval, 0) for name in names}
    return recipe.with_overrides(
        {n: v for n, v in values.items() if not _is_free(knobs[n].default)}
    )


def _is_free(default: float | str) -> bool:
    return not isinstance(default, str) and default != 0


def _inner(interval: Interval, place: int) -> float:
    """Return a number inside an interval, another for each place."""
    part = 0.3 + 0.05 * place
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        return interval.low + part * (interval.high - interval.low)
    return interval.low + part if math.isfinite(interval.low) else part


def live_names(recipe: Recipe, view: str) -> list[str]:
    """Return the hyperparameters that are numbers and change the risk of a small problem."""
    probe = Problem((1.0, 0.1), 2, (1.0, 0.5), noise=0.1)
    names = [name for name, knob in recipe.hyperparameters.items() if _is_number(knob.default)]
    here = {name: _inner(recipe.hyperparameters[name].interval, i) for i, name in enumerate(names)}
    seen = LinearRecipe.of(recipe, view)
    wanted = range(1, PROBE_STEPS + 1)
    base = seen.risks(probe, wanted, PROBE_STEPS, here)
    live = []
    for i, name in enumerate(names):
        moved = {**here, name: _inner(recipe.hyperparameters[name].interval, i + 4)}
        if seen.risks(probe, wanted, PROBE_STEPS, moved) != base:
            live.append(name)
    return live


def _is_number(default: float | str) -> bool:
    return not isinstance(default, str)


def rate_names(recipe: Recipe) -> set[str]:
    """Return the hyperparameters that alone, or a few together, scale what a gradient does."""
    knobs = recipe.hyperparameters
    names = [  # what is 0 is folded away: a weight decay
        name
        for name, knob in knobs.items()
        if _is_free(knob.default) and knob.interval.low == 0 and knob.interval.high == math.inf
    ]
    here = {name: _inner(knobs[name].interval, i) for i, name in enumerate(names)}
    seen = LinearRecipe.of(recipe, "train")
    whole = _moves(seen, here)
    rates: set[str] = set()
    for count in range(1, len(names) + 1):
        for group in itertools.combinations([n for n in names if n not in rates], count):
            moved = {**here, **{name: 2 * here[name] for name in group}}
            if np.allclose(_moves(seen, moved), 2 * whole, rtol=1e-9):
                rates |= set(group)
    return rates


def _moves(seen: LinearRecipe, values: Mapping[str, float]) -> np.ndarray:
    """Return where the parameter stands in each step after one gradient of 1 in the third."""
    size = seen.transition.size
    state, found = np.zeros(size), []
    for chunk in seen.coefficients(PROBE_STEPS, PROBE_STEPS, values):
        table = np.broadcast_to(chunk.step, (chunk.count, chunk.step.shape[1]))
        for t, row in enumerate(table):
            state = row[: size**2].reshape(size, size) @ state - row[size**2 :] * (t == 2)
            found.append(state[0])
    return np.array(found)
