"""Local files of every format: what is a document, what is an error, and what comes out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import c4_lines

import optzoo
from optzoo.data.manifest import Manifest, Split, read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.preparation.split_pass import is_held_out
from optzoo.data.prepared import open_index, open_tokens

TEXTS = [f"document {i} of a few: naïve {'x' * (i % 7)}\nend" for i in range(60)]
BAD = {
    b'{"text": "cut': "not JSON",
    b'{"text": "\xff"}': "not UTF-8",
    b'{"txt": "a"}': "no field `text`",
    b'{"text": null}': "the field `text` is null, not text",
    b'{"text": 3}': "the field `text` is int, not text",
    b'{"text": ""}': "empty text",
    b'["a"]': "not an object",
    b'{"text": "\\ud800"}': "lone surrogate",
}

Write = Callable[[Path, list[str]], str]


def write_json_gz(folder: Path, texts: list[str]) -> str:
    for i in range(2):
        part = texts[i * len(texts) // 2 : (i + 1) * len(texts) // 2]
        (folder / f"c4-train.{i:05d}.json.gz").write_bytes(gzip.compress(c4_lines(part)))
    return str(folder / "c4-train.*.json.gz")


def write_jsonl(folder: Path, texts: list[str]) -> str:
    (folder / "a.jsonl").write_bytes(c4_lines(texts).replace(b"}\n", b"}\r\n\n"))
    return str(folder / "a.jsonl")


def write_txt(folder: Path, texts: list[str]) -> str:
    for i, text in enumerate(texts):
        (folder / f"{i:03d}.txt").write_bytes(text.encode())
    return str(folder / "*.txt")


def write_parquet(folder: Path, texts: list[str]) -> str:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"url": ["u"] * len(texts), "text": texts})
    parquet.write_table(table, folder / "a.parquet", row_group_size=7)
    return str(folder / "a.parquet")


WRITERS: list[Write] = [write_json_gz, write_jsonl, write_txt, write_parquet]


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    path = tmp_path / "held-out.jsonl"
    path.write_bytes(c4_lines(["held out"]))
    return str(path)


def texts_of(folder: Path, split: str = "train") -> list[str]:
    """Read documents back through tokens and index; both must agree on where they end."""
    manifest = read_manifest(folder)
    chosen: Split = getattr(manifest, split)
    row = open_tokens(folder, chosen, manifest)
    index = open_index(folder, chosen)
    tokens = row[np.arange(len(row))]
    assert tokens[0] == 256
    starts = [1, *index.ends[:-1].tolist()]
    documents = [bytes(tokens[a : b - 1].tolist()) for a, b in zip(starts, index.ends.tolist())]
    assert tokens[index.ends - 1].tolist() == [256] * len(documents)
    assert np.diff(index.byte_ends, prepend=0).tolist() == [len(d) for d in documents]
    return [document.decode() for document in documents]


def run(out: Path, source: str, held_out: str | None = None, **options: Any) -> Manifest:
    validation = (held_out,) if held_out else ()
    request = Request((source,), validation=validation, **options)
    return prepare(request, out, quiet=True).manifest


@pytest.mark.parametrize("write", WRITERS, ids=lambda w: w.__name__)
def test_every_format_gives_the_same_documents(write: Write, tmp_path: Path, held_out: str) -> None:
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in", TEXTS)
    manifest = run(tmp_path / "out", source, held_out, shard_tokens=500)
    assert texts_of(tmp_path / "out") == TEXTS
    assert texts_of(tmp_path / "out", "validation") == ["held out"]
    assert len(manifest.train.shards) > 3
    assert manifest.train.bytes == sum(len(text.encode()) for text in TEXTS)
    assert all(file["identity"].startswith("sha256:") for file in manifest.train.files)


def test_the_fingerprint_is_of_the_text_not_of_where_it_was(tmp_path: Path, held_out: str) -> None:
    prints = []
    for name, texts in (("a", TEXTS), ("b", TEXTS), ("c", [*TEXTS[:-1], "other"])):
        (tmp_path / name).mkdir()
        write = write_parquet if name == "b" else write_jsonl
        out = tmp_path / f"out-{name}"
        prints.append(run(out, write(tmp_path / name, texts), held_out).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_lines_of_a_text_file_can_be_documents(tmp_path: Path, held_out: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\n\ntwo\nthree")
    run(tmp_path / "out", str(tmp_path / "a.txt"), held_out, lines=True)
    assert texts_of(tmp_path / "out") == ["one", "two", "three"]


def test_without_a_validation_source_documents_are_held_out_by_their_text(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path, TEXTS)
    manifest = run(tmp_path / "out", source, hold_out=5)
    train, validation = texts_of(tmp_path / "out"), texts_of(tmp_path / "out", "validation")
    assert manifest.validation_from == "held out"
    assert validation == [text for text in TEXTS if is_held_out(text, 5)]
    assert train == [text for text in TEXTS if not is_held_out(text, 5)]
    assert 4 < len(validation) < 24


def test_limits_end_with_a_whole_document(tmp_path: Path, held_out: str) -> None:
    source = write_jsonl(tmp_path, TEXTS)
    run(tmp_path / "documents", source, held_out, max_documents=7)
    assert texts_of(tmp_path / "documents") == TEXTS[:7]
    sizes = np.cumsum([len(text.encode()) + 1 for text in TEXTS]) + 1
    run(tmp_path / "tokens", source, held_out, max_tokens=int(sizes[9]), shard_tokens=100)
    assert texts_of(tmp_path / "tokens") == TEXTS[:10]


def test_files_can_be_read_in_another_order(tmp_path: Path, held_out: str) -> None:
    (tmp_path / "in").mkdir()
    source = write_txt(tmp_path / "in", TEXTS)
    orders = []
    for i, seed in enumerate((1, 1, 2)):
        run(tmp_path / str(i), source, held_out, shuffle_files=seed)
        orders.append(texts_of(tmp_path / str(i)))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == sorted(TEXTS)


@pytest.mark.parametrize("line", BAD, ids=BAD.values())
def test_what_is_no_document_is_named_by_file_and_line(
    line: bytes, tmp_path: Path, held_out: str
) -> None:
    path = tmp_path / "a.jsonl.gz"
    good = c4_lines(TEXTS[:2]).splitlines()
    path.write_bytes(gzip.compress(b"\n".join([good[0], line, good[1]])))
    with pytest.raises(optzoo.InputError) as caught:
        run(tmp_path / "out", str(path), held_out)
    assert f"`{path}`, line 2: " in str(caught.value)
    assert BAD[line] in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    manifest = run(tmp_path / "out", str(path), held_out, skip_bad=True)
    assert texts_of(tmp_path / "out") == TEXTS[:2]
    assert list(manifest.train.skipped.values()) == [1]


def test_parquet_rows_are_checked_too(tmp_path: Path, held_out: str) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", None, "b"]}), path)
    with pytest.raises(optzoo.InputError, match=r"row 2: the field `text` is null"):
        run(tmp_path / "out", str(path), held_out)
    with pytest.raises(optzoo.InputError, match=r"has no column `txt`[^`]+did you mean `text`"):
        run(tmp_path / "out2", str(path), held_out, text_field="txt")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(optzoo.InputError, match="is not a whole parquet file"):
        run(tmp_path / "out3", str(path), held_out)


def test_a_file_that_is_cut_short(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(c4_lines(TEXTS))[:-20])
    with pytest.raises(optzoo.InputError, match="is cut short or damaged after record"):
        run(tmp_path / "out", str(path), held_out)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/*.json", "no file matches, `nowhere/"),
        ("allenai/c4", "is written `hub:allenai/c4`"),
        ("{folder}", "is a folder"),
        ("{folder}/a.xml", "of no format that optzoo reads"),
        ("hub:", "names no data set"),
    ],
)
def test_sources_that_are_none(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("text\n")
    with pytest.raises(optzoo.InputError) as caught:
        run(tmp_path / "out", source.format(folder=tmp_path))
    assert message in str(caught.value)


def test_once_it_is_complete_there_is_nothing_to_do(tmp_path: Path, held_out: str) -> None:
    source, out = write_jsonl(tmp_path, TEXTS), tmp_path / "out"
    request = Request((source,), validation=(held_out,))
    assert not prepare(request, out, quiet=True).already
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    Path(source).unlink()
    assert prepare(request, out, quiet=True).already
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(
        optzoo.InputError, match=r"other options \(max_documents: None there, 3 now"
    ):
        run(out, source, held_out, max_documents=3)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, held_out: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(optzoo.InputError, match=r"holds something else: thesis\.tex"):
        run(tmp_path / "out", write_jsonl(tmp_path, TEXTS), held_out)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_no_documents_is_an_error(tmp_path: Path, held_out: str) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(optzoo.InputError, match="there are no documents for `train`"):
        run(tmp_path / "out", str(tmp_path / "a.jsonl"), held_out)
    (tmp_path / "b.jsonl").write_bytes(c4_lines(["one"]))
    with pytest.raises(optzoo.InputError, match="name documents to validate on"):
        run(tmp_path / "out2", str(tmp_path / "b.jsonl"), hold_out=10**9)
    run(tmp_path / "out2", str(tmp_path / "b.jsonl"), held_out)  # the folder can be used again


def test_the_manifest_says_what_there_is(tmp_path: Path, held_out: str) -> None:
    source = write_jsonl(tmp_path, TEXTS)
    run(tmp_path / "out", source, held_out)
    data = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert data["format_version"] == 2
    assert data["totals"]["train"]["documents"] == len(TEXTS)
    assert data["request"]["sources"] == [source]
    names = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert names == {
        "manifest.json",
        *(
            f"{split}-00000.{kind}"
            for split in ("train", "validation")
            for kind in ("tokens", "index")
        ),
    }
