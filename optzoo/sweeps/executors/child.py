"""A worker as a child of a cluster's process: it hears signals, and does not outlive its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from optzoo.sweeps.executors.executor import worker_command
from optzoo.sweeps.executors.local import PATIENCE

PARENT_DEATH = 1
"""PR_SET_PDEATHSIG of Linux's prctl: which signal a process gets when its parent dies."""


def start_child(task: Path, threads: int | None = None) -> subprocess.Popen[bytes]:
    """Start a worker on a task's folder; what it says goes to the sweep's log of the job."""
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    log = task.parent.parent / "logs" / f"{task.name}.txt"
    with log.open("ab") as file:
        return subprocess.Popen(
            worker_command(task),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_as_a_worker,
        )


def _as_a_worker() -> None:
    """Hear all signals, which Ray's workers block in what they start, and die with the parent."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)


def wait_for(child: subprocess.Popen[bytes], poll: float = 0.2) -> int:
    """Return the exit code, looking again and again: a signal handler may want to look too."""
    while (code := child.poll()) is None:
        time.sleep(poll)
    return code


def stop_child(child: subprocess.Popen[bytes]) -> None:
    """Ask a worker to save and end; kill it when it does not."""
    child.terminate()
    deadline = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)  # not `wait`, which deadlocks inside a handler that interrupted a `wait`
    if child.poll() is None:
        child.kill()
