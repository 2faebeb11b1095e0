"""The folder of a sweep, which is its database: nothing else knows what is done.

    sweep.yaml              the sweep, with its seeds, and files by their whole path
    jobs.json               the keys of its jobs, in order, and the command that wrote them
    tasks/KEY/recipe.yaml   what one job trains, complete
    tasks/KEY/setup.yaml
    tasks/KEY/task.json     the points that it measures, each at a view
    tasks/KEY/starts.jsonl  when a worker began, and after which step
    tasks/KEY/diverged.json at which step its loss was finite no more: a result too
    tasks/KEY/failure.json  why it will not be tried again; gone after `sweep retry`
    runs/KEY/               the run directory: `result.json` is there when it is done
    logs/KEY.txt            what its workers said

KEY is the hash of what is run. A run is claimed by its own lock, which the system lets go of when
the worker dies, so that controllers and workers may end at any time, and others go on.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

import optzoo
from optzoo.errors import Diagnostic, InputError, check_version
from optzoo.files.atomic import to_json, write_durably
from optzoo.files.lock import is_locked
from optzoo.files.shipped import path_is
from optzoo.sweeps.grid import GridPoint, Job
from optzoo.sweeps.schema import SweepSpec, load_sweep

TASK_FORMAT_VERSION = 1
RESULT = "result.json"


class JobState(StrEnum):
    """What the folder says of a job."""

    WAITING = "waiting"
    BEGUN = "begun"
    RUNNING = "running"
    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, or nothing that would help."""
        return self in (JobState.DONE, JobState.DIVERGED, JobState.FAILED)


