"""What a person watching a run sees, on stderr: a bar in a terminal, plain lines elsewhere.

Nobody need be watching: a stream that is closed, full or broken is left alone from then on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

from optzoo.errors import printable
from optzoo.tables import format_clock, format_size

_LINES = 20  # plain progress lines in a whole run


class Unheard:
    """A text stream that takes everything; once the one behind it fails, nobody gets it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if there is anyone to read it."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if there is one."""
        self._try("flush")

    def isatty(self) -> bool:
        """Whether a person is looking at a terminal."""
        return bool(self._try("isatty"))

    def fileno(self) -> int:
        """Return the descriptor, of which the width of a terminal is asked. Raises OSError."""
        if self._stream is None:
            raise OSError("there is no stream")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding, which decides what a bar is drawn with."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def _try(self, name: str, *arguments: str) -> Any:
        try:
            return getattr(self._stream, name)(*arguments) if self._stream is not None else None
        except (OSError, ValueError):  # ValueError: it was closed, or cannot encode this
            self._stream = None


class Progress:
    """Shows loss, learning rate, gradient norm, speed, memory and time left of `steps` steps.

    Quiet shows nothing but warnings.
    """

    def __init__(
        self,
        steps: int,
        *,
        tokens_per_step: int,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._stream: Any = Unheard(sys.stderr if stream is None else stream)
        self._steps = steps
        self._tokens_per_step = tokens_per_step
        self._quiet = quiet
        self._start = 0
        self._began = time.perf_counter()
        self._bar: Any = None  # a tqdm, once started on a terminal
        self._speed: Mapping[str, Any] = {}

    def start(self, done: int) -> None:
        """Begin to measure, `done` steps into the run."""
        self._start = done
        self._began = time.perf_counter()
        if not self._quiet and self._stream.isatty():
            self._bar = tqdm(
                total=self._steps,
                initial=done,
                file=self._stream,
                dynamic_ncols=True,
                bar_format="step {n_fmt}/{total_fmt} |{bar}| {desc} [{elapsed}<{remaining}]",
            )

    def step(
        self, done: int, *, loss: float, lr: float, grad_norm: float, speed: Mapping[str, Any]
    ) -> None:
        """Report that `done` steps are behind us; `speed` is empty where it was not measured."""
        if self._quiet:
            return
        elapsed = time.perf_counter() - self._began
        self._speed = speed or self._speed
        rate = (done - self._start) * self._tokens_per_step / max(elapsed, 1e-9)
        text = f"loss {loss:.3f}  lr {lr:.2e}  grad {grad_norm:.2g}  {_pace(self._speed, rate)}"
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == self._steps or done % max(1, self._steps // _LINES) == 0:
            left = elapsed / (done - self._start) * (self._steps - done)
            self.say(f"step {done}/{self._steps}  {text}  {format_clock(left)} left")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._quiet:
            return
        line = printable(line)
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)  # this is the one printer

    def warn(self, line: str) -> None:
        """Print a warning, also when quiet."""
        quiet, self._quiet = self._quiet, False
        self.say(f"warning: {line}")
        self._quiet = quiet

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()


def warn(line: str) -> None:
    """Print a warning where there is no run yet."""
    print(f"warning: {printable(line)}", file=Unheard(sys.stderr), flush=True)


def _pace(speed: Mapping[str, Any], rate: float) -> str:
    """Return speed, MFU and memory as last measured; `rate` until they are."""
    parts = [f"{speed.get('tokens_per_second', rate):,.0f} tokens/s"]
    if "mfu" in speed:
        parts.append(f"MFU {speed['mfu']:.1%}")
    if "memory_bytes" in speed:
        parts.append(format_size(speed["memory_bytes"]))
    return "  ".join(parts)
