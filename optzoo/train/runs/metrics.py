"""The log of a run: `metrics.jsonl`, one JSON object a line, appended and never rewritten.

Lines of kind `step` hold the training loss of one optimizer step, lines of kind `evaluation` the
held-out loss of every view, lines of kind `speed` what depends on the machine. Trackers are told of
each line. A checkpoint remembers the length of the file and its hash; resuming cuts the file
to that length, so no line is lost or doubled, and says where it is not what was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from optzoo.errors import RunError
from optzoo.train.runs.trackers import Tracking

LARGEST = 1e30
"""A number beyond which a line of the metrics is not one."""


@dataclass(frozen=True)
class Mark:
    """How far the metrics file was written when a checkpoint was taken, and the hash of that."""

    size: int = 0
    sha256: str | None = None


class MetricsLog:
    """An open metrics file, cut to where `mark` says: to nothing for a new run.

    A file that is shorter, or that was changed, is taken as it is, and `warn` is told. Every method
    raises RunError when the disk does not take what is written.
    """

    def __init__(
        self,
        path: Path,
        mark: Mark = Mark(),
        tracking: Tracking | None = None,
        *,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._tracking = tracking
        self._hash = hashlib.sha256()
        with self._reporting():
            _refuse_pipe(path)
            self._file = path.open("r+b" if path.exists() else "w+b")
            kept = self._read_to(mark.size)
            if kept < mark.size:
                warn(
                    f"{path} has {kept:,} of the {mark.size:,} bytes it had: the lines of some "
                    "steps are missing"
                )
            elif mark.sha256 is not None and mark.sha256 != self._hash.hexdigest():
                warn(f"{path} was changed since it was written: what it says of past steps is not")
            self._file.truncate(kept)
            self._file.seek(kept)

    def _read_to(self, size: int) -> int:
        """Hash the first `size` bytes, whole lines if there are fewer; return how many."""
        kept = 0
        for line in self._file:
            if kept + len(line) > size or not line.endswith(b"\n"):
                break
            self._hash.update(line)
            kept += len(line)
        return kept

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Append one line, at once visible to whoever follows the file."""
        with self._reporting():
            line = json.dumps({"kind": kind, **values}).encode() + b"\n"
            self._file.write(line)
            self._file.flush()
        self._hash.update(line)
        if self._tracking is not None:
            self._tracking.record(kind, values)

    def sync(self) -> Mark:
        """Put everything on the disk and return how far it goes."""
        with self._reporting():
            self._file.flush()
            os.fsync(self._file.fileno())
            return Mark(self._file.tell(), self._hash.hexdigest())

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

    def sync(self) -> Mark:
        """Return the mark of no file."""
        return Mark()

    def __exit__(self, *exception: object) -> None:
        pass


def read_metrics(
    path: Path, kind: str, *, warn: Callable[[str], None] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Yield the lines of one kind, `step` or `evaluation`; what they hold can be drawn.

    A last line cut short by a killed process is left out, and so is what is no such line: `warn` is
    told how many. Raises OSError.
    """
    bad = 0
    _refuse_pipe(path)
    with path.open("rb") as file:
        for line in file:
            record = _parse(line)
            if record is None:
                bad += line.endswith(b"\n")
            elif record["kind"] == kind:
                yield record
    if bad:
        warn(f"{path}: {bad:,} lines cannot be read and are left out")


def _refuse_pipe(path: Path) -> None:
    """Raise OSError for what is no regular file: a pipe would be waited for."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is not a regular file")


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the metrics says, or None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not line.endswith(b"\n"):
        return None
    kind, numbers = record.get("kind"), [record.get("step")]
    if kind == "step":
        numbers.append(record.get("loss"))
    elif kind == "evaluation":
        views = record.get("views")
        if not isinstance(views, dict) or "eval" not in views:
            return None
        losses = [v.get("nats_per_token") if isinstance(v, dict) else None for v in views.values()]
        numbers += [record.get("tokens"), *losses]
    return record if isinstance(kind, str) and all(map(_is_number, numbers)) else None


def _is_number(value: object) -> bool:
    """Whether a JSON value is a number that an axis can have."""
    return isinstance(value, int | float) and abs(value) < LARGEST  # not of NaN
