"""A ranking as figures: losses against tokens, and against a hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optzoo.comparison.ranking import MethodResult, Ranking, Setting
from optzoo.comparison.statistics import Summary
from optzoo.errors import Diagnostic, InputError
from optzoo.files.drawing import (
    check_place,
    legend_aside,
    line_look,
    part_coincident,
    save_figure,
)
from optzoo.tables import format_count

LOSS = "held-out loss (nats per token)"


def draw_losses(ranking: Ranking, path: Path, *, title: str = "") -> None:
    """Draw the mean curve of each method at its best setting, on logarithmic axes.

    Bands reach from the least to the largest of the seeds. Raises InputError where the file cannot
    be written, or no method has a curve.
    """
    check_place(path)
    drawn = [m for m in ranking.methods if m.best is not None and any(m.best.mean_curve[0])]
    if not drawn:
        message = "no run has a curve: their metrics.jsonl are gone"
        raise InputError(Diagnostic("no-curves", message))
    figure, axes = _figure()
    for i, method in enumerate(drawn):
        assert method.best is not None
        _draw_curve(axes, method.best, _label(method), i)
    _logarithmic(axes)
    axes.set(xlabel="training tokens", ylabel=LOSS)
    _finish(figure, axes, title or "at the best setting of each method", path)


def _draw_curve(axes: Any, setting: Setting, label: str, i: int) -> None:
    tokens, losses = setting.mean_curve
    first = 1 if tokens[0] == 0 else 0  # a logarithmic axis has no 0
    look = line_look(i)
    axes.plot(tokens[first:], losses[first:], label=label, lw=1.6, **look)
    if len(setting.curves) > 1:
        rows = [dict(zip(c.tokens, c.losses, strict=True)) for c in setting.curves]
        low = [min(row[t] for row in rows) for t in tokens[first:]]
        high = [max(row[t] for row in rows) for t in tokens[first:]]
        axes.fill_between(tokens[first:], low, high, color=look["color"], alpha=0.15, lw=0)


def _label(method: MethodResult) -> str:
    assert method.best is not None
    assert method.best.summary is not None
    found = method.best.summary
    error = f" +- {found.error:.4f}" if found.error is not None else ""
    return f"{method.method}: {found.mean:.4f}{error}"


def draw_sensitivity(ranking: Ranking, name: str, path: Path, *, title: str = "") -> None:
    """Draw the final loss of each method against one of its hyperparameters.

    The line joins the best of the other hyperparameters at each value, with standard errors; dots
    are all settings, crosses at the top those that diverged. Raises InputError where no method has
    a grid over it, or the file cannot be written.
    """
    check_place(path)
    figure, axes = _figure()
    ends: list[float] = []
    values: set[float] = set()
    for i, method in enumerate(m for m in ranking.methods if _has(m, name)):
        look = line_look(i)
        best = list(best_at(method, name))
        values |= {value for value, _ in best}
        means = [found.mean for _, found in best]
        errors = [found.error or 0.0 for _, found in best]
        axes.errorbar([v for v, _ in best], means, yerr=errors, label=method.method,
                      marker="o", ms=4, capsize=2, lw=1.6, **look)  # fmt: skip
        dots = [
            (v, s.summary.mean) for v, s in settings_over(method, name) if s.summary is not None
        ]
        axes.plot(*zip(*dots, strict=True), ".", color=look["color"], alpha=0.3) if dots else None
        ends += means
        lost = [v for v, s in settings_over(method, name) if s.summary is None]
        axes.plot(lost, [0.98] * len(lost), "x", color=look["color"],
                  transform=axes.get_xaxis_transform())  # fmt: skip
    if not values:
        message = f"no method here has a grid over `{name}`"
        known = sorted({n for m in ranking.methods for s in m.settings for n, _ in s.values})
        hint = f"grids are over {', '.join(known)}" if known else "compare a sweep"
        raise InputError(Diagnostic("unknown-name", message, hint=hint))
    if min(values) > 0 and max(values) > 3 * min(values):
        axes.set_xscale("log")
    axes.set(xlabel=name, ylabel=LOSS)
    _finish(figure, axes, title or f"best of the other hyperparameters at each {name}", path)


def _has(method: MethodResult, name: str) -> bool:
    return any(True for _ in settings_over(method, name))


def settings_over(method: MethodResult, name: str) -> Iterator[tuple[float, Setting]]:
    """Yield the settings of a method that have a number for a hyperparameter, each after it."""
    for setting in method.settings:
        value = dict(setting.values).get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value), setting


def best_at(method: MethodResult, name: str) -> Iterator[tuple[float, Summary]]:
    """Yield each value of a hyperparameter with the best that the others make of it."""
    found: dict[float, list[Summary]] = {}
    for value, setting in settings_over(method, name):
        if setting.summary is not None:
            found.setdefault(value, []).append(setting.summary)
    for value in sorted(found):
        yield value, min(found[value], key=lambda s: s.mean)


# ------------------------------------------------------------------- style


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: it would choose a backend for the process

    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    return figure, figure.subplots()


def _logarithmic(axes: Any) -> None:
    """Set logarithmic axes with plain numbers, and room for all that is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(round(value))))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.dataLim.intervaly
    if 0 < low < high and math.isfinite(high):
        axes.set_ylim(low / 1.01, high * 1.01)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        if high / low < 1.5:
            axes.set_yscale("linear")
        else:
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.grid(alpha=0.25, which="both")
    part_coincident(axes)
    legend_aside(axes)
    save_figure(figure, path)