@dataclass(frozen=True)
class Task:
    """One job in a sweep's folder."""

    sweep: Path
    key: str

    @property
    def path(self) -> Path:
        """The folder of what is to be done."""
        return self.sweep / "tasks" / self.key

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.sweep / "runs" / self.key

    @property
    def log(self) -> Path:
        """What the workers said."""
        return self.sweep / "logs" / f"{self.key}.txt"

    @property
    def failure_file(self) -> Path:
        """Where a failure stands."""
        return self.path / "failure.json"

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `task.json` holds. Raises InputError when it cannot be read."""
        return _read(self.path / "task.json")

    @property
    def failure(self) -> dict[str, Any] | None:
        """Why the job failed, if it did."""
        return _read(self.failure_file) if self.failure_file.exists() else None

    @property
    def starts_file(self) -> Path:
        """The log of starts."""
        return self.path / "starts.jsonl"

    @property
    def divergence_file(self) -> Path:
        """Where a divergence stands."""
        return self.path / "diverged.json"

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of the run, if it is there; of one that diverged without losses."""
        if (self.run / RESULT).exists():
            from optzoo.train.runs.directory import open_run
            from optzoo.train.runs.result import read_result

            return read_result(open_run(self.run))
        if not self.divergence_file.exists():
            return None
        return {**_read(self.divergence_file), "views": {}}

    @property
    def state(self) -> JobState:
        """What the folder says of the job now."""
        if (self.run / RESULT).exists():
            return JobState.DONE
        if self.divergence_file.exists():
            return JobState.DIVERGED
        if self.run.is_dir() and is_locked(self.run):
            return JobState.RUNNING
        if self.failure_file.exists():
            return JobState.FAILED
        return JobState.BEGUN if (self.run / "run.json").exists() else JobState.WAITING

    @property
    def step(self) -> int:
        """The step of the newest checkpoint, 0 without one; its name says it."""
        found = (self.run / "checkpoints").glob("step-*")
        digits = ("".join(c for c in path.name if c.isdigit()) for path in found)
        return max((int(text) for text in digits if text), default=0)


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep, with the tasks that its file asks for, in order."""

    path: Path
    spec: SweepSpec
    tasks: tuple[Task, ...]

    def states(self) -> dict[str, JobState]:
        """Return the state of every task by key."""
        return {task.key: task.state for task in self.tasks}


def write_sweep(path: Path, spec: SweepSpec, jobs: Sequence[Job]) -> SweepFolder:
    """Write what is to be done; what was done of it already counts.

    Raises InputError when the folder cannot be written or belongs to another sweep.
    """
    try:
        for name in ("tasks", "runs", "logs"):
            (path / name).mkdir(parents=True, exist_ok=True)
        _refuse_other(path, spec)
        tasks = tuple(Task(path, job.key) for job in jobs)
        for task, job in zip(tasks, jobs, strict=True):
            _write_task(task, job)
        about = {
            "format_version": TASK_FORMAT_VERSION,
            "command": shlex.join(["optzoo", *sys.argv[1:]]),
            "optzoo": optzoo.__version__,
            "jobs": [task.key for task in tasks],
        }
        write_durably(path / "jobs.json", to_json(about))
        write_durably(path / "sweep.yaml", _text(spec).encode())
    except OSError as error:
        message = f"the sweep folder {path} cannot be written: {error.strerror or error}"
        hint = "make it writable, or name another one with `--dir`"
        raise InputError(Diagnostic("unwritable", message, hint=hint)) from None
    return SweepFolder(path, spec, tasks)


def _text(spec: SweepSpec) -> str:
    """Return the sweep as YAML that can be read from any folder."""
    data = spec.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    data |= {"version": spec.version, "seeds": list(spec.seeds), "setup": _absolute(spec.setup)}
    for method in data["methods"]:
        method["recipe"] = _absolute(method["recipe"])
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _absolute(name_or_path: str) -> str:
    is_file = path_is(Path.is_file, name_or_path)
    return str(Path(name_or_path).absolute()) if is_file else name_or_path


def _refuse_other(path: Path, spec: SweepSpec) -> None:
    if (path / "sweep.yaml").exists() and load_sweep(path / "sweep.yaml").name != spec.name:
        message = f"{path} belongs to another sweep: see {path / 'sweep.yaml'}"
        hint = f"name another folder: `--dir sweeps/{spec.name}`"
        raise InputError(Diagnostic("directory-in-use", message, hint=hint))


def _write_task(task: Task, job: Job) -> None:
    task.path.mkdir(parents=True, exist_ok=True)
    setup = job.setup.with_absolute_path()
    write_durably(task.path / "recipe.yaml", job.recipe.to_yaml().encode())
    write_durably(task.path / "setup.yaml", setup.to_yaml().encode())
    about = {
        "format_version": TASK_FORMAT_VERSION,
        "key": task.key,
        "recipe": job.recipe.name,
        "recipe_digest": job.recipe.digest,
        "setup": setup.name,
        "seed": setup.seed,
        "points": [_describe(point, view) for point, view in job.points],
    }
    write_durably(task.path / "task.json", to_json(about))  # last: with it the task is complete


def _describe(point: GridPoint, view: str) -> dict[str, Any]:
    knobs = point.recipe.hyperparameters
    return {
        "method": point.method,
        "values": dict(point.values),
        "seed": point.seed,
        "view": view,
        "hyperparameters": {name: knob.default for name, knob in knobs.items()},
    }


def open_sweep(path: Path) -> SweepFolder:
    """Return a sweep by its folder. Raises InputError when it is none."""
    if not (path / "sweep.yaml").is_file():
        message = f"{path} is not the folder of a sweep: it has no `sweep.yaml`"
        hint = "give the folder that `optzoo sweep FILE` printed, such as sweeps/NAME"
        raise InputError(Diagnostic("not-a-sweep", message, hint=hint))
    spec = load_sweep(path / "sweep.yaml")
    keys = _read(path / "jobs.json")["jobs"]
    return SweepFolder(path, spec, tuple(Task(path, key) for key in keys))


def is_sweep_folder(path: Path) -> bool:
    """Say whether a path is the folder of a sweep."""
    return (path / "sweep.yaml").is_file() and (path / "tasks").is_dir()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, Mapping):
            raise TypeError
    except (OSError, ValueError, TypeError):
        message = f"{path} is damaged: it is no JSON object"
        raise InputError(Diagnostic("damaged", message, hint="delete it and sweep again")) from None
    version = found.get("format_version", 1)
    check_version(f"{path} has format", version if isinstance(version, int) else 1, 1)
    return dict(found)
