"""From what a user types to the recipe and the setup that are trained. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.train.setup.overrides import is_field_name, override_setup
from optzoo.train.setup.schema import Setup, load_setup
from optzoo.zoo import Recipe, load_recipe


def resolve(
    recipe_name: str,
    setup_name: str,
    changes: Sequence[tuple[str, str]] = (),
    observers: Sequence[str] = (),
) -> tuple[Recipe, Recipe, Setup, dict[str, float | str]]:
    """Return the recipe as given, the recipe and setup to train, and what the setup sets for it.

    Raises one InputError with what is wrong in the recipe, the setup and the changes.
    """
    given = load_recipe(recipe_name)
    knobs, fields = split_changes(given, changes)
    recipe, setup = _gather(
        lambda: given.with_overrides(knobs).with_observers(observers),
        lambda: override_setup(load_setup(setup_name), fields),
    )
    suited = {k: v for k, v in setup.recipes.get(recipe.name, {}).items() if k not in knobs}
    trained = recipe.with_overrides(suited).with_state_dtype(setup.execution.state_dtype)
    return given, trained, setup, suited


def split_changes(
    recipe: Recipe, changes: Sequence[tuple[str, str]]
) -> tuple[dict[str, float | str], dict[str, str]]:
    """Return what changes the recipe and what changes the setup; a dotted name is the setup's."""
    knobs: dict[str, float | str] = {}
    fields: dict[str, str] = {}
    for name, value in changes:
        of_setup = name in Setup.model_fields or is_field_name(name)
        if "." in name or (of_setup and name not in recipe.hyperparameters):
            fields[name] = value
        else:
            knobs[name] = _number(value)
    return knobs, fields


def _gather(make_recipe: Any, make_setup: Any) -> tuple[Recipe, Setup]:
    """Return both, or raise one InputError with what is wrong with either."""
    problems: list[Diagnostic] = []
    made: list[Any] = []
    for make in (make_recipe, make_setup):
        try:
            made.append(make())
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(*problems)
    return made[0], made[1]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
