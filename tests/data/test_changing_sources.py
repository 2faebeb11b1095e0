"""Sources that are mended, touched, fetched again, or become something else meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hub_server import c4_lines
from test_prepare import texts_of

import optzoo
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation import split_pass
from optzoo.data.preparation.bar import Bar
from optzoo.data.preparation.prepare import Prepared, Request, prepare
from optzoo.data.preparation.readers import Reading
from optzoo.data.preparation.source_file import SourceFile
from optzoo.data.preparation.source_identity import is_same

FIRST = [f"first {i} {'word ' * (i % 5)}" for i in range(30)]
SECOND = [f"second {i} {'word ' * (i % 5)}" for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "v.jsonl").write_bytes(c4_lines(["held out"]))
    (tmp_path / "a.jsonl").write_bytes(c4_lines(FIRST))
    return tmp_path


def run(folder: Path, *names: str, **options: Any) -> Prepared:
    options = {"shard_tokens": 200, "validation": (str(folder / "v.jsonl"),), **options}
    request = Request(tuple(str(folder / name) for name in names), **options)
    return prepare(request, folder / "out", quiet=True)


def stamps(folder: Path, names: Sequence[str] = ("00000", "00001")) -> list[int]:
    return [(folder / "out" / f"train-{name}.tokens").stat().st_mtime_ns for name in names]


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def copy(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.unlink()
    path.with_suffix(".copy").rename(path)


def rewrite(path: Path) -> None:
    """Other bytes, the same records."""
    path.write_bytes(path.read_bytes().replace(b'","timestamp"', b'" ,"timestamp"'))


def compress(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("change", [touch, copy, rewrite, compress])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_line_is_mended_and_what_was_read_is_the_same(
    change: Callable[[Path], None], is_whole: bool, folder: Path
) -> None:
    """The bad line is in the second file, or in the one that two shards are made of."""
    bad = folder / ("b.jsonl" if is_whole else "a.jsonl")
    texts = SECOND if is_whole else FIRST
    names = ("a.jsonl", "b.jsonl") if is_whole else ("a.jsonl",)
    bad.write_bytes(c4_lines(texts[:25]) + b"no document\n" + c4_lines(texts[25:]))
    with pytest.raises(optzoo.InputError, match="line 26: not JSON"):
        run(folder, *names)
    before = stamps(folder)
    bad.write_bytes(c4_lines(texts))
    change(folder / "a.jsonl")
    run(folder, *names)
    assert stamps(folder) == before
    assert texts_of(folder / "out") == [*FIRST, *SECOND] if is_whole else FIRST


def test_bad_lines_are_left_out_after_all(folder: Path) -> None:
    (folder / "b.jsonl").write_bytes(c4_lines(SECOND[:25]) + b"no document\n")
    with pytest.raises(optzoo.InputError, match="--skip-bad"):
        run(folder, "a.jsonl", "b.jsonl")
    before = stamps(folder)
    run(folder, "a.jsonl", "b.jsonl", skip_bad=True)
    assert stamps(folder) == before
    assert texts_of(folder / "out") == [*FIRST, *SECOND[:25]]
    with pytest.raises(optzoo.InputError, match="skip_bad: True there, False now"):
        run(folder, "a.jsonl", "b.jsonl")


def test_where_nothing_was_bad_leaving_it_out_is_no_difference(folder: Path) -> None:
    run(folder, "a.jsonl")
    assert run(folder, "a.jsonl", skip_bad=True).already


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("is_cut", [True, False])
def test_what_was_made_of_a_damaged_file_is_made_again(
    held_out: bool, is_cut: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage to stored text is noticed at the end of the file, when shards are made of it."""
    monkeypatch.setattr(split_pass, "BATCH_DOCUMENTS", 4)
    options: dict[str, Any] = {"validation": (), "hold_out": 5} if held_out else {}
    whole = gzip.compress(c4_lines(SECOND * 3), compresslevel=0)
    damaged = whole.replace(b"second 3 ", b"sekond 3 ", 1)
    (folder / "b.jsonl.gz").write_bytes(damaged[:-50] if is_cut else damaged)
    with pytest.raises(optzoo.InputError, match="damaged after record") as caught:
        run(folder, "a.jsonl", "b.jsonl.gz", **options)
    assert "fetch it again" in str(caught.value)
    before = stamps(folder, ["00000"])
    (folder / "b.jsonl.gz").write_bytes(whole)
    run(folder, "a.jsonl", "b.jsonl.gz", **options)
    assert stamps(folder, ["00000"]) == before
    found = texts_of(folder / "out") + (texts_of(folder / "out", "validation") if held_out else [])
    assert sorted(found) == sorted([*FIRST, *SECOND * 3])


