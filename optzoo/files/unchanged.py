"""What was made of files, kept in memory for as long as they are found and read as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from optzoo.errors import InputError
from optzoo.files.documents import read_text

T = TypeVar("T")
Source = tuple[str | Path, Path, str]
"""What was asked for, the file that was found, and its text."""

MOST_KEPT = 256


class WhileUnchanged(Generic[T]):
    """Values by the file that they were asked for; one whose sources have changed is none.

    Files are read again each time: that is cheap beside what is made of them, and a file that is
    edited within a tick of the clock is noticed.
    """

    def __init__(self, find: Callable[[str | Path], Path]) -> None:
        self.find = find
        self._kept: dict[Path, tuple[tuple[Source, ...], T]] = {}

    def get(self, path: Path) -> T | None:
        """Return what was made of a file; None where that is not known any more."""
        sources, value = self._kept.get(path, ((), None))
        with suppress(InputError):
            if all(self.find(asked) == at and read_text(at) == text for asked, at, text in sources):
                return value
        return None

    def put(self, path: Path, sources: Sequence[Source], value: T) -> None:
        """Keep what was made of a file and of the others among its sources."""
        self._kept.pop(path, None)
        self._kept[path] = tuple(sources), value
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
