"""What is said while data is prepared: a bar on a terminal, lines in a log, nothing when quiet."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import c4_lines

from optzoo.data.preparation import bar
from optzoo.data.preparation.prepare import Request, prepare


class Shown(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """Return what a preparation of two files writes to standard error, each look a line."""
    for name in "ab":
        (folder / f"{name}.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(2000)]))
    stream = Shown(is_terminal=options.pop("is_terminal", False))
    monkeypatch.setattr(bar, "LOG_EVERY", -1.0)
    monkeypatch.setattr(bar, "LOOK_EVERY", -1.0)
    monkeypatch.setattr(sys, "stderr", stream)
    request = Request((str(folder / "?.jsonl"),), max_tokens=options.pop("max_tokens", None))
    prepare(request, folder / "out", **options)
    return stream.getvalue()


def test_lines_in_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(tmp_path, monkeypatch)
    assert "\r" not in text
    lines = text.splitlines()
    assert any(line.startswith("train: ") and "B (" in line for line in lines)
    assert lines[-1].startswith("validation: ")
    assert lines[-1].endswith("file 2 of 2")


def test_tokens_in_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(tmp_path, monkeypatch, max_tokens=10_000)
    assert "train: 10.0ktoken (100%), file 1 of 2\n" in text


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(tmp_path, monkeypatch, is_terminal=True)
    assert "\rtrain: 100%|" in text
    assert "file 2 of 2" in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_nothing_when_quiet(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(tmp_path, monkeypatch, is_terminal=is_terminal, quiet=True) == ""


def test_without_standard_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(200)]))
    monkeypatch.setattr(sys, "stderr", None)
    request = Request((str(tmp_path / "a.jsonl"),), hold_out=5)
    assert not prepare(request, tmp_path / "out").already
