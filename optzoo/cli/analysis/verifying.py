"""The command verify: someone's own torch optimizer beside a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from optzoo.cli.options import (
    JsonOption,
    RecipeArgument,
    SetOption,
    read_settings,
    refuse_twice,
    split_setting,
)
from optzoo.errors import Diagnostic, InputError

VERIFY_EPILOG = """Examples:

\b
  optzoo verify adamw --against torch.optim:AdamW
  optzoo verify sgd_nesterov --against torch.optim:SGD --kwargs nesterov=true
  optzoo verify ademamix --against my_optimizer.py:AdEMAMix --kwargs t_warm=warmup
  optzoo verify mine.yaml --against pytorch_optimizer:MARS --kwargs '{"optimize_1d": true}'

This runs the file or the package that --against names, as Python does when it imports it: do so
with code that you trust. Exit code 0: equal; 1: they part; 2: a mistake in the input."""


def verify(
    recipe: RecipeArgument,
    against: Annotated[
        str,
        typer.Option("--against", metavar="FILE.py:CLASS", help="or module:CLASS; this RUNS it"),
    ],
    kwargs: Annotated[
        list[str] | None,
        typer.Option(
            "--kwargs",
            metavar="NAME=VALUE",
            help="an argument of the class: a value, or hyperparameters (betas=beta1,beta2); "
            "or a JSON object; repeatable",
        ),
    ] = None,
    settings: SetOption = None,
    steps: Annotated[int, typer.Option(min=2, max=10_000, help="steps of each run")] = 30,
    tolerance: Annotated[
        float, typer.Option(min=0, help="a difference, relative to the move, that counts as none")
    ] = 1e-9,
    as_json: JsonOption = False,
) -> None:
    """Run a torch optimizer beside a recipe and say whether they are equal, or what parts them.

    Both get the same drawn gradients in float64: several shapes and sizes, learning rates that move
    and that do not, weight decay on and off.
    """
    from optzoo.recipe.recipe import load_recipe
    from optzoo.verification.findings import format_verification, verification_json
    from optzoo.verification.verification import verify as find

    loaded = load_recipe(recipe)
    names, constants = _read_kwargs(kwargs or (), list(loaded.hyperparameters))
    found = find(
        loaded,
        against,
        names=names,
        constants=constants,
        steps=steps,
        tolerance=tolerance,
        **read_settings(settings),
    )
    if as_json:
        typer.echo(json.dumps(verification_json(found), indent=2))
    else:
        typer.echo(format_verification(found))
    if not found.equal:
        raise typer.Exit(1)


def _read_kwargs(
    texts: Sequence[str], hyperparameters: Sequence[str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return arguments that are hyperparameters of the recipe, and those that are values."""
    names: dict[str, str] = {}
    constants: dict[str, Any] = {}
    given: list[tuple[str, str]] = []
    for text in texts:
        if text.lstrip().startswith("{"):  # values, even where they are named as hyperparameters
            found = _json_object(text)
            constants |= found
            given += [(name, str(value)) for name, value in found.items()]
            continue
        name, value = _pair(text)
        given.append((name, str(value)))
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
        if parts and all(part in hyperparameters for part in parts):
            names[name] = ",".join(parts)
        else:
            constants[name] = value
    refuse_twice(given)
    return names, constants


def _pair(text: str) -> tuple[str, Any]:
    try:
        name, value = split_setting(text)
    except InputError:
        message = f"`--kwargs {text}`: write `--kwargs NAME=VALUE` or a JSON object"
        raise InputError(Diagnostic("bad-value", message)) from None
    try:
        return name, json.loads(
            {"True": "true", "False": "false", "None": "null"}.get(value, value)
        )
    except ValueError:
        return name, value


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        message = f"`--kwargs`: this is no JSON object: {error}"
        raise InputError(Diagnostic("bad-value", message)) from None
    return dict(found)
