"""A line on the terminal while a command computes for longer: what it does, for how long now."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optzoo.errors import printable
from optzoo.tables import format_clock

PATIENCE, EVERY = 1.0, 0.5
"""Seconds before a line appears, and between its changes."""


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done while the block runs, on a terminal only; the line goes at its end.

    What the block gets is called with where it is now: `working("tuning")` and then `sgd` show as
    `tuning: sgd ... 00:07`.
    """
    if not (sys.stderr and sys.stderr.isatty()):
        yield lambda _: None
        return
    line = _Line(what)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    try:
        yield line.say
    finally:
        line.over.set()
        thread.join()


class _Line:
    def __init__(self, what: str) -> None:
        self.what, self.at = what, ""
        self.over = threading.Event()

    def say(self, at: str) -> None:
        self.at = at

    def run(self) -> None:
        began, widest = time.monotonic(), 0
        wait = PATIENCE
        while not self.over.wait(wait):
            wait = EVERY
            where = f"{self.what}: {self.at}" if self.at else self.what
            text = printable(f"{where} ... {format_clock(time.monotonic() - began)}")
            widest = max(widest, len(text))
            sys.stderr.write(f"\r{text:<{widest}}")
            sys.stderr.flush()
        if widest:
            sys.stderr.write(f"\r{'':<{widest}}\r")
            sys.stderr.flush()