@pytest.mark.parametrize("what", ["grown", "other", "cut", "new"])
def test_a_complete_folder_does_not_stand_for_other_sources(what: str, folder: Path) -> None:
    run(folder, "*a*.jsonl")
    path = folder / ("aa.jsonl" if what == "new" else "a.jsonl")
    texts = {"grown": [*FIRST, "more"], "other": [*FIRST[:-1], FIRST[-1][::-1]]}
    path.write_bytes(c4_lines(texts.get(what, FIRST[:-1])))
    with pytest.raises(optzoo.InputError, match=rf"{path.name}` (changed|was added) since"):
        run(folder, "*a*.jsonl")
    (folder / "aa.jsonl").unlink(missing_ok=True)
    (folder / "a.jsonl").write_bytes(c4_lines(FIRST))
    assert run(folder, "*a*.jsonl").already


def test_what_a_limit_left_unread_may_change(folder: Path) -> None:
    (folder / "b.jsonl").write_bytes(c4_lines(SECOND))
    run(folder, "*.jsonl", max_documents=20, validation=(str(folder / "v.jsonl"),))
    (folder / "a.jsonl").write_bytes(c4_lines([*FIRST[:25], "other"]))
    (folder / "c.jsonl").write_bytes(c4_lines(SECOND))
    (folder / "b.jsonl").unlink()
    assert run(folder, "*.jsonl", max_documents=20).already
    (folder / "a.jsonl").write_bytes(c4_lines(["other", *FIRST[1:]]))
    with pytest.raises(optzoo.InputError, match=r"a\.jsonl` changed since"):
        run(folder, "*.jsonl", max_documents=20)


