"""Documents of tables: parquet and arrow files column by column, CSV through `datasets`."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from optzoo.data.preparation.lines import Record, check_text
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
        if isinstance(error, OptzooError) or getattr(error, "errno", None) is not None:
            raise
        raise _not_whole(source, error) from None


def csv_records(location: str, source: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield the rows of a .csv or .tsv file, read by `datasets` as they arrive.

    Text stays as it is written: no numbers, and no word is null.
    """
    from datasets import load_dataset

    place = f"hf://{location}" if source.origin == "hub" else glob.escape(location)
    options = {"sep": "\t"} if source.format == "tsv" else {}
    try:
        rows = load_dataset(
            "csv",
            data_files=place,
            split="train",
            streaming=True,
            converters={text_field: str},
            keep_default_na=False,
            **options,
        )
        for number, row in enumerate(rows, 1):
            if text_field not in row:
                raise _missing_column(source, text_field, list(row))
            yield check_text(number, row[text_field], text_field, "row")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{error.object[error.start]:02x}"
        raise DamagedSourceError(source, what, hint="convert it to UTF-8") from None
    except ValueError as error:  # pandas and pyarrow, of a file that is not as it should be
        if isinstance(error, OptzooError):
            raise
        raise _not_whole(source, error) from None


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


def _not_whole(source: SourceFile, error: Exception) -> DamagedSourceError:
    why = (str(error).splitlines() or [type(error).__name__])[0]
    return DamagedSourceError(source, f"is not a whole {source.format} file: {why}")
