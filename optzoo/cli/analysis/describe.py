"""The command describe: the accelerated-SGD form of a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optzoo.cli.options import JsonOption, SetOption, StateDtypeOption, read_settings
from optzoo.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from optzoo.description.description import Description

DESCRIBE_EPILOG = """Examples:

\b
  optzoo describe lion
  optzoo describe ademamix --set beta1=0 --at 1,100,10000
  optzoo describe schedule_free_adamw --lr-schedule cosine:100 --total-steps 1000
  optzoo describe ademamix --plot ademamix.png
  optzoo describe mars --latex > mars.tex"""

PagesOption = Annotated[
    Path | None,
    typer.Option(
        "--all", metavar="DIR", help="write a page of every shipped recipe, and what lists them"
    ),
]


def describe(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="a shipped name (`optzoo list`) or a YAML file"),
    ] = None,
    settings: SetOption = None,
    total_steps: Annotated[
        int | None, typer.Option(min=1, help="T, for recipes that mention it  [default: 10000]")
    ] = None,
    at: Annotated[str, typer.Option(help="steps to show")] = "1,10,100,1000",
    lr_schedule: Annotated[
        str,
        typer.Option(metavar="KIND[:ARGS]", help="constant, linear, cosine:100, wsd:warmup=100"),
    ] = "constant",
    observe: Annotated[
        list[str] | None,
        typer.Option(metavar="AVERAGE", help="an average riding along: tail:0.1, ema:0.999"),
    ] = None,
    state_dtype: StateDtypeOption = None,
    as_json: JsonOption = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="print LaTeX (amsmath)")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print a page")] = False,
    as_program: Annotated[
        bool, typer.Option("--program", help="print the program that this is read off")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw a figure: .png, .svg or .pdf")
    ] = None,
    pages: PagesOption = None,
) -> None:
    """Say what a recipe is: its equations, its accelerated-SGD form, its memory.

    The coefficients are those of Eq. (1) of the Connections paper (arXiv 2502.02431).
    """
    from optzoo.description.description import ASSUMED_TOTAL_STEPS, describe_rules
    from optzoo.recipe.recipe import load_recipe

    if (recipe is None) == (pages is None):
        message = "name one recipe, or write the pages of all with `--all DIR`"
        raise InputError(
            Diagnostic("bad-value", message, hint="for example `optzoo describe lion`")
        )
    chosen = [as_json, as_latex, as_markdown, as_program]
    if sum(chosen) > 1:
        message = "choose one of `--json`, `--latex`, `--markdown` and `--program`"
        raise InputError(Diagnostic("bad-value", message))
    if pages is not None:
        _write_pages(pages)
        return
    assert recipe is not None
    found = describe_rules(
        load_recipe(recipe).with_state_dtype(state_dtype),
        total_steps=total_steps,
        at=_steps(at),
        lr_schedule=lr_schedule,
        observers=observe or (),
        **read_settings(settings),
    )
    if total_steps is None and any(each.ends for each in found):
        typer.echo(f"T is taken as {ASSUMED_TOTAL_STEPS:,}: see --total-steps", err=True)
    if plot is not None:
        _draw(found[0], plot)
    typer.echo(_printer(*chosen)(found))


def _draw(found: Description, file: Path) -> None:
    from optzoo.description.output.figure import draw

    draw(found, file)
    rule = f", of the rule {found.recipe.label}" if found.recipe.is_routed else ""
    typer.echo(f"wrote {file}{rule}", err=True)


def _printer(
    as_json: bool, as_latex: bool, as_markdown: bool, as_program: bool
) -> Callable[[list[Description]], str]:
    from optzoo.description.output.page import format_latex_page, format_markdown
    from optzoo.description.output.text import format_reports
    from optzoo.program.reading import readable

    if as_json:
        return lambda found: json.dumps(_to_json(found), indent=2)
    if as_latex:
        return lambda found: "\n\n".join(map(format_latex_page, found))
    if as_markdown:
        return lambda found: format_markdown(*found).rstrip("\n")
    if as_program:
        return lambda found: "\n\n".join(readable(each.program) for each in found)
    return format_reports


def _to_json(found: list[Description]) -> dict[str, Any]:
    recipe = found[0].recipe
    if not recipe.is_routed:
        return found[0].to_json()
    rules = {each.recipe.label: each.to_json() for each in found}
    return {"recipe": recipe.name, "routes": recipe.routing.table(), "rules": rules}


def _write_pages(folder: Path) -> None:
    """Write a page of each shipped recipe, indices, gallery, and the types of `optzoo.optim`."""
    from tqdm import tqdm

    from optzoo.description.description import describe_rules
    from optzoo.description.output.gallery import format_gallery
    from optzoo.description.output.page import format_index, format_markdown
    from optzoo.description.shelf import entry_of, index_text
    from optzoo.files.shipped import shipped
    from optzoo.optim.stub import stub_file, stub_text
    from optzoo.recipe.recipe import load_recipe

    try:
        gallery = folder / "gallery"
        gallery.mkdir(parents=True, exist_ok=True)
        found = []
        for name in tqdm(shipped(), desc="pages", disable=None):
            rules = describe_rules(load_recipe(name))
            found.append(rules)
            text = format_markdown(*rules)
            (folder / f"{name}.md").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(
            format_index([rules[0] for rules in found]), encoding="utf-8"
        )
        entries = map(entry_of, shipped().values(), found)
        (folder / "index.json").write_text(index_text(entries), encoding="utf-8")
        page, pictures = format_gallery(found)
        for file, text in {"README.md": page, **pictures}.items():
            (gallery / file).write_text(text, encoding="utf-8")
        stub = stub_file()
        if stub is not None and stub.read_text(encoding="utf-8") != stub_text():
            stub.write_text(stub_text(), encoding="utf-8")
    except OSError as error:
        message = f"`{folder}` cannot be written: {error.strerror}"
        raise InputError(Diagnostic("unwritable", message)) from None
    typer.echo(f"wrote {len(found)} pages to {folder}", err=True)


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
