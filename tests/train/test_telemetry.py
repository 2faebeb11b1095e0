"""Updates, speed and memory in the metrics, and the trackers that are told."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Done
from torch import nn

from optzoo.errors import InputError, RunError
from optzoo.train.runs.metrics import Mark, MetricsLog
from optzoo.train.runs.trackers import Tracking, check_trackers
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.schema import load_setup
from optzoo.train.telemetry import Telemetry

Tiny = Callable[..., Done]


def test_updates_and_speed_are_on_every_few_lines(tiny: Tiny, tmp_path: Path) -> None:
    done = tiny("run", "--steps", "7", "--set", "metrics.every=3")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps if "update_rms" in line] == [3, 6, 7]
    assert all(0 < line["update_rms"] < 0.01 for line in steps if "update_rms" in line)
    speeds = [line for line in lines if line["kind"] == "speed"]
    assert [line["step"] for line in speeds] == [3, 6, 7]
    assert all(line["tokens_per_second"] > 0 for line in speeds)
    assert all(line["memory_bytes"] > 10 * 2**20 for line in speeds)
    assert not any("mfu" in line for line in speeds)  # no peak is known for a CPU


def test_the_update_is_the_root_mean_square_over_all_elements() -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(1))]
    setup = override_setup(load_setup("quick"), {"metrics.every": "2"})
    telemetry = Telemetry(setup, 257, parameters)
    telemetry.start(1)
    with telemetry.update(), torch.no_grad():
        parameters[0].add_(1.0)
    assert telemetry.changes() == {}
    assert telemetry.finish() == {}
    telemetry.start(2)
    with telemetry.update(), torch.no_grad():
        parameters[0].add_(torch.tensor([1.0, -2.0, 2.0]))
        parameters[1].sub_(4.0)
    assert telemetry.changes()["update_rms"] == pytest.approx(math.sqrt((1 + 4 + 4 + 16) / 4))
    assert telemetry.finish()["tokens_per_second"] > 0
    telemetry.start(3)
    assert telemetry.changes() == {}


FAKE = """
import json, pathlib
seen = pathlib.Path({folder!r})
def init(**settings):
    if {fails_at} == 0:
        raise RuntimeError("you are not logged in")
    with (seen / "{name}.jsonl").open("a") as file:
        print(json.dumps({{"init": {{k: str(v) for k, v in settings.items()}}}}), file=file)
    if "{name}" == "trackio":
        return None
    import {name}
    return {name}
def log(values, step):
    if step == {fails_at}:
        raise OSError("the network is gone")
    with (seen / "{name}.jsonl").open("a") as file:
        print(json.dumps({{"step": step, **values}}), file=file)
def finish():
    with (seen / "{name}.jsonl").open("a") as file:
        print(json.dumps({{"finish": True}}), file=file)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a package that writes down what it is told."""

    def install(name: str, fails_at: int = -1) -> Path:
        packages = tmp_path / "packages"
        packages.mkdir(exist_ok=True)
        text = FAKE.format(folder=str(tmp_path), name=name, fails_at=fails_at)
        (packages / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(packages))
        sys.modules.pop(name, None)
        return tmp_path / f"{name}.jsonl"

    yield install
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def track(path: Path, names: list[str], warnings: list[str]) -> None:
    """Write the metrics of a short run with these trackers."""
    path.mkdir(exist_ok=True)
    (path / "run.json").write_text("{}")
    tracking = Tracking(
        names, path=path, config={"recipe": "lion"}, step=0, every=2, warn=warnings.append
    )
    with MetricsLog(path / "metrics.jsonl", Mark(), tracking) as log:
        for step in (1, 2, 3, 4):
            log.write("step", {"step": step, "tokens": 8 * step, "loss": 1.0 / step})
            if step == 2:
                views = {"eval": {"nats_per_token": 3.0, "bits_per_byte": 2.0}}
                log.write("evaluation", {"step": step, "tokens": 16, "views": views})
        log.write("speed", {"step": 4, "tokens_per_second": 9.0})


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_are_told(name: str, fake: Callable[..., Path], tmp_path: Path) -> None:
    seen = fake(name)
    check_trackers([name])
    warnings: list[str] = []
    track(tmp_path / "run", [name], warnings)
    started, *logged, ended = told(seen)
    assert started["init"]["project"] == "optzoo"
    assert started["init"]["resume"] == "allow"
    assert logged == [
        {"step": 2, "train/loss": 0.5},
        {
            "step": 2,
            "evaluation/eval/nats_per_token": 3.0,
            "evaluation/eval/bits_per_byte": 2.0,
        },
        {"step": 4, "train/loss": 0.25},
        {"step": 4, "speed/tokens_per_second": 9.0},
    ]
    assert ended == {"finish": True}
    track(tmp_path / "run", [name], warnings)  # resumed: the same run
    inits = [line["init"] for line in told(seen) if "init" in line]
    assert inits[0] == inits[1]
    assert warnings == []


def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(
    fake: Callable[..., Path], tmp_path: Path
) -> None:
    failing, other = fake("wandb", fails_at=2), fake("trackio")
    warnings: list[str] = []
    track(tmp_path / "run", ["wandb", "trackio"], warnings)
    assert len(warnings) == 1
    assert "wandb is dropped" in warnings[0]
    assert "the network is gone" in warnings[0]
    assert [line.get("step") for line in told(failing)] == [None]
    assert [line.get("step") for line in told(other)] == [None, 2, 2, 4, 4, None]


def test_a_missing_package_is_one_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install wandb trackio"):
        check_trackers(["wandb", "trackio"])


def test_a_tracker_that_cannot_start_is_one_error(
    fake: Callable[..., Path], tmp_path: Path
) -> None:
    fake("wandb", fails_at=0)
    with pytest.raises(RunError, match="wandb could not start: you are not logged in"):
        track(tmp_path / "run", ["wandb"], [])


def test_an_unknown_tracker_is_refused(tiny: Tiny) -> None:
    done = tiny("run", "--track", "tensorbord")
    assert done.returncode == 2
    assert "'tensorboard', 'wandb' or 'trackio'" in done.stderr


def test_tensorboard_reads_what_a_run_wrote(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'optzoo[tensorboard]'")
    done = tiny("run", "--steps", "4", "--track", "tensorboard", "--set", "metrics.every=2")
    assert done.returncode == 0, done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/update_rms", "evaluation/eval/nats_per_token"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4]
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    losses = [json.loads(line) for line in text.splitlines() if '"kind": "step"' in line]
    assert events.Scalars("train/loss")[1].value == pytest.approx(losses[3]["loss"])
