"""The folder is the database: states, controllers, failures, divergence, retries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optzoo.cli.app import app
from optzoo.comparison.ranking import rank
from optzoo.comparison.records import gather
from optzoo.errors import Diagnostic, InputError
from optzoo.files.lock import locked
from optzoo.sweeps.confirm import confirmation
from optzoo.sweeps.controller import Controller
from optzoo.sweeps.folder import JobState, SweepFolder, Task, open_sweep, write_sweep
from optzoo.sweeps.grid import jobs_of, points_of
from optzoo.sweeps.schema import load_sweep
from optzoo.sweeps.worker import GIVEN_UP, IN_USE, work


def made(path: Path, sweep_file: Path) -> SweepFolder:
    spec = load_sweep(sweep_file)
    return write_sweep(path, spec, jobs_of(points_of(spec)))


class Here:
    """Runs workers in this process, one at a time; `codes` are answered instead, in order."""

    def __init__(self, codes: Sequence[int] = ()) -> None:
        self.codes, self.started, self.over = list(codes), [], {}

    free = 1
    running: frozenset[str] = frozenset()

    def submit(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self.started.append(task.key)
            self.over[task.key] = self.codes.pop(0) if self.codes else work(task)

    def ended(self) -> Mapping[str, int]:
        found, self.over = self.over, {}
        return found

    def stop(self) -> None:
        self.started.append("stop")


def run(folder: SweepFolder, executor: Here) -> list[tuple[str, JobState]]:
    said: list[tuple[str, JobState]] = []
    Controller(folder, executor, lambda task, state: said.append((task.key, state)), 0).run()
    return said


@pytest.mark.slow
def test_a_sweep_from_its_file_to_its_table(tmp_path: Path, sweep_file: Path) -> None:
    folder = made(tmp_path / "sweep", sweep_file)
    assert len(folder.tasks) == 6  # of 8 points: the averages of a trajectory are one run
    assert set(folder.states().values()) == {JobState.WAITING}
    executor = Here()
    said = run(folder, executor)
    assert [state for _, state in said] == [JobState.DONE] * 6
    assert executor.started == [*(task.key for task in folder.tasks), "stop"]
    again = Here()
    assert run(open_sweep(folder.path), again) == []
    assert again.started == ["stop"]

    ranking = rank(gather([folder.path]))
    assert {m.method: m.runs for m in ranking.methods} == {"adamw": 4, "adamw_averaged": 4}
    for method in ranking.methods:  # by hand, from what the runs wrote
        assert method.best is not None
        for record in method.best.records:
            result = json.loads((record.run / "result.json").read_text())
            assert record.loss == result["views"][record.view]["nats_per_token"]
        losses = [r.loss for r in method.best.records if r.loss is not None]
        assert method.best.summary is not None
        assert method.best.summary.mean == pytest.approx(sum(losses) / 2, rel=1e-15)
    assert "on the edge of its grid" in " ".join(ranking.warnings)

    fresh = confirmation(open_sweep(folder.path).spec, ranking, 3)
    assert fresh.seeds == [2, 3, 4]
    best = {m.method: dict(m.best.values) for m in ranking.methods if m.best is not None}
    assert fresh.methods[0].grid == {"lr": [best["adamw"]["lr"]]}
    assert len(jobs_of(points_of(fresh))) == 6


@pytest.mark.slow
def test_an_observer_measures_what_a_run_of_its_own_would(tmp_path: Path, sweep_file: Path) -> None:
    """The loss of delta 0.5, observed in the run of delta 0.1, is that of its own run."""
    spec = load_sweep(sweep_file)
    alone = [p for p in points_of(spec) if p.method == "adamw_averaged" and p.seed == 0]
    (merged,) = jobs_of(alone)
    assert [view for _, view in merged.points] == ["eval", "delta:0.5"]
    together = write_sweep(tmp_path / "a", spec, [merged])
    apart = write_sweep(tmp_path / "b", spec, jobs_of(alone[1:]))
    for folder in (together, apart):
        assert work(folder.tasks[0]) == 0
    one, two = together.tasks[0].result, apart.tasks[0].result
    assert one is not None
    assert two is not None
    observed, own = (
        r["views"][v]["nats_per_token"] for r, v in ((one, "delta:0.5"), (two, "eval"))
    )
    assert observed == pytest.approx(own, rel=1e-6)
    assert abs(one["views"]["eval"]["nats_per_token"] - own) > 1e-4


def test_divergence_is_a_result(tmp_path: Path, sweep_file: Path) -> None:
    text = sweep_file.read_text().replace("lr: [1e-3, 1e-2]", "lr: [1e30]")
    sweep_file.write_text(text.replace("recipe: adamw\n", "recipe: sgd\n"))
    folder = made(tmp_path / "sweep", sweep_file)
    task = folder.tasks[0]
    assert work(task) == 0
    assert task.state is JobState.DIVERGED
    ranking = rank(gather([folder.path]))
    (method,) = ranking.methods
    assert method.best is None
    assert (method.diverged, method.runs) == (1, 1)
    assert any("diverged" in warning for warning in ranking.warnings)


def test_a_failure_is_kept_with_its_reason_until_it_is_tried_again(
    tmp_path: Path, sweep_file: Path
) -> None:
    folder = made(tmp_path / "sweep", sweep_file)
    task = folder.tasks[0]
    (task.path / "setup.yaml").write_text("name: broken\n")
    assert work(task) == 1
    assert task.state is JobState.FAILED
    assert task.failure is not None
    assert "setup.yaml" in task.failure["reason"]
    result = CliRunner().invoke(app, ["sweep", "status", str(folder.path)])
    assert "1 failed" in result.output
    assert "5 waiting" in result.output
    result = CliRunner().invoke(app, ["sweep", "retry", str(folder.path), "--failed"])
    assert result.exit_code == 0
    assert task.state is JobState.WAITING
    assert isinstance(
        CliRunner().invoke(app, ["sweep", "retry", str(folder.path)]).exception, InputError
    )


def test_a_job_that_is_killed_again_and_again_fails(tmp_path: Path, sweep_file: Path) -> None:
    task = made(tmp_path / "sweep", sweep_file).tasks[0]
    line = json.dumps({"what": "start", "step": 0})
    stopped = json.dumps({"what": "stopped", "step": 0})
    task.starts_file.write_text(f"{line}\n{stopped}\n" + f"{line}\n" * (GIVEN_UP - 1))
    assert work(task) == 0  # one of them was stopped, and did not die
    other = made(tmp_path / "sweep", sweep_file).tasks[1]
    other.starts_file.write_text(f"{line}\n" * GIVEN_UP + '{"what": "sta')
    assert work(other) == 1
    assert other.failure is not None
    assert "without saving anything" in other.failure["reason"]


def test_a_run_that_another_process_has_is_left_to_it(tmp_path: Path, sweep_file: Path) -> None:
    folder = made(tmp_path / "sweep", sweep_file)
    task = folder.tasks[0]
    task.run.mkdir(parents=True)
    with locked(task.run, Diagnostic("locked", "")):
        assert task.state is JobState.RUNNING
        assert work(task) == IN_USE
    assert task.state is JobState.WAITING
    assert task.failure is None


def test_the_folder_of_another_sweep_is_refused(tmp_path: Path, sweep_file: Path) -> None:
    made(tmp_path / "sweep", sweep_file)
    sweep_file.write_text(sweep_file.read_text().replace("name: mine", "name: other"))
    with pytest.raises(InputError, match="belongs to another sweep"):
        made(tmp_path / "sweep", sweep_file)
    with pytest.raises(InputError, match="is not the folder of a sweep"):
        open_sweep(tmp_path)


def test_a_folder_can_be_read_from_anywhere(
    tmp_path: Path, sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_file.write_text(sweep_file.read_text().replace(str(tmp_path) + "/", ""))
    folder = made(Path("sweep"), Path("mine.yaml"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = open_sweep(tmp_path / "sweep")
    assert [t.key for t in found.tasks] == [t.key for t in folder.tasks]
    assert points_of(found.spec)


def test_damaged_files_are_one_error(tmp_path: Path, sweep_file: Path) -> None:
    folder = made(tmp_path / "sweep", sweep_file)
    (folder.path / "jobs.json").write_text("{")
    with pytest.raises(InputError, match=r"jobs\.json is damaged"):
        open_sweep(folder.path)
