"""Beginning a run: whose a folder is, and what is left where a start fails."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import stopped_run, tiny_changes

import optzoo
from optzoo.files import lock
from optzoo.train.runs.beginning import claimed
from optzoo.train.runs.directory import open_run
from optzoo.train.session import evaluate_run, resume_run, start_run

SHORT = tiny_changes(("budget.steps", "2"))


def start(path: Path | None, recipe: str = "sgd") -> Path:
    return start_run(recipe, run_dir=path, changes=SHORT, quiet=True).run.path


def refuse(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Have the n-th fsync from here on fail, and those after it."""

    true_sync = os.fsync

    def set_up(number: int, code: int) -> None:
        calls = [0]

        def fail(descriptor: int) -> None:
            calls[0] += 1
            if number and calls[0] >= number:
                raise OSError(code, os.strerror(code))
            true_sync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)

    return set_up


@pytest.mark.parametrize("number", [1, 4, 10, 11, 12])
def test_a_full_disk_is_no_obstacle_to_the_next_start(
    number: int, failing: Callable[[int, int], None], tmp_path: Path
) -> None:
    failing(number, errno.ENOSPC)
    with pytest.raises(optzoo.RunError, match="No space left on device") as error:
        start(tmp_path / "run")
    assert error.value.exit_code == 1
    failing(0, 0)
    assert (start(tmp_path / "run") / "result.json").exists()


def test_where_nothing_was_written_nothing_is_left(
    failing: Callable[[int, int], None], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    failing(2, errno.ENOSPC)
    for path in (tmp_path / "run", tmp_path / "mine"):
        with pytest.raises(optzoo.RunError, match="No space left"):
            start(path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert [p.name for p in (tmp_path / "mine").iterdir()] == [".lock"]


def test_what_a_killed_start_left_is_no_obstacle(tmp_path: Path) -> None:
    for names in ([".starting"], [".starting", "recipe.yaml", "setup.yaml", ".0af3.partial"]):
        for name in names:
            (tmp_path / name).write_text("left")
        (tmp_path / "checkpoints").mkdir()
        start(tmp_path)
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "mine", ["recipe.yaml", "notes.txt", "run.json", "checkpoints/step-00000005/x"]
)
def test_what_is_not_of_a_start_is_not_touched(mine: str, tmp_path: Path) -> None:
    path = tmp_path / mine
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    (tmp_path / "setup.yaml").write_text("mine")
    if mine == "run.json":
        (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(optzoo.InputError, match="is not empty"):
        start(tmp_path)
    assert path.read_text() == (tmp_path / "setup.yaml").read_text() == "mine"


def test_a_run_that_took_a_step_is_not_begun_again(tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", 1, ("budget.steps", "4"))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(optzoo.InputError, match="is not empty") as error:
        start(run)
    assert f"`optzoo train --resume {run}`" in str(error.value)


def test_simultaneous_starts_take_the_next_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a-3").symlink_to("nowhere")
    together, found = threading.Barrier(6), []

    def claim() -> None:
        together.wait()
        with claimed(Path("runs/a"), given=False, warn=refuse) as folder:
            found.append(folder.name)
            (folder / "mine").touch()
            together.wait()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["a", "a-2", "a-4", "a-5", "a-6", "a-7"]


def test_of_two_in_one_folder_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    refused = pytest.raises(optzoo.InputError, match="another process is training")
    with claimed(path, given=True, warn=refuse), refused, claimed(path, given=True, warn=refuse):
        pass
    assert not path.exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_goes_on_with_a_warning(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock, "_lock", no_locks)
    start(tmp_path / "run")
    assert "warning" in (said := capsys.readouterr().err)
    assert "is on a file system without locks" in said
    assert "another process" not in said


def test_folders_that_cannot_be_flushed_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_sync = os.fsync

    def no_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        true_sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    assert (start(tmp_path / "run") / "result.json").exists()


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to("scratch/gone")
    with pytest.raises(optzoo.InputError, match="is a link to scratch/gone") as error:
        start(tmp_path / "run")
    assert error.value.exit_code == 2


def test_a_name_that_is_too_long_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match="File name too long"):
        start(tmp_path / ("a" * 300))


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(optzoo.InputError, match=r"\.lock"):
        start(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_run_whose_folder_goes_away_ends_in_one_error(
    how: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optzoo.train.runs.metrics import MetricsLog
    from optzoo.train.trainer import Trainer

    take_step, run = Trainer.take_step, tmp_path / "run"

    def stepping(trainer: Trainer, log: MetricsLog) -> None:
        take_step(trainer, log)
        if trainer.step == step:
            run.rename(tmp_path / "elsewhere")
        if trainer.step == step and how == "deleted":
            shutil.rmtree(tmp_path / "elsewhere")
        if trainer.step == step and how == "replaced":
            run.mkdir()
            (run / "run.json").write_text('{"id": "of another run"}')

    monkeypatch.setattr(Trainer, "take_step", stepping)
    with pytest.raises(optzoo.RunError, match="no longer the directory of this run"):
        start(run)
    monkeypatch.undo()
    assert not (run / "result.json").exists()
    assert not (run / "checkpoints").exists()
    if how != "deleted":
        moved = tmp_path / "elsewhere"
        assert resume_run(moved, quiet=True).result["steps"] == 2
        assert evaluate_run(moved)["step"] == 2


def test_names_that_were_never_made(tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match="is not a run directory"):
        open_run(tmp_path / "gone")
