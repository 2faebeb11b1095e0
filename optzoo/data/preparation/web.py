"""A file on a web server, read once from front to back; a lost connection is taken up again.

What goes on in the middle is the same file: the server says so by an ETag or a date in answer to
`If-Range`, or else the beginning is fetched again and must be the bytes that were read. A body
whose length nobody gave is whole when the server has nothing after it.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from optzoo.data.preparation.source_file import ChangedSourceError
from optzoo.errors import Diagnostic, InputError, RunError

ATTEMPTS = 4
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16
_RANGE = re.compile(r"bytes (?:(\d+)-\d*|\*)/(\d+|\*)")
_LOST = (OSError, http.client.HTTPException)


class WebFile(io.RawIOBase):
    """The bytes of a URL. `size` and `identity` are what the server says of it.

    Raises InputError for an address the server does not have and for a file that changes while it
    is read, RunError when the server stops answering or cannot say where the file ends.
    """

    def __init__(self, url: str, attempts: int = ATTEMPTS, timeout: float = TIMEOUT) -> None:
        self._url, self._attempts, self._timeout = url, attempts, timeout
        self._position = 0
        self._failures = 0
        self._digest = hashlib.sha256()
        self._response: Any = None
        self._is_begun = False
        self.size: int | None = None
        self.identity: str | None = None
        self._connect()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer; 0 at the end of the file."""
        while True:
            try:
                count = 0 if self._response is None else int(self._response.readinto(buffer))
                if not count:
                    self._check_end()
                self._position += count
                self._digest.update(memoryview(buffer)[:count])
                return count
            except _LOST as error:
                self._failed(error)

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._position

    def close(self) -> None:
        """Close the connection."""
        if getattr(self, "_response", None) is not None:
            self._response.close()
        super().close()

    def _connect(self) -> None:
        """Open the file at the position, or count a failure."""
        try:
            if not self._is_begun:
                self._response = self._request({})
                self.size, self.identity = _length(self._response), _identity(self._response)
                self._is_begun = True
            elif self._position == 0 or not self._go_on():
                self._response = self._request({})
                self._rewind()
        except _LOST as error:
            self._failed(error)

    def _request(self, headers: dict[str, str]) -> Any:
        """Return the server's answer; raise InputError for an address it does not have."""
        try:
            request = urllib.request.Request(
                quote(self._url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers
            )
            return urllib.request.build_opener(_WebOnly).open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 416, 429):
                raise InputError(
                    Diagnostic("not-found", f"`{self._url}`: {error.code} {error.reason}")
                ) from None
            raise
        except ValueError as error:  # an address that is none
            if isinstance(error, InputError):
                raise
            raise InputError(Diagnostic("bad-source", f"`{self._url}`: {error}")) from None

    def _go_on(self) -> bool:
        """Ask for the rest of the same file; False where the server cannot promise that."""
        validator = (self.identity or "").partition(":")[2]
        if not validator or validator.startswith("W/"):
            return False
        self._response = self._request({"Range": f"bytes={self._position}-", "If-Range": validator})
        if self._response.status != 206:
            self._rewind()  # all of it, since it changed, or since ranges are not served
            return True
        start, total = _range(self._response)
        self._check_identity()
        same = _identity(self._response) == self.identity and total in (None, self.size)
        if start == self._position and same:
            return True
        self._response.close()
        return False

    def _rewind(self) -> None:
        """Read up to the position again; the bytes must be those of before."""
        self._check_identity()
        digest, left = hashlib.sha256(), self._position
        while left:
            data = self._response.read(min(left, CHUNK))
            if not data:
                raise ConnectionError("the connection ended too soon")
            digest.update(data)
            left -= len(data)
        if digest.digest() != self._digest.digest():
            raise self._changed()

    def _check_identity(self) -> None:
        now = _identity(self._response)
        if now is not None and self.identity is not None and now != self.identity:
            raise self._changed()

    def _changed(self) -> ChangedSourceError:
        return ChangedSourceError(self._url, "a part of it was read")

    def _check_end(self) -> None:
        """Raise OSError where the body ended before the file did, RunError where none can say."""
        if self._response is None:
            raise ConnectionError("there is no connection")
        if self.size is not None:
            is_whole = self._position == self.size
        elif self._response.chunked:
            is_whole = True  # the last chunk says so
        else:
            is_whole = self._is_nothing_left()
        if not is_whole:
            raise ConnectionError("the connection ended too soon")

    def _is_nothing_left(self) -> bool:
        """Ask for what comes after the position."""
        try:
            with self._request({"Range": f"bytes={self._position}-"}) as response:
                total = _range(response)[1] if response.status == 206 else None
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            with error:
                total = _range(error)[1]
                return total is None or total == self._position
        if total is None:
            raise RunError(
                Diagnostic(
                    "unknown-length",
                    f"`{self._url}`: the server does not say how long the file is, so a connection "
                    "that ends too soon cannot be noticed",
                    hint="download the file, check it and name it",
                )
            )
        return total == self._position

    def _failed(self, error: Exception) -> None:
        """Count a failure and connect again, or give up."""
        self._failures += 1
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._failures >= self._attempts:
            raise RunError(
                Diagnostic(
                    "unreachable",
                    f"`{self._url}` cannot be read: {getattr(error, 'reason', error)}",
                    hint="finished shards are kept: give the same command again to go on, or "
                    "download the file and name it",
                )
            ) from None
        time.sleep(0.2 * 3 ** (self._failures - 1))
        self._connect()


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows an address to another one of the web, and nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            problem = f"`{req.full_url}` leads to `{newurl}`, which is not on the web"
            raise InputError(Diagnostic("bad-source", problem))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask_web(url: str) -> tuple[int | None, str | None]:
    """Return size and identity of a file, as its server gives them now.

    Raises InputError and RunError as `WebFile`, after one attempt.
    """
    with WebFile(url, attempts=1, timeout=TIMEOUT / 3) as file:
        return file.size, file.identity


def _length(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and not response.chunked else None


def _identity(response: Any) -> str | None:
    """Return what tells one version of a file from another: the ETag, or else the date."""
    for kind, header in (("etag", "ETag"), ("modified", "Last-Modified")):
        if value := response.headers.get(header):
            return f"{kind}:{value}"
    return None


def _range(response: Any) -> tuple[int | None, int | None]:
    """Return where an answer begins and how long the whole file is, as far as it says."""
    match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    start, total = match.groups() if match else (None, None)
    return int(start) if start else None, int(total) if total and total != "*" else None
