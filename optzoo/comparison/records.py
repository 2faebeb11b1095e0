"""What is compared: a record for every run, setting, seed and view, out of folders."""

from __future__ import annotations

import bisect
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.recipe.recipe import load_recipe
from optzoo.sweeps.folder import SweepFolder, Task, is_sweep_folder, open_sweep
from optzoo.sweeps.schema import ClaimSpec

Values = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Measured:
    """One setting of a method with one seed, measured at one view.

    `loss` is the held-out loss at the end in nats per token, None when the run diverged; `result`
    what the run says of itself.
    """

    method: str
    recipe: str
    values: Values
    hyperparameters: Mapping[str, Any]
    seed: int
    view: str
    run: Path
    loss: float | None
    bits_per_byte: float | None
    tokens: int
    seconds: float
    parameters: int
    result: Mapping[str, Any]

    @property
    def tokens_per_second(self) -> float | None:
        """Training speed, evaluations included."""
        return self.tokens / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Gathered:
    """The records of what is compared, what is not finished, and who is the baseline.

    `grids` are the values of every method's grid, for methods that have one.
    """

    records: tuple[Measured, ...]
    unfinished: tuple[str, ...]
    baseline: str | None
    grids: Mapping[str, Mapping[str, Sequence[Any]]]
    claims: tuple[ClaimSpec, ...] = ()


def gather(paths: Sequence[Path]) -> Gathered:
    """Return the records of runs and sweeps.

    Raises InputError for a path that is neither, a single run that has not finished, and sweeps
    without a finished run.
    """
    records: list[Measured] = []
    unfinished: list[str] = []
    grids: dict[str, Mapping[str, Sequence[Any]]] = {}
    claims: list[ClaimSpec] = []
    baseline: str | None = None
    single = [r for path in paths if not is_sweep_folder(path) for r in _records_of_run(path)]
    for path in filter(is_sweep_folder, paths):
        sweep = open_sweep(path)
        baseline = baseline or sweep.spec.chosen_baseline
        grids |= {method.label: method.grid for method in sweep.spec.methods}
        claims += sweep.spec.claims
        found, missing = _records_of_sweep(sweep)
        records += found
        unfinished += missing
    records += _told_apart(single)
    if not records:
        message = f"nothing is finished yet in {', '.join(map(str, paths))}"
        raise InputError(Diagnostic("unfinished", message, hint="see: optzoo sweep status DIR"))
    return Gathered(tuple(records), tuple(unfinished), baseline, grids, tuple(claims))


def _told_apart(records: Sequence[Measured]) -> list[Measured]:
    """Return records of single runs with that as values in which runs of a method differ.

    A run of another hyperparameter, or of another setup in what decides a loss, is another setting,
    not another seed.
    """
    known = {run: _deciding_fields(run) for run in dict.fromkeys(r.run for r in records)}
    about = [{**record.hyperparameters, **known[record.run]} for record in records]
    found = []
    for record, ours in zip(records, about, strict=True):
        alike = [a for r, a in zip(records, about, strict=True) if r.method == record.method]
        values = [(n, v) for n, v in ours.items() if any(v != theirs.get(n) for theirs in alike)]
        found.append(replace(record, values=tuple(values)))
    return found


def _deciding_fields(run: Path) -> dict[str, Any]:
    """Return the fields of a run's setup that decide its loss; none where it cannot be read."""
    from optzoo.train.runs.comparison import DECIDING
    from optzoo.train.runs.directory import open_run
    from optzoo.train.setup.identity import recorded_values
    from optzoo.train.setup.provenance import leaf_paths

    try:
        fields = leaf_paths(recorded_values(open_run(run).recorded_setup()))
    except InputError:
        return {}
    return {n: v for n, v in fields if any(f"{n}.".startswith(f"{key}.") for key in DECIDING)}


def _records_of_sweep(sweep: SweepFolder) -> tuple[list[Measured], list[str]]:
    records: list[Measured] = []
    missing: list[str] = []
    for task in sweep.tasks:
        result = task.result
        if result is None:
            missing.append(f"{task.run} {task.state.value}")
            continue
        records += _records_of_task(task, result)
    return records, missing


def _records_of_task(task: Task, result: Mapping[str, Any]) -> Iterator[Measured]:
    for point in task.about["points"]:
        yield _record(
            point["method"],
            tuple(point["values"].items()),
            point["hyperparameters"],
            point["view"],
            task.run,
            result,
        )


