"""What sources stand for: patterns, links, pipes, standard input, names of any bytes."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import c4_lines
from test_prepare import run, texts_of

import optzoo
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.preparation.sources import find_files, load_tokenizer

TEXTS = [f"document {i} {'word ' * (i % 5)}" for i in range(20)]


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    path = tmp_path / "held-out.jsonl"
    path.write_bytes(c4_lines(["held out"]))
    return str(path)


def write(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(c4_lines(list(texts)))
    return path


def names(source: Path | str) -> list[str]:
    return [Path(file.location).name for file in find_files([str(source)], "train")]


def test_a_pattern_of_folders_has_every_file_once(tmp_path: Path) -> None:
    for name in ("t/0", "t/x/1", "t/x/y/2", "t/.hidden/3", "u/4"):
        write(tmp_path / f"{name}.jsonl", "text")
    (tmp_path / "t" / "link").symlink_to(tmp_path / "u")
    assert names(tmp_path / "t/**/*.jsonl") == ["0.jsonl", "4.jsonl", "1.jsonl", "2.jsonl"]
    assert names(tmp_path / "t/**") == names(tmp_path / "t/**/*.jsonl")
    assert names(tmp_path / "t/**/**/*.jsonl") == names(tmp_path / "t/**/*.jsonl")
    with pytest.raises(optzoo.InputError, match=r"t/link` is a folder"):
        names(tmp_path / "t/*")


def test_names_that_look_like_patterns(tmp_path: Path) -> None:
    write(tmp_path / "a[1]*.jsonl", "text")
    write(tmp_path / "a1.jsonl", "text")
    assert names(tmp_path / "a[1]*.jsonl") == ["a[1]*.jsonl"]
    assert names(tmp_path / "a[1].jsonl") == ["a1.jsonl"]


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.jsonl", *TEXTS)
    assert names("~/a.jsonl") == names("~/[ab].jsonl") == ["a.jsonl"]
    request = Request(("~/a.jsonl",), validation=("~/held-out.jsonl",))
    prepare(request, Path("~/out"), quiet=True)
    assert texts_of(tmp_path / "out") == TEXTS
    with pytest.raises(optzoo.InputError, match="is not a tokenizer"):
        load_tokenizer("~/a.jsonl")


@pytest.mark.parametrize("target", ["nowhere.jsonl", "a.jsonl", "b/c.jsonl"])
def test_a_link_to_nowhere_is_named(target: str, tmp_path: Path, held_out: str) -> None:
    (tmp_path / "a.jsonl").symlink_to(target)
    for source in ("a.jsonl", "a*.jsonl"):
        with pytest.raises(optzoo.InputError, match=rf"a\.jsonl` is a link to `{target}`"):
            run(tmp_path / "out", str(tmp_path / source), held_out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_sockets_and_devices_are_no_sources(tmp_path: Path, held_out: str) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jsonl"))
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    for name in ("pipe", "socket", "device"):
        with pytest.raises(optzoo.InputError, match=rf"{name}\.jsonl` is a pipe, a socket or a"):
            run(tmp_path / "out", str(tmp_path / f"{name}.jsonl"), held_out)


def test_files_that_cannot_be_read(tmp_path: Path, held_out: str) -> None:
    path = write(tmp_path / "a.jsonl", *TEXTS)
    for name in ("b" * 300 + ".jsonl", "b" * 300 + "*.jsonl", f"{path}/b.jsonl"):
        with pytest.raises(optzoo.InputError, match=r"no file is called"):
            run(tmp_path / "out", str(tmp_path / name), held_out)
    with pytest.raises(optzoo.InputError, match="File name too long"):
        run(tmp_path / ("o" * 300), str(path), held_out)
    with pytest.raises(optzoo.InputError, match="File name too long"):
        load_tokenizer("t" * 300 + ".json")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jsonl")
    write(tmp_path / "in" / name, *TEXTS)
    command = [sys.executable, "-m", "optzoo", "data", "prepare", "--quiet", "--hold-out", "3"]
    for source, out in (("in/*.jsonl", "plain"), (f"in/{name}", os.fsdecode(b"out\xe9"))):
        arguments = [os.fsencode(part) for part in (source, "--out", out)]
        for _ in range(2):
            done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True)
            assert done.returncode == 0, done.stderr
            assert b"Traceback" not in done.stderr
        shown = subprocess.run(
            [*command[:4], "show", os.fsencode(out)], cwd=tmp_path, capture_output=True
        )
        assert shown.returncode == 0, shown.stderr
        assert read_manifest(tmp_path / out).train.files[0]["name"] == r"in/caf\udce9\n.jsonl"


class Fed:
    """Stands for standard input that a program writes into."""

    def __init__(self, data: bytes, *, is_terminal: bool = False) -> None:
        self.buffer, self._is_terminal = io.BytesIO(data), is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (c4_lines(TEXTS), {}, TEXTS),
        (gzip.compress(c4_lines(TEXTS)), {}, TEXTS),
        ("\n".join(TEXTS).encode(), {"lines": True}, TEXTS),
        (b"one text\nof lines", {}, ["one text\nof lines"]),
        (b' [{"text": "one"}]', {}, ["one"]),
    ],
)
def test_standard_input(
    data: bytes,
    options: dict[str, Any],
    expected: list[str],
    tmp_path: Path,
    held_out: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Fed(data))
    run(tmp_path / "out", "-", held_out, **options)
    assert texts_of(tmp_path / "out") == expected
    assert not list((tmp_path / "out").glob(".*.partial"))
    monkeypatch.setattr(sys, "stdin", None)
    run(tmp_path / "out", "-", held_out, **options)  # complete: nothing is read


def test_standard_input_that_is_given_again(
    tmp_path: Path, held_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = c4_lines(TEXTS), b"no document\n"
    out = tmp_path / "out"
    for data in (good + bad, good[1:]):
        monkeypatch.setattr(sys, "stdin", Fed(data))
        with pytest.raises(optzoo.InputError):
            run(out, "-", held_out, shard_tokens=100)
    before = (out / "train-00000.tokens").stat().st_mtime_ns
    monkeypatch.setattr(sys, "stdin", Fed(good))
    run(out, "-", held_out, shard_tokens=100)
    assert texts_of(out) == TEXTS
    assert (out / "train-00000.tokens").stat().st_mtime_ns == before


def test_standard_input_can_be_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Fed(c4_lines(TEXTS)))
    with pytest.raises(optzoo.InputError, match="can be read once only"):
        run(tmp_path / "out", "-", "-")
    monkeypatch.setattr(sys, "stdin", Fed(b"", is_terminal=True))
    with pytest.raises(optzoo.InputError, match="nothing is fed to it"):
        run(tmp_path / "out", "-")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_the_end_of_a_single_text_is_held_out(name: str, tmp_path: Path) -> None:
    text = "".join(f"line {i} of a play\n" for i in range(1000))
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    manifest = run(tmp_path / "out", str(tmp_path / name), hold_out=10)
    ((train,), (validation,)) = (texts_of(tmp_path / "out", s) for s in ("train", "validation"))
    assert train + validation == text
    assert train.endswith("\n")
    assert 0 <= len(validation) - len(text) / 10 < 20
    assert manifest.validation_from == "the end of the text"
    assert run(tmp_path / "out", str(tmp_path / name), hold_out=10) == manifest
    (tmp_path / "b.txt").write_text("ab" * 300)
    run(tmp_path / "b", str(tmp_path / "b.txt"))
    assert [
        len(t) for t in (*texts_of(tmp_path / "b"), *texts_of(tmp_path / "b", "validation"))
    ] == [
        594,
        6,
    ]


def test_too_few_documents_to_hold_any_out(tmp_path: Path) -> None:
    """Each of the ways out that the message names is one."""
    for i in range(2):
        (tmp_path / f"{i}.txt").write_text("".join(f"{i}, line {j}\n" for j in range(500)))
    source = str(tmp_path / "*.txt")
    with pytest.raises(optzoo.InputError, match="nothing is held out") as caught:
        run(tmp_path / "out", source, hold_out=10**6)
    for option in ("--validation", "--lines", "--hold-out"):
        assert option in str(caught.value)
    run(tmp_path / "out", source, str(tmp_path / "0.txt"))
    run(tmp_path / "out2", source, lines=True)
