"""The command identify: which shipped recipe is this one?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from optzoo.cli.options import JsonOption, QuietOption, RecipeArgument, SetOption, read_settings

IDENTIFY_EPILOG = """Examples:

\b
  optzoo identify mine.yaml
  optzoo identify mine.yaml --set beta=0.9 --iterates-only
  optzoo identify signum --json

The first line is the answer. Exit code 0: it is a shipped recipe; 1: none was found that it is;
2: a mistake in the input."""


def identify(
    recipe: RecipeArgument,
    settings: SetOption = None,
    iterates_only: Annotated[
        bool, typer.Option("--iterates-only", help="leave the evaluation points out")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which shipped recipe a recipe is, at which hyperparameters, or what is near.

    Renamed, rescaled or written in other hyperparameters, a method is found and the change proved.
    """
    from optzoo.identification.identification import identify as find
    from optzoo.identification.wording import format_identification, identification_json
    from optzoo.recipe.recipe import load_recipe

    def watch(names: Sequence[str]) -> Iterable[str]:
        from tqdm import tqdm

        bar: Iterable[str] = tqdm(names, desc="recipes", leave=False, disable=quiet or None)
        return bar

    given = read_settings(settings)
    found = find(
        load_recipe(recipe).with_overrides(given), iterates_only=iterates_only, watch=watch
    )
    if as_json:
        typer.echo(json.dumps(identification_json(found), indent=2))
    else:
        options = [f"--set-a {shlex.quote(text)}" for text in settings or ()]
        typer.echo(format_identification(found, " ".join([shlex.quote(recipe), *options])))
    if not found.known:
        raise typer.Exit(1)
