"""One pass over the files of a split: read, tokenise, write shards, note where each one ends."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from optzoo.data.manifest import Shard
from optzoo.data.preparation.readers import Meter, Reading, Record, read_records
from optzoo.data.preparation.source_file import LINES, SourceFile
from optzoo.data.token_files import Row, ShardWriter, dtype_for
from optzoo.data.tokenizer import Tokenizer
from optzoo.errors import Diagnostic, InputError

BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class Limits:
    """A pass ends with the document that reaches one of these; None is no limit."""

    tokens: int | None
    documents: int | None


@dataclass
class PassState:
    """How far a pass has come: `file` and `record` are the place after the last finished shard."""

    shards: list[Shard] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    file: int = 0
    record: int = 0
    done: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> PassState:
        """Return a saved state, or the one at the start."""
        if data is None:
            return cls()
        return cls(**{**data, "shards": [Shard(**shard) for shard in data["shards"]]})

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return asdict(self)

    @property
    def tokens(self) -> int:
        """Tokens in finished shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def documents(self) -> int:
        """Documents in finished shards."""
        return sum(shard.documents for shard in self.shards)


@dataclass(frozen=True)
class _Read:
    """A record and the file it is in; a record of None is the end of that file."""

    file: int
    record: Record | None


@dataclass
class SplitPass:
    """Everything a pass is a function of. `share` is (one in, held out or kept) by text hash."""

    out: Path
    name: str
    tokenizer: Tokenizer
    files: list[SourceFile]
    reading: Reading
    limits: Limits
    share: tuple[int, bool] | None
    skip_bad: bool
    shard_tokens: int

    def run(self, state: PassState, save: Callable[[], None], bar: Bar) -> None:
        """Go on from `state` to the end; `save` makes the state last, after each shard."""
        if state.done:
            return
        writer: ShardWriter | None = None
        here = _copy(state)
        try:
            for item, ids in self._tokenised(state, bar):
                if item.record is None:
                    here.files.append(self._describe(item.file))
                    here.file, here.record = item.file + 1, 0
                    continue
                here.file, here.record = item.file, item.record.number
                if ids is None or item.record.text is None:
                    self._pass_over(item, here)
                    continue
                writer = writer or self._open_shard(len(here.shards))
                writer.add(ids, len(item.record.text.encode()))
                bar.wrote(len(ids) + 1)
                full = self._is_reached(here, writer)
                if full or writer.tokens >= self.shard_tokens:
                    here.shards.append(writer.close())
                    writer = None
                    if not full:
                        _assign(state, here)
                        save()
                if full:
                    here.files.append({**self._describe(item.file), "records": here.record})
                    break
            if writer is not None:
                here.shards.append(writer.close())
                writer = None
        finally:
            if writer is not None:
                writer.discard()
        here.done = True
        _assign(state, here)
        save()

    def _is_reached(self, here: PassState, writer: ShardWriter) -> bool:
        tokens, documents = here.tokens + writer.tokens, here.documents + writer.documents
        return (self.limits.tokens is not None and tokens >= self.limits.tokens) or (
            self.limits.documents is not None and documents >= self.limits.documents
        )

    def _open_shard(self, number: int) -> ShardWriter:
        identity = self.tokenizer.identity
        return ShardWriter(
            self.out,
            f"{self.name}-{number:05d}",
            dtype_for(identity.vocabulary),
            identity.end_of_document,
            leading=number == 0,
        )

    def _tokenised(self, state: PassState, bar: Bar) -> Iterator[tuple[_Read, Row | None]]:
        """Yield what is read, in order, with its tokens where it is a document."""
        batch: list[_Read] = []
        characters = 0
        for item in self._read(state, bar):
            batch.append(item)
            if item.record is not None and item.record.text is not None:
                characters += len(item.record.text)
            full = len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS
            is_far = self.files[item.file].origin != "local"
            if full or (item.record is None and is_far):  # no next file before it is needed
                yield from self._encode(batch)
                batch, characters = [], 0
        yield from self._encode(batch)

    def _encode(self, batch: list[_Read]) -> Iterator[tuple[_Read, Row | None]]:
        texts = [item.record.text for item in batch if item.record and item.record.text]
        found = iter(self.tokenizer.encode(texts))
        end = self.tokenizer.identity.end_of_document
        for item in batch:
            if item.record is None or not item.record.text:
                yield item, None
                continue
            ids = next(found)
            if np.any(ids == end):
                raise InputError(
                    Diagnostic(
                        "bad-tokenizer",
                        f"`{self.files[item.file].name}`, record {item.record.number:,}: the "
                        f"tokenizer writes the end of a document (token {end}) inside one",
                        hint="name another token with `--end-of-document TOKEN`",
                    )
                )
            yield item, ids

    def _read(self, state: PassState, bar: Bar) -> Iterator[_Read]:
        skip = state.record
        for number in range(state.file, len(self.files)):
            source = self.files[number]
            bar.open(number)
            for record in read_records(source, self.reading, skip=skip, meter=bar.meter):
                bar.moved()
                if record.text is None or self._is_ours(record.text):
                    yield _Read(number, record)
            skip = 0
            yield _Read(number, None)

    def _is_ours(self, text: str) -> bool:
        if self.share is None:
            return True
        one_in, held_out = self.share
        return is_held_out(text, one_in) == held_out

    def _pass_over(self, item: _Read, here: PassState) -> None:
        """Count a record that is no document, or raise InputError for it."""
        assert item.record is not None
        problem = item.record.problem or "no text"
        if not self.skip_bad:
            source = self.files[item.file]
            unit = "line" if source.format in LINES else "row"
            raise InputError(
                Diagnostic(
                    "bad-document",
                    f"`{source.name}`, {unit} {item.record.number:,}: {problem}",
                    hint="mend it, or count and leave out such documents with `--skip-bad`",
                )
            )
        here.skipped[problem] = here.skipped.get(problem, 0) + 1

    def _describe(self, number: int) -> dict[str, Any]:
        """Return what the manifest says of a file that was read."""
        source = self.files[number]
        found = {"name": source.name, "bytes": source.size, "identity": source.identity}
        if source.origin == "local":
            with Path(source.location).open("rb") as file:
                found["identity"] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        return found


