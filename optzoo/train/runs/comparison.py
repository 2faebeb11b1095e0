"""Finished runs side by side. One seed each says nothing about which optimizer is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.train.runs.directory import open_run
from optzoo.train.runs.metrics import read_metrics


def compare_runs(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row per run and view, best first, and warnings about what is not comparable.

    Raises InputError for a directory that is no run, or whose run has not finished.
    """
    rows: list[dict[str, Any]] = []
    results = [(path, _result(path)) for path in paths]
    for path, result in results:
        seen: set[str] = set()
        for view in ("eval", *result["views"]):
            loss = result["views"][view]
            if loss["weights_sha256"] in seen:
                continue
            seen.add(loss["weights_sha256"])
            rows.append(
                {
                    "recipe": result["recipe"],
                    "view": view,
                    "nats_per_token": round(loss["nats_per_token"], 4),
                    "bits_per_byte": round(loss["bits_per_byte"], 4),
                    "tokens": result["tokens"],
                    "seconds": round(result["seconds"], 1),
                    "seed": result["seed"],
                    "run": str(path),
                }
            )
    rows.sort(key=lambda row: row["nats_per_token"])
    return rows, _warnings(results)


def draw_comparison(paths: Sequence[Path], target: Path) -> None:
    """Draw the held-out loss of each run's evaluation point against tokens, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ends: list[float] = []
    for path in paths:
        lines = list(read_metrics(path / "metrics.jsonl", "evaluation"))
        losses = [line["views"]["eval"]["nats_per_token"] for line in lines]
        label = f"{_result(path)['recipe']}, seed {_result(path)['seed']}: {losses[-1]:.4f}"
        axes.plot([line["tokens"] for line in lines], losses, marker="o", markersize=3, label=label)
        ends += losses[1:]
    if ends:
        axes.set_ylim(min(ends) - 0.05, max(ends) + 0.05)
    axes.set_xlabel("training tokens")
    axes.set_ylabel("held-out loss (nats per token)")
    titles = {str(_result(path)["corpus"]["title"]) for path in paths}
    axes.set_title(
        f"Held-out loss at the evaluation point: {'; '.join(sorted(titles))}", loc="left"
    )
    axes.grid(color="0.93")
    axes.legend(frameon=False)
    try:
        figure.savefig(target, format="png")
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from None


def _result(path: Path) -> dict[str, Any]:
    run = open_run(path)
    try:
        result: dict[str, Any] = json.loads((run.path / "result.json").read_bytes())
    except (OSError, ValueError):
        raise InputError(
            Diagnostic(
                "unfinished",
                f"{path} has no result yet",
                hint=f"finish it: `optzoo train {run.identity['given_recipe']} --resume {path}`",
            )
        ) from None
    return result


def _warnings(results: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    warnings = []
    for what, key in (("corpora", "corpus"), ("numbers of tokens", "tokens"), ("setups", "setup")):
        values = {json.dumps(result[key], sort_keys=True) for _, result in results}
        if len(values) > 1:
            warnings.append(f"these runs have different {what}: their losses do not compare")
    if len({(r["recipe"], r["seed"]) for _, r in results}) <= len(
        {r["recipe"] for _, r in results}
    ):
        warnings.append("one seed per recipe: a difference may be chance; repeat with --seed 1, 2")
    return warnings
