"""A benchmark's findings as a picture: one panel per recipe, one bar per contender."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optzoo.bench.results import COPY, YARDSTICK_KIND, Group, Report
from optzoo.files.drawing import save_figure
from optzoo.tables import format_count

_COLOURS = {"engine": "#c1440e", "package": "0.72", YARDSTICK_KIND: "0.5"}


def draw_report(report: Report, path: Path) -> None:
    """Draw milliseconds per step, quartiles as whiskers, the measured copy as a line.

    Raises InputError where the file cannot be written.
    """
    bars = [len(group.rows) - 1 for group in report.groups]
    inches = [0.3 * count + 0.42 for count in bars]
    figure = Figure(figsize=(8.5, sum(inches) + 1.3), layout="constrained")
    grid = figure.subplots(len(bars), 1, squeeze=False, height_ratios=inches)
    for axes, group in zip(grid[:, 0], report.groups, strict=True):
        _draw_group(axes, group)
    grid[-1, 0].set_xlabel("milliseconds per step (median over rounds; whiskers: quartiles)")
    settings = report.settings
    figure.suptitle(
        f"An optimizer step, {format_count(settings['params'])} parameters, {settings['dtype']}, "
        f"{settings['device']}, threads: {settings['threads']}",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    save_figure(figure, path)


def _draw_group(axes: Axes, group: Group) -> None:
    rows = [row for row in group.rows if row.kind != COPY]
    medians = [1e3 * row.timing.median for row in rows]
    for y, (row, median) in enumerate(zip(rows, medians, strict=True)):
        low, high = (1e3 * seconds for seconds in row.timing.quartiles)
        axes.barh(y, median, height=0.72, color=_COLOURS[row.kind])
        axes.errorbar(
            median, y, xerr=[[median - low], [high - median]], color="0.15", capsize=2, linewidth=1
        )
        axes.annotate(
            f"{median:.3g} ms",
            (max(high, median), y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # over the dashed line
        )
    engine = group.some("engine")[0]
    copy = group.one(COPY)
    limit = 1e3 * copy.timing.median * engine.moved / copy.moved
    axes.axvline(limit, color="#1b6ca8", linestyle="--", linewidth=1)
    axes.set_title(
        f"{group.recipe}: {engine.moved / group.params:g} bytes a parameter; dashed: a copy that "
        "moves as many",
        loc="left",
        fontsize=9,
    )
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.14 * max(*(1e3 * row.timing.quartiles[1] for row in rows), limit))
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
