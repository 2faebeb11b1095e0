"""What stands in the folders of runs beside losses: who they are, what failed, what they wrote.

Nothing here fails for a folder that has been damaged since: what cannot be read is a warning.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optzoo.comparison.ranking import Ranking, Setting
from optzoo.comparison.records import Measured
from optzoo.errors import InputError
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schedules import LrMultiplier
from optzoo.sweeps.folder import JobState, SweepFolder, Task
from optzoo.sweeps.grid import shown_value
from optzoo.train.runs.directory import RunDirectory, open_run
from optzoo.train.setup.identity import recorded_values
from optzoo.train.setup.provenance import leaf_paths
from optzoo.train.setup.schema import Setup

OWN_TO_A_RUN = ("name", "seed", "recipes")
"""Fields of a setup that say nothing of how it trains, tell seeds apart, or have been used up."""
Fact = tuple[str, Sequence[tuple[str, int]]]
"""A name, and its values with how many runs have each."""


@dataclass(frozen=True)
class RunFacts:
    """Who a run is: its identity, its setup, and the versions that it began with."""

    directory: RunDirectory
    versions: Mapping[str, Any]

    @property
    def identity(self) -> Mapping[str, Any]:
        """What `run.json` holds."""
        return self.directory.identity

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def recipe(self) -> Recipe:
        """The recipe. Raises InputError when the file no longer is that recipe."""
        return self.directory.load_recipe()

    @cached_property
    def setup(self) -> Setup:
        """The recorded setup. Raises InputError when it cannot be read."""
        return self.directory.recorded_setup()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the setup by dotted path, without those of the run alone.

        The schedule is the one that was followed, where the setup leaves it to the recipe.
        """
        leaves = leaf_paths(recorded_values(self.setup))
        fields = {n: v for n, v in leaves if n.partition(".")[0] not in OWN_TO_A_RUN}
        return {**fields, "schedule.kind": self.lr_schedule.text}

    @property
    def lr_schedule(self) -> LrMultiplier:
        """What the learning rate was multiplied by."""
        return self.setup.lr_schedule(self.recipe.training.lr_schedule)

    @property
    def data(self) -> str:
        """Title and fingerprint of the data."""
        corpus = self.identity["corpus"]
        return f"{corpus['title']}, {corpus['fingerprint']}"

    @property
    def setup_hash(self) -> str:
        """The hash of the setup; runs of format 1 have none."""
        return str(self.identity.get("setup_sha256", "not recorded"))

    @property
    def software(self) -> str:
        """The versions as text, with the machine."""
        names = ("optzoo", "python", "torch", "numpy")
        found = [f"{name} {self.versions[name]}" for name in names if name in self.versions]
        return ", ".join([*found, *filter(None, [str(self.versions.get("platform", ""))])])

    @property
    def command(self) -> str:
        """The command that began it."""
        return str(self.identity.get("command") or self.versions.get("command", "not recorded"))


@dataclass(frozen=True)
class RunFault:
    """A run that has no loss to compare: what became of it, and why, in a line or many."""

    run: Path
    what: str
    state: str
    step: int
    reason: str

    @property
    def summary(self) -> str:
        """The line of the reason that says most: of a traceback the last one."""
        lines = self.reason.strip().splitlines()
        return lines[-1].strip() if lines else ""


def read_facts(records: Sequence[Measured]) -> tuple[dict[Path, RunFacts], list[str]]:
    """Return what stands in the run directories of records, and warnings about the others."""
    facts: dict[Path, RunFacts] = {}
    warnings = []
    for path in dict.fromkeys(record.run for record in records):
        try:
            directory = open_run(path)
        except InputError as error:
            warnings.append(error.diagnostics[0].message)
            continue
        facts[path] = RunFacts(directory, _read_object(path / "versions.json"))
    return facts, warnings


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sum_up(facts: Mapping[Path, RunFacts]) -> list[Fact]:
    """Return what the runs share, with how many have each value, the most frequent first."""
    readers: dict[str, Callable[[RunFacts], str]] = {
        "setup": lambda f: f"{f.identity['setup']}, {f.setup_hash}",
        "data": lambda f: f.data,
        "versions": lambda f: f.software,
        "threads": lambda f: str(f.versions.get("threads", "not recorded")),
    }
    return [
        (name, Counter(read(found) for found in facts.values()).most_common())
        for name, read in readers.items()
    ]


