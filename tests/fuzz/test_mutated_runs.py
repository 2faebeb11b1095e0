"""Run directories damaged at random: no traceback, and no difference that nobody is told of.

A file of a run, any of them, has bytes changed, cut, doubled or taken away, or a field of its JSON
or YAML changed, or is gone. The run is then evaluated, resumed and compared. What comes out is what
an undamaged run gives, or it comes with a warning, or it is one error. `OPTZOO_FUZZ_RUNS=500` tries
as many.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import stopped_run

from optzoo.errors import OptzooError
from optzoo.train import experiment
from optzoo.train.runs.comparison import compare_runs
from optzoo.train.session import evaluate_run, resume_run

COUNT = int(os.environ.get("OPTZOO_FUZZ_RUNS", "30"))
CHUNK = 10
STEPS = ("budget.steps", "6")
VALUES: list[Any] = [None, True, 0, -1, 7, 10**30, 0.5, 1e308, "", "x", "\x1b[31m", [], {}, [[]]]


@pytest.fixture(scope="module", autouse=True)
def _read_the_corpus_once() -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "open_corpus", cache(experiment.open_corpus))
        yield
    torch.set_num_threads(threads)


class Whole:
    """A stopped and a finished run, and what an undamaged one says."""

    def __init__(self, folder: Path) -> None:
        keep = (("checkpoint.every", "1"), ("checkpoint.keep_last", "2"), STEPS)
        self.stopped = stopped_run(folder / "stopped", 3, *keep, recipe="ademamix")
        self.finished = shutil.copytree(self.stopped, folder / "finished")
        self.evaluated = [without_path(evaluate_run(self.stopped))]
        self.result = resume_run(self.finished, quiet=True).result
        self.evaluated.append(without_path(evaluate_run(self.finished)))
        self.metrics = but_speed(self.finished)
        self.rows = without_paths(compare_runs([self.finished])[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


def without_path(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("run", "warnings")}


def without_paths(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "run"} for row in rows]


def but_speed(run: Path) -> list[bytes]:
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    return [line for line in lines if b'"kind": "speed"' not in line]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where there is something in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from places(each, (*path, key))


def change_field(chance: random.Random, data: Any) -> Any:
    changed = copy.deepcopy(data)
    path = chance.choice(list(places(changed)))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    old, key = parent[path[-1]], path[-1]
    if chance.random() < 0.2:
        del parent[key]
    elif isinstance(old, int | float) and chance.random() < 0.6:
        parent[key] = chance.choice([old + 1, old * 2, -old, old + 0.5])
    else:
        parent[key] = chance.choice(VALUES)
    return changed


def change_bytes(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text) + 1)
    end = min(len(text), at + chance.choice([1, 3, 40]))
    changed = chance.choice(
        [
            text[:at] + bytes(b ^ (1 << chance.randrange(8)) for b in text[at:end]) + text[end:],
            text[:at],
            text[:at] + text[end:],
            text[:end] + text[at:],
            text[:at] + chance.randbytes(5) + text[at:],
        ]
    )
    return changed if changed != text else text + b"\n\0"


def damage(chance: random.Random, run: Path) -> str:
    """Damage one file of a run; return which, and how."""
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != ".lock")
    small = [p for p in files if p.suffix in (".json", ".yaml", ".jsonl")]
    file = chance.choice(small if chance.random() < 0.8 else files)
    name, kind = str(file.relative_to(run)), chance.random()
    if kind < 0.05:
        file.unlink()
        return f"{name}: gone"
    text = file.read_bytes()
    if kind < 0.55 and file.suffix in (".json", ".yaml"):
        loads: Callable[[bytes], Any] = json.loads if file.suffix == ".json" else yaml.safe_load
        data = change_field(chance, loads(text))
        file.write_text(json.dumps(data) if file.suffix == ".json" else yaml.safe_dump(data))
        return f"{name}: {data}"
    file.write_bytes(change_bytes(chance, text))
    return f"{name}: {file.read_bytes()[:2000]!r}"


def check_evaluated(run: Path, expected: dict[str, Any], what: str) -> None:
    try:
        found = evaluate_run(run)
    except OptzooError:
        return
    assert found["warnings"] or without_path(found) == expected, what


def check_resumed(run: Path, whole: Whole, what: str) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            done = resume_run(run, quiet=True)
    except OptzooError:
        return
    if "warning" not in said.getvalue():
        assert done.result["views"] == whole.result["views"], what
        assert but_speed(run) == whole.metrics, what


def check_compared(run: Path, whole: Whole, what: str) -> None:
    try:
        rows, warnings = compare_runs([run])
    except OptzooError:
        return
    alone = ["one seed per recipe: a difference may be chance; repeat with --seed 1, 2"]
    assert without_paths(rows) == whole.rows or warnings != alone, what


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_damage_is_told(first: int, whole: Whole, tmp_path: Path) -> None:
    for seed in range(first, min(first + CHUNK, COUNT)):
        chance = random.Random(seed)
        stopped = shutil.copytree(whole.stopped, tmp_path / f"stopped-{seed}")
        what = f"seed {seed}: {damage(chance, stopped)}"
        check_evaluated(stopped, whole.evaluated[0], what)
        check_resumed(stopped, whole, what)
        finished = shutil.copytree(whole.finished, tmp_path / f"finished-{seed}")
        what = f"seed {seed}: {damage(chance, finished)}"
        check_evaluated(finished, whole.evaluated[1], what)
        check_compared(finished, whole, what)
        shutil.rmtree(stopped)
        shutil.rmtree(finished)
