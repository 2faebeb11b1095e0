"""The command describe: the accelerated-SGD form of a recipe."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from optzoo.cli.options import JsonOption, RecipeArgument, SetOption, read_settings
from optzoo.errors import Diagnostic, InputError


def describe(
    recipe: RecipeArgument,
    settings: SetOption = None,
    total_steps: Annotated[
        int | None, typer.Option(min=1, help="T, for recipes that mention it  [default: 10000]")
    ] = None,
    at: Annotated[str, typer.Option(help="steps to show")] = "1,10,100,1000",
    lr_schedule: Annotated[
        str,
        typer.Option(metavar="KIND[:ARGS]", help="constant, linear, cosine:100, wsd:warmup=100"),
    ] = "constant",
    as_json: JsonOption = False,
) -> None:
    """Say what a recipe is: its equations, its form of Eq. (1), its memory.

    Example: optzoo describe ademamix --set beta1=0 --at 1,100,10000
    """
    from optzoo.description.form import ASSUMED_TOTAL_STEPS, describe
    from optzoo.description.report import format_report
    from optzoo.zoo import load_recipe

    loaded = load_recipe(recipe)
    values = read_settings(settings)
    found = describe(
        loaded, total_steps=total_steps, at=_steps(at), lr_schedule=lr_schedule, **values
    )
    if total_steps is None and found.ends:
        typer.echo(f"T is taken as {ASSUMED_TOTAL_STEPS:,}: see --total-steps", err=True)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else format_report(found))


def _steps(text: str) -> list[int]:
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        steps = [0]
    if min(steps) < 1:
        raise InputError(
            Diagnostic("bad-value", f"`--at {text}`: write steps from 1 on, such as `--at 1,10`")
        )
    return steps
