"""A file on a web server, read once from front to back; a lost connection is taken up again."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.request
from typing import Any

from optzoo.errors import Diagnostic, InputError, RunError

ATTEMPTS = 4
TIMEOUT = 30.0  # seconds without a byte


class WebFile(io.RawIOBase):
    """The bytes of a URL.

    Raises InputError for an address the server does not have, RunError when it stops answering.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._position = 0
        self._failures = 0
        self._size: int | None = None
        self._response: Any = None
        self._connect()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer; 0 at the end of the file."""
        while True:
            try:
                count = 0 if self._response is None else int(self._response.readinto(buffer))
            except (OSError, http.client.HTTPException) as error:
                self._failed(error)
                continue
            if count or self._position == (self._size or self._position):
                self._position += count
                return count
            self._failed(ConnectionError("the connection ended too soon"))

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._position

    def close(self) -> None:
        """Close the connection."""
        if getattr(self, "_response", None) is not None:
            self._response.close()
        super().close()

    def _connect(self) -> None:
        request = urllib.request.Request(self._url)
        if self._position:
            request.add_header("Range", f"bytes={self._position}-")
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
            if self._position and response.status != 206:
                raise RunError(f"{self._url}: the server cannot go on in the middle of a file")
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise InputError(
                    Diagnostic("not-found", f"`{self._url}`: {error.code} {error.reason}")
                ) from None
            self._failed(error)
            return
        except (OSError, http.client.HTTPException) as error:
            self._failed(error)
            return
        length = response.headers.get("Content-Length")
        if length is not None and not self._position:
            self._size = int(length)
        self._response = response

    def _failed(self, error: Exception) -> None:
        """Count a failure and connect again, or give up."""
        self._failures += 1
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._failures >= ATTEMPTS:
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
