"""One pass over the files of a split: read, tokenise, write shards, note where each one ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optzoo.data.manifest import Shard
from optzoo.data.preparation.bar import Bar
from optzoo.data.preparation.lines import Record
from optzoo.data.preparation.readers import Meter, Reading, read_records
from optzoo.data.preparation.source_file import ChangedSourceError, SourceFile
from optzoo.data.preparation.source_identity import (
    NO_RECORDS,
    Entry,
    describe_opened,
    describe_read,
    hash_record,
)
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


@dataclass(frozen=True)
class Share:
    """The part of the documents that a pass takes: held out or kept, one in `one_in`.

    Documents are chosen by a hash of their text; `inside` one document, its end is held out.
    """

    one_in: int
    held_out: bool
    inside: bool = False

    def take(self, text: str) -> str | None:
        """Return what this share has of a document, None for nothing."""
        if not self.inside:
            return text if is_held_out(text, self.one_in) == self.held_out else None
        size = len(text) // self.one_in
        cut = len(text) - size
        cut = text.rfind("\n", cut - size, cut) + 1 or cut  # after a line, where one ends there
        return (text[cut:] if self.held_out else text[:cut]) or None


@dataclass(frozen=True)
class ShardEnd:
    """Where a shard ends: after record `record` of file number `file`.

    `texts` is the hash over the file's records up to there, empty where an older optzoo noted none;
    `opened` what was known of the file, `skipped` what was left out before.
    """

    file: int = 0
    record: int = 0
    texts: str = NO_RECORDS
    opened: Mapping[str, Any] | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass
class PassState:
    """How far a pass has come: its shards and where each ends, and the files that were read."""

    shards: list[Shard] = field(default_factory=list)
    ends: list[ShardEnd] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    done: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> PassState:
        """Return a saved state, or the one at the start."""
        if data is None:
            return cls()
        shards = [Shard.from_json(shard) for shard in data["shards"]]
        if "ends" in data:
            ends = [ShardEnd(**end) for end in data["ends"]]
        else:  # of an older optzoo, which noted the last place alone
            last = ShardEnd(data["file"], data["record"], "", None, data["skipped"])
            ends = [last] * len(shards)
        files = [dict(file) for file in data["files"]]
        return cls(shards, ends, files, dict(data["skipped"]), data["done"])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        shards, ends = map(vars, self.shards), map(vars, self.ends)
        return {**vars(self), "shards": list(shards), "ends": list(ends)}

    @property
    def place(self) -> ShardEnd:
        """Where the last finished shard ends."""
        return self.ends[-1] if self.ends else ShardEnd()

    @property
    def is_cut(self) -> bool:
        """Whether the pass ended before its files did."""
        return bool(self.files) and "records" in self.files[-1]

    @property
    def tokens(self) -> int:
        """Tokens in finished shards."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def documents(self) -> int:
        """Documents in finished shards."""
        return sum(shard.documents for shard in self.shards)

    def add(self, shard: Shard, place: ShardEnd) -> None:
        """Note a finished shard."""
        self.shards.append(shard)
        self.ends.append(replace(place, skipped=dict(self.skipped)))

    def _keep(self, shards: int) -> None:
        """Go back to where this many shards are finished."""
        del self.shards[shards:], self.ends[shards:]
        del self.files[self.place.file :]
        self.skipped, self.done = dict(self.place.skipped), False

    def keep_first(self, shards: int) -> None:
        """Go back to where the first shards are finished, where there are more."""
        if shards < len(self.shards):
            self._keep(shards)

    def forget(self, file: int) -> None:
        """Go back to before the first shard that holds text of this file."""
        kept = sum((end.file, end.record) <= (file, 0) for end in self.ends)
        if kept < len(self.shards) or file < len(self.files):
            self._keep(kept)


@dataclass(frozen=True)
class _Read:
    """A record, the hash over the records up to it, and the file it is in.

    A record of None is the end of that file.
    """

    file: int
    record: Record | None
    texts: str
    opened: Entry

    def place(self) -> ShardEnd:
        assert self.record is not None
        return ShardEnd(self.file, self.record.number, self.texts, self.opened)


