"""Documents of tables: parquet and arrow files column by column, CSV row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Any, BinaryIO

from optzoo.data.preparation.lines import LONGEST, Record, bounded_lines, check_text
from optzoo.data.preparation.source_file import DamagedSourceError, SourceFile
from optzoo.errors import Diagnostic, InputError, OptzooError, did_you_mean

BATCH_ROWS = 1024


def column_records(file: BinaryIO, source: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield the rows of a parquet or arrow file.

    Raises DamagedSourceError for a file that is not whole, InputError for one without the column.
    """
    import pyarrow

    try:
        batches = _parquet_batches if source.format == "parquet" else _arrow_batches
        number = 0
        for batch in batches(file, source, text_field):
            for text in _values(_column(batch, text_field)):
                number += 1
                yield check_text(number, text, text_field, "row")
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        is_ours = isinstance(error, OptzooError | MemoryError)
        if is_ours or getattr(error, "errno", None) is not None:
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise _not_whole(source, why) from None


def csv_records(stream: BufferedReader, source: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield the rows of a .csv or .tsv file.

    Text stays as it is written: no numbers, and no word is null. A row with more or fewer fields
    than the header is none: what belongs where cannot be told. Raises as `column_records`.
    """
    csv.field_size_limit(LONGEST)
    delimiter = "\t" if source.format == "tsv" else ","
    rows = csv.reader(_text_lines(stream), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if not header:
            raise _not_whole(source, "it has no header")
        if text_field not in header:
            raise _missing_column(source, text_field, header)
        column = header.index(text_field)
        for number, row in enumerate(filter(None, rows), 1):
            if len(row) != len(header):
                problem = f"{len(row)} fields where the header has {len(header)}"
                yield Record(number, None, problem, "row")
            else:
                text = row[column].encode(errors="surrogateescape")
                yield check_text(number, text, text_field, "row")
    except csv.Error as error:
        raise _not_whole(source, f"line {rows.line_num:,}: {error}") from None


def _text_lines(stream: BufferedReader) -> Iterator[str]:
    """Yield lines, whatever ends them; bytes that are not UTF-8 as halves of surrogate pairs."""
    for number, line in bounded_lines(stream):
        if line is None:
            raise csv.Error(f"line {number:,} is longer than {LONGEST >> 20:,} MiB")
        for part in line.splitlines(keepends=True):
            yield part.decode(errors="surrogateescape")


def _parquet_batches(file: BinaryIO, source: SourceFile, text_field: str) -> Iterator[Any]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    _check_column(source, table.schema_arrow, text_field)
    yield from table.iter_batches(BATCH_ROWS, columns=[text_field])


def _arrow_batches(file: BinaryIO, source: SourceFile, text_field: str) -> Iterator[Any]:
    """Yield the batches of both forms there are: a stream, and a file that can be sought in."""
    from pyarrow import ArrowInvalid, ipc

    try:
        reader = ipc.open_stream(file)
        batches = iter(reader)
    except ArrowInvalid:
        file.seek(0)
        reader = ipc.open_file(file)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    _check_column(source, reader.schema, text_field)
    for batch in batches:
        batch.validate()
        yield batch


def _check_column(source: SourceFile, schema: Any, text_field: str) -> None:
    """Raise InputError where a table has no such column, nor one inside another."""
    from pyarrow import types

    if text_field in schema.names:
        return
    first, *inside = text_field.split(".")
    kind: Any = schema.field(first).type if first in schema.names else None
    for name in inside:
        is_there = kind is not None and types.is_struct(kind) and kind.get_field_index(name) >= 0
        kind = kind.field(name).type if is_there else None
    if kind is None:
        raise _missing_column(source, text_field, schema.names)


def _column(batch: Any, text_field: str) -> Any:
    from pyarrow import compute

    if text_field in batch.schema.names:
        return batch.column(text_field)
    first, *inside = text_field.split(".")
    return compute.struct_field(batch.column(first), inside)


def _values(column: Any) -> list[Any]:
    """Return the values of a column; text as bytes, since nothing says that it is UTF-8."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    for is_kind, binary in (
        (types.is_string, pyarrow.binary()),
        (types.is_large_string, pyarrow.large_binary()),
    ):
        if is_kind(column.type):
            column = column.view(binary)
            column.validate(full=True)  # offsets: a damaged arrow file may have any
    values: list[Any] = column.to_pylist()
    return values


def _missing_column(source: SourceFile, text_field: str, names: Sequence[str]) -> InputError:
    problem = f"`{source.name}` has no column `{text_field}`"
    hint = did_you_mean(text_field, names, what="its columns")
    return InputError(Diagnostic("missing-field", problem, hint=hint))


def _not_whole(source: SourceFile, why: str) -> DamagedSourceError:
    return DamagedSourceError(source, f"is not a whole {source.format} file: {why}")
