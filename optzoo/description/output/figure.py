"""A description as a figure: weights of past gradients, coefficients, averaging weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optzoo.description.weights import iterate_weights, levels, weights_in
from optzoo.errors import Diagnostic, InputError
from optzoo.files.drawing import (
    COLOURS,
    STYLES,
    check_place,
    legend_aside,
    part_coincident,
    save_figure,
)

if TYPE_CHECKING:
    from optzoo.description.description import Description

MAX_LAGS = 20_000


def draw(description: Description, path: Path) -> None:
    """Write the figure to `path`; its suffix says the format.

    Raises InputError for another suffix, a recipe without closed forms, or a path that cannot be
    written.
    """
    check_place(path)
    if description.formulas is None:
        message = f"{description.recipe.name} has no closed form, and no figure is drawn without"
        raise InputError(Diagnostic("no-form", message))
    from optzoo.description.folding import CannotFoldError

    try:
        _draw(description, path)
    except CannotFoldError as error:
        message = f"`{error}` of {description.recipe.name} runs from step to step in a way that is"
        message += " followed one by one, and no figure is drawn of that"
        raise InputError(Diagnostic("no-form", message)) from None


def _draw(description: Description, path: Path) -> None:
    from matplotlib.figure import Figure  # not pyplot: it would choose a backend for the process

    averages = [p for p in description.points if p.weight is not None]
    count = 3 if averages else 2
    figure = Figure(figsize=(5 * count, 4.6), layout="constrained")
    axes = figure.subplots(1, count)
    steps = [t for t in description.at if t > 1] or [10]
    _past_gradients(axes[0], description, steps)
    _coefficients(axes[1], description, max(steps[-1], 2))
    if averages:
        _averages(axes[2], description, steps)
    spec = description.recipe.spec
    figure.suptitle(f"{spec.name}: {spec.summary}", fontsize=11)
    save_figure(figure, path)


def _past_gradients(axis: Any, description: Description, steps: list[int]) -> None:
    first = max(level.first for level in description.formulas.levels) if description.formulas else 1
    lowest = np.inf
    has_negative = False
    for colour, t in zip(COLOURS, steps, strict=False):
        lags = min(t - first, MAX_LAGS)
        if lags < 1:
            continue
        weights = weights_in(description.derivation, t, lags)
        has_negative = has_negative or bool((weights < 0).any())
        shown = np.abs(weights)
        lowest = min(lowest, float(shown[shown > 0].min(initial=np.inf)))
        axis.plot(np.arange(lags + 1) + 1, shown, color=colour, label=f"step {t:,}", lw=1.6)
    axis.set(xscale="log", yscale="log", xlabel="age of the gradient (steps, 1 = the newest)")
    axis.set_ylabel("weight in the step" + (", absolute" if has_negative else ""))
    top = axis.get_ylim()[1]
    axis.set_ylim(max(lowest, top * 1e-9) / 2, top)
    axis.set_title("weight of past gradients", fontsize=10)
    axis.grid(alpha=0.25)
    part_coincident(axis)
    legend_aside(axis, below=True)


def _coefficients(axis: Any, description: Description, last: int) -> None:
    names = ("beta_a", "eta_a", "alpha_a") if description.form else ("beta", "eta", "alpha")
    level = levels(description.derivation, 1, min(last, MAX_LAGS))[0]
    steps = np.arange(1, len(level.alpha) + 1)

    def label(name: str, i: int) -> str:
        return name if description.form else f"{name}({_buffer(description, i)})"

    for i, (beta, eta) in enumerate(zip(level.betas, level.etas, strict=True)):
        style = STYLES[i % 4]
        if len(steps) > 1:
            axis.plot(steps[1:], 1 - beta[1:], color=COLOURS[0], ls=style,
                      label=f"1 - {label(names[0], i)}")  # fmt: skip
        axis.plot(steps, np.abs(eta), color=COLOURS[1], ls=style, label=label(names[1], i))
    if np.any(level.alpha != 0):
        sign = "|" if (level.alpha < 0).any() else ""
        axis.plot(steps, np.abs(level.alpha), color=COLOURS[2], label=f"{sign}{names[2]}{sign}")
    axis.set(xscale="log", yscale="log", xlabel="step t")
    axis.set_title("coefficients (eta and alpha include lr)", fontsize=10)
    axis.grid(alpha=0.25)
    part_coincident(axis)
    legend_aside(axis, below=True)


def _buffer(description: Description, i: int) -> str:
    return description.momenta[i].buffers


def _averages(axis: Any, description: Description, steps: list[int]) -> None:
    for i, point in enumerate(p for p in description.points if p.weight is not None):
        assert point.weight is not None
        style = STYLES[i % 4]
        for colour, t in zip(COLOURS, steps, strict=False):
            if t > MAX_LAGS:
                continue
            weights = iterate_weights(description.derivation, point.weight, t)[1:]
            name = f"after step {t:,}" + ("" if point.view == "eval" else f", {point.view}")
            axis.plot(np.arange(1, t + 1) / t, weights * t, color=colour, ls=style, label=name)
    axis.set(xlabel="iterate, as a share of the run so far")
    axis.set_ylabel("weight times t (1 = plain mean)")
    axis.set_title("weight of the iterates in the evaluated point", fontsize=10)
    axis.grid(alpha=0.25)
    part_coincident(axis)
    legend_aside(axis, below=True)
