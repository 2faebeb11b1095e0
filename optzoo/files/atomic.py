"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file in one step: written beside, flushed to the disk, renamed."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return indented JSON that reads back as the same numbers, bit for bit, and the same text.

    Names of files may hold halves of surrogate pairs: what stands for them is JSON's own escape.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")
