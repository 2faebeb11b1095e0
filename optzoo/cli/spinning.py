"""How long waiting threads spin: said to OpenMP before torch loads it.

Threads that wait for the next parallel loop spin, by default for so long that on a machine with
other work they take the cores from those who have some: a training run then takes up to five times
as long (docs/engines.md has figures). A bounded spin costs a little on a quiet machine.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""What a user may have set; then nothing is changed."""

TRAINING = ("train", "eval")
"""Commands that this is for; a benchmark measures the machine as it is set."""

QUIET, BUSY = 20_000, 1_000
"""Turns of the spinning loop: tens of microseconds, and about one."""


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bound the spinning of OpenMP's threads, tightly where the machine is busy already."""
    if not any(name in environment for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(BUSY if _is_busy() else QUIET)


def _is_busy(loads: Path = Path("/proc/loadavg")) -> bool:
    """Return whether others have kept half of the cores working for a minute, and do so now."""
    try:
        minute, _, _, running, *_ = loads.read_text().split()
        others = int(running.partition("/")[0]) - 1
    except (OSError, ValueError):  # only Linux tells
        return False
    half = (os.cpu_count() or 1) / 2
    return float(minute) > half and others >= half
