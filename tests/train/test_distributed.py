"""Runs of several processes: the same batches, the same losses, one voice, one end."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_processes
from tiny_runs import TINY, stop_after

import optzoo
from optzoo.cli.options import split_setting
from optzoo.data.batches import Batches
from optzoo.distributed.signals import StopRequestedError
from optzoo.train.runs.checkpoint import load_checkpoint, load_step
from optzoo.train.runs.checkpoint_folder import list_checkpoints
from optzoo.train.runs.metrics import read_metrics
from optzoo.train.session import evaluate_run, resume_run, start_run

pytestmark = pytest.mark.xdist_group("processes")
STEPS = 6
CHANGES = [split_setting(text) for text in TINY if "=" in text]
CHANGES += [("execution.threads", "1"), ("batch.sequences", "4"), ("evaluation.every", "3")]
CHANGES += [("evaluation.sequences", "10"), ("checkpoint.every", "2")]


def start(
    rank: int, world: int, path: Path, steps: int, *changes: tuple[str, str], recipe: str = "mars"
) -> Any:
    fields = [*CHANGES, ("budget.steps", str(steps)), *changes]
    return start_run(
        recipe, run_dir=path, changes=fields, observers=["ema:0.5"], quiet=True
    ).result["views"]


def losses(path: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(path / "metrics.jsonl", "step")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "run"
    start(0, 1, path, STEPS)
    return path


@pytest.mark.parametrize(
    ("world", "changes"),
    [
        (4, []),
        (2, [("batch.micro_sequences", "1")]),
        (2, [("execution.parallel", "fsdp"), ("batch.micro_sequences", "1")]),
    ],
    ids=["ddp-4", "ddp-2-micro", "fsdp-2-micro"],
)
def test_any_number_of_processes_agrees_to_rounding(
    world: int, changes: list[tuple[str, str]], alone: Path, tmp_path: Path
) -> None:
    everyone = run_processes(world, start, tmp_path / "run", STEPS, *changes)
    assert all(views == everyone[0] for views in everyone), "ranks differ"
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-5)
    wanted = json.loads((alone / "result.json").read_text())["views"]
    for view, loss in everyone[0].items():
        assert loss["nats_per_token"] == pytest.approx(wanted[view]["nats_per_token"], rel=1e-5)
    assert evaluate_run(tmp_path / "run")["views"] == everyone[0], "eval by one process"


def start_with_trouble(rank: int, world: int, path: Path, trouble: str) -> tuple[str, str]:
    """Train; when rank 1 reads batch 3 something happens to it. Return what became of this rank."""
    make_trouble(trouble, 3)
    change = ("batch.sequences", "3" if trouble == "batch" else "4")
    try:
        start(rank, world, path, STEPS, change, ("checkpoint.every", "100"))
    except Exception as error:
        return type(error).__name__, str(error)
    return "finished", ""


def make_trouble(trouble: str, when: int) -> None:
    read = Batches.rows

    def rows(self: Batches, step: int, rank: int, world: int) -> Any:
        if rank == 1 and step == when:
            if trouble == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            elif trouble == "error":
                raise optzoo.RunError("the disk is gone")
            elif trouble == "bug":
                raise KeyError("unforeseen")
        return read(self, step, rank, world)

    Batches.rows = rows  # type: ignore[method-assign]  # this process is ours alone


def test_an_error_of_one_process_ends_all_and_is_told_once(tmp_path: Path) -> None:
    first, second = run_processes(2, start_with_trouble, tmp_path / "run", "error")
    assert first == ("RunError", "")
    assert second == ("RunError", "error: rank 1: the disk is gone")


def test_a_bug_in_one_process_does_not_leave_the_others_waiting(tmp_path: Path) -> None:
    first, second = run_processes(2, start_with_trouble, tmp_path / "run", "bug")
    assert first == ("RunError", "")
    assert second == ("KeyError", "'unforeseen'")


def test_bad_input_is_told_by_the_first_process_alone(tmp_path: Path) -> None:
    first, second = run_processes(2, start_with_trouble, tmp_path / "run", "batch")
    assert first[0] == second[0] == "InputError"
    assert "not a multiple of the 2 processes" in first[1]
    assert second[1] == ""


def test_a_signal_to_one_process_stops_all_after_a_checkpoint(alone: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    outcomes = run_processes(2, start_with_trouble, path, "signal")
    assert outcomes == [("StopRequestedError", "SIGTERM")] * 2
    assert [p.name for p in path.glob("checkpoints/step-*")] == ["step-00000004"]
    views = resume_run(path, quiet=True).result["views"]  # by one process
    wanted = json.loads((alone / "result.json").read_text())["views"]
    assert losses(path) == pytest.approx(losses(alone), rel=1e-5)
    for view, loss in views.items():
        assert loss["nats_per_token"] == pytest.approx(wanted[view]["nats_per_token"], rel=1e-5)


def start_sharded(rank: int, world: int, path: Path) -> str:
    make_trouble("signal", 3)
    with pytest.raises(StopRequestedError) as stopped:
        start(rank, world, path, STEPS, ("execution.parallel", "fsdp"))
    return str(stopped.value)


def resume_sharded(rank: int, world: int, path: Path) -> str:
    make_trouble("signal", 4)
    with pytest.raises(StopRequestedError) as stopped:
        resume_run(path, quiet=True)
    return str(stopped.value)


def test_saved_by_four_resumed_by_two_and_by_one(alone: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert run_processes(4, start_sharded, path) == ["SIGTERM"] * 4
    newest = list_checkpoints(path / "checkpoints")[0]
    assert newest.name == "step-00000004"
    assert len(list(newest.glob("*.safetensors"))) == 4
    assert not list(newest.glob("*.distcp"))
    whole = load_checkpoint(newest)
    assert run_processes(2, resume_sharded, path) == ["SIGTERM"] * 2
    newest = list_checkpoints(path / "checkpoints")[0]
    assert newest.name == "step-00000005"
    assert len(list(newest.glob("*.safetensors"))) == 2
    views = resume_run(path, quiet=True).result["views"]
    wanted = json.loads((alone / "result.json").read_text())["views"]
    assert losses(path) == pytest.approx(losses(alone), rel=1e-5)
    for view, loss in views.items():
        assert loss["nats_per_token"] == pytest.approx(wanted[view]["nats_per_token"], rel=1e-5)
    one = load_step(alone / "checkpoints", 4)
    assert whole.state["optimizer"] == one.state["optimizer"]
    for group, named in one.tensors.items():
        assert named.keys() == whole.tensors[group].keys()
        for name, tensor in named.items():
            torch.testing.assert_close(whole.tensors[group][name], tensor, rtol=1e-4, atol=1e-6)


def start_of(rank: int, world: int, path: Path, recipe: str) -> str:
    make_trouble("signal", 3)
    with pytest.raises(StopRequestedError) as stopped:
        start(rank, world, path, STEPS, ("execution.parallel", "fsdp"), recipe=recipe)
    return str(stopped.value)


def resume(rank: int, world: int, path: Path) -> Any:
    return resume_run(path, quiet=True).result["views"]


@pytest.mark.parametrize("recipe", ["muon", "soap", "adafactor"])
def test_state_of_other_sides_is_resumed_by_any_number(recipe: str, tmp_path: Path) -> None:
    """Squares of rows and columns, means of rows, and routes, with FSDP2."""
    wanted = start(0, 1, tmp_path / "alone", STEPS, recipe=recipe)
    assert run_processes(2, start_of, tmp_path / "by-1", recipe) == ["SIGTERM"] * 2
    shutil.copytree(tmp_path / "by-1", tmp_path / "by-2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(StopRequestedError):
            start(0, 1, tmp_path / "from-1", STEPS, ("execution.parallel", "fsdp"), recipe=recipe)
    for world, name in ((1, "by-1"), (2, "by-2"), (2, "from-1")):
        path = tmp_path / name
        everyone = run_processes(world, resume, path)
        assert all(views == everyone[0] for views in everyone), "ranks differ"
        assert losses(path) == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
        for view, loss in everyone[0].items():
            found = wanted[view]["nats_per_token"]
            assert loss["nats_per_token"] == pytest.approx(found, rel=1e-4), view
