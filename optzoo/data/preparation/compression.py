"""Compressed files, told by what they begin with, and read to their very end.

Whatever follows a compressed stream must be another one: what Python's readers take for padding
and leave out would be text that is missing.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Callable
from typing import Any

HEAD = 512  # bytes that decide
CHUNK = 1 << 16
XZ_MEMORY = 1 << 30  # bytes; `xz -9` needs a fifteenth of it
_MAGIC = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\0",
    ".zst": b"\x28\xb5\x2f\xfd",
}
_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # what follows `BZh9`: a block, or the end of no text


class DamagedStreamError(Exception):
    """A compressed file is not whole, or not one."""


def unpacked(raw: Any, named: str) -> Any:
    """Return a raw stream of the content of a file that is open for reading at its start.

    `named` is the ending of its name, or nothing. A file that is named as compressed and is plain
    text is read as such: programs that fetch files unpack them on the way.

    Raises DamagedStreamError for one that is neither.
    """
    head = b""
    while len(head) < HEAD and (part := raw.read(HEAD - len(head))):
        head += part
    stream = _Rejoined(head, raw)
    match recognise(head):
        case ".gz":
            return gzip.GzipFile(fileobj=stream, mode="rb")
        case ".bz2":
            return _Streams(stream, bz2.BZ2Decompressor)
        case ".xz":
            return _Streams(stream, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY))
        case ".zst":
            return _Zstandard(stream)
    if named and (not _is_text(head) or _MAGIC[named].startswith(head)):
        what = "it is empty" if not head else f"it does not begin as a {named} file does"
        raise DamagedStreamError(what)
    return stream


def recognise(head: bytes) -> str:
    """Return the compression of a file that begins like this, nothing for none."""
    for kind, magic in _MAGIC.items():
        if head.startswith(magic) and (kind != ".bz2" or head[4:10] in _BZ2_BLOCKS):
            return kind
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5  # a frame without text
    return ".zst" if skippable else ""


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(head) and b"\0" not in head


class _Rejoined(io.RawIOBase):
    """A stream whose head was read already."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class _Streams(io.RawIOBase):
    """Compressed streams, one after the other, and nothing else."""

    def __init__(self, raw: Any, make: Callable[[], Any]) -> None:
        self._raw, self._make = raw, make
        self._decoder = make()
        self._data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._decoder.eof and not self._begin_next():
                return 0
            if self._decoder.needs_input and not self._data:
                self._data = self._raw.read(CHUNK)
                if not self._data:
                    raise DamagedStreamError("it ends too early")
            try:
                data = self._decoder.decompress(self._data, len(buffer))
            except (OSError, lzma.LZMAError) as error:
                raise DamagedStreamError(str(error)) from None
            self._data = b""
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _begin_next(self) -> bool:
        """Go on with the next stream; False where there is none."""
        data = self._decoder.unused_data
        while not data.strip(b"\0"):  # streams may be padded with zeros
            data = self._raw.read(CHUNK)
            if not data:
                return False
        self._data, self._decoder = data.lstrip(b"\0"), self._make()
        return True


class _Zstandard(io.RawIOBase):
    """Zstandard frames, unpacked by pyarrow, which takes nothing else for a frame."""

    def __init__(self, raw: Any) -> None:
        import pyarrow

        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            if error.errno is not None:
                raise
            raise DamagedStreamError(str(error)) from None
        buffer[: len(data)] = data
        return len(data)
