"""Tiny runs through the real command line, and one real quick run that several tests look at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done, environment, optzoo, typed
from tiny_runs import ROOT, tiny_options


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Done]:
    """Train a tiny model in `tmp_path / NAME`."""

    def train(name: str, *arguments: str, recipe: str = "ademamix") -> Done:
        options = tiny_options(*arguments)
        return optzoo("train", recipe, "--run-dir", str(tmp_path / name), "--quiet", *options)

    return train


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The run of the README: the default setup, on ademamix; one thread, beside other tests."""
    path = tmp_path_factory.mktemp("quick") / "run"
    recipe = str(ROOT / "recipes" / "ademamix.yaml")
    done = subprocess.run(
        typed("train", recipe, "--run-dir", str(path)),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return path, done
