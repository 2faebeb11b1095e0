"""What was read of a source, and whether the source still is that.

An entry of a manifest says of a file: `name`, `bytes`, `identity` (a sha256, the hub's hash, or a
web server's ETag or date), `texts`, a hash over its records, and for a local file the `stamp` it
had. A pass that ended inside the file has the number of the last record under `records`.

Time stamps only spare a look: a local file with another one is the same if its bytes are, or else
if the records are that were read of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from optzoo.data.preparation.lines import Record
from optzoo.data.preparation.readers import (
    Meter,
    Reading,
    read_records,
    unreadable,
)
from optzoo.data.preparation.source_file import ChangedSourceError, SourceFile

Entry = Mapping[str, Any]
NO_RECORDS = hashlib.sha256(b"records").hexdigest()


def hash_record(before: str, record: Record) -> str:
    """Return the hash over the records up to this one from that over those `before` it."""
    digest = hashlib.sha256(f"{before} {record.number} {record.problem or ''}\n".encode())
    digest.update((record.text or "").encode())
    return digest.hexdigest()


def describe_opened(source: SourceFile, meter: Meter) -> dict[str, Any]:
    """Return what is known of a file that was opened and not read to its end."""
    found = {"name": source.name, "bytes": meter.size, "identity": meter.identity}
    return found | ({"stamp": _stamp(source)} if source.origin == "local" else {})


def describe_read(source: SourceFile, opened: Entry, texts: str) -> dict[str, Any]:
    """Return what a manifest says of a file that was read."""
    found = {**opened, "texts": texts}
    if source.origin == "local":
        found["identity"] = hash_file(source)
        if _stamp(source)[::2] != found["stamp"][::2]:
            raise ChangedSourceError(source.name, "it was opened")
    return found


def check_sources(
    files: Sequence[SourceFile], entries: Sequence[Entry], reading: Reading, since: str
) -> None:
    """Raise ChangedSourceError where the first files are not those of the entries."""
    for number, entry in enumerate(entries):
        if number == len(files) or not is_same(files[number], entry, reading):
            raise ChangedSourceError(entry["name"], since)


def is_same(source: SourceFile, entry: Entry, reading: Reading) -> bool:
    """Say whether a file is what it was when it was read, or as much of it as was read."""
    if _place(source.name) != _place(entry["name"]):
        return False
    if source.origin == "hub":
        return bool(source.identity == entry["identity"])
    if source.origin == "http":
        return _is_same_on_web(source, entry, reading)
    stamp = _stamp(source)
    if stamp == entry.get("stamp"):
        return True
    if stamp[-1] == entry["bytes"] and hash_file(source) == entry["identity"]:
        return True
    return _has_same_texts(source, entry, reading)


def is_place(source: SourceFile, opened: Entry, old: Entry | None) -> bool:
    """Say whether a file may be gone on with that was `opened` and not read to its end.

    What was read of it is compared when it is read again; an `old` note has no hash of that.
    """
    if _place(source.name) != _place(opened.get("name", "")):
        return False
    if old is not None and source.origin == "local":
        return [_stamp(source)[0], source.size] == [old.get("stamp"), old.get("size")]
    return True


def hash_file(source: SourceFile) -> str:
    """Return the hash of a local file, as an entry has it. Raises InputError."""
    try:
        with Path(source.location).open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(source.name, error) from None


def _is_same_on_web(source: SourceFile, entry: Entry, reading: Reading) -> bool:
    from optzoo.data.preparation.web import ask_web

    size, identity = ask_web(source.location)
    if identity is not None and entry["identity"] is not None:
        return (size, identity) == (entry["bytes"], entry["identity"])
    return _has_same_texts(source, entry, reading)


def _has_same_texts(source: SourceFile, entry: Entry, reading: Reading) -> bool:
    if "texts" not in entry:  # of an older optzoo; of the web it noted nothing
        return entry["identity"] is None
    texts, last = NO_RECORDS, entry.get("records")
    with closing(read_records(source, reading)) as records:
        for record in records:
            texts = hash_record(texts, record)
            if record.number == last:
                break
    return bool(texts == entry["texts"])


def _stamp(source: SourceFile) -> list[int]:
    """Return what changes when a local file does, or its place: both times, and the size."""
    try:
        status = os.stat(source.location)
        return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]
    except OSError as error:
        raise unreadable(source.name, error) from None


def _place(name: str) -> str:
    """Return the name of a file without the commit that the hub had it at."""
    repository, at, rest = name.partition("@")
    return f"{repository}/{rest.partition('/')[2]}" if name.startswith("hub:") and at else name
