"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES})
"""What file systems answer that flush no folders: CIFS, some of FUSE."""


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file in one step: written beside, flushed to the disk, renamed."""
    with replacing(path) as beside:
        beside.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new, empty file; what is written there replaces `path` in one step.

    The name cannot be guessed and is never followed as a link, so that nobody who may write in the
    folder says what is overwritten. Where the writing fails, `path` stays as it was. An OSError
    names `path`.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename in (str(beside), None):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return indented JSON that reads back as the same numbers, bit for bit, and the same text.

    Names of files may hold halves of surrogate pairs: what stands for them is JSON's own escape.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")
