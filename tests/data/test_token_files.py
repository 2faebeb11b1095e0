"""Document boundaries: written and read back, joined, and the bytes that tokens stand for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
