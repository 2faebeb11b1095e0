"""Ray core tasks: resources for each run, and another node where one dies."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.sweeps.executors.executor import Executor
from optzoo.sweeps.executors.resources import Resources
from optzoo.sweeps.folder import Task

RETRIES = 20
"""How often Ray itself runs a task again after its node or its process died."""


def train_task(task: str, threads: int) -> int:
    """Train a job in a child process on whatever node this is; return its exit code."""
    from optzoo.sweeps.executors.child import start_child, wait_for

    return wait_for(start_child(Path(task), threads))


class RayExecutor(Executor):
    """Submits jobs to the cluster at `address`, `auto` for the one this machine is part of.

    Where there is none, Ray starts one on this machine. `jobs` is how many are submitted at a time;
    if None, as many as the cluster has room for.
    """

    def __init__(self, jobs: int | None, resources: Resources, address: str | None = None) -> None:
        try:
            ray: Any = importlib.import_module("ray")  # without types
        except ImportError:
            hint = "pip install 'optzoo[ray]'"
            raise InputError(Diagnostic("no-ray", "Ray is not installed", hint=hint)) from None
        self.ray = ray
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        self.resources = resources
        cores = int(ray.cluster_resources().get("CPU", 1))
        super().__init__(jobs or max(1, cores // resources.cpus))
        self.remote = ray.remote(
            num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=RETRIES
        )(train_task)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Submit a Ray task for each."""
        for task in tasks:
            path = str(task.path.absolute())
            self.started[task.key] = self.remote.remote(path, self.resources.cpus)

    def ended(self) -> Mapping[str, int]:
        """Return the jobs that ended since the last call: exit codes by key, -1 for the dead."""
        if not self.started:
            return {}
        by_reference = {reference: key for key, reference in self.started.items()}
        ready, _ = self.ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
        found: dict[str, int] = {}
        for reference in ready:
            key = by_reference[reference]
            del self.started[key]
            try:
                found[key] = int(self.ray.get(reference))
            except self.ray.exceptions.RayError:  # its node died once too often
                found[key] = -1
        return found

    def stop(self) -> None:
        """Cancel what has not ended; the workers are told to save and end."""
        for reference in self.started.values():
            self.ray.cancel(reference, force=True)
        self.started.clear()
