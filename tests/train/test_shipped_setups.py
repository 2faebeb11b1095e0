"""The shipped setups: the paper's numbers, a source for each field, fitting hyperparameters."""

from __future__ import annotations

import pytest

from optzoo.files.shipped import shipped
from optzoo.recipe.recipe import load_recipe
from optzoo.train.setup.plan import make_plan
from optzoo.train.setup.provenance import annotate
from optzoo.train.setup.schema import load_setup
from optzoo.train.setup.size import count_parameters

SETUPS = sorted(shipped("setups"))
PAPER = [name for name in SETUPS if name.startswith("c4-")]


def test_all_are_there() -> None:
    sizes = {"c4-150m", "c4-300m", "c4-150m-large-batch", "c4-300m-large-batch"}
    figures = {
        f"{scale}-{size}-batch" for scale in ("tiny", "small") for size in ("small", "large")
    }
    assert set(SETUPS) == {*sizes, *figures, "quick", "one-cpu-30min", "one-gpu-10min"}


@pytest.mark.parametrize("name", SETUPS)
def test_a_setup_has_the_name_of_its_file_and_plans(name: str) -> None:
    setup = load_setup(name)
    assert setup.name == name
    for recipe, values in setup.recipes.items():
        plan = make_plan(load_recipe(recipe).with_overrides(values), setup)
        assert plan["tokens"] >= (setup.budget.tokens or 0)


@pytest.mark.parametrize("name", PAPER)
def test_every_field_of_the_paper_s_setups_has_a_source(name: str) -> None:
    setup = load_setup(name)
    rows = annotate(setup.values(), setup.sources)
    assert len(rows) > 60
    bare = [row["field"] for row in rows if row["mark"] not in ("paper", "code", "assumed")]
    assert bare == []
    marks = {row["field"]: row["mark"] for row in rows}
    # what the paper states, and what it does not
    for field in ("batch.sequences", "batch.sequence_length", "budget.tokens", "data.source"):
        assert marks[field] == "paper", field
    for field in ("model.width", "model.qk_norm", "data.tokenizer", "objective.clip_norm"):
        assert marks[field] == "code", field
    for field in ("objective.z_loss", "seed", "evaluation.every", "recipes.adamw.lr"):
        assert marks[field] == "assumed", field


@pytest.mark.parametrize(
    ("name", "layers", "tokens_per_step", "steps"),
    [
        ("c4-150m", 12, 32_768, 457_764),
        ("c4-300m", 24, 32_768, 183_106),
        ("c4-150m-large-batch", 12, 1_048_576, 2_862),
        ("c4-300m-large-batch", 24, 1_048_576, 5_723),
    ],
)
def test_sizes_of_the_paper(name: str, layers: int, tokens_per_step: int, steps: int) -> None:
    setup = load_setup(name)
    assert setup.data.vocabulary is not None
    counted = count_parameters(setup, setup.data.vocabulary)
    assert counted.matrices == 12 * layers * 1024**2
    assert counted.head == 32_128 * 1024
    assert (setup.batch.tokens, setup.num_steps) == (tokens_per_step, steps)
    if not name.endswith("large-batch"):
        assert setup.warmup_steps == 51_200


def test_hours_of_the_paper_at_two_fifths_of_an_h100() -> None:
    expected = {"c4-150m": 13.2, "c4-300m": 9.7, "c4-150m-large-batch": 2.6}
    for name, hours in expected.items():
        plan = make_plan(load_recipe("adamw"), load_setup(name), mfu=0.4, hardware=["h100"])
        assert plan["hours"][0]["hours"] == pytest.approx(hours, abs=0.06), name


def test_nothing_stated_for_large_batches_is_taken_from_small_ones() -> None:
    setup = load_setup("c4-150m-large-batch")
    marks = {row["field"]: row["mark"] for row in annotate(setup.values(), setup.sources)}
    assert marks["schedule.warmup_fraction"] == "assumed"
    assert "schedule.warmup_steps" not in marks
