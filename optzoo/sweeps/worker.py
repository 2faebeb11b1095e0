"""One worker: it begins a job or goes on with it, and leaves what came of it in the folder."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback

from optzoo.distributed.signals import StopRequestedError
from optzoo.errors import InputError, RunError
from optzoo.files.atomic import to_json, write_durably
from optzoo.sweeps.folder import Task
from optzoo.train.session import start_or_resume_run

IN_USE = 75
"""Exit code where another process trains the run (EX_TEMPFAIL of sysexits.h)."""
GIVEN_UP = 10
"""Starts in a row after the same step, each killed, after which a job counts as failed."""


def work(task: Task) -> int:
    """Train one job, from where it is; return the exit code.

    0 when there is a result, 1 when the job failed, which is written down, `IN_USE` when another
    process has it, and that of a process that a signal stopped.
    """
    reason = _killed_too_often(task)
    if reason is not None:
        return _fail(task, reason)
    try:
        start_or_resume_run(
            str(task.path / "recipe.yaml"),
            setup_name=str(task.path / "setup.yaml"),
            run_dir=task.run,
            quiet=True,
        )
    except StopRequestedError as stop:
        _note_start(task, "stopped")
        return stop.exit_code
    except InputError as error:
        if any(d.code == "run-in-use" for d in error.diagnostics):
            return IN_USE
        return _fail(task, str(error))
    except RunError as error:
        if any(d.code == "non-finite" for d in error.diagnostics):
            return _diverge(task, error.diagnostics[0].message)
        return _fail(task, str(error))
    except Exception:  # whatever it is, the sweep goes on without this job
        return _fail(task, traceback.format_exc())
    task.failure_file.unlink(missing_ok=True)
    return 0


def _diverge(task: Task, what: str) -> int:
    """Write down that the loss was finite no more: a result of this setting, not a fault."""
    from optzoo.train.runs.metrics import read_metrics

    steps = list(read_metrics(task.run / "metrics.jsonl", "step"))
    about = {
        "format_version": 1,
        "recipe": task.about["recipe"],
        "seed": task.about["seed"],
        "reason": what,
        "steps": steps[-1]["step"] if steps else 0,
        "tokens": steps[-1]["tokens"] if steps else 0,
        "seconds": 0.0,
        "parameters": 0,
        **_who(),
    }
    write_durably(task.divergence_file, to_json(about))
    return 0


def _fail(task: Task, reason: str) -> int:
    about = {"format_version": 1, "reason": reason, "step": task.step, **_who()}
    write_durably(task.failure_file, to_json(about))
    return 1


def _who() -> dict[str, object]:
    return {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()}


def _note_start(task: Task, what: str) -> None:
    line = {"what": what, "step": task.step, **_who()}
    with task.starts_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _killed_too_often(task: Task) -> str | None:
    """Note this start; say so where the last ones all died without having saved anything new."""
    path = task.starts_file
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    _note_start(task, "start")
    recent = []
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:  # half a line of one that was killed
            continue
        if entry["what"] != "start" or entry["step"] != task.step:
            break
        recent.append(entry)
    if len(recent) < GIVEN_UP:
        return None
    return (
        f"killed {len(recent)} times after step {task.step:,} without saving anything: "
        "is there enough memory, and is `checkpoint.every` short enough?"
    )
