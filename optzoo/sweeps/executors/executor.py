"""What an executor is: it starts workers on task folders, and knows which still run."""

from __future__ import annotations

import abc
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optzoo.sweeps.folder import Task


class Executor(abc.ABC):
    """Starts workers, `jobs` at a time. It may die at any time: what is done is in the folders.

    `started` holds what stands for a worker here, by the key of its task, until it has ended.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.started: dict[str, Any] = {}

    @property
    def free(self) -> int:
        """How many more workers it takes now."""
        return self.jobs - len(self.started)

    @property
    def running(self) -> frozenset[str]:
        """The keys of the workers that were started and have not ended."""
        return frozenset(self.started)

    @abc.abstractmethod
    def submit(self, tasks: Sequence[Task]) -> None:
        """Start a worker for each task."""

    @abc.abstractmethod
    def ended(self) -> Mapping[str, int]:
        """Return the workers that ended since the last call: exit codes by key."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask all workers to save and end, and wait for them a bounded time."""


def worker_command(task: Path) -> list[str]:
    """Return the command that trains a task in a process of its own."""
    return [sys.executable, "-m", "optzoo", "sweep", "work", str(task)]
