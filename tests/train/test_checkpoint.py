"""Checkpoints: whole or absent, verified, never pickled, old ones kept until new ones are good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import optzoo
from optzoo.files.sealed import read_object, seal
from optzoo.train.runs import checkpoint_folder
from optzoo.train.runs.checkpoint import load_newest, load_step, save_checkpoint
from optzoo.train.runs.checkpoint_folder import (
    FORMAT_VERSION,
    MANIFEST,
    Checkpoint,
    Keep,
    list_checkpoints,
)


def checkpoint(step: int, value: float = 1.0) -> Checkpoint:
    weights = torch.full((3, 2), value, dtype=torch.bfloat16)
    scalar = torch.tensor(value, dtype=torch.float64)
    return Checkpoint(step, {"model": {"w": weights}, "optimizer": {"w/c": scalar}}, {"x": 0.1})


def refuse(message: str) -> None:
    raise AssertionError(message)


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(5, 0.3), keep=Keep(2))
    loaded = load_newest(tmp_path, warn=refuse)
    assert loaded is not None
    assert loaded.step == 5
    assert loaded.state == {"x": 0.1}
    assert loaded.tensors["model"]["w"].dtype == torch.bfloat16
    assert loaded.tensors["optimizer"]["w/c"].item() == 0.3


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, checkpoint(step), keep=Keep(2))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000004", "step-00000003"]


def test_damaged_ones_of_later_steps_do_not_push_out_good_ones(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(10), keep=Keep(2))
    for step in (20, 30):
        later = save_checkpoint(tmp_path, checkpoint(step), keep=Keep(3))
        (later / "model.safetensors").write_bytes(b"")
    save_checkpoint(tmp_path, checkpoint(15, 0.5), keep=Keep(2))  # resumed from 10, stopped at 15
    loaded = load_newest(tmp_path, warn=[].append)
    assert loaded is not None
    assert (loaded.step, loaded.state) == (15, {"x": 0.1})
    save_checkpoint(tmp_path, checkpoint(20), keep=Keep(2))  # the damaged one is replaced
    assert [p.name[-2:] for p in list_checkpoints(tmp_path)] == ["30", "20", "15"]


def test_none_yet(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "absent", warn=refuse) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "state"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1, 1.0), keep=Keep(3))
    path = save_checkpoint(tmp_path, checkpoint(2, 2.0), keep=Keep(3))
    file = path / "model.safetensors"
    data = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(data[:-1])
    elif damage == "flip":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "remove":
        file.unlink()
    elif damage == "manifest":
        (path / MANIFEST).write_text("{")
    else:
        (path / "state.json").write_text("[]")
    warnings: list[str] = []
    loaded = load_newest(tmp_path, warn=warnings.append)
    assert loaded is not None
    assert loaded.step == 1
    assert len(warnings) == 1
    assert "step-00000002 is damaged" in warnings[0]


def test_when_all_are_damaged_one_clear_error(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1), keep=Keep(3))
    (path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(optzoo.InputError, match="no checkpoint can be read"):
        load_newest(tmp_path, warn=refuse)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1), keep=Keep(3))
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["format_version"] = FORMAT_VERSION + 1
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(optzoo.InputError, match="upgrade optzoo"):
        load_newest(tmp_path, warn=refuse)


def test_a_value_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=Keep(1))
    with pytest.raises(optzoo.RunError, match="not finite"):
        save_checkpoint(tmp_path, checkpoint(2, float("nan")), keep=Keep(1))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000001"]


def test_leftovers_of_a_killed_process_are_ignored_and_removed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=Keep(2))
    (tmp_path / ".partial-step-00000002").mkdir()
    (tmp_path / ".old-step-00000000").mkdir()
    loaded = load_newest(tmp_path, warn=refuse)
    assert loaded is not None
    assert loaded.step == 1
    save_checkpoint(tmp_path, checkpoint(2), keep=Keep(2))
    assert not list(tmp_path.glob(".*"))


class TestSavedAgain:
    """A checkpoint that is saved again steps aside; killed in between, it is found."""

    @pytest.mark.parametrize("renames", [0, 1, 2, 3])
    def test_there_is_always_a_whole_one(
        self, renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_checkpoint(tmp_path, checkpoint(5, 0.25), keep=Keep(1))
        true_rename, done = Path.rename, [0]

        def rename(path: Path, target: Path) -> Path:
            if done[0] == renames:
                raise KeyboardInterrupt  # what a kill leaves: nothing cleans up after it
            done[0] += 1
            return true_rename(path, target)

        monkeypatch.setattr(Path, "rename", rename)
        if renames < 2:
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, checkpoint(5, 0.5), keep=Keep(1))
        else:
            save_checkpoint(tmp_path, checkpoint(5, 0.5), keep=Keep(1))
        monkeypatch.undo()
        found = load_newest(tmp_path, warn=refuse)
        assert found is not None
        assert found.tensors["model"]["w"][0, 0].item() in (0.25, 0.5)
        assert load_step(tmp_path, 5).step == 5
        save_checkpoint(tmp_path, checkpoint(6, 0.75), keep=Keep(2))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["step-00000005", "step-00000006"], "what was left has its name again"

    def test_a_complete_one_without_a_name_is_found(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, checkpoint(5), keep=Keep(1))
        for prefix in (".partial-", ".aside-", ".old-"):
            path = path.rename(tmp_path / f"{prefix}step-00000005")
            found = load_newest(tmp_path, warn=refuse)
            assert found is not None
            assert found.step == 5

    def test_a_damaged_one_gives_way_to_its_leftover(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, checkpoint(5), keep=Keep(1))
        path.rename(tmp_path / ".partial-step-00000005")
        bad = save_damaged(tmp_path, checkpoint(5))
        warnings: list[str] = []
        found = load_newest(tmp_path, warn=warnings.append)
        assert found is not None
        assert f"{bad} is damaged" in warnings[0]


def save_damaged(folder: Path, what: Checkpoint) -> Path:
    """Put a damaged checkpoint into a folder, past all that keeps it whole."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    path = save_checkpoint(elsewhere, what, keep=Keep(1))
    (path / "model.safetensors").write_bytes(b"damaged")
    target = path.rename(folder / path.name)
    elsewhere.rmdir()
    return target


