"""Writing what a command was asked to write."""

from __future__ import annotations

from pathlib import Path

from optzoo.errors import Diagnostic, InputError


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
