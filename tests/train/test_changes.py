"""What makes a run the run it is cannot change on the way; what may is written down."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import stopped_run, tiny_changes

import optzoo
from optzoo.files.sealed import read_object, seal, unseal
from optzoo.train.export import export_run
from optzoo.train.runs.directory import open_run
from optzoo.train.session import evaluate_run, resume_run, start_or_resume_run, start_run
from optzoo.train.setup.provenance import leaf_paths
from optzoo.train.setup.schema import load_setup

FREE = {
    *("budget.steps", "budget.tokens", "batch.micro_sequences", "data.path"),
    *("execution.device", "execution.engine", "execution.threads", "execution.parallel"),
    *("execution.compile", "execution.activation_checkpointing", "evaluation.every"),
    *("checkpoint.every", "checkpoint.keep_last", "checkpoint.keep_best", "checkpoint.milestones"),
    *("metrics.every", "metrics.track", "sample.bytes", "sample.prompt", "sample.temperature"),
}
OTHER: dict[str, Any] = {
    "name": "renamed",
    "batch.micro_sequences": 1,
    "checkpoint.milestones": [3],
    "execution.device": "cuda",
    "execution.engine": "reference",
    "execution.parallel": "ddp",
    "execution.precision": "bfloat16",
    "execution.threads": 2,
    "metrics.track": ["wandb"],
    "model.heads": 1,
    "model.width": 32,
    "objective.clip_norm": None,
    "sample.prompt": "def",
    "schedule.final_fraction": 0.7,
    "schedule.kind": "linear",
    "schedule.start_fraction": 0.9,
    "schedule.warmup_fraction": 0.2,
    "weight_decay.none_for": [],
}
"""Another value of a field, where adding one to it does not give one."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps, stopped after 6."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    changes = [("budget.steps", "12"), ("schedule.kind", "constant"), ("momentum", "0.5")]
    changes += [("schedule.warmup_fraction", "0")]
    return stopped_run(path, 6, *changes, recipe="sgd_momentum")


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "run")


def edit(path: Path, field: str, value: Any) -> None:
    """Write another value into the setup of a run."""
    data = yaml.safe_load((path / "setup.yaml").read_text())
    *parents, last = field.split(".")
    section = data
    for part in parents:
        section = section[part]
    section[last] = value
    (path / "setup.yaml").write_text(yaml.safe_dump(data))


def fields() -> Iterator[tuple[str, Any]]:
    """Every field of a setup, with another value."""
    quick = load_setup("quick").model_dump()
    known = {**dict(leaf_paths(quick)), "batch.micro_sequences": None, "recipes.sgd.lr": 1.0}
    for path, value in known.items():
        if path.startswith("sources"):
            continue
        if path in OTHER:
            yield path, OTHER[path]
        elif isinstance(value, bool):
            yield path, not value
        elif isinstance(value, int | float):
            yield path, value + 1


@pytest.mark.parametrize(("field", "value"), list(fields()), ids=lambda v: str(v))
def test_every_field_is_fixed_or_free(run: Path, field: str, value: Any) -> None:
    if field.startswith("recipes."):
        edit(run, "recipes", {"sgd": {"lr": value}})
    else:
        edit(run, field, value)
    if field in FREE:
        assert dict(leaf_paths(open_run(run).load_setup().model_dump()))[field] == value
        return
    for read in (open_run(run).load_setup, lambda: evaluate_run(run), lambda: export_run(run)):
        with pytest.raises(optzoo.InputError, match=r"setup\.yaml was changed since") as error:
            read()
        assert f"`{field}`" in str(error.value)
        assert error.value.diagnostics[0].code == "changed-setup"


def test_a_setup_that_is_gone_is_in_the_identity(run: Path) -> None:
    expected = evaluate_run(run)
    (run / "setup.yaml").unlink()
    assert evaluate_run(run) == expected
    resume_run(run, quiet=True)
    assert load_setup(str(run / "setup.yaml")).num_steps == 12


def test_a_recipe_is_more_than_its_program(run: Path) -> None:
    file = run / "recipe.yaml"
    file.write_text(file.read_text() + "training:\n  lr_schedule: linear\n")
    with pytest.raises(optzoo.InputError, match="no longer the recipe"):
        evaluate_run(run)


