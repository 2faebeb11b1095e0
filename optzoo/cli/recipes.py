"""Commands about recipe files: list, show, validate, schema, new."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optzoo.cli.options import (
    JsonOption,
    RecipeArgument,
    SetOption,
    StateDtypeOption,
    read_settings,
    split_setting,
)
from optzoo.cli.output import write_new
from optzoo.errors import Diagnostic, InputError, OptzooError, printable
from optzoo.tables import align_records

if TYPE_CHECKING:
    from optzoo.recipe.recipe import Recipe


class SchemaKind(StrEnum):
    """What `optzoo schema` describes."""

    recipe = "recipe"
    setup = "setup"
    sweep = "sweep"


def list_recipes(as_json: JsonOption = False) -> None:
    """List the shipped recipes.

    Example: optzoo list
    """
    from optzoo.files.shipped import shipped
    from optzoo.recipe.recipe import load_recipe

    rows = [_summarise(load_recipe(path)) for path in shipped().values()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo("\n".join(align_records(rows)))


def _summarise(recipe: Recipe) -> dict[str, Any]:
    """Return name, family, order, Eq. (1) form, state bytes per parameter and reference.

    Bytes are for float32 parameters at the recipe's default hyperparameters.
    """
    from optzoo.description.response import decide
    from optzoo.interpreters.cost import cost, storage_of

    spec, decision = recipe.spec, decide(recipe.trained_program(decays=False))
    bill = cost(recipe.trained_program())
    return {
        "name": recipe.name,
        "family": spec.family,
        "order": spec.order if spec.preconditioner != "none" else "-",
        "eq1": "yes" if decision.has_form else f"no, {decision.momenta} momenta",
        "bytes": bill.state_bytes(storage_of(recipe.state_dtypes)),
        "reference": spec.reference,
    }


class Language(StrEnum):
    """What a step can be printed as."""

    C = "c"
    TRITON = "triton"
    PYTHON = "python"


def show(
    recipe: RecipeArgument,
    settings: SetOption = None,
    state_dtype: StateDtypeOption = None,
    program: Annotated[
        bool, typer.Option("--program", help="print the checked program it becomes")
    ] = False,
    source: Annotated[
        Language | None,
        typer.Option("--source", help="print the step as code: c, triton or python"),
    ] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="print the YAML with --set written in")
    ] = False,
) -> None:
    """Print a recipe: its YAML, its program, or its source. Or a setup, with who says what.

    Example: optzoo show ademamix --program --set beta1=0
    """
    from optzoo.train.setup.schema import is_setup

    if is_setup(recipe):
        _show_setup(recipe, settings, program=program or source is not None)
        return
    from optzoo.engines.render import render
    from optzoo.recipe.recipe import load_recipe

    loaded = load_recipe(recipe).with_overrides(read_settings(settings))
    loaded = loaded.with_state_dtype(state_dtype)
    if program:
        typer.echo(loaded.trained_program().text())
    elif source:
        narrow = [name for name, dtype in loaded.state_dtypes.items() if dtype == "bfloat16"]
        typer.echo(render(loaded.trained_program(), source.value, narrow), nl=False)
    elif resolved or settings or state_dtype:
        typer.echo(loaded.to_yaml(), nl=False)
    else:
        typer.echo(loaded.text, nl=False)


def _show_setup(name: str, settings: Sequence[str] | None, *, program: bool) -> None:
    from optzoo.train.setup.overrides import override_setup
    from optzoo.train.setup.plan_text import annotated_yaml
    from optzoo.train.setup.schema import load_setup

    if program:
        raise InputError(
            Diagnostic("bad-value", f"`{name}` is a setup; only recipes have a program and source")
        )
    changes = dict(split_setting(text) for text in settings or ())
    typer.echo(annotated_yaml(override_setup(load_setup(name), changes)), nl=False)


def validate(
    files: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="names or YAML files")],
) -> None:
    """Check recipes, setups and sweeps completely; every mistake is shown with its line.

    Example: optzoo validate my_adam.yaml my_setup.yaml my_sweep.yaml
    """
    from optzoo.recipe.recipe import load_recipe
    from optzoo.sweeps.schema import is_sweep
    from optzoo.train.setup.schema import is_setup

    failed: list[OptzooError] = []
    for file in files:
        try:
            if is_sweep(file):
                _validate_sweep(file)
                continue
            if is_setup(file):
                _validate_setup(file)
                continue
            loaded = load_recipe(file)
        except InputError as error:
            failed.append(error)
            continue
        buffers = len(loaded.program().tensor_states)
        typer.echo(f"ok  {printable(file)}: {loaded.name}, buffers: {buffers}")
    if failed:
        raise InputError(*(d for error in failed for d in error.diagnostics))


def _validate_setup(file: str) -> None:
    from optzoo.train.setup.schema import load_setup

    setup = load_setup(file)
    typer.echo(f"ok  {printable(file)}: setup {setup.name}, {setup.num_steps:,} steps")


def _validate_sweep(file: str) -> None:
    from optzoo.sweeps.grid import jobs_of, points_of
    from optzoo.sweeps.schema import load_sweep

    sweep = load_sweep(file)
    points = points_of(sweep)
    trained = len(jobs_of(points))
    typer.echo(
        f"ok  {printable(file)}: sweep {sweep.name}, {len(points):,} runs, {trained:,} trained"
    )


def schema(
    kind: Annotated[SchemaKind, typer.Argument(help="which kind of YAML file")] = SchemaKind.recipe,
) -> None:
    """Print the JSON Schema of a recipe, setup or sweep, for editors.

    Example: optzoo schema > recipe.schema.json
    """
    if kind is SchemaKind.setup:
        from optzoo.train.setup.schema import Setup as Model
    elif kind is SchemaKind.sweep:
        from optzoo.sweeps.schema import SweepSpec as Model  # type: ignore[assignment]
    else:
        from optzoo.recipe.schema import RecipeSpec as Model  # type: ignore[assignment]

    document = Model.model_json_schema(by_alias=True)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
    typer.echo(json.dumps(document, indent=2))


def new(
    name: Annotated[str, typer.Argument(help="name of the new recipe")],
    source: Annotated[
        str, typer.Option("--from", metavar="RECIPE", help="the recipe to start from")
    ] = "adamw",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file to write; NAME.yaml if left out")
    ] = None,
) -> None:
    """Start a recipe file of your own from another recipe.

    Example: optzoo new my_adam --from adamw
    """
    from optzoo.recipe.recipe import load_recipe, parse_recipe
    from optzoo.recipe.schema import IDENTIFIER, MAX_NAME

    if not IDENTIFIER.fullmatch(name) or len(name) > MAX_NAME:
        raise InputError(
            Diagnostic(
                "bad-value",
                f"`{name}` is not a name: use letters, digits and `_`, a letter first",
                hint="for example `optzoo new my_adam --from adamw`",
            )
        )
    path = output or Path(f"{name}.yaml")
    text = load_recipe(source).text
    text = re.sub(r"(?m)^name:.*$", f"name: {name}", text, count=1)
    text = re.sub(r"(?m)^title:.*\n", "", text, count=1)  # the spelling of another name
    text = re.sub(r"\A(#.*\n)+", f"# optzoo train {path}\n", text)
    parse_recipe(text, str(path))
    write_new(path, text)
    typer.echo(f"wrote {path}", err=True)
    typer.echo(f"next: optzoo validate {path} && optzoo train {path}", err=True)
