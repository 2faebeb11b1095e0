"""One process at a time in a folder, by a lock that the system lets go of when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from optzoo.errors import Diagnostic, InputError, printable

HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
"""What file systems answer that have no locks: Lustre by default, some of NFS and FUSE."""


def _warn(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"warning: {printable(line)}\n")


@contextlib.contextmanager
def locked(
    folder: Path, taken: Diagnostic, *, warn: Callable[[str], None] = _warn
) -> Iterator[bool]:
    """Hold the lock of a folder, a file `.lock` in it that means nothing by itself; say whether.

    Raises InputError with `taken` at once where another process holds it, or this one does, and
    OSError where the folder cannot be written. Where the file system has no locks, `warn` is told
    and the work goes on without one.
    """
    path = folder / ".lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    is_held = False
    try:
        try:
            _lock(descriptor)
            is_held = True
        except OSError as error:
            if error.errno in HELD:
                raise InputError(taken) from None
            if error.errno not in NO_LOCKS:
                error.filename = str(path)
                raise
            reason = "is on a file system without locks: nothing keeps a second process out of it"
            warn(f"{folder} {reason}")
        yield is_held
    finally:
        os.close(descriptor)


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


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