class TestLonger:
    def test_it_ends_where_a_long_run_does(self, run: Path, tmp_path: Path) -> None:
        changes = tiny_changes(
            *(("budget.steps", "20"), ("schedule.kind", "constant"), ("momentum", "0.5")),
            ("schedule.warmup_fraction", "0"),
        )
        long = start_run("sgd_momentum", run_dir=tmp_path / "long", changes=changes, quiet=True)
        first = resume_run(run, quiet=True)
        assert first.result["steps"] == 12
        second = resume_run(run, changes=[("budget.steps", "20")], quiet=True)
        assert second.result["views"] == long.result["views"]
        assert (second.result["steps"], second.result["tokens"]) == (20, 20 * 32)
        (change,) = unseal(read_object(run / "run.json"), "")["changes"]
        assert (change["after_step"], change["setup"]) == (12, {"budget.steps": [12, 20]})
        assert read_object(run / "result.json")["changes"] == [change]
        assert read_object(run / "result-step-00000012.json")["views"] == first.result["views"]
        assert evaluate_run(run)["steps"] == 20

    def test_not_shorter_than_it_is(self, run: Path) -> None:
        before = (run / "run.json").read_bytes()
        with pytest.raises(optzoo.InputError, match="has taken 6 steps, and is to have 5"):
            resume_run(run, changes=[("budget.steps", "5")], quiet=True)
        assert (run / "run.json").read_bytes() == before

    def test_what_is_fixed_is_refused_by_name(self, run: Path) -> None:
        for change, message in (
            (("model.width", "32"), "`model.width` 16 -> 32"),
            (("seed", "1"), "`seed` 0 -> 1"),
            (("momentum", "0.9"), "`momentum`"),
        ):
            with pytest.raises(optzoo.InputError, match="this cannot change") as error:
                resume_run(run, changes=[change], quiet=True)
            assert message in str(error.value)

    def test_an_edit_of_what_may_change_is_said_and_recorded(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit(run, "checkpoint.every", 3)
        resume_run(run, quiet=True)
        assert "warning: the setup changed after step 6" in capsys.readouterr().err
        (change,) = read_object(run / "run.json")["changes"]
        assert change["setup"]["checkpoint.every"][1] == 3

    def test_killed_before_the_change_was_recorded_it_is_made_again(self, run: Path) -> None:
        resume_run(run, quiet=True)
        edit(run, "budget.steps", 14)  # what is written first
        assert resume_run(run, quiet=True).result["steps"] == 14


def test_other_versions_are_said_and_recorded(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = read_object(run / "versions.json")
    (run / "versions.json").write_text(json.dumps({**versions, "torch": "1.0"}))
    resume_run(run, quiet=True)
    assert f"another torch 1.0 -> {versions['torch']}" in capsys.readouterr().err
    (change,) = read_object(run / "run.json")["changes"]
    assert change["versions"] == {"torch": ["1.0", versions["torch"]]}
    assert read_object(run / "versions.json")["torch"] == versions["torch"]


def as_format_1(path: Path) -> None:
    """Make a run what it would have been before there were seals."""
    new = ("sha256", "id", "recipe_asks", "given_asks", "setup_sha256", "setup_values", "changes")
    for file in (path / "run.json", *path.glob("result.json")):
        old = {k: v for k, v in read_object(file).items() if k not in new}
        file.write_text(json.dumps({**old, "format_version": 1}))
    for file in path.glob("checkpoints/*/manifest.json"):
        old = {k: v for k, v in read_object(file).items() if k not in ("sha256", "sharded")}
        file.write_text(json.dumps({**old, "format_version": 1}))


def test_runs_of_format_1_go_on_and_are_sealed(run: Path, stopped: Path, tmp_path: Path) -> None:
    as_format_1(run)
    assert evaluate_run(run)["views"] == evaluate_run(stopped)["views"]
    other = shutil.copytree(stopped, tmp_path / "other")
    expected = resume_run(other, quiet=True).result
    found = resume_run(run, quiet=True)
    assert found.result["views"] == expected["views"]
    edit(run, "schedule.scale", 9.0)
    with pytest.raises(optzoo.InputError, match=r"`schedule\.scale`"):
        evaluate_run(run)


def test_a_result_of_format_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run"
    start_run("sgd", run_dir=path, changes=tiny_changes(("budget.steps", "2")), quiet=True)
    as_format_1(path)
    with pytest.raises(optzoo.InputError, match="has finished"):
        resume_run(path)


class TestTheUsersRecipe:
    @pytest.fixture
    def mine(self, tmp_path: Path) -> Path:
        file = tmp_path / "mine.yaml"
        file.write_text(optzoo.load_recipe("sgd").text.replace("name: sgd", "name: mine"))
        stopped_run(tmp_path / "r", 2, ("budget.steps", "4"), recipe=str(file))
        return file

    def test_gone(self, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mine.unlink()
        resume_run(tmp_path / "r", str(mine), quiet=True)
        assert "goes on with its own copy" in capsys.readouterr().err

    def test_edited(self, mine: Path, tmp_path: Path) -> None:
        mine.write_text(mine.read_text() + "training: {lr_schedule: linear}\n")
        with pytest.raises(optzoo.InputError, match="not that recipe as it was then") as error:
            resume_run(tmp_path / "r", str(mine), quiet=True)
        assert f"`optzoo train --resume {tmp_path / 'r'}` continues it" in str(error.value)
        assert str(tmp_path / "r" / "recipe.yaml") in str(error.value)
        resume_run(tmp_path / "r", quiet=True)


class TestStartOrResume:
    def order(self, path: Path, *changes: tuple[str, str], recipe: str = "sgd_momentum") -> Any:
        given = [("budget.steps", "12"), ("schedule.kind", "constant"), ("momentum", "0.5")]
        given += [("schedule.warmup_fraction", "0")]
        return start_or_resume_run(
            recipe, run_dir=path, changes=tiny_changes(*given, *changes), quiet=True
        )

    def test_it_starts_goes_on_and_is_done(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        started = self.order(tmp_path / "new")
        gone_on = self.order(run)
        assert gone_on.result["views"] == started.result["views"]
        before = (run / "result.json").stat().st_mtime_ns
        assert "nothing is left" not in capsys.readouterr().err
        done = self.order(run)
        assert done.result["views"] == started.result["views"]
        assert done.sample == started.sample
        assert (run / "result.json").stat().st_mtime_ns == before
        assert "nothing is left to do" in capsys.readouterr().err
        assert self.order(run, ("budget.steps", "14")).result["steps"] == 14
        assert self.order(run).result["steps"] == 14, "it does not become shorter"

    def test_another_run_is_not_taken_for_this_one(self, run: Path) -> None:
        for change, message in (
            (("momentum", "0.9"), "other hyperparameters"),
            (("seed", "3"), "`seed` 0 -> 3"),
            (("schedule.scale", "7"), "`schedule.scale`"),
        ):
            with pytest.raises(optzoo.InputError, match="holds another run") as error:
                self.order(run, change)
            assert message in str(error.value)
        with pytest.raises(optzoo.InputError, match="recipe sgd_momentum, not lion"):
            start_or_resume_run("lion", run_dir=run, quiet=True)


def test_a_checkpoint_of_another_setup_is_foreign(run: Path, tmp_path: Path) -> None:
    given = [("budget.steps", "12"), ("schedule.kind", "constant"), ("momentum", "0.5")]
    given += [("schedule.warmup_fraction", "0"), ("schedule.scale", "3")]
    other = stopped_run(tmp_path / "other", 6, *given, recipe="sgd_momentum")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    with pytest.raises(optzoo.InputError, match="is of another setup"):
        evaluate_run(run)


def test_an_identity_that_was_changed_is_damaged(run: Path) -> None:
    values = read_object(run / "run.json")
    for changed in ({**values, "seed": 5}, {**values, "changes": 3}, {"format_version": 2}):
        (run / "run.json").write_text(json.dumps(changed))
        with pytest.raises(optzoo.InputError, match=r"run\.json is damaged") as error:
            open_run(run)
        assert error.value.diagnostics[0].code == "damaged-run"
    sealed = {k: v for k, v in values.items() if k != "sha256"}
    (run / "run.json").write_bytes(seal({**sealed, "setup_values": {"name": "x"}}))
    with pytest.raises(optzoo.InputError, match="its setup is none"):
        open_run(run).load_setup()
