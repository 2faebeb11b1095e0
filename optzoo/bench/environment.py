"""Where a benchmark ran: processor, device, versions, and whether there is room for it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from optzoo.bench.packages import version_of
from optzoo.errors import Diagnostic, InputError
from optzoo.tables import format_size


def choose_device(asked: str) -> str:
    """Return `cpu` or `cuda`. Raises InputError for another device, or one that is not there."""
    there = torch.cuda.is_available()
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked not in ("cpu", "cuda"):
        hint = "auto, cpu or cuda"
        raise InputError(Diagnostic("bad-value", f"`--device {asked}`: no such device", hint=hint))
    if asked == "cuda" and not there:
        message = "`--device cuda`: torch finds no CUDA device here"
        raise InputError(Diagnostic("no-device", message, hint="leave `--device` out"))
    return asked


def describe_environment(device: str, packages: Sequence[str]) -> dict[str, Any]:
    """Return processor, cores, Python and package versions; `load` is left for the run."""
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in dict.fromkeys(["torch", *packages])},
        "load": [],
    }


def load_average() -> float | None:
    """Return the machine's load over the last minute, where it tells."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def check_room(needed: int, device: str) -> None:
    """Raise InputError when so many bytes are not free."""
    if device == "cuda":
        free = torch.cuda.mem_get_info()[0]
    elif "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = _available()
    else:
        return
    if needed > free:
        message = f"this needs about {format_size(needed)}, and {format_size(free)} are free"
        hint = "pass a smaller `--params`, or fewer engines and packages"
        raise InputError(Diagnostic("no-room", message, hint=hint))


def _available() -> int:
    try:
        rows = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kilobytes = next(int(row.split()[1]) for row in rows if row.startswith("MemAvailable"))
    return 1024 * kilobytes
