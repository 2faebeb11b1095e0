"""Stopping politely: SIGINT and SIGTERM are noted, and the run stops between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopRequestedError(Exception):
    """The user asked the run to stop; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.resume = ""  # the command that continues the run, once it is known

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class StopRequest:
    """While entered, catches SIGINT and SIGTERM; `check` raises once one has come.

    A second signal acts as it would have without us, unless `patient`: a launcher of many processes
    passes on what the terminal has sent already. Outside the main thread nothing is caught.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received: int | None = None
        self._patient = patient
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise StopRequestedError if a signal has come."""
        if self.received is not None:
            raise StopRequestedError(self.received)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
