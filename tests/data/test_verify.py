"""Damage of every kind is found and named; what is whole is said to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import c4_lines

import optzoo
from optzoo.data import prepared
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.prepared import open_index, open_tokens, verify
from optzoo.data.token_files import BLOCK, MAPPED, BlockHashes, ShardedTokens, hash_block


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


def test_every_start_checks_what_is_small_and_a_sample_of_what_is_large(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(folder)
    path = folder / "train-00002.tokens"
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    for budget in (prepared.CHECKED_IN_FULL, 0):
        monkeypatch.setattr(prepared, "CHECKED_IN_FULL", budget)
        with pytest.raises(optzoo.InputError, match=r"train-00002\.tokens is not what was written"):
            open_tokens(folder, manifest.train, manifest)
    path.write_bytes(whole)
    open_tokens(folder, manifest.train, manifest)


def test_blocks_are_hashed_however_they_are_written() -> None:
    data = bytes(range(251)) * 10_000
    expected = [hash_block(data[i : i + BLOCK]) for i in range(0, len(data), BLOCK)]
    for size in (len(data), BLOCK, BLOCK + 1, 77_777):
        blocks = BlockHashes()
        for start in range(0, len(data), size):
            blocks.update(data[start : start + size])
        assert list(blocks.finish()) == expected
    assert BlockHashes().finish() == ()


def to_first_version(folder: Path) -> None:
    """Make of a manifest what an older optzoo wrote."""
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    del data["sha256"]
    data["format_version"] = 1
    for name in ("train", "validation"):
        del data[name]["stream"]
        for shard in data[name]["shards"]:
            del shard["blocks"]
        for file in data[name]["files"]:
            del file["texts"], file["stamp"]
    path.write_text(json.dumps(data))


def test_directories_of_the_first_version_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(40)]))
    request = Request((str(tmp_path / "a.jsonl"),), hold_out=4)
    folder = tmp_path / "out"
    now = prepare(request, folder, quiet=True).manifest
    to_first_version(folder)
    old = verify(folder)
    assert old.fingerprint == now.fingerprint
    assert prepare(request, folder, quiet=True).already
    for budget in (prepared.CHECKED_IN_FULL, 0):
        monkeypatch.setattr(prepared, "CHECKED_IN_FULL", budget)
        open_tokens(folder, old.train, old)
    path = folder / "train-00000.tokens"
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(optzoo.InputError, match=r"train-00000\.tokens is not what was written"):
        open_tokens(folder, old.train, old)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(c4_lines(["more"]))
    with pytest.raises(optzoo.InputError, match=r"a\.jsonl` changed since"):
        prepare(request, folder, quiet=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train", {"shards": [], "files": [], "skipped": {}}),
        ("train", 3),
        ("tokenizer", {"name": "bytes"}),
        ("dtype", "<u8"),
        ("dtype", None),
        ("request", []),
        ("format_version", None),
        ("format_version", "one"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_manifest_that_is_none(key: str, value: object, version: int, folder: Path) -> None:
    if version == 1:
        to_first_version(folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(optzoo.InputError, match=r"manifest\.json is damaged"):
        read_manifest(folder)
    path.write_text("[" * 200_000)
    with pytest.raises(optzoo.InputError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


def test_a_manifest_that_cannot_be_read_is_not_a_missing_one(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    with pytest.raises(optzoo.InputError, match=r"manifest\.json is not a regular file"):
        read_manifest(folder)


def test_tokens_that_the_vocabulary_does_not_have(folder: Path) -> None:
    manifest = read_manifest(folder)
    path = folder / "train-00000.tokens"
    row = ShardedTokens.open(folder, manifest.train.shards, manifest.dtype, 257)
    data = np.frombuffer(path.read_bytes(), "<u2").copy()
    data[3] = 999
    path.write_bytes(data.tobytes())
    with pytest.raises(optzoo.InputError, match=r"has the token 999, and the vocabulary has 257"):
        row[np.arange(len(row))]


def test_more_token_files_than_may_be_open(tmp_path: Path) -> None:
    """A process that may open 30 files reads 200, and one that may open none says so."""
    (tmp_path / "a.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(250)]))
    request = Request((str(tmp_path / "a.jsonl"),), hold_out=10, shard_tokens=5)
    shards = prepare(request, tmp_path / "out", quiet=True).manifest.train.shards
    assert len(shards) > MAPPED
    program = f"""
import os, resource, sys
import numpy as np
from pathlib import Path
from optzoo.data.manifest import read_manifest
from optzoo.data.prepared import open_tokens
from optzoo.errors import InputError
folder = Path({str(tmp_path / "out")!r})
manifest = read_manifest(folder)
row = open_tokens(folder, manifest.train, manifest)
order = np.random.default_rng(0).permutation(len(row))
expected = row[order]
del row
used = len(os.listdir("/dev/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, used + 20))
row = open_tokens(folder, manifest.train, manifest)
assert (row[order] == expected).all()
del row
resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
hold = []
try:
    while True:
        hold.append(open(os.devnull))
except OSError:
    pass
try:
    open_tokens(folder, manifest.train, manifest)
except InputError as error:
    assert "Too many open files" in str(error) and "ulimit -n" in str(error), error
    assert "damaged" not in str(error)
    sys.exit(5)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 5, done.stderr


def test_what_is_not_there_or_not_complete(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match="there is no prepared data"):
        verify(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    (folder / "progress.json").write_text("{}")
    with pytest.raises(optzoo.InputError, match="is not complete"):
        verify(folder)