class TestManifest:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return save_checkpoint(tmp_path, checkpoint(5), keep=Keep(1))

    @pytest.mark.parametrize(
        "change",
        [
            {"step": 4},
            {"loss": 0.001},
            {"sharded": True},
            {"files": {}},
            {"format_version": 1},
            {"sha256": "0" * 64},
            {"sha256": None},
            {"more": 1},
        ],
    )
    def test_its_own_fields_are_covered(self, path: Path, change: dict[str, object]) -> None:
        manifest = {**read_object(path / MANIFEST), **change}
        (path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(optzoo.InputError, match="no checkpoint can be read"):
            load_newest(path.parent, warn=refuse)

    def test_the_folder_is_named_after_its_step(self, path: Path) -> None:
        path.rename(path.parent / "step-00000009")
        with pytest.raises(optzoo.InputError, match="says step 5, and the folder is step-00000009"):
            load_newest(path.parent, warn=refuse)

    @pytest.mark.parametrize("name", ["../step-00000005/state.json", "/etc/hosts", "..", "a/b", ""])
    def test_a_name_outside_is_refused(self, path: Path, name: str) -> None:
        manifest = read_object(path / MANIFEST)
        del manifest["sha256"]
        manifest["files"][name] = manifest["files"]["state.json"]
        (path / MANIFEST).write_bytes(seal(manifest))
        with pytest.raises(optzoo.InputError, match="which is no file of a checkpoint"):
            load_newest(path.parent, warn=refuse)

    def test_every_file_that_is_read_is_listed(self, path: Path) -> None:
        manifest = read_object(path / MANIFEST)
        del manifest["sha256"], manifest["files"]["state.json"]
        (path / MANIFEST).write_bytes(seal(manifest))
        with pytest.raises(optzoo.InputError, match=r"does not list state\.json"):
            load_newest(path.parent, warn=refuse)


def test_a_reader_looks_again_where_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=Keep(1))
    true_check, steps = checkpoint_folder._check_file, iter(range(2, 9))

    def check(folder: Path, name: str, expected: object) -> None:
        step = next(steps, None)
        if step is not None:  # the run saves the next one, and drops this one while it is read
            monkeypatch.setattr(checkpoint_folder, "_check_file", true_check)
            save_checkpoint(tmp_path, checkpoint(step), keep=Keep(1))
            monkeypatch.setattr(checkpoint_folder, "_check_file", check)
        true_check(folder, name, expected)

    monkeypatch.setattr(checkpoint_folder, "_check_file", check)
    found = load_newest(tmp_path, warn=refuse)
    assert found is not None
    assert found.step == 8


def test_planted_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for prefix in (".partial-", ".aside-", ".dropped-"):
        (folder / f"{prefix}step-00000005").symlink_to(precious)
    save_checkpoint(folder, checkpoint(5), keep=Keep(1))
    assert [path.name for path in folder.iterdir()] == ["step-00000005"]
    assert [path.name for path in precious.iterdir()] == ["file"]
