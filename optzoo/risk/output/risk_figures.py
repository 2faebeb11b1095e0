"""Figures of risks, as a paper would print them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optzoo.files.drawing import legend_aside, part_coincident, save_figure
from optzoo.risk.question import Answer, Question

Line = tuple[Sequence[float], Sequence[float]]
COLOURS = ("0.45", "#1b6ca8", "#6a9f3c", "#c1440e", "#8a4fa3", "#c98f1b", "#2a9d8f", "0.7")
MARKERS = "os^Dv<>p"


def new_figure(rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, row by row."""
    size = (7.2, 4.0) if rows * columns == 1 else (4.6 * columns, 3.5 * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def draw_lines(
    axes: Axes,
    lines: Mapping[str, Line],
    *,
    xlabel: str,
    ylabel: str,
    log_y: bool = True,
    base: int = 2,
    marks: bool = True,
    styles: Sequence[str] = (),
) -> None:
    """Draw lines by their names; what is not finite leaves a gap.

    `styles` are all names that a figure has: a line looks the same in each of its panels.
    """
    order = list(styles or lines)
    for name, (xs, ys) in lines.items():
        i = order.index(name)
        shown = [y if math.isfinite(y) and (y > 0 or not log_y) else math.nan for y in ys]
        axes.plot(
            xs,
            shown,
            label=name,
            color=COLOURS[i % len(COLOURS)],
            linewidth=1.4,
            marker=MARKERS[i % len(MARKERS)] if marks else "",
            markersize=4,
        )
    axes.set_xscale("log", base=base)
    if log_y:
        axes.set_yscale("log")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(True, which="major", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_perfect_scaling(axes: Axes, batches: Sequence[float], steps: Sequence[float]) -> None:
    """Draw the line along which twice the batch takes half the steps, through the first point."""
    known = [(b, s) for b, s in zip(batches, steps, strict=True) if math.isfinite(s)]
    if not known:
        return
    first, height = known[0]
    ys = [max(height * first / batch, 1.0) for batch, _ in known]
    axes.plot(
        [batch for batch, _ in known], ys, color="0.6", linestyle="--", linewidth=1, zorder=1,
        label="perfect scaling",
    )  # fmt: skip


def draw_answers(question: Question, found: Sequence[Answer], path: Path) -> None:
    """Draw what was asked: steps to the risk, or the risk, against the batch; or a run's risk."""
    figure, (axes,) = new_figure()
    groups: dict[str, list[Answer]] = {}
    for answer in found:
        groups.setdefault(_name(question, answer), []).append(answer)
    if len(question.batches) == 1 and question.to_risk is None:
        draw_lines(
            axes,
            {name: _curve(question, answers) for name, answers in groups.items()},
            xlabel="steps",
            ylabel="expected excess risk",
            base=10,
            marks=False,
        )
    else:
        of_steps = question.to_risk is not None
        lines: dict[str, Line] = {
            name: (
                [a.problem.batch for a in answers],
                [(a.steps or math.nan) if of_steps else a.risk for a in answers],
            )
            for name, answers in groups.items()
        }
        ylabel = f"steps to the risk {question.to_risk:g}" if of_steps else "expected excess risk"
        draw_lines(axes, lines, xlabel="batch size", ylabel=ylabel)
        if of_steps:
            draw_perfect_scaling(axes, *next(iter(lines.values())))
    axes.set_title(_title(question), loc="left", fontsize=9)
    part_coincident(axes)
    legend_aside(axes)
    save_figure(figure, path)


def _name(question: Question, answer: Answer) -> str:
    """Return what a line is called: the recipe, and its view and steps where there are more."""
    name = answer.recipe
    if len(question.views) > 1:
        name += f", {answer.seen.view}"
    if len(question.batches) > 1 and len(question.steps) > 1:
        name += f", {answer.steps:,} steps"
    return name


def _curve(question: Question, answers: Sequence[Answer]) -> Line:
    """Return the risk after each step of the longest run."""
    last = answers[-1]
    assert last.steps is not None
    total = last.steps if question.tune else question.lengths(last.problem.batch)[1]
    risks = last.seen.curve(last.problem, last.steps, total)
    places = sorted({round(last.steps ** (i / 400)) for i in range(401)})
    return places, [float(risks[place]) for place in places]


def _title(question: Question) -> str:
    problem = question.problem
    if problem.stream.startswith("features"):
        return f"{problem.stream}, d = {problem.dim:g}, noise {problem.noise:g}"
    shape = f"{problem.spectrum}, d = {problem.dim:g}, target {problem.target}"
    return f"{shape}, {problem.stream}, noise {problem.noise:g}"
