"""The metrics log: cut to a checkpoint's length on resume, and plain about a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import optzoo
from optzoo.train.runs.metrics import MetricsLog, read_metrics


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path, "step")]


def test_resuming_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write("step", {"step": 1, "loss": 1.0})
        mark = log.sync()
        log.write("step", {"step": 2, "loss": 1.0})
    assert steps(path) == [1, 2]
    with MetricsLog(path, mark) as log:
        log.write("evaluation", {"step": 1})
        log.write("step", {"step": 2, "loss": 1.0})
    assert steps(path) == [1, 2]
    assert len(path.read_text().splitlines()) == 3


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "step", "step": 1, "loss": 1.0}\n{"kind": "st')
    assert steps(path) == [1]


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        MetricsLog(tmp_path / "metrics.jsonl") as log,
        pytest.raises(optzoo.RunError, match="No space left on device"),
    ):
        log.sync()
