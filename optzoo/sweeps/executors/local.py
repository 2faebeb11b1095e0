"""Processes on this machine, its threads divided among them. No server, nothing to install."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from optzoo.sweeps.folder import Task

PATIENCE = 60.0
"""Seconds that a worker has to save and end before it is killed."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor:
    """`jobs` workers at a time, each with an equal share of the cores."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        threads = str(max(1, usable_cores() // jobs))
        self.environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if jobs > 1:  # spinning threads would take the cores from one another
            self.environment.setdefault("OMP_WAIT_POLICY", "passive")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def free(self) -> int:
        """How many more workers it takes now."""
        return self.jobs - len(self.processes)

    @property
    def running(self) -> frozenset[str]:
        """The keys of the workers that have not ended."""
        return frozenset(self.processes)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Start a worker for each task, in a session of its own: Ctrl-C is the controller's."""
        for task in tasks:
            with task.log.open("ab") as log:
                self.processes[task.key] = subprocess.Popen(
                    [sys.executable, "-m", "optzoo", "sweep", "work", str(task.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    start_new_session=True,
                )

    def ended(self) -> Mapping[str, int]:
        """Return the workers that ended since the last call: exit codes by key."""
        codes = {key: process.poll() for key, process in self.processes.items()}
        found = {key: code for key, code in codes.items() if code is not None}
        for key in found:
            del self.processes[key]
        return found

    def stop(self) -> None:
        """Ask all workers to save and end; kill those that do not."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in self.processes.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