def _records_of_run(path: Path) -> Iterator[Measured]:
    """Yield a record for every view of a run whose weights are not those of one before it."""
    from optzoo.train.runs.directory import open_run
    from optzoo.train.runs.result import read_result

    run = open_run(path)
    result = read_result(run)
    if result is None:
        hint = f"finish it: `optzoo train --resume {shlex.quote(str(path))}`"
        raise InputError(Diagnostic("unfinished", f"{path} has no result yet", hint=hint))
    knobs = {n: h.default for n, h in load_recipe(path / "recipe.yaml").hyperparameters.items()}
    seen: set[str] = set()
    for view in ("eval", *result["views"]) if result["views"] else ("eval",):
        weights = result["views"].get(view, {}).get("weights_sha256", view)
        if weights not in seen:
            seen.add(weights)
            name = result["recipe"] if view == "eval" else f"{result['recipe']} ({view})"
            yield _record(name, (), knobs, view, run.path, result)


def _record(
    method: str,
    values: Values,
    hyperparameters: Mapping[str, Any],
    view: str,
    run: Path,
    result: Mapping[str, Any],
) -> Measured:
    loss = result["views"].get(view, {})
    nats = loss.get("nats_per_token")
    return Measured(
        method=method,
        recipe=result["recipe"],
        values=values,
        hyperparameters=hyperparameters,
        seed=result["seed"],
        view=view,
        run=run,
        loss=nats if nats is not None and math.isfinite(nats) else None,
        bits_per_byte=loss.get("bits_per_byte"),
        tokens=result["tokens"],
        seconds=result["seconds"],
        parameters=result["parameters"],
        result=result,
    )


@dataclass(frozen=True)
class Curve:
    """The held-out loss of a run at a view, and its training loss, in nats per token.

    `seconds` are those of training alone, as the measured speeds say; empty where none were.
    `noise_scale` is the batch, in tokens, below which noise dominates the gradient.
    """

    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    train_tokens: tuple[int, ...]
    train_losses: tuple[float, ...]
    memory_bytes: int | None
    noise_scale: float | None


def read_curve(record: Measured) -> Curve | None:
    """Return the curve of a record; None where the metrics are gone."""
    from optzoo.train.noise import noise_scale
    from optzoo.train.runs.metrics import read_metrics

    path = record.run / "metrics.jsonl"
    try:
        found = [line for line in read_metrics(path, "evaluation") if record.view in line["views"]]
        steps = [line for line in read_metrics(path, "step") if _is_positive(line, "tokens")]
        speeds = [
            line for line in read_metrics(path, "speed") if _is_positive(line, "tokens_per_second")
        ]
    except OSError:
        return None
    tokens = tuple(line["tokens"] for line in found)
    per_step = steps[-1]["tokens"] // steps[-1]["step"] if steps else 0
    memory = [line["memory_bytes"] for line in speeds if "memory_bytes" in line]
    return Curve(
        tokens=tokens,
        losses=tuple(line["views"][record.view]["nats_per_token"] for line in found),
        seconds=_seconds_at(tokens, speeds, per_step),
        train_tokens=tuple(line["tokens"] for line in steps),
        train_losses=tuple(line["loss"] for line in steps),
        memory_bytes=max(memory, default=None),
        noise_scale=noise_scale(steps),
    )


def _is_positive(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and value > 0


def _seconds_at(
    tokens: Sequence[int], speeds: Sequence[Mapping[str, Any]], per_step: int
) -> tuple[float, ...]:
    """Return when so many tokens had been trained on, between speeds in proportion."""
    if not speeds or not per_step:
        return ()
    at, seconds = [0.0], [0.0]
    for line in speeds:
        reached = float(line["step"] * per_step)
        if reached > at[-1]:
            seconds.append(seconds[-1] + (reached - at[-1]) / line["tokens_per_second"])
            at.append(reached)
    rate = (seconds[-1] / at[-1]) if at[-1] else 0.0
    return tuple(_interpolated(t, at, seconds, rate) for t in tokens)


def _interpolated(t: float, at: Sequence[float], values: Sequence[float], rate: float) -> float:
    i = bisect.bisect_left(at, t)
    if i == len(at):
        return values[-1] + (t - at[-1]) * rate
    if at[i] == t or i == 0:
        return values[i]
    share = (t - at[i - 1]) / (at[i] - at[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])
