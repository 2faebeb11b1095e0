"""Tiny runs through the real command line, and one real quick run that several tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TINY = (
    *("--set", "model.width=16", "--set", "model.layers=1", "--set", "model.hidden=32"),
    *("--set", "batch.sequences=2", "--set", "batch.sequence_length=16"),
    *("--set", "evaluation.sequences=4", "--set", "evaluation.every=10"),
    *("--set", "sample.bytes=5", "--threads", "1"),
)

Done = subprocess.CompletedProcess[str]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "optzoo", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def optzoo(*arguments: str, cwd: Path | None = None) -> Done:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(),
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Done]:
    """Train a tiny model in `tmp_path / NAME`."""

    def train(name: str, *arguments: str, recipe: str = "ademamix") -> Done:
        return optzoo(
            "train", recipe, "--run-dir", str(tmp_path / name), "--quiet", *TINY, *arguments
        )

    return train


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The run of the README: the default setup, on ademamix; one thread, beside other tests."""
    path = tmp_path_factory.mktemp("quick") / "run"
    recipe = str(ROOT / "recipes" / "ademamix.yaml")
    done = subprocess.run(
        command("train", recipe, "--run-dir", str(path)),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return path, done
