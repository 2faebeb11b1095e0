"""Writing a matplotlib figure: the suffix says the format, and no backend is chosen for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without its yellow, told apart by colour-blind readers."""
STYLES = ("-", "--", ":", "-.")


def check_suffix(path: Path) -> None:
    """Raise InputError for a suffix that is no format of figures."""
    if path.suffix.lower() not in SUFFIXES:
        hint = f"choose one of {', '.join(SUFFIXES)}"
        message = f"`{path}`: figures are not written as `{path.suffix}`"
        raise InputError(Diagnostic("bad-value", message, hint=hint))


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure. Raises InputError for another suffix or where it cannot be written."""
    check_suffix(path)
    try:
        figure.savefig(path, dpi=150, metadata=_undated(path.suffix.lower()))
    except OSError as error:
        message = f"`{path}` cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("unwritable", message)) from None


def _undated(suffix: str) -> dict[str, Any]:
    """Return metadata without the time, so that the same figure is the same file."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


def line_look(i: int) -> dict[str, Any]:
    """Return colour and style of the i-th line, different for the first 28."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": STYLES[i // len(COLOURS) % len(STYLES)],
    }
