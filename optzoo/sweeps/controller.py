"""The controller of a sweep: it gives an executor what is left to do, until nothing is.

It keeps nothing: another one, here or elsewhere, finds the same in the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from optzoo.sweeps.executors.executor import Executor
from optzoo.sweeps.folder import JobState, SweepFolder, Task
from optzoo.sweeps.worker import IN_USE

POLL = 0.25
"""Seconds between two looks at the workers."""
ELSEWHERE = 10.0
"""Seconds until a job that another process has is looked at again."""

Report = Callable[[Task, JobState], None]


@dataclass
class Controller:
    """Runs a sweep. `report` is told of every job that is over."""

    folder: SweepFolder
    executor: Executor
    report: Report
    poll: float = POLL
    _later: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, JobState]:
        """Run until no job is left; return the states. Workers are stopped if this is left."""
        by_key = {task.key: task for task in self.folder.tasks}
        states = self.folder.states()
        over = {key for key, state in states.items() if state.is_over}
        try:
            while len(over) < len(by_key):
                for key, code in self.executor.ended().items():
                    if code == IN_USE:
                        self._later[key] = time.monotonic() + ELSEWHERE
                    over |= self._settled(by_key[key])
                self._submit([task for key, task in by_key.items() if key not in over])
                time.sleep(self.poll)
                over |= self._finished_elsewhere(by_key, over)
        finally:
            self.executor.stop()
        return self.folder.states()

    def _settled(self, task: Task) -> set[str]:
        state = task.state
        if not state.is_over:
            return set()
        self.report(task, state)
        return {task.key}

    def _finished_elsewhere(self, by_key: dict[str, Task], over: set[str]) -> set[str]:
        """Look at the jobs that other processes had when they were looked at last."""
        found: set[str] = set()
        for key in [k for k, at in self._later.items() if at <= time.monotonic()]:
            if key not in over and key not in self.executor.running:
                found |= self._settled(by_key[key])
            del self._later[key]
        return found

    def _submit(self, left: list[Task]) -> None:
        """Start what nobody has: what was begun first, to have results early."""
        free = self.executor.free
        if free < 1:
            return
        waiting, begun = [], []
        for task in left:
            if task.key in self.executor.running or task.key in self._later:
                continue
            state = task.state
            if state is JobState.RUNNING:
                self._later[task.key] = time.monotonic() + ELSEWHERE
            elif state is JobState.BEGUN:
                begun.append(task)
            else:  # over since the last look: its worker finds nothing to do and says so
                waiting.append(task)
        self.executor.submit([*begun, *waiting][:free])
