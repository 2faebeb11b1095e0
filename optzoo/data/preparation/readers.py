"""Documents of a file, one after the other, as they are read. What is not a document says why.

They are read here and not by `datasets`, which says what files there are: a message names the line,
a bad one can be left out, and C4's files take a seventh of the time. Its CSV reader, that of
pandas, passes over text: fields beyond those of the header.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optzoo.data.preparation.compression import HEAD, DamagedStreamError, unpacked
from optzoo.data.preparation.lines import (
    MARK,
    OtherEncodingError,
    Record,
    json_records,
    line_records,
    text_record,
)
from optzoo.data.preparation.source_file import (
    LINES,
    ChangedSourceError,
    DamagedSourceError,
    Format,
    SourceFile,
)
from optzoo.data.preparation.table_rows import column_records, csv_records
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError

GO_ON = (
    "finished shards are kept: give the same command again to go on; or download the files and "
    "name them"
)
_MAGIC: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}
_DAMAGE = (DamagedStreamError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Reading:
    """How files are read: the field that holds the text, and whether lines are documents."""

    text_field: str = "text"
    lines: bool = False


class Meter:
    """What is known of the file that is being read: how far it is read, its size and identity."""

    def __init__(self) -> None:
        self._raw: Any = None
        self.size: int | None = None
        self.identity: str | None = None

    def watch(self, source: SourceFile, raw: Any) -> None:
        """Follow a file that was opened."""
        self._raw = raw
        asked = raw if source.origin == "http" else source
        self.size, self.identity = asked.size, asked.identity

    def position(self) -> int:
        """Return the position, 0 where it is not known."""
        try:
            return int(self._raw.tell())
        except (AttributeError, OSError, ValueError):
            return 0


def read_records(
    source: SourceFile, reading: Reading, meter: Meter | None = None
) -> Generator[Record]:
    """Yield the records of a file.

    Raises DamagedSourceError for a file that is not whole, InputError for one that cannot be opened
    or that changes while it is read, RunError for a host that stops answering.
    """
    last = 0
    try:
        before = _version(source)
        for record in _records(source, reading, meter or Meter()):
            last = record.number
            yield record
        if _version(source) != before:
            raise ChangedSourceError(source.name, "it was opened")
    except OptzooError:
        raise
    except MemoryError:
        problem = f"`{source.name}`: what follows record {last:,} does not fit into memory"
        raise InputError(Diagnostic("too-large", problem)) from None
    except Exception as error:
        if isinstance(error, OtherEncodingError):
            raise DamagedSourceError(source, str(error), hint="convert it to UTF-8") from None
        if isinstance(error, _DAMAGE):
            problem = f"is cut short or damaged after record {last:,}: {error}"
            raise DamagedSourceError(source, problem) from None
        if source.origin == "hub":
            from optzoo.data.preparation.hub import is_transport, one_line

            if is_transport(error):
                problem = f"`{source.name}`: the hub stopped answering after record {last:,}"
                message = f"{problem}: {one_line(error)}"
                raise RunError(Diagnostic("hub-lost", message, hint=GO_ON)) from None
        if isinstance(error, OSError):
            raise unreadable(source.name, error) from None
        raise


def unreadable(name: str, error: OSError) -> InputError:
    """Return the error for a local file that the system does not give."""
    return InputError(
        Diagnostic("unreadable", f"`{name}` cannot be read: {error.strerror or error}")
    )


def guess_format(path: Path) -> Format:
    """Return the format of a file without a name, by what it begins with. Raises InputError."""
    with path.open("rb") as raw:
        try:
            head = io.BufferedReader(unpacked(raw, ""), HEAD).peek(HEAD)
        except _DAMAGE as error:
            problem = f"standard input is cut short or damaged: {error}"
            raise InputError(Diagnostic("damaged-source", problem)) from None
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "json" if head.removeprefix(MARK).lstrip()[:1] in (b"{", b"[") else "text"


def _version(source: SourceFile) -> tuple[int, int] | None:
    """Return what changes when a local file is written. Raises OSError."""
    if source.origin != "local":
        return None
    status = os.stat(source.location)
    return status.st_mtime_ns, status.st_size


def _records(source: SourceFile, reading: Reading, meter: Meter) -> Iterator[Record]:
    if source.format not in LINES:
        with _open_seekable(source, meter) as file:
            yield from column_records(file, source, reading.text_field)
    else:
        with closing(_open_stream(source, meter)) as raw:
            stream = io.BufferedReader(unpacked(raw, source.compression), 1 << 20)
            if source.format == "json":
                yield from json_records(stream, reading.text_field)
            elif source.format in ("csv", "tsv"):
                yield from csv_records(stream, source, reading.text_field)
            elif reading.lines:
                yield from line_records(stream)
            else:
                yield text_record(stream)
            if source.origin == "hub" and source.size not in (None, raw.tell()):
                problem = f"`{source.name}`: the hub sent {raw.tell():,} of {source.size:,} bytes"
                raise RunError(Diagnostic("hub-lost", problem, hint=GO_ON))


def _open_stream(source: SourceFile, meter: Meter) -> Any:
    """Open a file that is read once from front to back."""
    raw: Any
    if source.origin == "http":
        from optzoo.data.preparation.web import WebFile

        raw = WebFile(source.location)
    elif source.origin == "hub":
        from optzoo.data.preparation.hub import open_hub_file

        raw = open_hub_file(source.location, streaming=True)
    else:
        raw = Path(source.location).open("rb")  # noqa: SIM115  # closed by readers
    meter.watch(source, raw)
    return raw


def _open_seekable(source: SourceFile, meter: Meter) -> Any:
    """Open a file for reading at any place; one from the web is fetched first."""
    if source.origin == "http":
        return _copy_from_web(source, meter)
    if source.origin == "local":
        return _open_stream(source, meter)
    from optzoo.data.preparation.hub import open_hub_file

    raw = open_hub_file(source.location, streaming=False)
    meter.watch(source, raw)
    return raw


def _copy_from_web(source: SourceFile, meter: Meter) -> Any:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # closed by readers
    with io.BufferedReader(_open_stream(source, meter), 1 << 20) as stream:
        shutil.copyfileobj(stream, copy, 1 << 20)
    copy.seek(0)
    return copy
