"""Which sequences make up batch k: a pure function of (fingerprint, seed, k).

The stream is cut into blocks of T + 1 tokens that overlap by one, so that every token after the
first is a target exactly once an epoch. Blocks are visited in the order of a keyed bijection:
nothing is stored and any position is reached at once. Ranks and micro-batches divide a global
batch; they never change it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optzoo.data.corpus import Tokens
from optzoo.errors import InputError

Index = npt.NDArray[np.int64]
_ROUNDS = 6  # a Feistel network is a good shuffle from four rounds on


@dataclass(frozen=True)
class Batches:
    """The training batches of a run.

    `sequences` is the size B of the global batch, `length` the number T of targets of a sequence.
    """

    tokens: Tokens
    fingerprint: str
    seed: int
    sequences: int
    length: int

    def __post_init__(self) -> None:
        if self.num_blocks < 1:
            raise InputError(
                f"the training text has {len(self.tokens):,} tokens, fewer than one sequence of "
                f"{self.length:,}",
                hint="make `batch.sequence_length` smaller",
            )

    @property
    def num_blocks(self) -> int:
        """Number of blocks in an epoch."""
        return (len(self.tokens) - 1) // self.length

    def blocks(self, step: int) -> Index:
        """Return the block of each row of global batch `step`, counted from 0."""
        position = np.arange(step * self.sequences, (step + 1) * self.sequences, dtype=np.int64)
        epoch, offset = np.divmod(position, self.num_blocks)
        order = np.empty_like(position)
        for e in np.unique(epoch):
            rows = epoch == e
            key = f"{self.fingerprint}/{self.seed}/{e}"
            order[rows] = permute(offset[rows], self.num_blocks, key)
        return order

    def rows(self, step: int, rank: int = 0, world: int = 1) -> npt.NDArray[np.int64]:
        """Return rows rank::world of global batch `step` as int64 tokens, shape (rows, T + 1)."""
        return read_blocks(self.tokens, self.blocks(step)[rank::world], self.length)


def read_blocks(tokens: Tokens, blocks: Index, length: int) -> npt.NDArray[np.int64]:
    """Return the blocks as rows of `length` + 1 tokens; block i starts at token i * length."""
    rows: npt.NDArray[np.int64] = tokens[blocks[:, None] * length + np.arange(length + 1)].astype(
        np.int64
    )
    return rows


def permute(index: Index, size: int, key: str) -> Index:
    """Map each index in [0, size) to its place in the order that `key` stands for.

    A balanced Feistel network on the next even number of bits; an image outside [0, size) is fed
    in again until it falls inside (cycle walking), which keeps it a bijection of [0, size).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    digest = hashlib.shake_256(key.encode()).digest(8 * _ROUNDS)
    round_keys = np.frombuffer(digest, dtype="<u8")
    image = index.astype(np.uint64)
    outside = np.ones(len(index), dtype=bool)
    while outside.any():
        left, right = image[outside] >> half, image[outside] & mask
        for round_key in round_keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        image[outside] = (left << half) | right
        outside = image >= np.uint64(size)
    return image.astype(np.int64)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each element: the finaliser of SplitMix64 (Steele et al., 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
