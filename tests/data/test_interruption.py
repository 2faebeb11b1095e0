"""Killed at any moment and started again: the same files, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import c4_lines

import optzoo
from optzoo.data.preparation.prepare import Request, prepare

TEXTS = [f"document {i}: {'word ' * (i % 11)}" for i in range(50)]


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


def request_for(folder: Path) -> Request:
    """Two files, several shards in each, one of them ending where a file does, and a bad line."""
    folder.mkdir()
    for i in range(2):
        data = c4_lines(TEXTS[25 * i : 25 * i + 25]) + b"no document\n"
        (folder / f"{i}.jsonl").write_bytes(data)
    sources = (str(folder / "*.jsonl"),)
    return Request(sources, hold_out=4, skip_bad=True, shard_tokens=180)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


def test_a_crash_at_every_write_leaves_something_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(tmp_path / "in")
    replace = Path.replace
    calls, crash_at = 0, -1

    def counting(self: Path, target: Path) -> Path:
        """Die instead of the rename, or right after it: both happen."""
        nonlocal calls
        calls += 1
        if calls == crash_at and calls % 2:
            raise KilledError
        moved = replace(self, target)
        if calls == crash_at:
            raise KilledError
        return moved

    monkeypatch.setattr(Path, "replace", counting)
    prepare(request, tmp_path / "whole", quiet=True)
    whole, total = content(tmp_path / "whole"), calls
    assert total > 30
    for crash_at in range(1, total + 1):
        out, calls = tmp_path / f"at-{crash_at}", 0
        with pytest.raises(KilledError):
            prepare(request, out, quiet=True)
        crash_at = -1
        prepare(request, out, quiet=True)
        assert content(out) == whole


def test_finished_shards_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, out = request_for(tmp_path / "in"), tmp_path / "out"
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if target.name == "train-00004.tokens":
            raise KilledError
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KilledError):
            prepare(request, out, quiet=True)
    finished = [out / f"train-{i:05d}.tokens" for i in range(4)]
    stamps = [path.stat().st_mtime_ns for path in finished]
    prepare(request, out, quiet=True)
    assert stamps == [path.stat().st_mtime_ns for path in finished]


@pytest.mark.parametrize("file", [0, 1])
def test_what_was_read_must_be_as_it_was_and_the_rest_may_change(
    file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards are finished; both are of the first file."""
    request, out = request_for(tmp_path / "in"), tmp_path / "out"
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if target.name == "train-00002.tokens":
            raise KilledError
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KilledError):
            prepare(request, out, quiet=True)
    with pytest.raises(optzoo.InputError, match="other options"):
        prepare(Request(request.sources, hold_out=4), out, quiet=True)
    (tmp_path / "in" / f"{file}.jsonl").write_bytes(c4_lines(["other", "text"] * 20))
    if file == 0:
        with pytest.raises(optzoo.InputError, match=r"0\.jsonl` changed since a part of it was"):
            prepare(request, out, quiet=True)
    else:
        prepare(request, out, quiet=True)
        prepare(request, tmp_path / "whole", quiet=True)
        assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9(tmp_path: Path) -> None:
    """Processes killed at random moments, until one gets to the end."""
    folder = tmp_path / "in"
    folder.mkdir()
    random_words = random.Random(0)
    for i in range(3):
        texts = [f"{random_words.random()} " * 20 for _ in range(1500)]
        (folder / f"{i}.jsonl").write_bytes(c4_lines(texts))
    request = Request((str(folder / "*.jsonl"),), shard_tokens=30_000)
    prepare(request, tmp_path / "whole", quiet=True)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "optzoo", "data", "prepare", *request.sources, "--quiet"]
    command += ["--shard-tokens", "30000", "--out", str(out)]
    moments = random.Random(1)
    kills = 0
    while kills < 3:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        before = len(list(out.glob("*.tokens")))
        wanted = before + moments.randrange(1, 12)
        while process.poll() is None and len(list(out.glob("*.tokens"))) < wanted:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert content(out) == content(tmp_path / "whole")