@dataclass
class SplitPass:
    """Everything a pass is a function of.

    `before` is what another pass read of the same files: this one must read the same.
    """

    out: Path
    name: str
    tokenizer: Tokenizer
    files: list[SourceFile]
    reading: Reading
    limits: Limits
    share: Share | None
    before: Sequence[Entry]
    skip_bad: bool
    shard_tokens: int

    def run(self, state: PassState, save: Callable[[], None], bar: Bar) -> None:
        """Go on from `state` to the end; `save` makes the state last, after each shard."""
        if state.done:
            return
        writer: ShardWriter | None = None
        here, last = _copy(state), state.place
        try:
            for item, ids in self._tokenised(state, bar):
                if item.record is None:
                    here.files.append(self._describe(item))
                    last = ShardEnd(item.file + 1)
                    continue
                last = item.place()
                if ids is None:
                    self._pass_over(item, here)
                    continue
                writer = writer or self._open_shard(len(here.shards))
                writer.add(ids, len((item.record.text or "").encode()))
                bar.wrote(len(ids) + 1)
                full = self._is_reached(here, writer)
                if full or writer.tokens >= self.shard_tokens:
                    here.add(writer.close(), last)
                    writer = None
                    if not full:
                        _assign(state, here)
                        save()
                if full:
                    here.files.append({**self._describe(item), "records": last.record})
                    break
            if writer is not None:
                here.add(writer.close(), last)
                writer = None
        finally:
            if writer is not None:
                writer.discard()
        here.done = True
        _assign(state, here)
        save()

    def _is_reached(self, here: PassState, writer: ShardWriter) -> bool:
        tokens, documents = self.limits.tokens, self.limits.documents
        return (tokens is not None and here.tokens + writer.tokens >= tokens) or (
            documents is not None and here.documents + writer.documents >= documents
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
        for item in self._read(state.place, bar):
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
        for item in batch:
            yield item, next(found) if item.record and item.record.text else None

    def _read(self, start: ShardEnd, bar: Bar) -> Iterator[_Read]:
        for number in range(start.file, len(self.files)):
            source = self.files[number]
            bar.open(number)
            begun = start if number == start.file else ShardEnd(number)
            due = self._due(begun)
            texts, opened = NO_RECORDS, None
            with closing(read_records(source, self.reading, bar.meter)) as records:
                for record in records:
                    bar.moved()
                    opened = opened or self._opened(begun, bar.meter)
                    texts = hash_record(texts, record)
                    if due.pop(record.number, texts) != texts:
                        raise ChangedSourceError(source.name, "a part of it was read")
                    taken = self._take(record) if record.number > begun.record else None
                    if taken is not None:
                        yield _Read(number, taken, texts, opened)
            if due.pop(None, texts) != texts or due:
                raise ChangedSourceError(source.name, "a part of it was read")
            yield _Read(number, None, texts, opened or self._opened(begun, bar.meter))

    def _take(self, record: Record) -> Record | None:
        """Return what this pass has of a record, None for nothing."""
        if record.text is None or self.share is None:
            return record
        text = self.share.take(record.text)
        return None if text is None else replace(record, text=text)

    def _due(self, begun: ShardEnd) -> dict[int | None, str]:
        """Return the hashes that the records of a file must have up to some, None for all."""
        due: dict[int | None, str] = {}
        if begun.record and begun.texts:
            due[begun.record] = begun.texts
        if begun.file < len(self.before):
            entry = self.before[begun.file]
            due |= {entry.get("records"): entry["texts"]} if "texts" in entry else {}
        return due

    def _opened(self, begun: ShardEnd, meter: Meter) -> Entry:
        """Return what is known of a file that was opened; its host must know it still."""
        source = self.files[begun.file]
        opened = describe_opened(source, meter)
        earlier = [*self.before[begun.file : begun.file + 1], *filter(None, [begun.opened])]
        if source.origin != "local" and any(
            entry["identity"] not in (None, opened["identity"]) for entry in earlier
        ):
            raise ChangedSourceError(source.name, "a part of it was read")
        return opened

    def _pass_over(self, item: _Read, here: PassState) -> None:
        """Count a record that is no document, or raise InputError for it."""
        assert item.record is not None
        problem = item.record.problem or "no text"
        if not self.skip_bad:
            source, record = self.files[item.file], item.record
            raise InputError(
                Diagnostic(
                    "bad-document",
                    f"`{source.name}`, {record.unit} {record.number:,}: {problem}",
                    hint="mend it, or count and leave out such documents with `--skip-bad`",
                )
            )
        here.skipped[problem] = here.skipped.get(problem, 0) + 1

    def _describe(self, item: _Read) -> dict[str, Any]:
        return describe_read(self.files[item.file], item.opened, item.texts)


def is_held_out(text: str, one_in: int) -> bool:
    """Say whether a document is held out. Depends on its text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % one_in == 0


def _copy(state: PassState) -> PassState:
    """Return a copy that can go on by itself; shards and places never change."""
    files = [dict(file) for file in state.files]
    return PassState([*state.shards], [*state.ends], files, dict(state.skipped), state.done)


def _assign(state: PassState, other: PassState) -> None:
    """Make `state` a copy of `other`, in place."""
    state.__dict__.update(_copy(other).__dict__)