def commands_of(sweeps: Sequence[SweepFolder], runs: Sequence[RunFacts]) -> list[str]:
    """Return the commands that make sweeps and single runs again."""
    found = [
        f"optzoo sweep {shlex.quote(str(s.path / 'sweep.yaml'))} --dir {shlex.quote(str(s.path))}"
        for s in sweeps
    ]
    return found + list(dict.fromkeys(run.command for run in runs))


# ---------------------------------------------------------- configurations


def differing_settings(
    ranking: Ranking, facts: Mapping[Path, RunFacts]
) -> list[tuple[str, list[str | None]]]:
    """Return the hyperparameters and setup fields in which the methods differ at their best.

    A row has a value for each method that has a best setting, None where it has no such name.
    """
    columns = [_configuration(m.best, facts) for m in ranking.methods if m.best is not None]
    rows = []
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [column.get(name) for column in columns]
        if len(set(values)) > 1:
            rows.append((name, values))
    return rows


def _configuration(best: Setting, facts: Mapping[Path, RunFacts]) -> dict[str, str]:
    record = best.records[0]
    found: dict[str, Any] = {"recipe": record.recipe, "view": record.view}
    found |= record.hyperparameters
    if record.run in facts:
        found["setup"] = facts[record.run].identity["setup"]
        with contextlib.suppress(InputError):  # the setup of a run of format 1 is gone
            found |= facts[record.run].fields
    return {name: shown_value(value) for name, value in found.items()}


# ------------------------------------------------------------------ faults


def faults_of(sweeps: Sequence[SweepFolder], records: Sequence[Measured]) -> list[RunFault]:
    """Return the runs without a loss: those that diverged, that failed, and that are not over."""
    found = [fault for sweep in sweeps for task in sweep.tasks for fault in _fault_of(task)]
    known = {fault.run for fault in found}
    for record in records:
        if record.loss is None and record.run not in known:
            known.add(record.run)
            what = f"{record.method}, seed {record.seed}, {record.view}"
            reason = "the held-out loss at the end is not a finite number"
            found.append(RunFault(record.run, what, JobState.DIVERGED.value, 0, reason))
    order = [JobState.FAILED, JobState.DIVERGED, JobState.RUNNING, JobState.BEGUN, JobState.WAITING]
    ranks = {state.value: i for i, state in enumerate(order)}
    return sorted(found, key=lambda fault: ranks[fault.state])


def _fault_of(task: Task) -> Iterator[RunFault]:
    state = task.state
    if state is JobState.DONE:
        return
    points = task.about["points"]
    values = ", ".join(f"{n}={shown_value(v)}" for n, v in points[0]["values"].items())
    what = ", ".join(filter(None, [points[0]["method"], values, f"seed {points[0]['seed']}"]))
    if len(points) > 1:
        what += f", and {len(points) - 1} more that it measures"
    said = task.result if state is JobState.DIVERGED else task.failure
    steps = said.get("steps", said.get("step", 0)) if said else task.step
    reason = str(said["reason"]) if said else ""
    yield RunFault(task.run, what, state.value, int(steps), reason)


# ------------------------------------------------------------------ sample


def sample_of(best: Setting) -> tuple[Path, str] | None:
    """Return the run of lowest loss of a setting and the text drawn from it, None without any."""
    losses = [(record.loss, record.run) for record in best.records if record.loss is not None]
    run = min(losses)[1]
    try:
        text = (run / "sample.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return (run, text) if text.strip() else None
