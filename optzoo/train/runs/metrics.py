"""The log of a run: `metrics.jsonl`, one JSON object a line, appended and never rewritten.

Lines of kind `step` hold the training loss of one optimizer step, lines of kind `evaluation` the
held-out loss of every view, lines of kind `speed` what depends on the machine. Trackers are told of
each line. A checkpoint remembers the length of the file; resuming cuts the file
to that length, so no line is lost or doubled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from optzoo.errors import RunError
from optzoo.train.runs.trackers import Tracking


class MetricsLog:
    """An open metrics file, cut to `size` bytes: 0 for a new run.

    Every method raises RunError when the disk does not take what is written.
    """

    def __init__(self, path: Path, size: int = 0, tracking: Tracking | None = None) -> None:
        self._path = path
        self._tracking = tracking
        with self._reporting():
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(size)
            self._file.seek(size)

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Append one line, at once visible to whoever follows the file."""
        with self._reporting():
            self._file.write(json.dumps({"kind": kind, **values}).encode() + b"\n")
            self._file.flush()
        if self._tracking is not None:
            self._tracking.record(kind, values)

    def sync(self) -> int:
        """Put everything on the disk and return the length of the file in bytes."""
        with self._reporting():
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tracking is not None:
            self._tracking.close()
        with self._reporting():
            self._file.close()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self._path} could not be written: {error.strerror or error}",
                hint="the checkpoints are unharmed; make room and resume",
            ) from None


class NoLog(MetricsLog):
    """The log of a process that writes nothing: all but the first of a run."""

    def __init__(self) -> None:
        pass

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Write nothing."""

    def sync(self) -> int:
        """Return 0: there is no file."""
        return 0

    def __exit__(self, *exception: object) -> None:
        pass


def read_metrics(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of one kind. A last line cut short by a killed process is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                record = json.loads(line)
                if record["kind"] == kind:
                    yield record
