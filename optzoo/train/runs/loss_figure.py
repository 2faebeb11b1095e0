"""The loss figure of a run, drawn from its metrics."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from optzoo.errors import printable
from optzoo.files.drawing import legend_aside, part_coincident
from optzoo.train.runs.metrics import read_metrics

_SMOOTHING = 50  # the training curve is a mean over a fiftieth of the run
_COLOURS = ("#c1440e", "#1b6ca8", "#3a7d44", "#8a4fbf", "#b58900")


TITLE, SUBTITLE = 80, 130
"""Characters that fit in a line above a figure, large and small."""


def draw_losses(
    metrics: Path, *, title: str, subtitle: str, warn: Callable[[str], None] = lambda _: None
) -> bytes:
    """Return a PNG: training loss and the held-out loss of every view against the step.

    Views whose losses agree throughout share a line. Lines of the metrics that cannot be read are
    left out, and `warn` is told. Raises OSError where there are no metrics.
    """
    steps = list(read_metrics(metrics, "step", warn=warn))
    evaluations = list(read_metrics(metrics, "evaluation"))
    figure = Figure(figsize=(8.0, 5.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    x = [line["step"] for line in steps]
    y = [line["loss"] for line in steps]
    axes.plot(x, y, color="0.85", linewidth=0.6, label="training, each step")
    width = max(1, len(y) // _SMOOTHING)
    axes.plot(x, _running_mean(y, width), color="0.45", label=f"training, mean of {width} steps")
    for number, (views, points) in enumerate(_group_views(evaluations).items()):
        axes.plot(
            [step for step, _ in points],
            [loss for _, loss in points],
            color=_COLOURS[number % len(_COLOURS)],
            marker="o",
            markersize=3.5,
            label=f"held out, {' = '.join(views)}: {points[-1][1]:.4f}",
        )
    settled = [
        *y[len(y) // 20 :],
        *(loss for p in _group_views(evaluations).values() for _, loss in p),
    ]
    if settled:  # the first steps fall from log(256): let the axis start below them
        low, high = min(settled), max(y[len(y) // 20 :], default=max(settled))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title(plain(title, TITLE), loc="left", fontweight="bold", pad=18, parse_math=False)
    axes.annotate(
        plain(subtitle, SUBTITLE),
        (0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        fontsize=8,
        color="0.35",
        parse_math=False,
    )
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    part_coincident(axes)
    legend_aside(axes, below=True)
    return as_png(figure)


def plain(text: str, length: int) -> str:
    """Return a text as one line of at most so many characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= length else f"{line[: length - 3]}..."


def as_png(figure: Figure) -> bytes:
    """Return a figure as PNG; characters that no font has are drawn as boxes, without a word."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _running_mean(values: list[float], width: int) -> list[float]:
    """Return the mean of the last `width` values, of fewer at the start."""
    means = []
    total = 0.0
    for i, value in enumerate(values):
        total += value - (values[i - width] if i >= width else 0.0)
        means.append(total / min(i + 1, width))
    return means


def _group_views(
    evaluations: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, ...], list[tuple[int, float]]]:
    """Return the points of each view, views with the same points under one key."""
    points: dict[str, list[tuple[int, float]]] = {}
    for line in evaluations:
        for view, loss in line["views"].items():
            points.setdefault(view, []).append((line["step"], loss["nats_per_token"]))
    grouped: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for view, curve in points.items():
        grouped.setdefault(tuple(curve), []).append(view)
    return {tuple(views): list(curve) for curve, views in grouped.items()}
