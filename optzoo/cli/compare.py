"""Commands that put runs and sweeps side by side: compare, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optzoo.cli.options import JsonOption
from optzoo.cli.output import show_table, terminal_width
from optzoo.errors import Diagnostic, InputError, printable

if TYPE_CHECKING:
    from optzoo.comparison.ranking import Ranking

COMPARE_EPILOG = """Examples:

  optzoo compare runs/adamw-quick-s0 runs/ademamix-quick-s0 --plot losses.png

  optzoo compare sweeps/mine --baseline adamw --format latex

  optzoo compare sweeps/mine --plot sensitivity.svg --against lr
"""
ComparedArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN|SWEEP...", help="run directories, folders of sweeps")
]
REPORT_EPILOG = """Examples:

  optzoo report sweeps/mine

  optzoo report runs/adamw-quick-s0 runs/ademamix-quick-s0 --out adamw-or-ademamix.html
"""
BaselineOption = Annotated[
    str | None, typer.Option(metavar="METHOD", help="whom others are compared with")
]


class TableFormat(StrEnum):
    """What a table is written as."""

    text = "text"
    csv = "csv"
    json = "json"
    latex = "latex"


def compare(
    runs: ComparedArgument,
    baseline: BaselineOption = None,
    form: Annotated[TableFormat, typer.Option("--format", help="what to print")] = TableFormat.text,
    as_json: JsonOption = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw the losses: .png, .svg or .pdf")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="--plot: final loss against a hyperparameter, as lr"),
    ] = None,
) -> None:
    """Put runs and sweeps side by side, best held-out loss first.

    Methods of a sweep are compared at their best settings, with standard errors over seeds and a
    test of each difference.
    """
    from optzoo.comparison.ranking import rank
    from optzoo.comparison.records import gather
    from optzoo.sweeps.folder import is_sweep_folder

    if against is not None and plot is None:
        hint = f"for example `--plot sensitivity.png --against {against}`"
        raise InputError(Diagnostic("bad-value", "`--against` belongs to `--plot`", hint=hint))
    form = TableFormat.json if as_json else form
    has_sweep = any(is_sweep_folder(path) for path in runs)
    if has_sweep or form in (TableFormat.csv, TableFormat.latex) or baseline or against:
        ranking = rank(gather(runs), baseline)
        if plot is not None:
            _draw(ranking, plot, against)
        _say(ranking.warnings)
        typer.echo(printable(_printer(form)(ranking)))
        return
    _compare_runs(runs, plot, as_json=form is TableFormat.json)


def report(
    runs: ComparedArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="the page to write")] = Path(
        "report.html"
    ),
    baseline: BaselineOption = None,
) -> None:
    """Write one HTML page about runs and sweeps, which opens offline.

    Verdict, curves, sensitivity, coefficients over the run, all runs, what failed, and where it is
    all from. A page that was written before is replaced.
    """
    from optzoo.comparison.report import write_report

    _say(write_report(runs, out, baseline))
    typer.echo(printable(f"wrote {out}"), err=True)


def _compare_runs(runs: Sequence[Path], plot: Path | None, *, as_json: bool) -> None:
    """Print a row for every run and view; below it the means, where there are several seeds."""
    from optzoo.comparison.ranking import rank
    from optzoo.comparison.records import gather
    from optzoo.comparison.table import format_ranking
    from optzoo.train.runs.comparison import compare_runs

    rows, warnings = compare_runs(runs)
    ranking = rank(gather(runs))
    if plot is not None:
        _draw(ranking, plot, None)
    _say(warnings)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    show_table(rows, wraps=("run",), goes=("tokens", "seconds", "bits_per_byte", "seed"))
    if any(m.best is not None and len(m.best.records) > 1 for m in ranking.methods):
        typer.echo("\n" + printable(format_ranking(ranking, terminal_width())))


def _draw(ranking: Ranking, plot: Path, against: str | None) -> None:
    from optzoo.comparison.figures import draw_losses, draw_sensitivity

    if against is not None:
        draw_sensitivity(ranking, against, plot)
    else:
        bare = [r.run for m in ranking.methods if m.best is not None for r in m.best.without_curve]
        _say([f"{run / 'metrics.jsonl'} has no curve: it is left out" for run in bare])
        if len(bare) == sum(len(m.best.records) for m in ranking.methods if m.best is not None):
            return  # a figure is an adornment of the table
        draw_losses(ranking, plot)
    typer.echo(printable(f"wrote {plot}"), err=True)


def _printer(form: TableFormat) -> Callable[[Ranking], str]:
    from optzoo.comparison import table

    return {
        TableFormat.text: lambda ranking: table.format_ranking(ranking, terminal_width()),
        TableFormat.csv: lambda ranking: table.ranking_csv(ranking).rstrip("\n"),
        TableFormat.latex: table.ranking_latex,
        TableFormat.json: lambda ranking: json.dumps(table.ranking_json(ranking), indent=2),
    }[form]


def _say(warnings: Sequence[str]) -> None:
    for warning in warnings:
        typer.echo(printable(f"warning: {warning}"), err=True)
