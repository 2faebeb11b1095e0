"""Standard streams that a command can rely on: they are there, take any character, act on nothing.

Whoever reads may go away at any time. A run goes on too where what it says cannot be written; of
other commands the output is the result, and a full disk under it is an error. Texts come from
files, so what would act on a terminal is written as an escape.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

from optzoo.errors import printable


class PatientFile(io.RawIOBase):
    """A raw file that takes everything; once its reader is gone, nobody gets it.

    With `forgiving` that is so whatever fails.
    """

    def __init__(self, raw: Any, *, forgiving: bool) -> None:
        self._raw = raw
        self._forgiving = forgiving
        self._is_heard = True

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the file behind."""
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        """Whether the file behind is a terminal."""
        return bool(self._raw.isatty())

    def write(self, data: Any) -> int:
        """Write bytes, if there is anyone to read them; what a busy pipe does not take is lost."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self._is_heard:
            try:
                rest = rest[self._raw.write(rest) or size :]
            except OSError as error:
                self._is_heard = False  # what is in buffers is not tried again
                if not self._forgiving and not isinstance(error, BrokenPipeError):
                    raise
        return size


class PrintableText(io.TextIOWrapper):
    """A text stream on which nothing acts on a terminal."""

    def write(self, text: str) -> int:
        """Write a text, control characters as escapes."""
        super().write(printable(text))
        return len(text)

    def write_styled(self, text: str) -> int:
        """Write a text whose codes are meant to act on the terminal."""
        return super().write(text)


def prepare_streams(*, patient: bool) -> None:
    """Replace the standard streams by such as the module describes; `patient` for a run.

    A descriptor that was closed is opened on nothing: a file that is opened later must not get the
    number that errors are written to.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _prepared(sys.stdout, PrintableText, patient=patient)
    sys.stderr = _prepared(sys.stderr, io.TextIOWrapper, patient=True)


def _prepared(stream: Any, kind: type[io.TextIOWrapper], *, patient: bool) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # until the process ends
    buffer = getattr(stream, "buffer", None)
    if not isinstance(buffer, io.BufferedWriter | io.RawIOBase):  # raw under `python -u`
        return stream  # not of a process of its own
    raw = getattr(buffer, "raw", buffer)
    stream.flush()
    # what says ASCII is a locale that says nothing; click writes UTF-8 there as well
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    file: Any = PatientFile(raw, forgiving=patient)
    prepared = kind(
        file if buffer is raw else io.BufferedWriter(file),
        encoding="utf-8" if is_ascii else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    _KEPT.append(stream)
    return prepared


_KEPT: list[Any] = []
"""The streams as they were: letting go of one closes its descriptor."""
