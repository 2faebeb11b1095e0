"""Records of single runs: what is a setting and what a seed, and files that are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_sweeps import CORPUS, SETUP, write_end

from optzoo.comparison.ranking import rank
from optzoo.comparison.records import gather, read_curve
from optzoo.errors import InputError
from optzoo.recipe.recipe import load_recipe
from optzoo.train.runs.beginning import create_run
from optzoo.train.setup.overrides import resolve
from optzoo.train.setup.schema import load_setup


def made_run(path: Path, loss: float, **changes: Any) -> Path:
    """Return the directory of a run of adamw that ended at a loss."""
    source = path.parent / "made.yaml"
    source.write_text(SETUP)
    settings = [(name.replace("__", "."), str(value)) for name, value in changes.items()]
    _, recipe, setup, _ = resolve("adamw", str(source), settings, ())
    run = create_run(path, recipe, setup, CORPUS, given=load_recipe("adamw"), given_name="adamw")
    write_end(run, setup, {"eval": loss})
    return path


def test_another_seed_is_no_other_setting(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(seed), 2.0 + seed, seed=seed) for seed in (0, 1)]
    (method,) = rank(gather(runs)).methods
    assert method.best is not None
    assert method.best.losses == {0: 2.0, 1: 3.0}
    assert method.best.values == ()


@pytest.mark.parametrize(
    ("name", "value"), [("lr", 0.01), ("schedule__kind", "linear"), ("batch__sequences", 4)]
)
def test_what_decides_a_loss_is_another_setting(tmp_path: Path, name: str, value: Any) -> None:
    runs = [made_run(tmp_path / "a", 2.0), made_run(tmp_path / "b", 1.5, **{name: value})]
    (method,) = rank(gather(runs)).methods
    assert method.best is not None
    assert method.best.losses == {0: 1.5}
    assert method.best.values == ((name.replace("__", "."), value),)
    assert len(method.settings) == 2


def test_where_and_how_often_is_no_other_setting(tmp_path: Path) -> None:
    """Threads, and how often is saved, may differ from machine to machine."""
    other = {"seed": 1, "execution__threads": 2, "checkpoint__every": 50}
    runs = [made_run(tmp_path / "a", 2.0), made_run(tmp_path / "b", 2.2, **other)]
    (method,) = rank(gather(runs)).methods
    assert len(method.settings) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"recipe": "adamw"}', '{"format_version": 2}'])
def test_a_damaged_result_is_said(tmp_path: Path, text: str) -> None:
    run = made_run(tmp_path / "a", 2.0)
    (run / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json is damaged"):
        gather([run])


def test_lines_that_are_no_metrics_are_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", 2.0)
    whole = read_curve(gather([run]).records[0])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 3, "loss": 1.0}\n{"kind": "speed", "step": 3}\n')
        file.write('{"kind": "speed", "step": 700, "tokens_per_second": 0}\n')
    assert read_curve(gather([run]).records[0]) == whole
    assert load_setup(str(run / "setup.yaml")).num_steps == 600
