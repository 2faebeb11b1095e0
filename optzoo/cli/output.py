"""Writing what a command was asked to write: files, and tables that fit the terminal.

A table is plain and whole wherever no terminal is: in a pipe, a file, a test. In a terminal it is
as wide as that, columns that go first go, columns that wrap wrap, and there is colour unless
NO_COLOR is set.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from optzoo.errors import Diagnostic, InputError, printable
from optzoo.tables import align_records

GAP, NARROWEST = 2, 24
"""Spaces between columns; the least width of a column that wraps."""


def terminal_width() -> int | None:
    """Return the columns of the terminal that is printed to; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_table(
    records: Sequence[Mapping[str, Any]], *, wraps: Collection[str] = (), goes: Sequence[str] = ()
) -> None:
    """Print records with the same keys; the first key is what a row is called.

    `wraps` are columns whose text may be broken, `goes` columns that are left out where the
    terminal is narrow, the first one first.
    """
    width = terminal_width()
    if width is None:
        typer.echo(printable("\n".join(align_records(records))))
        return
    kept = columns_that_fit(records, width, wraps, goes)
    _write_styled(_drawn(records, kept, wraps, width))
    gone = [key.replace("_", " ") for key in records[0] if key not in kept]
    if gone:
        typer.echo(f"left out for want of room: {', '.join(gone)}", err=True)


def columns_that_fit(
    records: Sequence[Mapping[str, Any]], width: int, wraps: Collection[str], goes: Sequence[str]
) -> list[str]:
    """Return the columns that fit a width, in their order; those in `goes` go before any wraps."""
    kept = list(records[0])

    def needed() -> int:
        cells = {key: [key, *(str(record[key]) for record in records)] for key in kept}
        sizes = {key: max(map(len, texts)) for key, texts in cells.items()}
        least = [min(NARROWEST, size) if key in wraps else size for key, size in sizes.items()]
        return sum(least) + GAP * (len(kept) - 1)

    for key in goes:
        if needed() > width and key in kept:
            kept.remove(key)
    return kept


def _drawn(
    records: Sequence[Mapping[str, Any]], kept: Sequence[str], wraps: Collection[str], width: int
) -> str:
    """Return a table with the codes of a terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for i, key in enumerate(kept):
        is_number = all(isinstance(record[key], int | float) for record in records)
        table.add_column(
            key.replace("_", " "),
            style="cyan" if i == 0 else None,
            justify="right" if is_number else "left",
            no_wrap=key not in wraps,
            overflow="fold",
        )
    for record in records:
        table.add_row(*(Text(printable(str(record[key]))) for key in kept))
    console = Console(file=StringIO(), force_terminal=True, width=width, highlight=False)
    console.print(table)
    drawn: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def _write_styled(text: str) -> None:
    """Write a text whose codes are ours; what came from files has been made printable."""
    styled = getattr(sys.stdout, "write_styled", sys.stdout.write)
    styled(text)


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; InputError where it is, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        message = f"`{path}` exists already"
        raise InputError(Diagnostic("exists", message, hint="choose another --output")) from None
    except OSError as error:
        message = f"`{path}` cannot be written: {error.strerror}"
        raise InputError(Diagnostic("unwritable", message)) from None
