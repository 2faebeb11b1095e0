"""Setups: overriding any field, nulls that are meant, and a source for each field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optzoo.errors import InputError
from optzoo.recipe.recipe import load_recipe
from optzoo.train.setup.overrides import override_setup, resolve
from optzoo.train.setup.provenance import annotate
from optzoo.train.setup.schema import is_setup, load_setup

QUICK = load_setup("quick")


def refusal(**changes: str) -> str:
    with pytest.raises(InputError) as caught:
        override_setup(QUICK, {k.replace("__", "."): v for k, v in changes.items()})
    return str(caught.value)


def test_any_field_can_be_overridden() -> None:
    setup = override_setup(
        QUICK,
        {
            "model.width": "512",
            "budget.tokens": "1_000_000",
            "schedule.warmup_steps": "7",
            "objective.clip_norm": "null",
            "weight_decay.none_for": "[norm, head]",
            "recipes.ademamix.beta3": "0.99",
            "recipes.lion.lr": "1e-4",
        },
    )
    assert setup.model.width == 512
    assert (setup.budget.steps, setup.num_steps) == (None, 1303)
    assert setup.warmup_steps == 7
    assert setup.objective.clip_norm is None
    assert setup.weight_decay.none_for == ["norm", "head"]
    assert setup.recipes == {"ademamix": {"beta3": 0.99}, "lion": {"lr": 1e-4}}


@pytest.mark.parametrize("changes", [{}, {"objective.clip_norm": "null", "execution.threads": "2"}])
def test_a_setup_survives_being_written(changes: dict[str, str], tmp_path: Path) -> None:
    setup = override_setup(QUICK, changes)
    (tmp_path / "setup.yaml").write_text(setup.to_yaml())
    assert load_setup(str(tmp_path / "setup.yaml")) == setup


def test_mistakes_name_the_nearest_field() -> None:
    assert "did you mean `model.width`?" in refusal(width="3")
    assert "did you mean `model`?" in refusal(modle__width="3")
    assert "did you mean `sequences`?" in refusal(batch__sequence="3")
    assert "did you mean `evaluation.every` or" in refusal(model__every="3")
    assert "recipes.RECIPE.HYPERPARAMETER" in refusal(recipes__ademamix="3")
    assert "its fields: model.width" in refusal(model="3")
    assert "is not a field" in refusal(sources="3")
    with pytest.raises(InputError) as caught:
        override_setup(load_setup("c4-150m"), {"budget.steps": "9"})
    assert str(caught.value).startswith("error: the warmup of 51,200 steps is no shorter")


SOURCED = """
name: sourced
model: {width: 32, layers: 1, heads: 2, hidden: 64}
batch: {sequences: 2, sequence_length: 8}
budget: {tokens: 1_000}
schedule: {warmup_steps: 3}
evaluation: {every: 5, sequences: 2}
checkpoint: {every: 5}
recipes:
  adamw: {lr: 1e-3}
sources:
  model: code, somewhere
  model.width: paper, Section 5
  batch: paper, Section 5
  recipes.adamw.lr: assumed, a guess
