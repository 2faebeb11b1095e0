"""`compare` says what differs between runs, and `eval` measures on other data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_runs import tiny_changes

import optzoo
from optzoo.train.runs.comparison import compare_runs
from optzoo.train.session import evaluate_run, resume_run, start_run


def train(path: Path, *changes: tuple[str, str], recipe: str = "sgd") -> Path:
    steps = ("budget.steps", "2")
    start_run(recipe, run_dir=path, changes=tiny_changes(steps, *changes), quiet=True)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("plain") / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("model.width", "32"), "different `model.width`: 16 ({a}), 32 ({b}): their losses do not"),
        (("evaluation.sequences", "8"), "different `evaluation.sequences`: 4 ({a}), 8 ({b})"),
        (("batch.sequence_length", "8"), "different `batch.sequence_length`"),
        (("batch.sequences", "4"), "different numbers of tokens"),
        (("schedule.scale", "3"), "different `schedule.scale`"),
        (("objective.clip_norm", "null"), "different `objective.clip_norm`: 1.0 ({a}), none ({b})"),
        (("execution.precision", "bfloat16"), "different `execution.precision`"),
        (("budget.steps", "3"), "different numbers of tokens: their losses do not compare"),
        (("seed", "1"), None),
        (("lr", "0.5"), "runs of `sgd` have different `lr`"),
    ],
)
def test_what_differs_is_named(
    plain: Path, change: tuple[str, str], message: str | None, tmp_path: Path
) -> None:
    other = train(tmp_path / "b", change)
    _, warnings = compare_runs([plain, other])
    if message is None:
        assert not any("different" in warning for warning in warnings)
        return
    wanted = message.format(a=plain, b=other)
    assert any(wanted in warning for warning in warnings), warnings


def test_equal_setups_are_no_matter(plain: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "b", ("checkpoint.every", "1"), ("sample.bytes", "3"), recipe="lion")
    assert not any("different" in warning for warning in compare_runs([plain, other])[1])


def test_other_seeds_of_other_recipes(plain: Path, tmp_path: Path) -> None:
    other = train(tmp_path / "b", ("seed", "7"), recipe="lion")
    assert any("different seeds (sgd 0; lion 7)" in w for w in compare_runs([plain, other])[1])


def test_what_changed_on_the_way_is_said(tmp_path: Path) -> None:
    run = train(tmp_path / "a")
    resume_run(run, changes=[("budget.steps", "4")], quiet=True)
    _, warnings = compare_runs([run])
    assert f"{run}: `budget.steps` changed after step 2" in warnings


def test_eval_on_other_data(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from optzoo.cli.app import app  # the way users prepare data

    for name in ("one", "two"):
        lines = [json.dumps({"text": f"{name} document {i} " + "of words " * 9}) for i in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        arguments = ["data", "prepare", str(tmp_path / f"{name}.jsonl"), "--hold-out", "4", "-q"]
        done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    run = train(tmp_path / "run", ("data.path", str(tmp_path / "one")))
    own = evaluate_run(run)
    (tmp_path / "one").rename(tmp_path / "moved")
    with pytest.raises(optzoo.InputError, match="there is no prepared data") as error:
        evaluate_run(run)
    assert f"`optzoo eval {run} --data DIR`" in str(error.value)
    moved = evaluate_run(run, data=tmp_path / "moved")
    assert (moved["views"], moved["corpus"], moved["warnings"]) == (own["views"], own["corpus"], [])
    other = evaluate_run(run, data=tmp_path / "two")
    assert other["views"]["eval"]["weights_sha256"] == own["views"]["eval"]["weights_sha256"]
    assert other["views"]["eval"]["nats_per_token"] != own["views"]["eval"]["nats_per_token"]
    assert other["corpus"]["fingerprint"] != own["corpus"]["fingerprint"]
    assert "it was trained on other data" in other["warnings"][0]
    (run / "result.json").unlink()
    with pytest.raises(optzoo.InputError, match="there is no prepared data") as error:
        resume_run(run, quiet=True)
    assert f"`optzoo train --resume {run} --set data.path=DIR`" in str(error.value)
    with pytest.raises(optzoo.InputError, match="was trained on"):
        resume_run(run, changes=[("data.path", str(tmp_path / "two"))], quiet=True)
    done = resume_run(run, changes=[("data.path", str(tmp_path / "moved"))], quiet=True)
    assert done.result["views"] == own["views"]
    assert evaluate_run(run)["views"] == own["views"], "the new place is written down"
