"""Processes on this machine, its threads divided among them. No server, nothing to install."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence

from optzoo.sweeps.executors.executor import Executor, worker_command
from optzoo.sweeps.folder import Task

PATIENCE = 60.0
"""Seconds that a worker has to save and end before it is killed."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor(Executor):
    """`jobs` workers at a time, each with an equal share of the cores."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        threads = str(max(1, usable_cores() // jobs))
        self.environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if jobs > 1:  # spinning threads would take the cores from one another
            self.environment.setdefault("OMP_WAIT_POLICY", "passive")

    def submit(self, tasks: Sequence[Task]) -> None:
        """Start a worker for each task, in a session of its own: Ctrl-C is the controller's."""
        for task in tasks:
            with task.log.open("ab") as log:
                self.started[task.key] = subprocess.Popen(
                    worker_command(task.path),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                )

    def ended(self) -> Mapping[str, int]:
        """Return the workers that ended since the last call: exit codes by key."""
        codes = {key: process.poll() for key, process in self.started.items()}
        found = {key: code for key, code in codes.items() if code is not None}
        for key in found:
            del self.started[key]
        return found

    def stop(self) -> None:
        """Ask all workers to save and end; kill those that do not."""
        for process in self.started.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.started.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.started.clear()