"""
REST = ("data", "budget", "schedule", "objective", "weight_decay", "execution", "evaluation")
REST += ("checkpoint", "metrics", "sample", "seed")


def load(tmp_path: Path, lines: dict[str, str]) -> Any:
    path = tmp_path / "sourced.yaml"
    path.write_text(SOURCED + "".join(f"  {key}: {text}\n" for key, text in lines.items()))
    return load_setup(str(path))


def test_sources_cover_every_field_or_none(tmp_path: Path) -> None:
    setup = load(tmp_path, dict.fromkeys(REST, "assumed, here"))
    rows = {row["field"]: row for row in annotate(setup.values(), setup.sources)}
    assert all(row["mark"] for row in rows.values())
    assert tuple(rows["model.width"].values()) == ("model.width", 32, "paper", "Section 5")
    assert rows["model.qk_norm"]["mark"] == "code"
    with pytest.raises(InputError, match=r"`sources` lacks `seed`"):
        load(tmp_path, dict.fromkeys(REST[:-1], "assumed, here"))
    with pytest.raises(InputError, match=r"names `recipes.lion`, which this setup does not set"):
        load(tmp_path, dict.fromkeys([*REST, "recipes.lion"], "assumed, here"))
    with pytest.raises(InputError, match="`rumour, here` is not a source"):
        load(tmp_path, dict.fromkeys(REST, "rumour, here"))


def test_what_is_overridden_is_marked_so(tmp_path: Path) -> None:
    setup = load(tmp_path, dict.fromkeys(REST, "assumed, here"))
    changes = {"budget.steps": "9", "model.layers": "2", "recipes.adamw.beta1": "0.8", "seed": "4"}
    changed = override_setup(setup, changes)
    rows = {row["field"]: row for row in annotate(changed.values(), changed.sources)}
    marked = {field for field, row in rows.items() if row["mark"] == "changed"}
    assert marked == set(changes)
    assert "budget.tokens" not in rows
    assert rows["model.width"]["mark"] == "paper"


def test_data_is_the_embedded_corpus_or_prepared() -> None:
    assert QUICK.data.corpus == "stdlib"
    there = {
        "data.path": "c4 t5",
        "data.tokenizer": "t5-base",
        "data.source": "[hub:allenai/c4:en]",
    }
    prepared = override_setup(QUICK, {**there, "data.vocabulary": "32100"})
    assert (prepared.data.corpus, prepared.data.path) == (None, "c4 t5")
    assert prepared.data.prepare_command(9) == (
        "optzoo data prepare hub:allenai/c4:en --tokenizer t5-base --max-tokens 10 --out 'c4 t5'"
    )
    back = override_setup(prepared, {"data.corpus": "stdlib"})
    assert back.data == QUICK.data
    assert "`data.path` is not given" in refusal(data__tokenizer="gpt2")
    assert "one of `data.corpus` and `data.path`" in refusal(data="{corpus: stdlib, path: a}")


def test_setups_and_recipes_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    assert is_setup("quick")
    assert not is_setup("ademamix")
    assert not is_setup(str(tmp_path / "none.yaml"))
    files = {
        QUICK.to_yaml(): True,
        QUICK.to_yaml().replace("model:", "modle:"): True,  # whoever reads it says what is wrong
        load_recipe("lion").text: False,
        load_recipe("adamw").text + "model: {}\n": False,
        "model:\n": True,
        "name: neither\n": False,
        "- model:": False,
        "model: {": False,
        "": False,
    }
    for i, (text, expected) in enumerate(files.items()):
        path = tmp_path / f"{i}.yaml"
        path.write_text(text)
        assert is_setup(str(path)) == expected, text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget.steps": "5", "budget.tokens": "100"}, "`--set budget.steps` and `--set budget.t"),
        ({"model": "{width: 8}", "model.width": "16"}, "cannot both be given"),
        ({"data.path": "x", "data.corpus": "stdlib"}, "cannot both be given"),
        ({"budget.steps": "9" * 20}, "less than or equal to 9007199254740992"),
        ({"execution.threads": "100000"}, "less than or equal to 4096"),
    ],
)
def test_what_cannot_be(changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match="--set") as error:
        override_setup(load_setup("quick"), changes)
    assert message in str(error.value)
    assert error.value.diagnostics[0].code in ("given-twice", "bad-value")


def test_a_null_makes_room_for_a_rival() -> None:
    setup = override_setup(load_setup("quick"), {"budget.steps": "null", "budget.tokens": "9600"})
    assert setup.budget.tokens == 9600


def test_a_hyperparameter_has_one_value() -> None:
    with pytest.raises(InputError, match=r"`lr` and `recipes\.sgd\.lr`"):
        resolve("sgd", "quick", [("lr", "1"), ("recipes.sgd.lr", "2")])
