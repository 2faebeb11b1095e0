"""How long waiting threads spin: said to OpenMP before torch loads it.

Threads that wait for the next parallel loop spin, by default for so long that on a machine with
other work they take the cores from those who have some: a training run then takes up to five times
as long (docs/engines.md has figures). A bounded spin costs a little on a quiet machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""What a user may have set; then nothing is changed."""

TRAINING = ("train", "eval")
"""Commands that this is for; a benchmark measures the machine as it is set."""

QUIET, BUSY = 20_000, 1_000
"""Turns of the spinning loop: tens of microseconds, and about one."""

MOMENT = 0.1
"""Seconds that a machine is watched for, where it was busy in the last minute."""


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bound the spinning of OpenMP's threads, tightly where the machine is busy already."""
    if not any(name in environment for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(BUSY if _is_busy() else QUIET)


def _is_busy(
    loads: Path = Path("/proc/loadavg"),
    times: Path = Path("/proc/stat"),
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Return whether others have kept half of the cores working for a minute, and do so now.

    Now is the next `MOMENT`, in which this process does nothing: what happens to run at one instant
    would tell little, and on a quiet machine a tight bound costs a third.
    """
    try:
        if float(loads.read_text().split()[0]) <= (os.cpu_count() or 1) / 2:
            return False
        before = _ticks(times)
        pause(MOMENT)
        idle, total = (after - first for after, first in zip(_ticks(times), before, strict=True))
    except (OSError, ValueError, IndexError):  # only Linux tells
        return False
    return total > 0 and idle <= total / 2


def _ticks(times: Path) -> tuple[int, int]:
    """Return how long all cores together have been idle, and have been there, in ticks."""
    name, *columns = times.read_text().splitlines()[0].split()
    if name != "cpu":
        raise ValueError(name)
    counts = [int(column) for column in columns[:8]]  # what follows is counted in the first two
    return counts[3] + counts[4], sum(counts)
