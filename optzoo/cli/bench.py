"""The command bench: what a step costs, beside other packages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optzoo.cli.options import JsonOption, StateDtypeOption
from optzoo.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from optzoo.bench.run import Settings

BENCH_EPILOG = """Examples:

\b
  optzoo bench ademamix mars --params 30M
  optzoo bench lion --engine foreach --against lion-pytorch,torch-optimi --plot lion.png
  optzoo bench --overhead
  optzoo bench adamw --scaling 1M,10M,100M

All that is compared runs side by side, round after round, in one process; packages that are not
installed are skipped by name."""


def bench(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE]...", help="shipped names or YAML files  [default: seven]"),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="engines  [default: all fast ones]")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE,...",
            help="torch, schedulefree, pytorch-optimizer, lion-pytorch, torch-optimi, heavyball, "
            "or none  [default: all but heavyball, which compiles for minutes]",
        ),
    ] = None,
    params: Annotated[str, typer.Option(help="how many parameters, about")] = "30M",
    tensors: Annotated[
        int | None, typer.Option(min=1, help="in so many equal tensors  [default: a transformer's]")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64")] = "float32",
    state_dtype: StateDtypeOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="rounds: each contender has a turn")] = 15,
    steps: Annotated[int, typer.Option(min=1, help="steps in a turn")] = 3,
    warmup: Annotated[int, typer.Option(min=1, help="steps before, not counted")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads of torch  [default: as torch chooses]")
    ] = None,
    clock: Annotated[
        str, typer.Option(help="wall, or processor: for busy machines, with --threads 1")
    ] = "wall",
    overhead: Annotated[
        bool, typer.Option("--overhead", help="instead: costs beside the step, on 1,000 tensors")
    ] = False,
    scaling: Annotated[
        str | None, typer.Option(metavar="SIZE,...", help="instead: time against parameters")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw the bars: .png, .svg or .pdf")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure optimizer steps: time, bytes per second, and the same method in other packages."""
    if ((overhead or scaling) and plot is not None) or (overhead and scaling):
        message = "`--overhead`, `--scaling` and `--plot` do not go together"
        raise InputError(Diagnostic("bad-value", message))
    _look_at(recipes or (), plot)
    engines, packages, sizes = _names(engine), _names(against), _names(scaling)
    from optzoo.bench.run import OVERHEAD_RECIPES, USUAL_RECIPES, Settings

    settings = Settings(
        recipes=recipes or (OVERHEAD_RECIPES if overhead else USUAL_RECIPES),
        engines=engines,
        against=[] if against == "none" else packages,
        params=params,
        tensors=tensors,
        dtype=dtype,
        state_dtype=state_dtype,
        device=device,
        rounds=rounds,
        steps=steps,
        warmup=warmup,
        threads=threads,
        clock=clock,
    )
    typer.echo(_run(settings, overhead=overhead, sizes=sizes, plot=plot, as_json=as_json))


def _look_at(recipes: Sequence[str], plot: Path | None) -> None:
    """Raise InputError for what is mistyped now: not after torch is imported, and minutes pass."""
    from optzoo.files.drawing import check_place
    from optzoo.recipe.recipe import load_recipe

    if plot is not None:
        check_place(plot)
    for recipe in recipes:
        load_recipe(recipe)


def _run(
    settings: Settings, *, overhead: bool, sizes: list[str] | None, plot: Path | None, as_json: bool
) -> str:
    if overhead:
        from optzoo.bench.overhead import format_overhead, run_overhead

        costs = run_overhead(settings)
        return json.dumps(costs, indent=2) if as_json else format_overhead(costs)
    if sizes is not None:
        from optzoo.bench.scaling import format_scaling, run_scaling

        points = run_scaling(settings, sizes)
        return json.dumps(points, indent=2) if as_json else format_scaling(points)
    from optzoo.bench.run import run_bench
    from optzoo.bench.text import format_report

    report = run_bench(settings)
    if plot is not None:
        from optzoo.bench.chart import draw_report

        draw_report(report, plot)
        typer.echo(f"wrote {plot}", err=True)
    return json.dumps(report.to_json(), indent=2) if as_json else format_report(report)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise InputError(Diagnostic("bad-value", f"`{text}`: write names, with commas between"))
    return names
