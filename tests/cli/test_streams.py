"""Output that nobody reads: of a run it is no matter, of other commands it is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment
from tiny_runs import TINY

TRAIN = ("train", "sgd", "--run-dir", "run", *TINY, "--steps", "2")


def shell(line: str, *arguments: str, cwd: Path, **variables: str) -> int:
    """Run a command whose streams a shell arranges: `"$@"` is it."""
    command = [sys.executable, "-m", "optzoo", *arguments]
    done = subprocess.run(
        ["bash", "-c", f'{line}; exit "${{PIPESTATUS[0]}}"', "bash", *command],
        cwd=cwd,
        env={**environment(), **variables},
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize(
    "line",
    [
        '"$@" >/dev/full 2>/dev/full',
        '"$@" >&- 2>&- <&-',
        '"$@" 2>&1 | true',
        'PYTHONUNBUFFERED=1 "$@" 2>&1 | true',
    ],
)
def test_a_run_goes_on(line: str, tmp_path: Path) -> None:
    assert shell(line, *TRAIN, cwd=tmp_path) == 0
    assert (tmp_path / "run" / "result.json").exists()
    first = (tmp_path / "run" / "metrics.jsonl").read_bytes()[:8]
    assert first == b'{"kind":', "a file got the number of a closed stream"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_any_character_can_be_said(encoding: str, tmp_path: Path) -> None:
    line = '"$@" >out 2>err'
    sample = ("--set", "sample.prompt=\u6587\u5b57 \u2192 \ufffd")
    assert shell(line, *TRAIN, *sample, cwd=tmp_path, PYTHONIOENCODING=encoding) == 0
    shown = "\u6587".encode() if encoding == "ascii" else rb"\u6587"  # a locale that says nothing
    assert shown in (tmp_path / "out").read_bytes()
    assert b"Traceback" not in (tmp_path / "err").read_bytes()


def test_a_full_disk_under_a_result_is_one_error(tmp_path: Path) -> None:
    assert shell('"$@" >/dev/full 2>err', "list", cwd=tmp_path) == 1
    assert (tmp_path / "err").read_text().startswith("error: the standard output: No space left")
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    assert shell('"$@" 2>err | head -1 >out', "list", cwd=tmp_path) == 0
    assert (tmp_path / "err").read_text() == ""


def test_what_would_act_on_a_terminal_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "red\x1b[31m"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: [")
    assert shell('"$@" >out 2>&1', "validate", str(folder / "mine.yaml"), cwd=tmp_path) == 2
    assert shell('"$@" >>out 2>&1', "eval", str(folder), cwd=tmp_path) == 2
    text = (tmp_path / "out").read_bytes()
    assert text.count(rb"red\x1b[31m") >= 2
    assert b"\x1b" not in text


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xff")
    arguments = [*TRAIN[:3], name, *TRAIN[4:]]
    assert shell('"$@" >out 2>err', *arguments, cwd=tmp_path) == 2
    assert shell('"$@" >out 2>>err', "eval", name, cwd=tmp_path) == 2
    text = (tmp_path / "err").read_text()
    assert r"the run directory r\udcff has a name that is not UTF-8" in text
    assert r"r\udcff is not a run directory" in text


@pytest.mark.parametrize(
    ("name", "value"), [("WORLD_SIZE", "two"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "9" * 30)]
)
def test_a_world_that_is_no_number(name: str, value: str, tmp_path: Path) -> None:
    assert shell('"$@" >out 2>err', *TRAIN, cwd=tmp_path, **{name: value}) == 2
    assert f"{name}={value}, which is not a number" in (tmp_path / "err").read_text()
    assert not (tmp_path / "run").exists()
