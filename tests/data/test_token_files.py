"""Document boundaries: written and read back, joined, and the bytes that tokens stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import c4_lines
from hypothesis import given, settings
from hypothesis import strategies as st

import optzoo
from optzoo.data import stream_hash
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.prepared import verify
from optzoo.data.token_files import DocumentIndex

DOCUMENTS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 300)), min_size=1, max_size=30)
EXACT = settings(max_examples=80, derandomize=True, deadline=None)


def index_of(documents: list[tuple[int, int]], start: int = 1) -> DocumentIndex:
    return DocumentIndex.from_sizes(
        [d[0] for d in documents], [d[1] for d in documents], start=start
    )


def same(one: DocumentIndex, other: DocumentIndex) -> bool:
    ends = np.array_equal(one.ends, other.ends)
    return ends and np.array_equal(one.byte_ends, other.byte_ends) and one.start == other.start


@EXACT
@given(DOCUMENTS, st.integers(0, 1))
def test_it_reads_back_what_it_wrote(documents: list[tuple[int, int]], start: int) -> None:
    index = index_of(documents, start)
    data = index.to_bytes()
    assert len(data) == 16 * len(documents)
    assert same(DocumentIndex.from_bytes(data, start=start), index)
    assert np.array_equal(np.diff(index.ends, prepend=start), [d[0] + 1 for d in documents])
    assert np.array_equal(np.diff(index.byte_ends, prepend=0), [d[1] for d in documents])


@EXACT
@given(DOCUMENTS, st.data())
def test_shards_join_to_the_whole(documents: list[tuple[int, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(documents)))
    parts = [documents[:cut], documents[cut:]]
    shards = [index_of(part, int(i == 0)) for i, part in enumerate(parts) if part]
    assert same(DocumentIndex.join(shards), index_of(documents))


@EXACT
@given(DOCUMENTS, st.integers(1, 40))
def test_bytes_add_up_however_the_row_is_cut(documents: list[tuple[int, int]], length: int) -> None:
    index = index_of(documents)
    total = int(index.ends[-1])
    starts = np.arange(1, total + length, length, dtype=np.int64)
    counted = sum(index.count_bytes(starts[i : i + 1], length) for i in range(len(starts)))
    expected = sum(size for _, size in documents)
    assert abs(counted - expected) < 1e-9 * expected
    steps = np.diff(index.bytes_before(np.arange(total + 1)))
    assert (steps >= 0).all()


def test_bytes_are_spread_evenly_over_a_document() -> None:
    index = index_of([(4, 10), (0, 3), (2, 2)])
    # separator | a a a a end | end | b b end
    assert np.diff(index.bytes_before(np.arange(11))).tolist() == [
        *(0, 2.5, 2.5, 2.5, 2.5, 0),
        *(3, 1, 1, 0),
    ]


@EXACT
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(0, 900), st.integers(1, 90)
)
def test_with_bytes_as_tokens_the_count_is_exact(sizes: list[int], start: int, length: int) -> None:
    index = DocumentIndex.from_sizes(sizes, sizes)
    row = np.array([256] + [t for size in sizes for t in [*[0] * size, 256]])
    expected = np.count_nonzero(row[start : start + length] != 256)
    assert index.count_bytes(np.array([start]), length) == expected


@pytest.mark.parametrize("shard_tokens", [1, 30, 64, 65, 200, 1000, 5000])
def test_the_fingerprint_does_not_know_how_many_files_there_are(
    shard_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of token files of the usual size, whatever they have."""
    monkeypatch.setattr(stream_hash, "PIECE_TOKENS", 64)
    texts = [f"document {i} {'x' * (i * 7 % 90)}" for i in range(60)]
    (tmp_path / "a.jsonl").write_bytes(c4_lines(texts))
    found = []
    for size in (64, shard_tokens):
        request = Request((str(tmp_path / "a.jsonl"),), hold_out=4, shard_tokens=size)
        out = tmp_path / str(size)
        found.append(prepare(request, out, quiet=True).manifest)
        assert verify(out) == found[-1]
    usual, other = found
    assert usual.fingerprint == other.fingerprint
    hashes = [(shard.tokens_sha256, shard.index_sha256) for shard in usual.train.shards]
    assert list(other.train.stream) == hashes
    assert len(hashes) > 20


def test_a_fingerprint_that_is_not_of_the_files_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(c4_lines([f"document {i}" for i in range(60)]))
    request = Request((str(tmp_path / "a.jsonl"),), hold_out=4, shard_tokens=100)
    manifest = prepare(request, tmp_path / "out", quiet=True).manifest
    other = replace(manifest, train=replace(manifest.train, stream=(("0" * 64, "0" * 64),)))
    other.save(tmp_path / "out")
    with pytest.raises(optzoo.RunError, match="its fingerprint is not that of the token files"):
        verify(tmp_path / "out")