def test_the_held_out_documents_are_of_the_files_that_were_trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes between both passes could have a document in each, or in none."""
    begin = Bar.__init__

    def changing(self: Bar, name: str, *rest: Any, **options: Any) -> None:
        begin(self, name, *rest, **options)
        if name == "validation":
            (folder / "a.jsonl").write_bytes(c4_lines([*FIRST, "more"]))

    monkeypatch.setattr(Bar, "__init__", changing)
    with pytest.raises(optzoo.InputError, match=r"a\.jsonl` changed since"):
        run(folder, "a.jsonl", validation=(), hold_out=3)
    assert not (folder / "out" / "manifest.json").exists()


def test_a_file_that_grows_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Bar.moved

    def growing(self: Bar) -> None:
        moved(self)
        with (folder / "a.jsonl").open("ab") as file:
            file.write(b"\n")

    monkeypatch.setattr(Bar, "moved", growing)
    with pytest.raises(optzoo.InputError, match=r"a\.jsonl` changed since it was opened"):
        run(folder, "a.jsonl")


def test_a_shard_that_is_gone_is_made_again(folder: Path) -> None:
    (folder / "b.jsonl").write_bytes(b"no document\n")
    with pytest.raises(optzoo.InputError, match="not JSON"):
        run(folder, "a.jsonl", "b.jsonl")
    (folder / "out" / "train-00001.tokens").unlink()
    (folder / "b.jsonl").write_bytes(c4_lines(SECOND))
    before = stamps(folder, ["00000"])
    run(folder, "a.jsonl", "b.jsonl")
    assert stamps(folder, ["00000"]) == before
    assert texts_of(folder / "out") == [*FIRST, *SECOND]


def test_token_files_of_an_attempt_that_went_further_are_removed(folder: Path) -> None:
    (folder / "b.jsonl").write_bytes(c4_lines(SECOND * 2) + b"no document\n")
    with pytest.raises(optzoo.InputError, match="not JSON"):
        run(folder, "a.jsonl", "b.jsonl")
    (folder / "out" / "train-00002.tokens").unlink()
    (folder / "b.jsonl").write_bytes(c4_lines(SECOND[:1]))
    run(folder, "a.jsonl", "b.jsonl")
    names = {shard.name for shard in read_manifest(folder / "out").train.shards}
    assert {path.stem for path in (folder / "out").glob("train-*")} == names


def test_a_second_text_beside_a_single_one_whose_end_was_held_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.txt").write_text("line of a play\n" * 100)
    save = split_pass.SplitPass.run
    names: list[str] = []

    def stopping(self: split_pass.SplitPass, *rest: Any) -> None:
        names.append(self.name)
        if self.name == "validation":
            raise KeyboardInterrupt
        save(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(split_pass.SplitPass, "run", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(folder, "*.txt", validation=(), hold_out=10)
    (folder / "b.txt").write_text("another text")
    with pytest.raises(optzoo.InputError, match=r"\*\.txt` changed since"):
        run(folder, "*.txt", validation=(), hold_out=10)
    (folder / "b.txt").unlink()
    run(folder, "*.txt", validation=(), hold_out=10)
    (train,), (held_out,) = texts_of(folder / "out"), texts_of(folder / "out", "validation")
    assert train + held_out == (folder / "a.txt").read_text()


def test_a_damaged_note_is_one_error(folder: Path) -> None:
    (folder / "b.jsonl").write_bytes(b"no document\n")
    with pytest.raises(optzoo.InputError, match="not JSON"):
        run(folder, "a.jsonl", "b.jsonl")
    note = folder / "out" / "progress.json"
    note.write_text(note.read_text().replace('"record": ', '"record": 1'))
    with pytest.raises(optzoo.InputError, match=r"progress\.json is damaged"):
        run(folder, "a.jsonl", "b.jsonl")


@pytest.mark.parametrize("change", [None, touch, compress])
def test_what_an_older_optzoo_began_is_gone_on_with(
    change: Callable[[Path], None] | None, folder: Path
) -> None:
    """It noted sizes and time stamps of all sources, and the last place alone."""
    path = folder / "a.jsonl"
    path.write_bytes(c4_lines(FIRST) + b"no document\n")
    with pytest.raises(optzoo.InputError, match="line 31: not JSON"):
        run(folder, "a.jsonl")
    path.write_bytes(c4_lines(FIRST))
    note = folder / "out" / "progress.json"
    data = json.loads(note.read_text())
    files = {name: [old_input(folder / f"{name[0]}.jsonl")] for name in ("a", "v")}
    inputs = {"tokenizer": data.pop("tokenizer"), "train": files["a"], "validation": files["v"]}
    for split in data["splits"].values():
        ends = split.pop("ends")
        last = ends[-1] if ends else {"file": 0, "record": 0}
        split |= {"file": last["file"], "record": last["record"]}
        for shard in split["shards"]:
            del shard["blocks"]
    note.write_text(json.dumps({**data, "inputs": inputs}))
    before = stamps(folder)
    if change is None:
        run(folder, "a.jsonl")
        assert stamps(folder) == before
        assert texts_of(folder / "out") == FIRST
    else:
        change(path)
        with pytest.raises(optzoo.InputError, match=r"a\.jsonl` changed since"):
            run(folder, "a.jsonl")


def test_the_hub_may_have_another_commit_of_the_same_file() -> None:
    place = "hub:owner/name@{}/en/a.json.gz"
    entry = {"name": place.format("1" * 40), "bytes": 3, "identity": "abc", "texts": ""}
    for name, identity, expected in (
        (place.format("2" * 40), "abc", True),
        (place.format("2" * 40), "abd", False),
        (place.format("1" * 40).replace("a.json", "b.json"), "abc", False),
    ):
        source = SourceFile(name, name, "hub", "json", ".gz", 3, identity)
        assert is_same(source, entry, Reading()) == expected


def test_a_last_step_that_was_broken_off_is_made_up_for(folder: Path) -> None:
    run(folder, "a.jsonl")
    (folder / "out" / "progress.json").write_text("{}")
    assert run(folder, "a.jsonl").already
    assert not (folder / "out" / "progress.json").exists()


def old_input(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "name": str(path),
        "location": str(path),
        "origin": "local",
        "format": "json",
        "compressed": False,
        "identity": None,
        "size": status.st_size,
        "stamp": status.st_mtime_ns,
    }
