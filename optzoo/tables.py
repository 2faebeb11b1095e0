"""Tables and numbers as people read them: aligned columns; counts, sizes and times with units.

Nothing here knows what is shown. A table is lines of plain text, so it reads the same in a
terminal, a file and a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

_COUNTS = (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3))
_MIB, _GIB = 2**20, 2**30


def align(
    rows: Iterable[Sequence[str]],
    sides: str = "<",
    *,
    gap: int = 2,
    indent: int = 2,
    least: Sequence[int] = (),
) -> list[str]:
    """Return a line per row, every column as wide as its widest cell.

    `sides` says for each column whether it is set to the left (`<`) or to the right (`>`); the last
    one counts for the columns after it. Columns have `gap` spaces between them, lines `indent`
    before them, and columns are no narrower than `least`, where it reaches.
    """
    table = [list(row) for row in rows]
    cells = ([len(cell) for cell in column] for column in zip(*table, strict=True))
    widest = [max(found, default=0) for found in cells]
    widths = [max(pair) for pair in zip_longest(widest, least[: len(widest)], fillvalue=0)]
    sides = sides.ljust(len(widths), sides[-1])
    lines = []
    for row in table:
        padded = (f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths))
        lines.append((" " * indent + (" " * gap).join(padded)).rstrip())
    return lines


def align_records(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of records with the same keys: a line of the keys, then a line for each."""
    heads = [key.replace("_", " ") for key in records[0]]
    return align([heads, *([str(value) for value in r.values()] for r in records)], indent=0)


def format_count(count: int) -> str:
    """Return a large number as people say it: 29.4M."""
    for unit, size in _COUNTS:
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def format_short(value: float | None) -> str:
    """Return a number to four digits, from a thousand on to whole ones; `-` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= value < 1e15 else f"{value:.4g}"


def format_size(num_bytes: float) -> str:
    """Return a number of bytes: 317.4 MiB, 1.6 GiB."""
    gib = num_bytes / _GIB
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{num_bytes / _MIB:.1f} MiB"


def format_hours(hours: float) -> str:
    """Return a length of time that is estimated: 12.5 h, 3.1 min."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.2g} min"


def format_clock(seconds: float) -> str:
    """Return a length of time that runs: 02:05, 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
