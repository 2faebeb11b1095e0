"""Stopping and saving politely: signals are noted, and acted upon between two steps.

SIGINT, SIGTERM and SIGHUP save and stop; SIGUSR1 saves and goes on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
SAVING = "SIGUSR1"
"""Names, for not every system has all of them."""


class StopRequestedError(Exception):
    """The user asked the run to stop; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.resume = ""  # the command that continues the run, once it is known

    @property
    def exit_code(self) -> int:
        """128 + signal, as shells have it: 129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class StopRequest:
    """While entered, catches what stops and what saves; `check` raises once a stop has come.

    A second signal that stops acts as it would have without us, unless `patient`: a launcher of
    many processes passes on what the terminal has sent already. A SIGHUP that was ignored, as under
    `nohup`, stays so. Outside the main thread nothing is caught.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received: int | None = None
        self._is_to_save = False
        self._patient = patient
        self._previous: dict[int, Any] = {}
        self._saving = contextlib.ExitStack()

    def check(self) -> None:
        """Raise StopRequestedError if a signal to stop has come."""
        if self.received is not None:
            raise StopRequestedError(self.received)

    def take_save(self) -> bool:
        """Return whether a signal to save has come since this was last asked."""
        asked, self._is_to_save = self._is_to_save, False
        return asked

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _known(STOPPING):
                handler = signal.getsignal(number)
                if handler != signal.SIG_IGN or number != getattr(signal, "SIGHUP", None):
                    self._previous[number] = signal.signal(number, self._note)
            self._saving.enter_context(catching_saves(self._note_save))
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
        self._saving.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None or self._patient:
            self.received = number
            return
        self._restore()
        signal.raise_signal(number)

    def _note_save(self) -> None:
        self._is_to_save = True

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@contextlib.contextmanager
def catching_saves(note: Any = lambda: None) -> Iterator[None]:
    """Call `note` when the signal to save comes, which would end the process otherwise."""
    numbers = _known((SAVING,))
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    previous = {number: signal.signal(number, lambda *_: note()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _known(names: tuple[str, ...]) -> list[int]:
    return [int(getattr(signal, name)) for name in names if hasattr(signal, name)]
