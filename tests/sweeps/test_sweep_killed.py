"""Workers and controllers killed at random: every run is there once, bit for bit as undisturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import environment, typed

from optzoo.sweeps.folder import JobState, SweepFolder, open_sweep

KILLS = int(os.environ.get("OPTZOO_SWEEP_KILLS", "3"))
WORKERS = "4" if KILLS > 10 else "2"
DEADLINE = 120 + 20 * KILLS


def start(sweep_file: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = ["sweep", str(sweep_file), "--dir", str(folder), "--jobs", WORKERS, "--quiet"]
    return subprocess.Popen(
        typed(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )


def workers(folder: Path) -> list[int]:
    """Return the processes that train a job of this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "work" in words and any(word.startswith(str(folder)) for word in words):
                found.append(int(entry.name))
    return found


def losses(folder: SweepFolder) -> dict[str, object]:
    found = {}
    for task in folder.tasks:
        assert task.state is JobState.DONE, (task.state, task.failure)
        result = json.loads((task.run / "result.json").read_text())
        found[task.key] = result["views"]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds workers in /proc")
def test_kills_lose_nothing_and_run_nothing_twice(tmp_path: Path, sweep_file: Path) -> None:
    setup = tmp_path / "tiny.yaml"
    setup.write_text(setup.read_text().replace("steps: 40", "steps: 400"))
    text = sweep_file.read_text()
    if KILLS > 10:
        text = text.replace("[1e-3, 1e-2]", "[1e-3, 2e-3, 3e-3, 4e-3, 1e-2]")
    else:
        text = text.replace("seeds: [0, 1]", "seeds: [0]")
    sweep_file.write_text(text)
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    assert start(sweep_file, calm).wait(timeout=DEADLINE) == 0

    chance, end = random.Random(0), time.monotonic() + DEADLINE
    controller = start(sweep_file, wild)
    killed = 0
    while killed < KILLS and time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 4.0))
        targets = [controller.pid] * (chance.random() < 0.3) or workers(wild)
        if targets:
            os.kill(chance.choice(targets), signal.SIGKILL)
            killed += 1
        if controller.poll() is not None:
            controller = start(sweep_file, wild)
    controller.wait(timeout=max(1.0, end - time.monotonic()))
    if controller.returncode != 0:
        assert start(sweep_file, wild).wait(timeout=DEADLINE) == 0
    assert killed
    assert losses(open_sweep(wild)) == losses(open_sweep(calm))
    for task in open_sweep(wild).tasks:  # one log per run, its steps once each and in order
        lines = map(json.loads, (task.run / "metrics.jsonl").read_text().splitlines())
        steps = [line["step"] for line in lines if line["kind"] == "step"]
        assert steps == list(range(1, 401))
