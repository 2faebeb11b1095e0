"""Damage of every kind is found and named; what is whole is said to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import c4_lines

import optzoo
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.prepared import open_index, open_tokens, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(40)]))
    request = Request((str(tmp_path / "a.jsonl"),), hold_out=4, shard_tokens=100)
    prepare(request, tmp_path / "out", quiet=True)
    return tmp_path / "out"


def test_a_flipped_bit_in_any_file_is_found(folder: Path) -> None:
    assert verify(folder) == read_manifest(folder)
    names = [path for path in folder.iterdir() if path.suffix in (".tokens", ".index")]
    assert len(names) > 6
    for path in names:
        data = bytearray(path.read_bytes())
        for bit in (0, 8 * len(data) - 1):
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            with pytest.raises(optzoo.RunError) as caught:
                verify(folder)
            assert [d.message for d in caught.value.diagnostics] == [
                f"{path}: its content is not what was written"
            ]
            data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
    verify(folder)


def test_every_damaged_file_is_named(folder: Path) -> None:
    (folder / "train-00000.tokens").unlink()
    whole = (folder / "train-00001.tokens").read_bytes()
    (folder / "train-00001.tokens").write_bytes(whole[:-2])
    with pytest.raises(optzoo.RunError) as caught:
        verify(folder)
    text = str(caught.value)
    assert "train-00000.tokens: No such file" in text
    assert f"train-00001.tokens: {len(whole) - 2} bytes where {len(whole)} were written" in text
    assert "hint: prepare the data again" in text


def test_a_changed_manifest_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    data["train"]["shards"][0]["tokens_sha256"] = "0" * 64
    path.write_text(json.dumps(data))
    with pytest.raises(optzoo.InputError, match="is damaged"):
        read_manifest(folder)
    path.write_text(json.dumps({**data, "format_version": 99}))
    with pytest.raises(optzoo.InputError, match="has format 99"):
        read_manifest(folder)
    path.write_text("{")
    with pytest.raises(optzoo.InputError, match="is damaged"):
        read_manifest(folder)


def test_opening_notices_what_costs_nothing_to_notice(folder: Path) -> None:
    manifest = read_manifest(folder)
    tokens, index = folder / "train-00001.tokens", folder / "validation-00000.index"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(optzoo.InputError, match=r"train-00001\.tokens has"):
        open_tokens(folder, manifest.train, manifest)
    index.write_bytes(bytes(len(index.read_bytes())))
    with pytest.raises(optzoo.InputError, match=r"validation-00000\.index is not what was written"):
        open_index(folder, manifest.validation)
    index.unlink()
    with pytest.raises(optzoo.InputError, match=r"validation-00000\.index: No such file"):
        open_index(folder, manifest.validation)


def test_what_is_not_there_or_not_complete(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match="there is no prepared data"):
        verify(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    (folder / "progress.json").write_text("{}")
    with pytest.raises(optzoo.InputError, match="is not complete"):
        verify(folder)
