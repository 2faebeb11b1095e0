"""Checkpoints: whole or absent, verified, never pickled, old ones kept until new ones are good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import optzoo
from optzoo.train.runs.checkpoint import load_newest, save_checkpoint
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
