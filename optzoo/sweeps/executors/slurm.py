"""SLURM through submitit: job arrays, requeued on preemption and at the time limit.

A job that is preempted saves a checkpoint and is put into the queue again. The controller may end:
what it submitted goes on, and another one finds the same in the folder.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from optzoo.errors import Diagnostic, InputError
from optzoo.sweeps.executors.child import start_child, stop_child, wait_for
from optzoo.sweeps.executors.executor import Executor
from optzoo.sweeps.executors.resources import Resources
from optzoo.sweeps.folder import Task

MOST = 1_000
"""Jobs in the queue at a time, the usual limit of an array."""


class SlurmWorker:
    """What runs on a node; submitit pickles it, and calls `checkpoint` before a preemption."""

    def __init__(self, task: str, threads: int) -> None:
        self.task, self.threads = task, threads
        self.child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Train the job; return the worker's exit code."""
        self.child = start_child(Path(self.task), self.threads)
        return wait_for(self.child)

    def checkpoint(self) -> Any:
        """Let the worker save, and ask for another turn."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None:
            stop_child(self.child)
        return DelayedSubmission(SlurmWorker(self.task, self.threads))


class SlurmExecutor(Executor):
    """Submits jobs as arrays, `jobs` of which run at a time (all, if None).

    `cluster` is `local` in tests: submitit's own processes in place of SLURM.
    """

    def __init__(
        self,
        folder: Path,
        jobs: int | None,
        resources: Resources,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        try:
            from submitit import AutoExecutor
        except ImportError:
            hint = "pip install 'optzoo[slurm]'"
            raise InputError(
                Diagnostic("no-submitit", "SLURM is reached through submitit", hint=hint)
            ) from None
        logging.getLogger("submitit").setLevel(logging.ERROR)  # one warning a look without sacct
        super().__init__(jobs or MOST)
        self.resources = resources
        try:
            self.executor = AutoExecutor(folder=folder / "slurm", cluster=cluster)
        except RuntimeError as error:
            hint = "is this a machine from which `sbatch` works? `--executor local` needs none"
            raise InputError(Diagnostic("no-slurm", str(error), hint=hint)) from None
        self.executor.update_parameters(
            name=f"optzoo-{folder.name}",
            timeout_min=max(1, round(60 * resources.hours)),
            cpus_per_task=resources.cpus,
            gpus_per_node=resources.gpus,
            slurm_array_parallelism=self.jobs,
            **({} if resources.partition is None else {"slurm_partition": resources.partition}),
        )

    def submit(self, tasks: Sequence[Task]) -> None:
        """Submit one array for these tasks."""
        if not tasks:
            return
        with self.executor.batch():
            found = [
                self.executor.submit(SlurmWorker(str(task.path.absolute()), self.resources.cpus))
                for task in tasks
            ]
        self.started |= {task.key: job for task, job in zip(tasks, found, strict=True)}

    def ended(self) -> Mapping[str, int]:
        """Return the jobs that ended since the last call: exit codes by key."""
        done = {key: job for key, job in self.started.items() if job.done()}
        for key in done:
            del self.started[key]
        return {key: _code(job) for key, job in done.items()}

    def stop(self) -> None:
        """Leave what was submitted to the queue: it needs no controller."""


def _code(job: Any) -> int:
    """Return the exit code of a job; -1 where it died without one."""
    if job.exception() is not None:
        return -1
    return int(job.result())
