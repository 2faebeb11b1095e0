"""Token files: written one after the other, mapped into memory as one row.

    NAME.tokens    little-endian uint16 or uint32, nothing else
    NAME.index     see `DocumentIndex`

The first shard of a split starts with a separator; each document is followed by one. A shard has
its final name only when it is complete and on the disk.

The index of a document is where its separator ends and how many bytes of original UTF-8 text there
are up to it. A tokenizer need not be reversible, so the text of a token is not always defined: the
bytes of a document are spread evenly over its tokens. With bytes as tokens, and over whole
documents, that is exact. The separator of a document without tokens carries its bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from optzoo.data.manifest import Shard
from optzoo.errors import Diagnostic, InputError
from optzoo.files.atomic import sync_folder, write_durably

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


Row = npt.NDArray[np.integer]
BUFFER_TOKENS = 1 << 20
BLOCK = 1 << 20  # bytes of a token file that are hashed together, beside the whole
MAPPED = 128  # token files that are mapped at once; each takes a file descriptor


def dtype_for(vocabulary: int) -> str:
    """Return the narrowest of the two types that holds every id."""
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


@dataclass
class ShardWriter:
    """Writes one shard. What is not closed is lost, on purpose."""

    folder: Path
    name: str
    dtype: str
    separator: int
    leading: bool
    tokens: int = 0
    _lengths: list[int] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _buffer: list[Row] = field(default_factory=list)
    _buffered: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()
        self._partial = self.folder / f".{self.name}.tokens.partial"
        self._partial.unlink(missing_ok=True)
        self._file: BinaryIO = self._partial.open("xb")  # new: never a link to somewhere else
        self._blocks = BlockHashes()
        self._separator = np.array([self.separator], dtype=self.dtype)
        if self.leading:
            self._append(self._separator)

    @property
    def documents(self) -> int:
        """Documents so far."""
        return len(self._lengths)

    def add(self, ids: Row, num_bytes: int) -> None:
        """Append a document of `num_bytes` bytes of original text, and a separator."""
        self._append(ids.astype(self.dtype))
        self._append(self._separator)
        self._lengths.append(len(ids))
        self._sizes.append(num_bytes)

    def close(self) -> Shard:
        """Put the shard on the disk under its final name and return what it holds."""
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        index = DocumentIndex.from_sizes(self._lengths, self._sizes, start=int(self.leading))
        data = index.to_bytes()
        write_durably(self.folder / f"{self.name}.index", data)
        self._partial.replace(self.folder / f"{self.name}.tokens")
        sync_folder(self.folder)
        return Shard(
            name=self.name,
            tokens=self.tokens,
            documents=self.documents,
            bytes=sum(self._sizes),
            tokens_sha256=self._digest.hexdigest(),
            index_sha256=hashlib.sha256(data).hexdigest(),
            blocks=self._blocks.finish(),
        )

    def discard(self) -> None:
        """Leave nothing of an unfinished shard."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _append(self, ids: Row) -> None:
        self._buffer.append(ids)
        self._buffered += len(ids)
        self.tokens += len(ids)
        if self._buffered >= BUFFER_TOKENS:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            data = np.concatenate(self._buffer).tobytes()
            self._file.write(data)
            self._digest.update(data)
            self._blocks.update(data)
            self._buffer, self._buffered = [], 0


class BlockHashes:
    """Short hashes of the blocks of a file, so that parts of it can be checked."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._rest = b""

    def update(self, data: bytes) -> None:
        """Append bytes."""
        self._rest += data
        whole = len(self._rest) // BLOCK * BLOCK
        self._found += [
            hash_block(self._rest[start : start + BLOCK]) for start in range(0, whole, BLOCK)
        ]
        self._rest = self._rest[whole:]

    def finish(self) -> tuple[str, ...]:
        """Return the hashes; the last block may be a short one."""
        return (*self._found, *([hash_block(self._rest)] if self._rest else []))


def hash_block(data: bytes) -> str:
    """Return a hash of 64 bits, against accidents."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class ShardedTokens:
    """Shards as one row of tokens, read through the page cache.

    No more than `MAPPED` files are mapped at once, and fewer where the system has no descriptors
    left. A token that is not one of the `vocabulary` is never returned.
    """

    def __init__(
        self, paths: Sequence[Path], lengths: Sequence[int], dtype: str, vocabulary: int
    ) -> None:
        self._paths, self._dtype, self._vocabulary = list(paths), dtype, vocabulary
        self._starts: Positions = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._mapped: OrderedDict[int, Row] = OrderedDict()
        for number in range(min(len(self._paths), MAPPED)):
            self._map(number)

    @classmethod
    def open(
        cls, folder: Path, shards: Sequence[Shard], dtype: str, vocabulary: int
    ) -> ShardedTokens:
        """Map the token files of a split. Raises InputError for one that cannot be."""
        paths = [folder / f"{shard.name}.tokens" for shard in shards]
        return cls(paths, [shard.tokens for shard in shards], dtype, vocabulary)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Positions) -> Row:
        """Return the tokens at these positions, in the shape of `index`."""
        flat = index.reshape(-1)
        found = np.empty(len(flat), dtype=self._dtype)
        for number, here in self._by_shard(flat):
            part = self._map(number)[flat[here] - self._starts[number]]
            if len(part) and part.max() >= self._vocabulary:
                raise _strange_token(self._paths[number], int(part.max()), self._vocabulary)
            found[here] = part
        return found.reshape(index.shape)

    def _by_shard(self, flat: Positions) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
        shard = np.searchsorted(self._starts, flat, side="right") - 1
        for number in np.unique(shard):
            yield int(number), shard == number

    def _map(self, number: int) -> Row:
        """Return the tokens of a shard; those used longest ago make room."""
        if number not in self._mapped:
            while len(self._mapped) >= MAPPED:
                self._mapped.popitem(last=False)
            self._mapped[number] = self._open(self._paths[number])
        self._mapped.move_to_end(number)
        return self._mapped[number]

    def _open(self, path: Path) -> Row:
        while True:
            try:
                return np.asarray(np.memmap(path, dtype=self._dtype, mode="r"))
            except (OSError, ValueError) as error:
                is_full = isinstance(error, OSError) and error.errno in _NO_ROOM
                if is_full and self._mapped:
                    self._mapped.popitem(last=False)
                    continue
                hint = "allow more open files: `ulimit -n 1024`" if is_full else None
                why = getattr(error, "strerror", None) or error
                problem = f"{path} cannot be mapped into memory: {why}"
                raise InputError(Diagnostic("unreadable", problem, hint=hint)) from None


_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _strange_token(path: Path, token: int, vocabulary: int) -> InputError:
    return InputError(
        Diagnostic(
            "damaged-data",
            f"{path} has the token {token:,}, and the vocabulary has {vocabulary:,}",
            hint=f"`optzoo data verify {path.parent}` finds all that is damaged",
        )
    )
