"""What a page draws, as JSON values: curves, sensitivity, coefficients over the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optzoo.comparison.evidence import RunFacts
from optzoo.comparison.figures import best_at, settings_over
from optzoo.comparison.ranking import MethodResult, Ranking, Setting
from optzoo.comparison.records import Curve
from optzoo.description.description import Description, describe
from optzoo.errors import InputError

MAX_POINTS = 400
"""Points of a training loss that a page holds; more are put together to means."""
NUM_STEPS = 72
"""Steps at which coefficients are shown."""


def curves_json(ranking: Ranking) -> list[dict[str, Any]]:
    """Return for each method the curves of its best setting, one row a seed.

    `seconds` is the mean over seeds, null where the speed of a run was not measured.
    """
    return [
        {"method": m.method, **_curve_json(m.best)}
        for m in ranking.methods
        if m.best is not None and m.best.mean_curve[0]
    ]


def _curve_json(best: Setting) -> dict[str, Any]:
    tokens, mean = best.mean_curve
    rows = [_row(c.tokens, c.losses, tokens) for c in best.curves]
    return {
        "tokens": tokens,
        "mean": _short(mean),
        "seeds": rows,
        "seconds": _seconds(best.curves, tokens),
        "train": _training_json(best.curves),
    }


def _row(at: Sequence[int], values: Sequence[float], shared: Sequence[int]) -> list[float]:
    found = dict(zip(at, values, strict=True))
    return _short([found[t] for t in shared])


def _short(values: Sequence[float]) -> list[float]:
    """Return numbers to seven digits: what is drawn needs no more."""
    return [float(f"{value:.7g}") for value in values]


def _seconds(curves: Sequence[Curve], tokens: Sequence[int]) -> list[float] | None:
    if not all(len(c.seconds) == len(c.tokens) for c in curves):
        return None
    rows = [_row(c.tokens, c.seconds, tokens) for c in curves]
    return _short([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])


def _training_json(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return the training losses at what all seeds have, neighbours put together to means."""
    shared = sorted(set.intersection(*(set(c.train_tokens) for c in curves)))
    size = max(1, -(-len(shared) // MAX_POINTS))
    seeds = [_row(c.train_tokens, c.train_losses, shared) for c in curves]
    return {
        "steps_together": size,
        "tokens": [part[-1] for part in _parts(shared, size)],
        "seeds": [_short([math.fsum(p) / len(p) for p in _parts(row, size)]) for row in seeds],
    }


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


# ------------------------------------------------------------- sensitivity


def sensitivity_json(ranking: Ranking) -> list[dict[str, Any]]:
    """Return for each hyperparameter with a grid of numbers what each method's loss is over it."""
    names = dict.fromkeys(
        name for m in ranking.methods for setting in m.settings for name, _ in setting.values
    )
    found = [
        {"name": name, "methods": [_over(m, name) for m in ranking.methods if _has_grid(m, name)]}
        for name in names
    ]
    return [row for row in found if row["methods"]]


def _has_grid(method: MethodResult, name: str) -> bool:
    return len({value for value, _ in settings_over(method, name)}) > 1


def _over(method: MethodResult, name: str) -> dict[str, Any]:
    settings = list(settings_over(method, name))
    return {
        "method": method.method,
        "best": [[value, found.mean, found.error] for value, found in best_at(method, name)],
        "all": [
            [value, setting.summary.mean, setting.text]
            for value, setting in settings
            if setting.summary is not None
        ],
        "diverged": sorted({value for value, setting in settings if setting.summary is None}),
    }


# ------------------------------------------------------------ coefficients


def coefficients_json(ranking: Ranking, facts: Mapping[Path, RunFacts]) -> list[dict[str, Any]]:
    """Return beta_a, eta_a and alpha_a of each method over its run, or its momenta without them.

    Learning rates are those of the run: the schedule of its setup, and its scale. `problem` says
    why there is nothing to show.
    """
    found = []
    for method in ranking.methods:
        if method.best is None:
            continue
        run = facts.get(method.best.records[0].run)
        try:
            about = _described(run) if run is not None else {"problem": "its run cannot be read"}
        except InputError as error:
            first = error.diagnostics[0]
            about = {"problem": f"{first.location}: " * bool(first.location) + first.message}
        found.append({"method": method.method, **about})
    return found


def _described(run: RunFacts) -> dict[str, Any]:
    recipe, setup = run.recipe, run.setup
    total = setup.num_steps
    description = describe(
        recipe,
        total_steps=total,
        at=(total,),
        lr_schedule=run.lr_schedule,
    )
    steps = _steps(total)
    values = _of_form(description, steps) if description.form else _momenta(description, steps)
    return {
        "recipe": recipe.name,
        "form": description.form,
        "closed_form": description.closed_form if description.form else None,
        "where": description.formulas.where_text if description.formulas is not None else {},
        "left_out": description.left_out,
        "steps": steps,
        "tokens_per_step": setup.batch.tokens,
        **values,
    }


def _steps(total: int) -> list[int]:
    """Return steps from 1 to the last, close to each other at the beginning and at the end."""
    count = NUM_STEPS // 2
    evenly = (1 + round(i * (total - 1) / count) for i in range(count + 1))
    rising = (round(total ** (i / count)) for i in range(count + 1))
    return sorted({*evenly, *rising})


def _of_form(description: Description, steps: Sequence[int]) -> dict[str, Any]:
    rows = []
    for t in steps:
        try:
            found = description.coefficients(t)
            rows.append((found.beta_a, found.eta_a, found.alpha_a))
        except InputError:  # a step at which they have no value
            rows.append((math.nan, math.nan, math.nan))
    betas, etas, alphas = (list(map(_plain, column)) for column in zip(*rows, strict=True))
    has_momentum = description.order > 0
    momenta = [{"name": "", "beta": betas, "eta": etas}] if has_momentum else []
    return {"momenta": momenta, "alphas": [alphas]}


def _momenta(description: Description, steps: Sequence[int]) -> dict[str, Any]:
    """Return the momenta of a recipe that is not of the form, and the form nearest at the end."""
    values = [description.momentum_values(t) for t in steps]
    weights = [description.gradient_weights(t) for t in steps]
    momenta = [
        {
            "name": momentum.buffers,
            "of": momentum.of,
            "beta": [_plain(row[i][0]) for row in values],
            "eta": [_plain(row[i][1]) for row in values],
        }
        for i, momentum in enumerate(description.momenta)
    ]
    near = description.nearest_form
    return {
        "momenta": momenta,
        "alphas": [list(map(_plain, column)) for column in zip(*weights, strict=True)],
        "nearest": None if near is None else _nearest(near),
    }


def _nearest(near: Any) -> dict[str, float | None]:
    found = {name: getattr(near, name) for name in ("t", "beta_a", "eta_a", "alpha_a", "error")}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: float) -> float | None:
    return float(f"{value:.10g}") if math.isfinite(value) else None
