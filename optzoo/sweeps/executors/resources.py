"""What a job asks of a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What each job gets. `partition` and `hours` are for SLURM; `hours` is its time limit."""

    cpus: int = 1
    gpus: int = 0
    hours: float = 24.0
    partition: str | None = None
