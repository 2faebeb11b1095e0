"""Documents of files that are read as lines: JSON objects, an array of them, and plain text.

No line and no element is read beyond `LONGEST`, and no text beyond `LARGEST`, so that a file of any
size takes bounded memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

from optzoo.data.preparation.compression import DamagedStreamError

LONGEST = 1 << 28  # bytes of a line, characters of an element of an array
LARGEST = 1 << 30  # bytes of a text that is one document
CHUNK = 1 << 16
MARK = codecs.BOM_UTF8
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the four-byte one begins so too


class OtherEncodingError(Exception):
    """A file is text, and not of UTF-8."""


@dataclass(frozen=True)
class Record:
    """A document, or the reason why there is none: `number` counts in units, from 1."""

    number: int
    text: str | None
    problem: str | None = None
    unit: str = "line"


def json_records(stream: BufferedReader, text_field: str) -> Iterator[Record]:
    """Yield an object a line, or the objects of one array."""
    if stream.peek(CHUNK)[:CHUNK].removeprefix(MARK).lstrip()[:1] == b"[":
        for number, element in enumerate(_Array(stream).elements(), 1):
            yield _object_record(number, element, text_field, "element")
        return
    for number, line in bounded_lines(stream):
        if line is None:
            yield _too_long(number, LONGEST)
        elif line.strip():
            yield _json_record(number, line, text_field)


def line_records(stream: BufferedReader) -> Iterator[Record]:
    """Yield each line that is not empty."""
    for number, line in bounded_lines(stream):
        if line is None:
            yield _too_long(number, LONGEST)
        elif line.strip():
            yield check_text(number, line.rstrip(b"\r\n"), "text", "line")


def text_record(stream: BufferedReader) -> Record:
    """Return a whole file as one document."""
    content = bytearray()
    while len(content) <= LARGEST and (part := stream.read(CHUNK)):
        content += part
    if len(content) > LARGEST:
        return _too_long(1, LARGEST)
    text = bytes(content)
    del content
    return check_text(1, _unmarked(text), "text", "line")


def check_text(number: int, text: Any, text_field: str, unit: str) -> Record:
    """Return a document, or why it is none: it must be text, not empty, and have a UTF-8 form."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            return Record(number, None, "not UTF-8", unit)
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        return Record(number, None, f"the field `{text_field}` is {kind}, not text", unit)
    if not text:
        return Record(number, None, "empty text", unit)
    try:
        text.encode()
    except UnicodeEncodeError:
        problem = "text with a lone surrogate, which has no UTF-8 form"
        return Record(number, None, problem, unit)
    return Record(number, text, None, unit)


def look_up(data: Any, text_field: str) -> Any:
    """Return a field of an object, `a.b` inside another. Raises KeyError where it is not there."""
    if text_field in data:
        return data[text_field]
    for name in text_field.split("."):
        if not isinstance(data, dict):
            raise KeyError(name)
        data = data[name]
    return data


def bounded_lines(stream: BufferedReader) -> Iterator[tuple[int, bytes | None]]:
    """Yield lines with their numbers; None for one that is too long."""
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if number == 1:
            line = _unmarked(line)
        if len(line) <= LONGEST:
            yield number, line
            continue
        while not line.endswith(b"\n") and (line := stream.readline(CHUNK)):
            pass
        yield number, None


def _unmarked(data: bytes) -> bytes:
    """Return the beginning of a file without a byte order mark."""
    if data.startswith(_WIDE_MARKS):
        raise OtherEncodingError("is UTF-16 or UTF-32, by its byte order mark, and not UTF-8")
    return data.removeprefix(MARK)


def _too_long(number: int, limit: int) -> Record:
    return Record(number, None, f"longer than {limit >> 20:,} MiB")


def _json_record(number: int, line: bytes, text_field: str) -> Record:
    try:
        data = json.loads(line.decode())
    except UnicodeDecodeError:
        return Record(number, None, "not UTF-8")
    except (ValueError, RecursionError):
        return Record(number, None, "not JSON")
    return _object_record(number, data, text_field, "line")


def _object_record(number: int, data: Any, text_field: str, unit: str) -> Record:
    if not isinstance(data, dict):
        problem = "not an object; one object a line, or one array of objects, is read"
        return Record(number, None, problem, unit)
    try:
        text = look_up(data, text_field)
    except KeyError:
        return Record(number, None, f"no field `{text_field}`", unit)
    return check_text(number, text, text_field, unit)


class _Array:
    """The elements of one JSON array, parsed as they arrive."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text, self._at = "", 0
        self._parse = json.JSONDecoder().raw_decode

    def elements(self) -> Iterator[Any]:
        self._next()  # the bracket
        if self._next() == "]":
            return self._expect_end()
        self._at -= 1
        while True:
            yield self._element()
            match self._next():
                case ",":
                    continue
                case "]":
                    return self._expect_end()
                case "":
                    raise DamagedStreamError("the array has no end")
                case other:
                    raise DamagedStreamError(f"`{other}` where the array goes on or ends")

    def _element(self) -> Any:
        self._next()
        self._at -= 1
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except RecursionError:
                raise DamagedStreamError("an element is nested too deeply") from None
            except ValueError as error:
                if len(self._text) - self._at > LONGEST or not self._more():
                    raise DamagedStreamError(f"not JSON ({error})"[:200]) from None
                continue
            if end < len(self._text) or not self._more():  # a number may go on
                self._at = end
                return value

    def _next(self) -> str:
        """Return the next character that is no space, and pass it; nothing at the end."""
        while True:
            rest = len(self._text)
            while self._at < rest and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < rest:
                self._at += 1
                return self._text[self._at - 1]
            if not self._more():
                self._at += 1
                return ""

    def _more(self) -> bool:
        """Read on, as much again as is waiting, and let go of what is behind."""
        waiting = self._text[self._at :]
        data = self._stream.read(max(CHUNK, len(waiting)))
        self._text, self._at = waiting + self._decoder.decode(data, not data), 0
        return bool(data)

    def _expect_end(self) -> None:
        if other := self._next():
            raise DamagedStreamError(f"`{other}` after the end of the array")
