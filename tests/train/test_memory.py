"""Memory: what no machine has is refused by arithmetic; what this one does not give is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_changes

import optzoo
from optzoo.train import memory
from optzoo.train.memory import enough_memory
from optzoo.train.session import start_run
from optzoo.train.setup.schema import load_setup


@pytest.mark.parametrize("field", ["model.width", "model.layers", "batch.sequences"])
def test_what_is_far_too_large_is_refused_at_once(field: str, tmp_path: Path) -> None:
    changes = tiny_changes((field, "1000000000000"))
    with pytest.raises(optzoo.InputError, match="this machine has") as error:
        start_run("adamw", run_dir=tmp_path / "run", changes=changes, quiet=True)
    assert error.value.diagnostics[0].code == "too-large"
    assert not (tmp_path / "run").exists()


def test_a_container_has_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (memory.physical_memory() or 0) > 2**20
    (tmp_path / "memory.max").write_text("1048576\n")
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "memory.max")
    assert memory.physical_memory() == 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory.physical_memory() or 0) > 2**20


def test_what_is_not_given_is_one_error() -> None:
    setup = load_setup("quick")
    with pytest.raises(optzoo.RunError, match="is not enough"), enough_memory(setup):
        torch.empty(2**60)
    with pytest.raises(optzoo.RunError, match="is not enough"), enough_memory(setup):
        raise MemoryError
    with pytest.raises(ValueError, match="mine"), enough_memory(setup):
        raise ValueError("mine")
    with pytest.raises(optzoo.InputError, match="mine"), enough_memory(setup):
        raise optzoo.InputError("mine")
