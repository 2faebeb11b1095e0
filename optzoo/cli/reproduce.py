"""The command reproduce: the sweeps behind a figure of the paper, then the figure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optzoo.cli.options import QuietOption
from optzoo.cli.sweep import (
    CpusOption,
    ExecutorKind,
    ExecutorOption,
    GpusOption,
    HoursOption,
    JobsOption,
    PartitionOption,
    confirmed,
    make_executor,
    run_folder,
)
from optzoo.errors import printable
from optzoo.sweeps.executors.resources import Resources

REPRODUCE_EPILOG = """Examples:

  optzoo reproduce figure1 --dry-run

  optzoo reproduce figure3 --scale tiny --jobs 2

  optzoo reproduce figure1 --scale paper --setup c4-300m --executor slurm
"""


class PaperFigure(StrEnum):
    """The figures of the paper with curves."""

    figure1 = "figure1"
    figure2 = "figure2"
    figure3 = "figure3"


class Scale(StrEnum):
    """How large: two CPU cores, one GPU, the paper's own."""

    tiny = "tiny"
    small = "small"
    paper = "paper"


def reproduce(
    figure: Annotated[PaperFigure, typer.Argument(help="figure1, figure2 or figure3")],
    scale: Annotated[Scale, typer.Option(help="two CPU cores, one GPU, the paper's")] = Scale.tiny,
    seeds: Annotated[int, typer.Option(min=2, help="fresh seeds for each winner")] = 4,
    setup: Annotated[
        str | None, typer.Option(help="another setup than the scale's, such as c4-300m")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="where sweeps and figures go")] = Path(
        "sweeps"
    ),
    jobs: JobsOption = None,
    executor: ExecutorOption = ExecutorKind.local,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0,
    hours: HoursOption = 24.0,
    partition: PartitionOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what it would be, and write nothing")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Run the grids behind a figure of the paper, confirm the winners, and draw it.

    The winner of every grid is run again with fresh seeds; only those are compared. Interrupt it at
    any time: the same command goes on.
    """
    from optzoo.comparison.figures import draw_losses
    from optzoo.comparison.ranking import rank
    from optzoo.comparison.records import gather
    from optzoo.comparison.table import format_ranking
    from optzoo.files.shipped import recipes_dir
    from optzoo.sweeps.folder import write_sweep
    from optzoo.sweeps.grid import jobs_of, points_of
    from optzoo.sweeps.schema import load_sweep
    from optzoo.sweeps.sweep_plan import plan_sweep, render_sweep_plan

    spec = load_sweep(recipes_dir() / "reproduce" / f"{figure}-{scale}.yaml")
    if setup is not None:
        spec = spec.model_copy(update={"setup": setup, "name": f"{spec.name}-{Path(setup).stem}"})
    if dry_run:
        typer.echo(render_sweep_plan(plan_sweep(spec)))
        typer.echo(f"  then {len(spec.methods) * seeds} runs: each winner with {seeds} fresh seeds")
        return
    path = directory / spec.name
    grid = write_sweep(path, spec, jobs_of(points_of(spec)))
    resources = Resources(cpus, gpus, hours, partition)
    failed = run_folder(grid, make_executor(executor, grid, jobs, resources), quiet=quiet)
    winners = confirmed(path, seeds)
    failed += run_folder(winners, make_executor(executor, winners, jobs, resources), quiet=quiet)
    ranking = rank(gather([winners.path]))
    target = directory / f"{spec.name}.png"
    draw_losses(ranking, target, title=f"{spec.reference}: {spec.summary}")
    typer.echo(printable(format_ranking(ranking)))
    typer.echo(printable(f"wrote {target}; the grids: optzoo compare {path}"), err=True)
    if failed:
        raise typer.Exit(1)
