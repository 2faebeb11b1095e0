"""Commands about recipe files: list, show, routes, validate, schema, new."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optzoo.cli.options import (
    JsonOption,
    RecipeArgument,
    SetOption,
    StateDtypeOption,
    read_settings,
    split_setting,
)
from optzoo.cli.output import show_table, write_new
from optzoo.errors import Diagnostic, InputError, OptzooError, did_you_mean, printable


class SchemaKind(StrEnum):
    """What `optzoo schema` describes."""

    recipe = "recipe"
    setup = "setup"
    sweep = "sweep"


class WhereDivided(StrEnum):
    """Where a recipe divides by its preconditioner, as `list --order` asks."""

    momentum_first = "momentum_first"
    precondition_first = "precondition_first"
    none = "none"


COLUMNS = ("name", "family", "order", "eq1", "bytes", "lr", "lr_scale", "reference")
"""What the table of recipes shows; JSON has the rest as well."""

LIST_EPILOG = """Examples:

\b
  optzoo list --family sign
  optzoo list --search schedule --names
  optzoo list --order precondition_first --json

bytes: state per float32 parameter. lr: where to start. lr scale: what lr multiplies, an Adam step,
a sign, a polar factor, what norms have scaled, a rate that the run finds (model), or the gradient
as it is (grad); x2: a gradient weighs twice what it does in AdamW, or in SGD, so half the lr moves
as far. `optzoo describe RECIPE` says it in words."""


def list_recipes(
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="only this family: adam, sign, ...")
    ] = None,
    order: Annotated[
        WhereDivided | None, typer.Option(help="only those that precondition there, or not at all")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="only those that say this: name, summary, reference"),
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="print names only, one a line")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the shipped recipes."""
    from dataclasses import asdict

    from optzoo.description.shelf import shelf

    entries = [asdict(entry) for entry in shelf()]
    family = family and family.lower()
    families = {entry["family"] for entry in entries}
    if family is not None and family not in families:
        hint = did_you_mean(family, families, what="families")
        raise InputError(Diagnostic("unknown-name", f"`{family}` is not a family", hint=hint))
    found = [
        entry
        for entry in entries
        if family in (None, entry["family"])
        and (
            order is None or entry["order"] == ("-" if order is WhereDivided.none else order.value)
        )
        and (search or "").lower() in " ".join(map(str, entry.values())).lower()
    ]
    if as_json:
        rows = [{k: v for k, v in entry.items() if k != "sha256"} for entry in found]
        typer.echo(json.dumps(rows, indent=2))
    elif not found:
        typer.echo("no shipped recipe is like that", err=True)
    elif names:
        typer.echo("\n".join(entry["name"] for entry in found))
    else:
        rows = [{key: entry[key] for key in COLUMNS} for entry in found]
        show_table(rows, wraps=("reference",), goes=("order", "eq1", "lr_scale", "family"))


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
    from optzoo.program.reading import readable
    from optzoo.recipe.recipe import load_recipe
    from optzoo.recipe.routes import format_routes

    loaded = load_recipe(recipe).with_overrides(read_settings(settings))
    loaded = loaded.with_state_dtype(state_dtype)
    if program:
        texts = [readable(rule.trained_program()) for rule in loaded.rules]
        heads = ["\n".join(format_routes(loaded.routing))] if loaded.is_routed else []
        typer.echo("\n\n".join([*heads, *texts]))
    elif source:
        for rule in loaded.rules:
            narrow = [name for name, dtype in rule.state_dtypes.items() if dtype == "bfloat16"]
            typer.echo(render(rule.trained_program(), source.value, narrow), nl=False)
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


def routes(
    recipe: RecipeArgument,
    setup: Annotated[
        str | None, typer.Option(help="a shipped setup or a YAML file  [default: quick]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the routes of a recipe, and which of a model's parameters takes which.

    Example: optzoo routes muon --setup c4-150m
    """
    from optzoo.optimizer.routing import routes
    from optzoo.recipe.recipe import load_recipe
    from optzoo.recipe.routes import format_routes
    from optzoo.train.experiment import model_without_memory
    from optzoo.train.setup.schema import load_setup

    loaded, asked = load_recipe(recipe), load_setup(setup or "quick")
    found = routes(loaded, model_without_memory(asked))
    if as_json:
        values = {"recipe": loaded.name, "setup": asked.name, "routes": loaded.routing.table()}
        typer.echo(json.dumps({**values, "parameters": found.records()}, indent=2))
        return
    lines = format_routes(loaded.routing)
    lines += ["", f"the parameters of setup {asked.name}", *str(found).splitlines()]
    typer.echo("\n".join(lines))


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
        counts = [len(rule.program().tensor_states) for rule in loaded.rules]
        buffers = "buffers: " + ", ".join(map(str, counts))
        if loaded.is_routed:
            named = (f"{rule.label} {n}" for rule, n in zip(loaded.rules, counts, strict=True))
            buffers = f"routes: {len(loaded.routing.routes)}, buffers by rule: {', '.join(named)}"
        typer.echo(f"ok  {printable(file)}: {loaded.name}, {buffers}")
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
    from optzoo.recipe.fields import IDENTIFIER, MAX_NAME
    from optzoo.recipe.recipe import load_recipe, parse_recipe

    if not IDENTIFIER.fullmatch(name) or len(name) > MAX_NAME:
        raise InputError(
            Diagnostic(
                "bad-value",
                f"`{name}` is not a name: use letters, digits and `_`, a letter first",
                hint="for example `optzoo new my_adam --from adamw`",
            )
        )
    path = output or Path(f"{name}.yaml")
    original = load_recipe(source)
    text = _renamed(original.text, name, path)
    try:
        parse_recipe(text, str(path))
    except InputError:  # it names files that are elsewhere for the new one: they are written in
        text = _renamed(original.to_yaml(), name, path)
        parse_recipe(text, str(path))
    write_new(path, text)
    typer.echo(f"wrote {path}", err=True)
    typer.echo(f"next: optzoo validate {path} && optzoo train {path}", err=True)


def _renamed(text: str, name: str, path: Path) -> str:
    text = re.sub(r"(?m)^name:.*$", f"name: {name}", text, count=1)
    text = re.sub(r"(?m)^title:.*\n", "", text, count=1)  # the spelling of another name
    return re.sub(r"\A(#.*\n)*", f"# optzoo train {path}\n", text)
