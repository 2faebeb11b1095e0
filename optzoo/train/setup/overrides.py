"""`--set NAME=VALUE`: from what a user types to the recipe and the setup that are trained.

A name is a hyperparameter of the recipe, or the path of a field of the setup: dotted, as in
`model.width`. A value is written as in YAML. A field that was changed says so in the setup's
sources. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.files.documents import number_or_text, parse_document
from optzoo.files.explanations import explain
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.train.setup.provenance import CHANGED, leaf_paths
from optzoo.train.setup.schema import (
    BudgetSection,
    DataSection,
    ScheduleSection,
    Setup,
    SetupSection,
    load_setup,
)

RIVALS: dict[tuple[type[BaseModel], str], tuple[str, ...]] = {
    (BudgetSection, "steps"): ("tokens",),
    (BudgetSection, "tokens"): ("steps",),
    (ScheduleSection, "warmup_steps"): ("warmup_fraction",),
    (ScheduleSection, "warmup_fraction"): ("warmup_steps",),
    (ScheduleSection, "decay_steps"): ("decay_fraction",),
    (ScheduleSection, "decay_fraction"): ("decay_steps",),
    (DataSection, "path"): ("corpus",),
    (DataSection, "corpus"): ("path", "source", "validation", "tokenizer", "vocabulary"),
}
"""What goes when a field is set: fields that cannot stand beside it."""


def override_setup(setup: Setup, changes: Mapping[str, str]) -> Setup:
    """Return the setup with fields replaced: dotted path -> value, written as in YAML.

    Raises one InputError for all that is wrong, naming each by its path.
    """
    data = setup.model_dump()
    problems = _contradictions(changes)
    for path, text in changes.items():
        value = parse_document(text, f"--set {path}").data if text.strip() else None
        diagnostic = _assign(data, path, value)
        if diagnostic is not None:
            problems.append(diagnostic)
    if problems:
        raise InputError(*problems)
    data["sources"] = _updated_sources(data, changes)
    try:
        return Setup.model_validate(data)
    except ValidationError as error:
        raise InputError(*(_explain(item, changes) for item in error.errors())) from None


def _contradictions(changes: Mapping[str, str]) -> list[Diagnostic]:
    """Return what is wrong with changes that cannot all be made."""
    rivals = {
        f"{path}.{field}": [f"{path}.{rival}" for rival in others]
        for path, section in Setup.model_fields.items()
        for (model, field), others in RIVALS.items()
        if section.annotation is model
    }
    null = [path for path, text in changes.items() if text.strip().lower() in ("null", "~", "")]
    found = []
    given = [path for path in changes if path not in null]
    for i, path in enumerate(given):
        for other in given[:i]:
            inside = path.startswith(f"{other}.") or other.startswith(f"{path}.")
            if inside or other in rivals.get(path, ()) or path in rivals.get(other, ()):
                message = f"`--set {other}` and `--set {path}` cannot both be given"
                found.append(Diagnostic("given-twice", message, hint="leave one of them out"))
    return found


def _assign(data: dict[str, Any], path: str, value: Any) -> Diagnostic | None:
    """Put `value` at the dotted path; return what is wrong with the path, if anything."""
    model: type[BaseModel] = Setup
    *parents, last = path.split(".")
    if parents[:1] == ["recipes"]:
        return _assign_hyperparameter(data["recipes"], path, value)
    for depth, part in enumerate(parents):
        field = model.model_fields.get(part)
        if field is None or not _is_section(field.annotation):
            return _unknown(parents[: depth + 1], model)
        model = field.annotation  # type: ignore[assignment]  # a SetupSection, by the test above
        data = data.setdefault(part, {})
    field = model.model_fields.get(last)
    if field is None or path == "sources":
        return _unknown([*parents, last], model)
    if _is_section(field.annotation) and not isinstance(value, dict):
        keys = ", ".join(f"{path}.{key}" for key in field.annotation.model_fields)  # type: ignore[union-attr]
        return Diagnostic(
            "bad-value", f"`{path}` is a section of the setup", hint=f"its fields: {keys}"
        )
    data[last] = value
    if value is None and field.default is None:
        del data[last]  # as if it had never been set
    if value is not None:
        for rival in RIVALS.get((model, last), ()):
            data.pop(rival, None)
    return None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, SetupSection)


def _assign_hyperparameter(recipes: dict[str, Any], path: str, value: Any) -> Diagnostic | None:
    parts = path.split(".", 2)
    if len(parts) != 3:
        return Diagnostic(
            "bad-value",
            f"`{path}` is the part of the setup about one recipe",
            hint="write `--set recipes.RECIPE.HYPERPARAMETER=VALUE`, or simply "
            "`--set HYPERPARAMETER=VALUE` for the recipe that is trained",
        )
    _, recipe, knob = parts
    recipes[recipe] = {**recipes.get(recipe, {}), knob: value}
    return None


def _updated_sources(data: dict[str, Any], changes: Mapping[str, str]) -> dict[str, str]:
    """Return the sources with what was changed marked so, and without what is gone."""
    if not data["sources"]:
        return {}
    sources = {
        key: source
        for key, source in data["sources"].items()
        if not any((key + ".").startswith(path + ".") for path in changes)
    }
    sources |= {path: CHANGED for path in changes if path != "name"}
    fields = {k: v for k, v in data.items() if k not in ("name", "sources")}
    paths = [path + "." for path, _ in leaf_paths(fields)]
    return {k: v for k, v in sources.items() if any(path.startswith(k + ".") for path in paths)}


def is_field_name(word: str) -> bool:
    """Say whether some section of a setup has a field of this name, as `width` in `model.width`."""
    return bool(_paths_ending_in(word))


def _paths_ending_in(word: str) -> list[str]:
    return [
        f"{name}.{word}"
        for name, field in Setup.model_fields.items()
        if _is_section(field.annotation) and word in field.annotation.model_fields  # type: ignore[union-attr]
    ]


def _unknown(parts: list[str], model: type[BaseModel]) -> Diagnostic:
    path, word = ".".join(parts), parts[-1]
    elsewhere = _paths_ending_in(word)
    if elsewhere:
        hint = f"did you mean {' or '.join(f'`{other}`' for other in elsewhere)}?"
    else:
        hint = did_you_mean(word, set(model.model_fields) - {"sources"}, what="known fields")
    return Diagnostic("unknown-name", f"`{path}` is not a field of a setup", hint=hint)


def _explain(item: Any, changes: Mapping[str, str]) -> Diagnostic:
    """Turn a pydantic error into a message that names the flag it comes from."""
    where = ".".join(str(part) for part in item["loc"])
    message, hint = explain(item)
    if item["type"] == "extra_forbidden":
        message = "there is no such field"
    path = max((p for p in changes if (where + ".").startswith(p + ".")), key=len, default=None)
    if path is not None:
        message = f"`--set {path}={changes[path]}`: {message[0].lower()}{message[1:]}"
    elif where and f"`{where}" not in message:
        message = f"`{where}`: {message[0].lower()}{message[1:]}"
    return Diagnostic("bad-value", message, hint=hint)


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
    for name in knobs:
        if f"recipes.{given.name}.{name}" in fields:
            message = f"`{name}` and `recipes.{given.name}.{name}` cannot both be given"
            raise InputError(Diagnostic("given-twice", message, hint="leave one of them out"))
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
            knobs[name] = number_or_text(value)
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
