"""Finished runs side by side. One seed each says nothing about which optimizer is better."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.recipe.recipe import Recipe
from optzoo.train.runs.directory import RunDirectory, open_run
from optzoo.train.runs.result import read_result
from optzoo.train.setup.identity import recorded_values
from optzoo.train.setup.provenance import leaf_paths

DO_NOT_COMPARE = "their losses do not compare"
MAY_BE_WHY = "that may be why their losses differ"
DECIDING = {
    "model": DO_NOT_COMPARE,
    "evaluation.sequences": DO_NOT_COMPARE,
    "batch.sequence_length": DO_NOT_COMPARE,
    "batch.sequences": MAY_BE_WHY,
    "schedule": MAY_BE_WHY,
    "objective": MAY_BE_WHY,
    "weight_decay": MAY_BE_WHY,
    "execution.precision": MAY_BE_WHY,
    "execution.state_dtype": MAY_BE_WHY,
}
"""Fields of a setup that decide a loss, and what it means where they differ."""


@dataclass(frozen=True)
class FinishedRun:
    """A run of a comparison, as the user named it; recipe and fields where they can be read."""

    path: Path
    result: Mapping[str, Any]
    recipe: Recipe | None
    fields: Mapping[str, Any]
    changes: Sequence[Mapping[str, Any]]


def compare_runs(paths: Sequence[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row per run and view, best first, and warnings about what is not comparable.

    Raises InputError for a directory that is no run, or whose run has not finished.
    """
    warnings: list[str] = []
    runs = [_open(path, warnings.append) for path in paths]
    rows: list[dict[str, Any]] = []
    for run in runs:
        result, seen = run.result, set[str]()
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
                    "run": str(run.path),
                }
            )
    rows.sort(key=lambda row: row["nats_per_token"])
    return rows, [*warnings, *_warnings(runs)]


def _open(path: Path, warn: Callable[[str], None]) -> FinishedRun:
    run = open_run(path)
    result = _result(run)
    recipe: Recipe | None = None
    fields: dict[str, Any] = {}
    try:
        recipe = run.load_recipe()
        fields = dict(leaf_paths(recorded_values(run.load_setup())))
    except InputError as error:
        warn(f"{path}: what it was trained with cannot be read: {error.diagnostics[0].message}")
    return FinishedRun(path, result, recipe, fields, run.identity.get("changes", ()))


def _result(run: RunDirectory) -> dict[str, Any]:
    result = read_result(run)
    if result is None:
        raise InputError(
            Diagnostic(
                "unfinished",
                f"{run.path} has no result yet",
                hint=f"finish it: `optzoo train --resume {shlex.quote(str(run.path))}`",
            )
        )
    return result


def _warnings(runs: Sequence[FinishedRun]) -> list[str]:
    """Return what makes the losses of these runs incomparable, or explains their differences."""
    warnings = [*_differing_results(runs), *_differing_fields(runs), *_differing_recipes(runs)]
    for run in runs:
        for change in run.changes:
            fields = change.get("setup", {}) if isinstance(change, Mapping) else {}
            if fields:
                what = ", ".join(f"`{name}`" for name in fields)
                step = change.get("after_step")
                warnings.append(f"{run.path}: {what} changed after step {step}")
    seeds = {(run.result["recipe"], run.result["seed"]) for run in runs}
    if len(seeds) <= len({recipe for recipe, _ in seeds}):
        warnings.append("one seed per recipe: a difference may be chance; repeat with --seed 1, 2")
    return warnings


def _differing_results(runs: Sequence[FinishedRun]) -> Iterator[str]:
    for what, key in (("corpora", "corpus"), ("numbers of tokens", "tokens")):
        values = {json.dumps(_named(run.result[key]), sort_keys=True) for run in runs}
        if len(values) > 1:
            yield f"these runs have different {what}: {DO_NOT_COMPARE}"
    by_recipe: dict[str, set[int]] = {}
    for run in runs:
        by_recipe.setdefault(run.result["recipe"], set()).add(run.result["seed"])
    if len(set(map(frozenset, by_recipe.values()))) > 1:
        listed = "; ".join(f"{k} {', '.join(map(str, sorted(v)))}" for k, v in by_recipe.items())
        yield f"these recipes have different seeds ({listed}): {MAY_BE_WHY}"


def _named(value: Any) -> Any:
    """Return what tells a corpus from others, or the value of anything else."""
    return value["fingerprint"] if isinstance(value, dict) else value


def _differing_fields(runs: Sequence[FinishedRun]) -> Iterator[str]:
    known = [run for run in runs if run.fields]
    for path in dict.fromkeys(name for run in known for name in run.fields):
        meaning = next((m for key, m in DECIDING.items() if (path + ".").startswith(key + ".")), "")
        listed = _listed([(run, run.fields.get(path)) for run in known]) if meaning else ""
        if listed:
            yield f"these runs have different `{path}`: {listed}: {meaning}"
    hashes = {run.result.get("setup_sha256") for run in runs} - {None}
    names = {run.result["setup"] for run in runs}
    if len(known) < len(runs) and (len(hashes) > 1 or len(names) > 1):
        yield f"these runs have different setups: {DO_NOT_COMPARE}"


def _differing_recipes(runs: Sequence[FinishedRun]) -> Iterator[str]:
    """Say in what the runs of a recipe differ that is the recipe's own."""
    for name in dict.fromkeys(run.result["recipe"] for run in runs):
        same = [run for run in runs if run.result["recipe"] == name]
        knobs = [
            (run, {h.name: h.default for h in run.recipe.hyperparameters.values()})
            for run in same
            if run.recipe is not None
        ]
        found = False
        for knob in dict.fromkeys(key for _, values in knobs for key in values):
            listed = _listed([(run, values.get(knob)) for run, values in knobs])
            if listed:
                found = True
                yield f"runs of `{name}` have different `{knob}`: {listed}: {MAY_BE_WHY}"
        if not found and len({run.result["recipe_digest"] for run in same}) > 1:
            yield f"runs of `{name}` are of different recipes of that name: {MAY_BE_WHY}"


def _listed(values: Sequence[tuple[FinishedRun, Any]]) -> str:
    """Return the values with the runs that have them, or nothing where all have the same."""
    by_value: dict[str, list[str]] = {}
    for run, value in values:
        by_value.setdefault("none" if value is None else str(value), []).append(str(run.path))
    if len(by_value) < 2:
        return ""
    return ", ".join(f"{value} ({', '.join(paths)})" for value, paths in by_value.items())
