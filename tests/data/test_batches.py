"""Batches: a bijection, a pure function, and the same global batch however it is divided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optzoo
from optzoo.data.batches import Batches, permute

TOKENS = (np.arange(1003) % 251).astype(np.uint16)


def batches(seed: int = 0, fingerprint: str = "f", sequences: int = 4, length: int = 10) -> Batches:
    return Batches(TOKENS, fingerprint, seed, sequences, length)


@given(st.integers(1, 3000), st.text(max_size=8))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_permute_is_a_bijection(size: int, key: str) -> None:
    image = permute(np.arange(size, dtype=np.int64), size, key)
    assert sorted(image.tolist()) == list(range(size))


def test_permute_shuffles_and_depends_on_its_key() -> None:
    index = np.arange(1000, dtype=np.int64)
    one, two = permute(index, 1000, "a"), permute(index, 1000, "b")
    assert np.count_nonzero(one == index) < 10
    assert np.count_nonzero(one == two) < 10
    assert abs(np.corrcoef(index, one)[0, 1]) < 0.1


def test_an_epoch_visits_every_block_once_and_the_next_in_another_order() -> None:
    data = batches()
    assert data.num_blocks == 100
    first = np.concatenate([data.blocks(k) for k in range(25)])
    second = np.concatenate([data.blocks(k) for k in range(25, 50)])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert first.tolist() != second.tolist()


def test_a_batch_depends_on_fingerprint_seed_and_step_alone() -> None:
    assert np.array_equal(batches().rows(7), batches().rows(7))
    for other in (batches(seed=1), batches(fingerprint="g")):
        assert not np.array_equal(batches().rows(7), other.rows(7))
    assert not np.array_equal(batches().rows(7), batches().rows(8))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_divide_the_global_batch(world: int) -> None:
    whole = batches().rows(3)
    for rank in range(world):
        assert np.array_equal(batches().rows(3, rank, world), whole[rank::world])


def test_rows_overlap_by_one_so_that_every_token_is_a_target_once() -> None:
    data = batches(sequences=100)
    rows = data.rows(0)
    assert rows.shape == (100, 11)
    order = np.argsort(data.blocks(0))
    targets = rows[order][:, 1:].reshape(-1)
    assert np.array_equal(targets, TOKENS[1:1001])
    assert np.array_equal(rows[order][1:, 0], rows[order][:-1, -1])


def test_a_text_shorter_than_a_sequence_is_refused() -> None:
    with pytest.raises(optzoo.InputError, match="fewer than one sequence"):
        Batches(TOKENS[:5], "f", 0, 1, 10)
