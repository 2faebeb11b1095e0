"""Tables, and compressions: the same documents as of plain lines."""

from __future__ import annotations

import bz2
import csv
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import c4_lines, hub
from test_hub import prepare as prepare_from_hub
from test_prepare import run, texts_of

import optzoo
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.preparation.readers import Reading, read_records
from optzoo.data.preparation.sources import find_files

TEXTS = [f'document {i}, "quoted"\nnaïve\t{"x" * (i % 7)}' for i in range(40)]
TEXTS += ["NA", "null", "007", "1e5", " spaces "]  # text, not missing values or numbers


def write_table(path: Path, texts: list[str], column: str = "text") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(["url", column])
        writer.writerows(["u", text] for text in texts)
    return str(path)


def write_arrow(path: Path, texts: list[str]) -> str:
    import pyarrow

    table = pyarrow.table({"url": ["u"] * len(texts), "text": texts})
    with path.open("wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return str(path)


def write_compressed(path: Path, texts: list[str]) -> str:
    compress: Callable[[bytes], bytes] = bz2.compress if path.suffix == ".bz2" else lzma.compress
    path.write_bytes(compress(c4_lines(texts)))
    return str(path)


WRITERS: dict[str, Callable[[Path, list[str]], str]] = {
    "a.csv": write_table,
    "[a]*.tsv": write_table,  # names are names, not patterns
    "a.arrow": write_arrow,
    "a.jsonl.bz2": write_compressed,
    "a.json.xz": write_compressed,
}


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    path = tmp_path / "held-out.jsonl"
    path.write_bytes(c4_lines(["held out"]))
    return str(path)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents(name: str, tmp_path: Path, held_out: str) -> None:
    source = WRITERS[name](tmp_path / name, TEXTS)
    manifest = run(tmp_path / "out", source, held_out, shard_tokens=300)
    assert texts_of(tmp_path / "out") == TEXTS
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(c4_lines(TEXTS))
    assert run(tmp_path / "plain", str(plain), held_out, shard_tokens=300).fingerprint == (
        manifest.fingerprint
    )


@pytest.mark.parametrize("name", WRITERS)
def test_records_are_counted_from_one(name: str, tmp_path: Path) -> None:
    (source,) = find_files([WRITERS[name](tmp_path / name, TEXTS)], "train")
    records = list(read_records(source, Reading()))
    assert [record.text for record in records] == TEXTS
    assert [record.number for record in records] == list(range(1, len(TEXTS) + 1))


def test_rows_without_text_are_named_or_left_out(tmp_path: Path, held_out: str) -> None:
    source = write_table(tmp_path / "a.csv", ["one", "", "three"])
    with pytest.raises(optzoo.InputError, match=r"a\.csv`, row 2: empty text"):
        run(tmp_path / "out", source, held_out)
    run(tmp_path / "out", source, held_out, skip_bad=True)
    assert texts_of(tmp_path / "out") == ["one", "three"]


def test_a_table_without_the_column_or_that_is_none(tmp_path: Path, held_out: str) -> None:
    source = write_table(tmp_path / "a.csv", ["one"], column="txt")
    with pytest.raises(optzoo.InputError, match=r"has no column `text`[^`]+did you mean `txt`"):
        run(tmp_path / "out", source, held_out)
    Path(source).write_text('text,url\n"never closed\n')
    with pytest.raises(optzoo.InputError, match="is not a whole csv file"):
        run(tmp_path / "out", source, held_out)
    (tmp_path / "a.arrow").write_bytes(b"no arrow")
    with pytest.raises(optzoo.InputError, match="is not a whole arrow file"):
        run(tmp_path / "out", str(tmp_path / "a.arrow"), held_out)


@pytest.mark.parametrize("name", ["a.jsonl.bz2", "a.json.xz"])
def test_a_compressed_file_that_is_cut_short_or_damaged(
    name: str, tmp_path: Path, held_out: str
) -> None:
    source = Path(write_compressed(tmp_path / name, TEXTS))
    whole = source.read_bytes()
    for damaged in (whole[:-20], whole[:30] + b"\0" * 30 + whole[60:], b"\0\xff", b""):
        source.write_bytes(damaged)
        with pytest.raises(optzoo.InputError, match="is cut short or damaged after record"):
            run(tmp_path / "out", str(source), held_out)


def test_tables_of_the_hub_are_read_as_they_arrive(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv", TEXTS)
    files = {
        "README.md": b"---\n---\n",
        "train.csv": (tmp_path / "train.csv").read_bytes(),
        "validation.csv": b"url,text\nu,held out\n",
    }
    with hub({"owner/table": files}) as server:
        arguments = ("hub:owner/table", "--out", str(tmp_path / "out"))
        done = prepare_from_hub(server.url, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert texts_of(tmp_path / "out") == TEXTS
    assert texts_of(tmp_path / "out", "validation") == ["held out"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["train"]["files"][0]["name"].endswith("/train.csv")


def write_columns(path: Path, table: Any) -> str:
    from pyarrow import ipc, parquet

    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        make = ipc.new_file if path.stem == "file" else ipc.new_stream
        with path.open("wb") as file, make(file, table.schema) as writer:
            writer.write_table(table)
    return str(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "file.arrow"])
@pytest.mark.parametrize("kind", ["string", "large_string", "binary"])
def test_a_row_that_is_not_utf_8_is_named_or_left_out(
    name: str, kind: str, tmp_path: Path, held_out: str
) -> None:
    import pyarrow

    large = kind == "large_string"
    values = pyarrow.array(
        [b"one", b"caf\xe9", b"three"], pyarrow.large_binary() if large else pyarrow.binary()
    )
    column = values if kind == "binary" else values.view(getattr(pyarrow, kind)())
    source = write_columns(tmp_path / name, pyarrow.table({"text": column}))
    with pytest.raises(optzoo.InputError, match="row 2: not UTF-8"):
        run(tmp_path / "out", source, held_out)
    run(tmp_path / "out", source, held_out, skip_bad=True)
    assert texts_of(tmp_path / "out") == ["one", "three"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "file.arrow"])
def test_columns_inside_others_and_of_words(name: str, tmp_path: Path) -> None:
    import pyarrow

    rows = [{"text": text, "n": 1} for text in TEXTS]
    words = pyarrow.array(TEXTS).dictionary_encode()
    source = write_columns(tmp_path / name, pyarrow.table({"meta": rows, "words": words}))
    for field in ("meta.text", "words"):
        prepare(Request((source,), text_field=field, validation=(source,)), tmp_path / field)
        assert texts_of(tmp_path / field) == TEXTS
    for field in ("meta.txt", "words.text", "metal"):
        with pytest.raises(optzoo.InputError, match=f"has no column `{field}`"):
            prepare(Request((source,), text_field=field), tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text\none\ncaf\xe9\n", ["one", "not UTF-8"]),
        (b"text\nHello, world\nBye\n", ["2 fields where the header has 1", "Bye"]),
        (b"url,text\nu\n\nu,one\n", ["1 fields where the header has 2", "one"]),
        (b"n,text\n1,one,two\n", ["3 fields where the header has 2"]),
        (b"text\rone\rtwo", ["one", "two"]),
        (b'text\r\n"one\r\nline"\r\n', ["one\r\nline"]),
        (b'text\na "quoted" word\n', ['a "quoted" word']),
        (b"text\none\0\x0ctwo\xe2\x80\xa8\n", ["one\0\x0ctwo\u2028"]),
        (b"text\n", []),
    ],
)
@pytest.mark.parametrize("compress", [bytes, bz2.compress])
def test_no_part_of_a_csv_is_passed_over(
    content: bytes, expected: list[str], compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / ("a.csv" if compress is bytes else "a.csv.bz2")
    path.write_bytes(compress(content))
    (source,) = find_files([str(path)], "train")
    records = list(read_records(source, Reading()))
    assert [record.text or record.problem for record in records] == expected
    assert {record.unit for record in records} <= {"row"}


@pytest.mark.parametrize("content", [b"", b'text\n"never closed\n', b'text\n"one"two\n'])
def test_a_csv_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    (source,) = find_files([str(tmp_path / "a.csv")], "train")
    with pytest.raises(optzoo.InputError, match="is not a whole csv file"):
        list(read_records(source, Reading()))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "file.arrow", "a.csv"])
def test_a_damaged_table_is_one_error_or_whole(name: str, tmp_path: Path) -> None:
    """Cut anywhere it is an error, but for CSV; what is changed gives rows or an error."""
    import pyarrow

    path, draw = tmp_path / name, random.Random(name)
    if name == "a.csv":
        write_table(path, TEXTS)
    else:
        write_columns(path, pyarrow.table({"text": TEXTS, "n": range(len(TEXTS))}))
    whole = path.read_bytes()
    (source,) = find_files([str(path)], "train")
    errors = 0
    for turn in range(25):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 5])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        cut = name != "a.csv" and turn % 3 == 0
        path.write_bytes(whole[: draw.randrange(len(whole) - 8)] if cut else data)
        try:
            list(read_records(source, Reading()))
            assert not cut
        except optzoo.OptzooError:
            errors += 1
    assert errors > 0
