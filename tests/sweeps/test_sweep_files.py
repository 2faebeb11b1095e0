"""Sweep files: the grids of Appendix A counted, and what is wrong with a file said by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optzoo.cli.app import app
from optzoo.errors import InputError
from optzoo.files.shipped import recipes_dir, shipped
from optzoo.sweeps.grid import jobs_of, points_of
from optzoo.sweeps.schema import is_sweep, load_sweep, with_seeds

SWEEPS = sorted(shipped("sweeps"))
SMALL = {  # experiments of Appendix A: runs, and trajectories where averages are observers
    "s01": (24, 24), "s02": (3, 3), "s03": (36, 12), "s04": (9, 3), "s05": (27, 27),
    "s06": (12, 6), "s07": (12, 6), "s08": (12, 12), "s09": (12, 12), "s10": (144, 144),
    "s11": (72, 72), "s12": (48, 48),
}  # fmt: skip
LARGE = {"l01": (72, 72), "l02": (12, 12), "l03": (12, 12), "l04": (72, 72), "l05": (27, 27)}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_grid_of_appendix_a_has_the_runs_of_the_paper(name: str) -> None:
    points = points_of(load_sweep(name))
    assert (len(points), len(jobs_of(points))) == (SMALL | LARGE)[name[:3]]


def test_the_grids_are_all_there_and_add_up() -> None:
    assert {name[:3] for name in SWEEPS} == set(SMALL) | set(LARGE)
    counts = {name: load_sweep(name).num_runs for name in SWEEPS}
    assert sum(count for name, count in counts.items() if name[0] == "s") == 411
    assert sum(count for name, count in counts.items() if name[0] == "l") == 195


def test_the_dry_run_prints_runs_tokens_and_hours() -> None:
    result = CliRunner().invoke(app, ["sweep", "s03-adamw-averaged", "--dry-run"])
    assert result.exit_code == 0
    assert "36 runs" in result.output.splitlines()[0]
    assert "12 are trained, 24 saved" in result.output
    assert "180B (540B without observers)" in result.output
    assert "h100 158" in result.output
    result = CliRunner().invoke(app, ["sweep", "--dry-run", "s04-adamw-cosine-averaged", "--json"])
    (plan,) = json.loads(result.output)
    assert (plan["runs"], plan["trained"]) == (9, 3)
    assert plan["hours"]["h100"] == pytest.approx(plan["hours_without_observers"]["h100"] / 3)


@pytest.mark.parametrize("path", sorted((recipes_dir() / "reproduce").glob("*.yaml")), ids=str)
def test_the_sweeps_behind_the_figures_are_legal(path: Path) -> None:
    spec = load_sweep(path)
    assert points_of(spec)
    assert spec.name == path.stem
    assert spec.claims


GOOD = """
name: mine
summary: a trial
setup: quick
methods:
  - recipe: adamw
    grid: {lr: [1e-3, 1e-2]}
  - recipe: lion
    set: {schedule.kind: cosine}
seeds: [3]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_seeds_and_hyperparameters_reach_the_runs(tmp_path: Path) -> None:
    spec = with_seeds(load_sweep(write(tmp_path, GOOD)), 2)
    points = points_of(spec)
    assert [p.seed for p in points] == [3, 4] * 3
    assert [p.setup.seed for p in points] == [3, 4] * 3
    assert [p.recipe.hyperparameters["lr"].default for p in points[:4]] == [1e-3, 1e-3, 0.01, 0.01]
    assert points[-1].setup.schedule.kind == "cosine"
    assert len({job.key for job in jobs_of(points)}) == 6


def test_what_suits_a_recipe_does_not_undo_the_grid(tmp_path: Path) -> None:
    text = GOOD.replace("adamw", "ademamix").replace("lr: [1e-3, 1e-2]", "beta3: [0.9, 0.99]")
    points = points_of(load_sweep(write(tmp_path, text)))
    assert [p.recipe.hyperparameters["beta3"].default for p in points[:2]] == [0.9, 0.99]
    assert points[0].setup.recipes == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe: lion", "recipe: adamw", "two methods are called `adamw`"),
        ("grid: {lr", "set: {lr: 1}\n    grid: {lr", "`lr` stands in `set` and in `grid`"),
        ("1e-2]", "1e-3]", "has 0.001 twice"),
        ("seeds: [3]", "seeds: [3, 3]", "a seed stands twice"),
        ("seeds: [3]", "baseline: sgd", "is none of the methods"),
        ("seeds: [3]", "claims: [{better: adamw}]", "write `{better: A, than: B}`"),
        ("seeds: [3]", "claims: [{same: adamw, as: sgd}]", "`sgd` is none of the methods"),
        ("seeds: [3]", "version: 99", "reads sweep version 1"),
        ("seeds: [3]", "sedes: [3]", "sedes"),
        ("setup: quick", "", "setup"),
        ("grid: {lr: [1e-3, 1e-2]}", "grid: {lr: []}", "grid.lr"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        load_sweep(path)
    assert message in str(error.value)
    assert f"{path}:" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: [", "rl: [", "`rl` is not a hyperparameter of adamw"),
        ("1e-2]", "-1]", "lr"),
        ("schedule.kind: cosine", "schedule.knid: cosine", "schedule.knid"),
        ("setup: quick", "setup: quikc", "quikc"),
        ("recipe: lion", "recipe: lyon", "lyon"),
        ("set: {schedule", "view: tail\n    set: {schedule", "`view: tail` is none of its views"),
    ],
)
def test_a_setting_that_is_not_legal_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    spec = load_sweep(write(tmp_path, GOOD.replace(old, new)))
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        points_of(spec)


def test_validate_knows_sweeps(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert is_sweep(str(path))
    assert not is_sweep(str(recipes_dir() / "adamw.yaml"))
    assert not is_sweep(str(shipped("setups")["quick"]))
    result = CliRunner().invoke(app, ["validate", str(path), "s04-adamw-cosine-averaged"])
    assert result.exit_code == 0
    assert "sweep mine, 3 runs, 3 trained" in result.output
    assert "9 runs, 3 trained" in result.output
    schema = json.loads(CliRunner().invoke(app, ["schema", "sweep"]).output)
    assert "methods" in schema["required"]


def test_what_only_another_rule_reads_makes_another_run(tmp_path: Path) -> None:
    (tmp_path / "mixed.yaml").write_text(
        "name: mixed\nversion: 2\nextends: sgd\n"
        'hyperparameters: {eps: {default: 1e-6, in: "(0, inf)", doc: of AdamW}}\n'
        "routes: [{kind: matrix, use: here}, {use: adamw}]\n"
    )
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: mine\nversion: 1\nsummary: s\nreference: r\nsetup: quick\n"
        f"methods:\n  - recipe: {tmp_path}/mixed.yaml\n"
        "    grid: {eps: [1e-6, 1e-3]}\n"
    )
    points = points_of(load_sweep(file))
    assert len(jobs_of(points)) == 2
    narrow = points[0].recipe.with_state_dtype("bfloat16")
    assert points[0].recipe.kept_dtypes == {"adamw.m": "float32", "adamw.v": "float32"}
    assert set(narrow.kept_dtypes.values()) == {"bfloat16"}
