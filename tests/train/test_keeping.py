"""Which checkpoints stay, and writing them behind the back of the training."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY

import optzoo
from optzoo.cli.options import split_setting
from optzoo.train.runs import checkpoint as checkpoints
from optzoo.train.runs.checkpoint import CheckpointWriter, load_newest, save_checkpoint
from optzoo.train.runs.checkpoint_folder import Checkpoint, Keep, list_checkpoints
from optzoo.train.session import start_run
from optzoo.train.setup.schema import CheckpointSection

FORMAT_1 = Path(__file__).parent / "fixtures" / "format-1"


def checkpoint(step: int, value: float = 1.0, loss: float | None = None) -> Checkpoint:
    return Checkpoint(step, {"model": {"w": torch.full((3,), value)}}, {"x": 0.1}, loss)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in list_checkpoints(folder))


@pytest.mark.parametrize(
    ("keep", "stays"),
    [
        (Keep(1), {50}),
        (Keep(2), {40, 50}),
        (Keep(1, best=1), {20, 50}),
        (Keep(1, best=2), {20, 40, 50}),  # of the two with loss 2.0 the earlier one
        (Keep(1, milestones=(10, 30)), {10, 30, 50}),
        (Keep(1, milestones=(0,)), {0, 50}),
        (Keep(9, best=9), {10, 20, 30, 40, 50}),
    ],
)
def test_what_stays(keep: Keep, stays: set[int]) -> None:
    losses = {0: 0.5, 10: 3.0, 20: 1.0, 30: None, 40: 2.0, 50: 2.0, 60: 0.1}
    assert keep.stays(losses, 50) == stays | {60}  # 60 is from before a resume: not ours to judge


def test_the_rehearsal_goes_with_the_first_real_one(tmp_path: Path) -> None:
    for step in (0, 5):
        save_checkpoint(tmp_path, checkpoint(step), keep=Keep(9))
    assert steps(tmp_path) == [5]


def test_a_run_keeps_the_last_the_best_and_milestones(tmp_path: Path) -> None:
    changes = [split_setting(text) for text in TINY if "=" in text]
    changes += [("budget.steps", "8"), ("checkpoint.every", "2"), ("evaluation.every", "2")]
    changes += [("checkpoint.keep_last", "1"), ("checkpoint.milestones", "[3]")]
    changes += [("execution.threads", "1"), ("schedule.scale", "1000")]  # it gets worse at once
    run = start_run("sgd", run_dir=tmp_path / "run", changes=changes, quiet=True).run
    kept = steps(run.checkpoints)
    assert 8 in kept
    assert 3 in kept
    losses = {s: checkpoints.load_step(run.checkpoints, s).loss for s in kept}
    assert losses[3] is None
    assert len(kept) == (2 if losses[8] == min(v for v in losses.values() if v) else 3)


def test_the_old_name_of_keep_last_is_read() -> None:
    section = CheckpointSection.model_validate({"every": 5, "keep": 3})
    assert (section.keep_last, section.milestones) == (3, [])
    with pytest.raises(ValueError, match="keep"):
        CheckpointSection.model_validate({"every": 5, "keep": 3, "keep_last": 2})


def test_checkpoints_of_format_1_are_read() -> None:
    loaded = load_newest(FORMAT_1, warn=pytest.fail)
    assert loaded is not None
    assert (loaded.step, loaded.state, loaded.loss) == (7, {"x": 0.1}, None)
    assert loaded.tensors["model"]["w"].tolist() == [[1.5, -2.0]]
    assert loaded.tensors["optimizer"]["w/step"].dtype == torch.float64


class TestWriter:
    def test_training_goes_on_and_does_not_change_what_is_written(self, tmp_path: Path) -> None:
        may_write = threading.Event()

        def save(what: Checkpoint, verify: bool) -> None:
            assert may_write.wait(30)
            save_checkpoint(tmp_path, what, keep=Keep(2), verify=verify)

        weights = torch.ones(3)
        with CheckpointWriter(save) as writer:
            writer.submit(Checkpoint(1, {"model": {"w": weights}}, {}))
            weights.add_(1.0)  # a training step, while the thread has not begun to write
            writer.check()
            may_write.set()
        loaded = load_newest(tmp_path, warn=pytest.fail)
        assert loaded is not None
        assert loaded.tensors["model"]["w"].tolist() == [1.0, 1.0, 1.0]

    def test_one_at_a_time_in_order_and_only_the_first_is_verified(self) -> None:
        seen: list[tuple[int, bool]] = []
        under_way: list[int] = []

        def save(what: Checkpoint, verify: bool) -> None:
            under_way.append(what.step)
            assert len(under_way) == 1
            seen.append((what.step, verify))
            under_way.pop()

        with CheckpointWriter(save) as writer:
            for step in range(5):
                writer.submit(checkpoint(step))
        assert seen == [(0, True), (1, False), (2, False), (3, False), (4, False)]

    def test_what_goes_wrong_is_raised_where_the_training_asks_once(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoints").write_text("a file in the way")

        def save(what: Checkpoint, verify: bool) -> None:
            save_checkpoint(tmp_path / "checkpoints", what, keep=Keep(1), verify=verify)

        writer = CheckpointWriter(save)
        writer.submit(checkpoint(1))
        with pytest.raises(optzoo.RunError, match="could not be written to"):
            writer.wait()
        writer.check()
        with pytest.raises(optzoo.RunError, match="could not be written to"), writer:
            writer.submit(checkpoint(2))

    def test_another_error_is_not_hidden(self) -> None:
        def save(what: Checkpoint, verify: bool) -> None:
            raise optzoo.RunError("the disk")

        def train() -> None:
            with CheckpointWriter(save) as writer:
                writer.submit(checkpoint(1))
                raise optzoo.InputError("mine")

        with pytest.raises(optzoo.InputError, match="mine"):
            train()


def test_a_disk_that_loses_bits_is_found_by_reading_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=Keep(2), verify=True)
    true_save = checkpoints.save_file

    def lose_bits(tensors: dict[str, torch.Tensor], path: Path) -> None:
        true_save({name: tensor + 1 for name, tensor in tensors.items()}, path)

    monkeypatch.setattr(checkpoints, "save_file", lose_bits)
    with pytest.raises(optzoo.RunError, match="does not read back as it was written"):
        save_checkpoint(tmp_path, checkpoint(2), keep=Keep(2), verify=True)
    assert steps(tmp_path) == [1]
    assert not list(tmp_path.glob(".*"))
