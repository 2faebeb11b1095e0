"""Where documents end in a row of tokens, and how much original text they stand for.

A row of tokens is a separator, then each document followed by a separator. The index of a document
is where its separator ends and how many bytes of original UTF-8 text there are up to it.

A tokenizer need not be reversible, so the text of a token is not always defined: the bytes of a
document are spread evenly over its tokens. With bytes as tokens, and over whole documents, that is
exact. The separator of a document without tokens carries its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
ENTRY = np.dtype("<u8")


@dataclass(frozen=True)
class DocumentIndex:
    """Documents of a row of tokens, in order.

    `ends[i]` is the number of tokens up to and with the separator of document i, `byte_ends[i]` the
    number of bytes of original text up to there; `start` is the number of tokens before document 0.
    """

    ends: Positions
    byte_ends: Positions
    start: int = 1

    @classmethod
    def from_sizes(
        cls, tokens: Sequence[int], num_bytes: Sequence[int], *, start: int = 1
    ) -> DocumentIndex:
        """Return the index of documents with these numbers of tokens (no separator) and bytes."""
        ends = start + np.cumsum(np.asarray(tokens, dtype=np.int64) + 1)
        return cls(ends, np.cumsum(np.asarray(num_bytes, dtype=np.int64)), start)

    @classmethod
    def join(cls, parts: Sequence[DocumentIndex]) -> DocumentIndex:
        """Return the index of rows of tokens laid end to end; all but the first start at 0."""
        ends, byte_ends = [], []
        tokens = num_bytes = 0
        for part in parts:
            ends.append(part.ends + tokens)
            byte_ends.append(part.byte_ends + num_bytes)
            tokens, num_bytes = int(ends[-1][-1]), int(byte_ends[-1][-1])
        return cls(np.concatenate(ends), np.concatenate(byte_ends), parts[0].start)

    @classmethod
    def from_bytes(cls, data: bytes, *, start: int) -> DocumentIndex:
        """Read what `to_bytes` wrote."""
        entries = np.frombuffer(data, dtype=ENTRY).reshape(-1, 2).astype(np.int64)
        return cls(entries[:, 0].copy(), entries[:, 1].copy(), start)

    def to_bytes(self) -> bytes:
        """Return pairs of little-endian 64-bit numbers: the end in tokens, the end in bytes."""
        return np.stack([self.ends, self.byte_ends], axis=1).astype(ENTRY).tobytes()

    def __len__(self) -> int:
        return len(self.ends)

    def bytes_before(self, positions: Positions) -> npt.NDArray[np.float64]:
        """Return the bytes of original text that the first `positions` tokens stand for."""
        document = np.searchsorted(self.ends, positions, side="right")
        starts = np.concatenate([[self.start], self.ends])
        byte_starts = np.concatenate([[0], self.byte_ends])
        inside = np.maximum(positions - starts[document], 0)
        last = np.minimum(document, len(self) - 1)
        length = self.ends[last] - starts[last] - 1
        size = self.byte_ends[last] - byte_starts[last]
        part = np.minimum(inside, length) * size / np.maximum(length, 1)
        part[(document == len(self)) | (length == 0)] = 0.0
        found: npt.NDArray[np.float64] = byte_starts[document] + part
        return found

    def count_bytes(self, starts: Positions, length: int) -> float:
        """Return the bytes that `length` tokens from each of `starts` stand for, all together."""
        return float((self.bytes_before(starts + length) - self.bytes_before(starts)).sum())
