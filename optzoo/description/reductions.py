"""Which single settings of a recipe's hyperparameters leave it with the form of Eq. (1).

Found by trying: each hyperparameter at 0, at 1 and equal to each other one, and the form decided
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from optzoo.description.response import decide
from optzoo.errors import InputError
from optzoo.recipe.recipe import Recipe

UNTOUCHED = ("lr", "eps", "weight_decay")


@dataclass(frozen=True)
class Reduction:
    """A setting, such as `beta1 = 0`, and the number of momenta that it leaves."""

    setting: str
    momenta: int


def find_reductions(recipe: Recipe) -> list[Reduction]:
    """Return the settings that reduce a recipe to Eq. (1), those that keep a momentum first.

    Pairs of settings at 0 are tried only when no single one does it.
    """
    found = [r for values in _single_settings(recipe) if (r := _tried(recipe, values)) is not None]
    if not found:
        found = [r for values in _pairs(recipe) if (r := _tried(recipe, values)) is not None]
    return sorted(found, key=lambda r: -r.momenta)


def _knobs(recipe: Recipe) -> list[str]:
    return [
        name
        for name, knob in recipe.hyperparameters.items()
        if name not in UNTOUCHED and isinstance(knob.default, float) and knob.default != 0
    ]


def _single_settings(recipe: Recipe) -> Iterator[dict[str, str]]:
    knobs = _knobs(recipe)
    for name in knobs:
        for value in ("0", "1"):
            if float(value) != recipe.hyperparameters[name].default:
                yield {name: value}
    for first, second in combinations(knobs, 2):
        same = recipe.hyperparameters[first].interval == recipe.hyperparameters[second].interval
        if same:
            yield {first: second}


def _pairs(recipe: Recipe) -> Iterator[dict[str, str]]:
    for first, second in combinations(_knobs(recipe), 2):
        yield {first: "0", second: "0"}


def _tried(recipe: Recipe, values: dict[str, str]) -> Reduction | None:
    numbers = {k: float(v) if v in ("0", "1") else v for k, v in values.items()}
    try:
        decision = decide(recipe.with_overrides(numbers).trained_program(decays=False))
    except (InputError, ArithmeticError):  # outside its interval, or nothing left to divide by
        return None
    if not decision.has_form:
        return None
    return Reduction(" and ".join(f"{k} = {v}" for k, v in values.items()), decision.momenta)
