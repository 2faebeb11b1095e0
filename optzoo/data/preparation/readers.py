"""Documents of a file, one after the other, as they are read. What is not a document says why.

Lines and parquet files are read here: a message names the line, a bad one can be left out, and a
pass goes on at any of them; `datasets`, which takes seven times as long for C4's files, can do
none of these. It reads the other tables.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import json
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from optzoo.data.preparation.source_file import LINES, SourceFile
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError, did_you_mean

GO_ON = (
    "finished shards are kept: give the same command again to go on; or download the files and "
    "name them"
)


@dataclass(frozen=True)
class Reading:
    """How files are read: the field that holds the text, and whether lines are documents."""

    text_field: str = "text"
    lines: bool = False


@dataclass(frozen=True)
class Record:
    """A document, or the reason why there is none: `number` counts lines or rows from 1."""

    number: int
    text: str | None
    problem: str | None = None


class Meter:
    """How many bytes of the file that is being read are behind us."""

    def __init__(self) -> None:
        self._raw: Any = None

    def watch(self, raw: Any) -> None:
        """Follow a file that can tell its position."""
        self._raw = raw

    def position(self) -> int:
        """Return the position, 0 where it is not known."""
        try:
            return int(self._raw.tell())
        except (AttributeError, OSError, ValueError):
            return 0


def read_records(
    source: SourceFile, reading: Reading, *, skip: int = 0, meter: Meter | None = None
) -> Iterator[Record]:
    """Yield the records of a file after the first `skip`.

    Raises InputError for a file that is damaged or cannot be opened, RunError for a host that stops
    answering.
    """
    last = skip
    try:
        for record in _records(source, reading, skip, meter or Meter()):
            last = record.number
            yield record
    except OptzooError:
        raise
    except Exception as error:
        if _is_damage(error, source):
            problem = f"`{source.name}` is cut short or damaged after record {last:,}: {error}"
            raise InputError(Diagnostic("damaged-source", problem, hint="fetch it again")) from None
        if source.origin == "hub":
            from optzoo.data.preparation.hub import is_transport, one_line

            if is_transport(error):
                problem = f"`{source.name}`: the hub stopped answering after record {last:,}"
                message = f"{problem}: {one_line(error)}"
                raise RunError(Diagnostic("hub-lost", message, hint=GO_ON)) from None
        if isinstance(error, OSError):
            problem = f"`{source.name}` cannot be read: {error.strerror or error}"
            raise InputError(Diagnostic("unreadable", problem)) from None
        raise


def _is_damage(error: Exception, source: SourceFile) -> bool:
    """Say whether an error is that of unpacking what is not whole."""
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile | lzma.LZMAError):
        return True
    plain = type(error) is OSError and error.errno is None  # all that bz2 says
    return plain and source.compression == ".bz2"


def _records(source: SourceFile, reading: Reading, skip: int, meter: Meter) -> Iterator[Record]:
    if source.format not in LINES:
        if source.format != "parquet":
            yield from _table_records(source, reading, skip)
            return
        with _open_seekable(source) as file:
            yield from _parquet_records(file, source, reading, skip)
        return
    with _open_stream(source) as raw:
        meter.watch(raw)
        stream = _decompressed(raw, source.compression)
        lines = io.BufferedReader(stream, 1 << 20)
        if source.format == "json":
            yield from _json_records(lines, reading, skip)
        elif reading.lines:
            yield from _line_records(lines, skip)
        elif skip == 0:
            yield _decode(1, lines.read())


def _json_records(lines: BinaryIO, reading: Reading, skip: int) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if number > skip and line.strip():
            yield _json_record(number, line, reading.text_field)


def _json_record(number: int, line: bytes, text_field: str) -> Record:
    try:
        data = json.loads(line.decode())
    except UnicodeDecodeError:
        return Record(number, None, "not UTF-8")
    except (ValueError, RecursionError):
        return Record(number, None, "not JSON")
    if not isinstance(data, dict):
        return Record(number, None, "not an object; one object a line is read")
    if text_field not in data:
        return Record(number, None, f"no field `{text_field}`")
    return _check(number, data[text_field], text_field)


def _line_records(lines: BinaryIO, skip: int) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if number > skip and line.strip():
            yield _decode(number, line.rstrip(b"\r\n"))


def _parquet_records(
    file: BinaryIO, source: SourceFile, reading: Reading, skip: int
) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        names = table.schema_arrow.names
        if reading.text_field not in names:
            raise _missing_column(source, reading.text_field, names)
        number = 0
        for batch in table.iter_batches(1024, columns=[reading.text_field]):
            if number + len(batch) > skip:
                for text in batch.column(0).to_pylist():
                    number += 1
                    if number > skip:
                        yield _check(number, text, reading.text_field)
            else:
                number += len(batch)
    except pyarrow.ArrowInvalid as error:
        problem = f"`{source.name}` is not a whole parquet file: {_first_line(error)}"
        raise InputError(Diagnostic("damaged-source", problem, hint="fetch it again")) from None


def _table_records(source: SourceFile, reading: Reading, skip: int) -> Iterator[Record]:
    from datasets import load_dataset

    place = {"local": glob.escape(source.location), "hub": f"hf://{source.location}"}
    options: dict[str, Any] = {}
    if source.format != "arrow":  # text stays as it is written: no numbers, and no word is null
        options = {"converters": {reading.text_field: str}, "keep_default_na": False}
        options |= {"sep": "\t"} if source.format == "tsv" else {}
    kind = "arrow" if source.format == "arrow" else "csv"
    try:
        rows = load_dataset(
            kind,
            data_files=place.get(source.origin, source.location),
            split="train",
            streaming=True,
            **options,
        )
        for number, row in enumerate(rows.skip(skip), skip + 1):
            if reading.text_field not in row:
                raise _missing_column(source, reading.text_field, list(row))
            yield _check(number, row[reading.text_field], reading.text_field)
    except ValueError as error:  # pandas and pyarrow, of a file that is not as it should be
        if isinstance(error, OptzooError):
            raise
        problem = f"`{source.name}` is not a whole {source.format} file: {_first_line(error)}"
        raise InputError(Diagnostic("damaged-source", problem, hint="fetch it again")) from None


def _missing_column(source: SourceFile, text_field: str, names: Sequence[str]) -> InputError:
    problem = f"`{source.name}` has no column `{text_field}`"
    hint = did_you_mean(text_field, names, what="its columns")
    return InputError(Diagnostic("missing-field", problem, hint=hint))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _decode(number: int, data: bytes) -> Record:
    try:
        return _check(number, data.decode(), "text")
    except UnicodeDecodeError:
        return Record(number, None, "not UTF-8")


def _check(number: int, text: Any, text_field: str) -> Record:
    """Return a document, or why it is none: it must be text, not empty, and have a UTF-8 form."""
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        return Record(number, None, f"the field `{text_field}` is {kind}, not text")
    if not text:
        return Record(number, None, "empty text")
    try:
        text.encode()
    except UnicodeEncodeError:
        return Record(number, None, "text with a lone surrogate, which has no UTF-8 form")
    return Record(number, text)


def _decompressed(raw: Any, compression: str) -> Any:
    if compression == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if compression == ".bz2":
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if compression == ".xz" else raw


def _open_stream(source: SourceFile) -> Any:
    """Open a file that is read once from front to back."""
    if source.origin == "http":
        from optzoo.data.preparation.web import WebFile

        return WebFile(source.location)
    if source.origin == "hub":
        from optzoo.data.preparation.hub import open_hub_file

        return open_hub_file(source.location, streaming=True)
    return Path(source.location).open("rb")


def _open_seekable(source: SourceFile) -> Any:
    """Open a file for reading at any place; one from the web is fetched first."""
    if source.origin == "hub":
        from optzoo.data.preparation.hub import open_hub_file

        return open_hub_file(source.location, streaming=False)
    if source.origin == "local":
        return Path(source.location).open("rb")
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # closed by whoever reads it
    with io.BufferedReader(_open_stream(source), 1 << 20) as stream:
        shutil.copyfileobj(stream, copy, 1 << 20)
    copy.seek(0)
    return copy
