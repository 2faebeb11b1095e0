"""How long waiting threads spin: said to OpenMP before torch loads it.

Threads that wait for the next parallel loop spin, by default for so long that on a machine with
other work they take the cores from those who have some: a training run then takes up to five times
as long (docs/engines.md has figures). A bounded spin costs a little on a quiet machine.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""What a user may have set; then nothing is changed."""

QUIET, BUSY = 20_000, 1_000
"""Turns of the spinning loop: tens of microseconds, and about one."""


def bound_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bound the spinning of OpenMP's threads, tightly where the machine is busy already."""
    if not any(name in environment for name in SETTINGS):
        environment["GOMP_SPINCOUNT"] = str(BUSY if _is_busy() else QUIET)


def _is_busy() -> bool:
    """Return whether others have kept half of the cores working during the last minute."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return False
    return load > (os.cpu_count() or 1) / 2
