"""Files that are read as lines: encodings, compressions, arrays, and sizes without bound."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hub_server import c4_lines
from test_prepare import run, texts_of

import optzoo
from optzoo.data.preparation import hub, lines
from optzoo.data.preparation.compression import recognise
from optzoo.data.preparation.readers import Reading, read_records
from optzoo.data.preparation.source_file import describe_file
from optzoo.data.preparation.sources import find_files

TEXTS = [f"document {i}: naïve {'x' * (i % 7)}" for i in range(20)]
LINES = c4_lines(TEXTS)


def compress_zst(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": compress_zst,
}


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    path = tmp_path / "held-out.jsonl"
    path.write_bytes(c4_lines(["held out"]))
    return str(path)


def read(path: Path, text_field: str = "text", *, lines: bool = False) -> list[str | None]:
    (source,) = find_files([str(path)], "train")
    return [
        record.text or record.problem for record in read_records(source, Reading(text_field, lines))
    ]


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl{}", "A.JSONL{}", "a.json.gz"])
def test_a_compression_is_told_by_content(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / (name.format(kind.upper() if name[0] == "A" else kind))
    path.write_bytes(COMPRESSIONS[kind](LINES))
    assert read(path) == TEXTS
    path.write_bytes(COMPRESSIONS[kind](LINES[:300]) + COMPRESSIONS[kind](LINES[300:]))
    assert read(path) == TEXTS


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_what_was_unpacked_on_the_way_keeps_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl{kind}"
    path.write_bytes(LINES)
    assert read(path) == TEXTS


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_nothing_of_a_compressed_file_is_passed_over(kind: str, tmp_path: Path) -> None:
    """It is empty, ends too early, or goes on with something else; or its second part does."""
    path = tmp_path / f"a.jsonl{kind}"
    whole = COMPRESSIONS[kind](LINES)
    flipped = bytearray(whole)
    flipped[1] ^= 64
    for damaged in (
        b"",
        whole[:-3],
        whole[: len(whole) // 2],
        whole[:1],
        whole + b"more",
        whole + whole[:4],
        whole + whole[:-3],
        whole + bytes([whole[0] ^ 1]) + whole[1:],
        bytes(flipped),
    ):
        path.write_bytes(damaged)
        with pytest.raises(optzoo.InputError, match="is cut short or damaged after record") as e:
            read(path)
        assert "fetch it again" in str(e.value)


def test_text_is_no_compression() -> None:
    for text in (b"", b"B", b"BZh9 is a name", b"PK", "Ľ\x1f".encode(), b"\xef\xbb\xbf{}"):
        assert recognise(text) == ""


@pytest.mark.parametrize("suffix", ["jsonl", "txt", "csv", "json"])
def test_a_byte_order_mark_is_no_text(suffix: str, tmp_path: Path, held_out: str) -> None:
    path = tmp_path / f"a.{suffix}"
    array = json.dumps([{"text": text} for text in TEXTS]).encode()
    content = {
        "jsonl": LINES,
        "json": array,
        "txt": TEXTS[0].encode(),
        "csv": "\n".join(["text", *TEXTS]).encode(),
    }[suffix]
    path.write_bytes(codecs.BOM_UTF8 + content)
    run(tmp_path / "out", str(path), held_out)
    assert texts_of(tmp_path / "out") == (TEXTS[:1] if suffix == "txt" else TEXTS)
    path.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(optzoo.InputError, match="UTF-8"):
        run(tmp_path / "out2", str(path), held_out)
    with pytest.raises(optzoo.InputError, match="UTF-8"):
        run(tmp_path / "out3", str(path), held_out, skip_bad=True)


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_of_objects(
    indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK", 7)
    path = tmp_path / "a.json"
    path.write_text(" \n" + json.dumps([{"text": text} for text in TEXTS], indent=indent))
    assert read(path) == TEXTS
    path.write_text("[ ]\n")
    assert read(path) == []
    path.write_text('[{"text": "one"}, 3, "two", {"text": ""}, {"txt": 1}, 12, [1], null]')
    found = read(path)
    assert found[0] == "one"
    assert found[3] == "empty text"
    assert found[4] == "no field `text`"
    assert [str(problem)[:13] for problem in (*found[1:3], *found[5:])] == ["not an object"] * 5


@pytest.mark.parametrize(
    "text",
    [
        "[",
        '[{"text": "a"}',
        '[{"text": "a"},',
        '[{"text": "a"}, ]',
        '[{"text": "a"} {"text": "b"}]',
        '[{"text": "a"}] [{"text": "b"}]',
        '[{"text": "a"}]\n{"text": "b"}\n',
        '[{"text": "a"}, {"text": "b]',
        "[" * 100_000,
    ],
)
def test_an_array_that_is_not_whole(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(optzoo.InputError, match="is cut short or damaged after record"):
        read(path)


def test_a_field_inside_another(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    objects = [
        {"meta": {"text": "inside"}},
        {"meta.text": "as it is written", "meta": {"text": "inside"}},
        {"meta": {"txt": ""}},
        {"meta": "text"},
        {"meta": {"text": {"text": ""}}},
    ]
    path.write_text("\n".join(map(json.dumps, objects)))
    assert read(path, "meta.text") == [
        "inside",
        "as it is written",
        *["no field `meta.text`"] * 2,
        "the field `meta.text` is dict, not text",
    ]


def test_lines_of_any_length_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: str
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    monkeypatch.setattr(lines, "LARGEST", 1 << 21)
    path = tmp_path / "a.jsonl.gz"
    long = json.dumps({"text": "a" * (3 << 20)}).encode()
    path.write_bytes(gzip.compress(b"\n".join([LINES.splitlines()[0], long, LINES])))
    with pytest.raises(optzoo.InputError, match="line 2: longer than 1 MiB"):
        run(tmp_path / "out", str(path), held_out)
    run(tmp_path / "out", str(path), held_out, skip_bad=True)
    assert texts_of(tmp_path / "out") == [TEXTS[0], *TEXTS]
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * (2 << 20))
    assert [len(text or "") for text in read(path)] == [2 << 20]
    path.write_bytes(b"a" * (2 << 20) + b"\n")
    assert read(path) == ["longer than 2 MiB"]
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text": "' + b"a" * (6 << 20) + b'"}]')
    with pytest.raises(optzoo.InputError, match="is cut short or damaged"):
        read(path)


def test_what_does_not_fit_into_memory_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: str
) -> None:
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(lines, "check_text", no_room)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(optzoo.InputError, match=r"a\.txt`: what follows .* does not fit"):
        run(tmp_path / "out", str(tmp_path / "a.txt"), held_out)


def test_formats_follow_from_names() -> None:
    names = {
        "A.TXT": ("text", ""),
        "a.NdJson.ZST": ("json", ".zst"),
        "a.Parquet": ("parquet", ""),
    }
    for name, expected in names.items():
        found = describe_file(name, name, "local", name)
        assert (found.format, found.compression) == expected


@pytest.mark.parametrize("kind", ["", *COMPRESSIONS])
def test_a_file_of_the_hub_has_the_length_that_the_hub_gives(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines end anywhere: of plain ones nothing else says that some are missing."""
    data = COMPRESSIONS[kind](LINES) if kind else LINES
    monkeypatch.setattr(hub, "open_hub_file", lambda *_, **__: io.BytesIO(data))
    for missing in (0, 100):
        source = describe_file("a", "a", "hub", f"a.jsonl{kind}", size=len(data) + missing)
        if missing:
            with pytest.raises(optzoo.RunError, match=r"the hub sent [\d,]+ of [\d,]+ bytes"):
                list(read_records(source, Reading()))
        else:
            assert [record.text for record in read_records(source, Reading())] == TEXTS
