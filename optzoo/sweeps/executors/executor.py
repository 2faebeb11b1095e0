"""What an executor is: it starts workers on task folders, and knows which still run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from optzoo.sweeps.folder import Task


class Executor(Protocol):
    """Starts workers. It may die at any time: what is done stands in the folders."""

    @property
    def free(self) -> int:
        """How many more workers it takes now."""
        ...

    def submit(self, tasks: Sequence[Task]) -> None:
        """Start a worker for each task."""
        ...

    def ended(self) -> Mapping[str, int]:
        """Return the workers that ended since the last call: exit codes by key."""
        ...

    @property
    def running(self) -> frozenset[str]:
        """The keys of the workers that were started and have not ended."""
        ...

    def stop(self) -> None:
        """Ask all workers to save and end, and wait for them a bounded time."""
        ...