def is_held_out(text: str, one_in: int) -> bool:
    """Say whether a document is held out. Depends on its text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % one_in == 0


def _copy(state: PassState) -> PassState:
    return PassState.from_json(state.to_json())


def _assign(state: PassState, other: PassState) -> None:
    """Make `state` a copy of `other`, in place."""
    state.__dict__.update(_copy(other).__dict__)


EVERY = 0.2  # seconds between looks at the file's position


class Bar:
    """Shows how far a pass is and how long it will take."""

    def __init__(
        self,
        name: str,
        files: Sequence[SourceFile],
        max_tokens: int | None,
        state: PassState,
        *,
        quiet: bool,
    ) -> None:
        self.meter = Meter()
        self._files = files
        self._by_tokens = max_tokens is not None and name == "train"
        sizes = [file.size for file in files]
        known = [size for size in sizes if size is not None]
        total = max_tokens if self._by_tokens else sum(known) if len(known) == len(sizes) else None
        self._behind = [sum(size or 0 for size in sizes[:i]) for i in range(len(sizes))]
        self._file = 0
        self._looked = 0.0
        self._bar: Any = tqdm(
            total=total,
            initial=min(state.tokens, total or 0) if self._by_tokens else 0,
            desc=name,
            unit="token" if self._by_tokens else "B",
            unit_scale=True,
            disable=quiet,
            leave=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._bar.total is not None:
            self._bar.update(self._bar.total - self._bar.n)
        self._bar.close()

    def open(self, number: int) -> None:
        """Say which file is read next."""
        self._file = number
        if len(self._files) > 1:
            self._bar.set_postfix_str(f"file {number + 1} of {len(self._files)}", refresh=False)

    def wrote(self, tokens: int) -> None:
        """Count tokens that were written."""
        if self._by_tokens:
            self._bar.update(min(tokens, max(0, self._bar.total - self._bar.n)))

    def moved(self) -> None:
        """Look at the position in the sources, not too often."""
        now = time.monotonic()
        if not self._by_tokens and not self._bar.disable and now - self._looked > EVERY:
            self._looked = now
            position = self._behind[self._file] + self.meter.position()
            self._bar.update(max(0, position - self._bar.n))
