"""What identifies a row of tokens, however many token files it is in.

The fingerprint of prepared data is made of hashes over pieces of the row: those that token files of
`PIECE_TOKENS` hold, which is their size unless another was asked for. The same text has therefore
the same fingerprint, and batches the same order, for every size of token file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optzoo.data.manifest import Shard
from optzoo.data.token_files import DocumentIndex, Row

PIECE_TOKENS = 1 << 26
CHUNK = 1 << 20  # tokens hashed at a time

Hashes = tuple[tuple[str, str], ...]


def hash_stream(folder: Path, shards: Sequence[Shard], dtype: str, shard_tokens: int) -> Hashes:
    """Return the hash of tokens and of index of each piece. Reads files of another size again.

    `shard_tokens` is the size that the token files were asked to have.
    """
    is_one_piece = len(shards) == 1 and shards[0].tokens <= PIECE_TOKENS
    if shard_tokens == PIECE_TOKENS or is_one_piece:
        return tuple((shard.tokens_sha256, shard.index_sha256) for shard in shards)
    found, piece = [], _Piece()
    for number, shard in enumerate(shards):
        row = np.asarray(np.memmap(folder / f"{shard.name}.tokens", dtype=dtype, mode="r"))
        data = (folder / f"{shard.name}.index").read_bytes()
        index = DocumentIndex.from_bytes(data, start=int(number == 0))
        first = 0
        while first < len(index):
            before = int(index.ends[first - 1]) if first else 0
            wanted = before + PIECE_TOKENS - piece.tokens
            last = int(np.searchsorted(index.ends, wanted))
            is_full = last < len(index)
            stop = last + 1 if is_full else len(index)
            piece.add(row, index, first, stop)
            if is_full:
                found.append(piece.finish())
                piece = _Piece()
            first = stop
    return tuple([*found, piece.finish()] if piece.tokens else found)


class _Piece:
    """The hashes of documents laid end to end."""

    def __init__(self) -> None:
        self.tokens = self.bytes = 0
        self._row, self._index = hashlib.sha256(), hashlib.sha256()

    def add(self, row: Row, index: DocumentIndex, first: int, stop: int) -> None:
        """Append documents `first` to `stop` of a token file."""
        before = int(index.ends[first - 1]) if first else 0
        bytes_before = int(index.byte_ends[first - 1]) if first else 0
        for start in range(before, int(index.ends[stop - 1]), CHUNK):
            self._row.update(row[start : min(start + CHUNK, int(index.ends[stop - 1]))].tobytes())
        ends = index.ends[first:stop] - before + self.tokens
        byte_ends = index.byte_ends[first:stop] - bytes_before + self.bytes
        self._index.update(DocumentIndex(ends, byte_ends).to_bytes())
        self.tokens, self.bytes = int(ends[-1]), int(byte_ends[-1])

    def finish(self) -> tuple[str, str]:
        """Return the hashes of tokens and of index."""
        return self._row.hexdigest(), self._index.hexdigest()
