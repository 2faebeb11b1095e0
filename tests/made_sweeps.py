"""Sweeps whose runs were not trained: real folders, and losses by a formula."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from optzoo.files.atomic import to_json
from optzoo.recipe.recipe import load_recipe
from optzoo.sweeps.folder import SweepFolder, Task, write_sweep
from optzoo.sweeps.grid import jobs_of, points_of
from optzoo.sweeps.schema import load_sweep
from optzoo.train.runs.beginning import create_run
from optzoo.train.runs.directory import RunDirectory
from optzoo.train.runs.result import write_result
from optzoo.train.setup.schema import Setup, load_setup

SETUP = """
name: made
model: {width: 16, layers: 1, heads: 1, hidden: 32}
batch: {sequences: 2, sequence_length: 32}
budget: {steps: 600}
schedule: {kind: auto, warmup_steps: 20}
evaluation: {every: 50, sequences: 8}
checkpoint: {every: 100}
metrics: {every: 20}
execution: {threads: 1}
"""
SWEEP = """
name: made
summary: losses by a formula
reference: none of anybody's
notes: ["<b>bold</b> & {{ 7*7 }}"]
setup: SETUP
methods:
  - {recipe: adamw, grid: {lr: [1e-3, 3e-3, 1e-2]}}
  - recipe: ademamix
    name: AdEMAMix
    set: {alpha: 2}
    grid: {lr: [1e-3, 3e-3], beta3: [0.99, 0.999]}
  - {recipe: schedule_free_adamw, set: {lr: 3e-3}}
  - {recipe: adamw_averaged, set: {lr: 3e-3}, grid: {delta: [0.1, 0.2]}}
seeds: [0, 1, 2]
claims:
  - {better: AdEMAMix, than: adamw}
  - {same: adamw_averaged, as: schedule_free_adamw}
"""
CORPUS = SimpleNamespace(name="made", title="a made corpus", fingerprint="f" * 64)
Loss = Callable[[str, dict[str, Any], int], float]
"""The loss at the end, of a method with values and a seed."""


def made_loss(method: str, values: dict[str, Any], seed: int) -> float:
    """Better by method, best at lr 3e-3, the same shift by seed for all."""
    base = 2.0 - 0.02 * len(method) / 8
    noise = zlib.crc32(f"{method}{seed}".encode()) % 1000 / 1e5
    lr = values.get("lr", 3e-3)
    return (
        base + 0.1 * math.log10(lr / 3e-3) ** 2 + 0.01 * seed + noise + 0.1 * values.get("delta", 0)
    )


def make_sweep(path: Path, *, sweep: str = SWEEP, loss: Loss = made_loss) -> SweepFolder:
    """Return the folder of a sweep in which every run is done."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "made.yaml").write_text(SETUP)
    (path / "made-sweep.yaml").write_text(sweep.replace("SETUP", str(path / "made.yaml")))
    spec = load_sweep(path / "made-sweep.yaml")
    folder = write_sweep(path / "sweep", spec, jobs_of(points_of(spec)))
    for task in folder.tasks:
        finish(task, loss)
    return folder


def finish(task: Task, loss: Loss = made_loss) -> None:
    """Write what a run of a task would leave."""
    recipe, setup = (
        load_recipe(task.path / "recipe.yaml"),
        load_setup(str(task.path / "setup.yaml")),
    )
    given = str(task.path / "recipe.yaml")
    run: RunDirectory = create_run(task.run, recipe, setup, CORPUS, given=recipe, given_name=given)
    views = {p["view"]: loss(p["method"], p["values"], p["seed"]) for p in task.about["points"]}
    write_end(run, setup, {"eval": next(iter(views.values())), **views})


def write_end(run: RunDirectory, setup: Setup, views: dict[str, float]) -> None:
    """Write metrics, result and sample."""
    lines: list[dict[str, Any]] = []
    last = setup.num_steps
    for step in range(last + 1):
        share, tokens = math.sqrt(step / last), step * setup.batch.tokens
        if step % setup.evaluation.every == 0:
            losses = {v: {"nats_per_token": 5.5 + (x - 5.5) * share} for v, x in views.items()}
            lines.append({"kind": "evaluation", "step": step, "tokens": tokens, "views": losses})
        if step:
            wave = 0.2 * math.sin(step * 1.7 + setup.seed)
            loss = 5.5 + (views["eval"] - 5.5) * share + wave
            noise = {"gradient_signal": 0.5, "gradient_noise": 2000.0} if step % 20 == 0 else {}
            lines.append({"kind": "step", "step": step, "tokens": tokens, "loss": loss, **noise})
        if step and step % setup.metrics.every == 0:
            speed = {"tokens_per_second": 1000.0 + 10 * setup.seed, "memory_bytes": 3 * 10**8}
            lines.append({"kind": "speed", "step": step, **speed})
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "recipe": run.identity["recipe"],
        "recipe_digest": run.identity["recipe_digest"],
        "setup": setup.name,
        "seed": setup.seed,
        "steps": last,
        "tokens": last * setup.batch.tokens,
        "seconds": 42.0,
        "parameters": 1234,
        "corpus": run.identity["corpus"],
        "views": {
            view: {"nats_per_token": loss, "bits_per_byte": loss * 1.4, "weights_sha256": view}
            for view, loss in views.items()
        },
    }
    write_result(run, result)
    (run.path / "sample.txt").write_text("def </pre><script>alert(1)</script>\n")


def diverge(task: Task) -> None:
    """Make a finished run one that diverged in step 17."""
    (task.run / "result.json").unlink()
    about = {"recipe": task.about["recipe"], "seed": task.about["seed"], "steps": 17}
    rest = {"reason": "the loss is nan", "tokens": 1088, "seconds": 0.0, "parameters": 0}
    task.divergence_file.write_bytes(to_json({"format_version": 1, **about, **rest}))


def fail(task: Task) -> None:
    """Make a finished run one that failed."""
    (task.run / "result.json").unlink()
    reason = (
        "Traceback (most recent call last):\n  <frame>\nValueError: <img src=x onerror=alert(1)>"
    )
    task.failure_file.write_bytes(to_json({"format_version": 1, "reason": reason, "step": 5}))
