"""A sweep of runs that take a second each."""

from __future__ import annotations

from pathlib import Path

import pytest

SETUP = """
name: tiny
model: {width: 16, layers: 1, heads: 1, hidden: 32}
data: {corpus: stdlib}
batch: {sequences: 2, sequence_length: 16}
budget: {steps: 40}
schedule: {kind: auto, warmup_steps: 2}
evaluation: {every: 10, sequences: 8}
checkpoint: {every: 5, keep_last: 2}
metrics: {every: 5}
execution: {threads: 1}
sample: {bytes: 0}
"""
SWEEP = """
name: mine
summary: a trial
setup: SETUP
methods:
  - recipe: adamw
    grid: {lr: [1e-3, 1e-2]}
  - recipe: adamw_averaged
    set: {lr: 1e-2}
    grid: {delta: [0.1, 0.5]}
seeds: [0, 1]
"""


def write_sweep_file(folder: Path) -> Path:
    (folder / "tiny.yaml").write_text(SETUP)
    path = folder / "mine.yaml"
    path.write_text(SWEEP.replace("SETUP", str(folder / "tiny.yaml")))
    return path


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    return write_sweep_file(tmp_path)


@pytest.fixture(scope="module")
def sweep_file_of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep_file(tmp_path_factory.mktemp("sweep"))
