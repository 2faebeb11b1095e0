"""One process at a time in a folder, by a lock that the system lets go of when its holder dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from optzoo.errors import Diagnostic, InputError


@contextlib.contextmanager
def locked(folder: Path, taken: Diagnostic) -> Iterator[None]:
    """Hold the lock of a folder, a file `.lock` in it that means nothing by itself.

    Raises InputError with `taken` at once where another process holds it, or this one does, and
    OSError where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(taken) from None
    except NotImplementedError:  # how filelock says that the file system has no locks
        raise OSError(f"{folder} is on a file system without locks") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Say whether somebody holds the lock of a folder now; who asks holds it for a moment."""
    if not (folder / ".lock").exists():
        return False
    try:
        with locked(folder, Diagnostic("locked", "")):
            return False
    except InputError:
        return True
    except OSError:  # no locks there, or not ours to touch: nothing is known
        return False
