"""The shelf: what `optzoo list` shows, from the index while that holds, computed otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import optzoo
from optzoo.description import shelf as module
from optzoo.description.learning_rate import gradient_weight, lr_scale, lr_sentence, lr_summary
from optzoo.description.shelf import entry_of, index_text, shelf
from optzoo.files.shipped import index_file, recipes_dir, shipped


def test_the_shelf_computes_nothing_while_the_index_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_of", lambda _: pytest.fail("an entry was computed"))
    entries = shelf()
    assert [entry.name for entry in entries] == list(shipped())


@pytest.mark.parametrize("damage", ["missing", "no JSON", "old", "of other fields"])
def test_an_index_that_does_not_hold_costs_time_only(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index.json"
    rows: Any = json.loads(index_file().read_text())
    wrong = {
        "no JSON": "{",
        "old": json.dumps([{**row, "sha256": "0", "name": "wrong"} for row in rows]),
        "of other fields": json.dumps([{"name": row["name"]} for row in rows]),
    }
    if damage in wrong:
        path.write_text(wrong[damage])
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name in ("lion", "sgd"):
        shutil.copy(recipes_dir() / f"{name}.yaml", folder)
    monkeypatch.setattr(module, "index_file", lambda: path)
    monkeypatch.setattr(module, "shipped", lambda: {p.stem: p for p in sorted(folder.iterdir())})
    assert [(e.name, e.bytes) for e in shelf()] == [("lion", 4), ("sgd", 0)]


def test_a_recipe_that_was_changed_is_looked_at_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (recipes_dir() / "lion.yaml").read_text().replace("default: 1e-4", "default: 2e-4")
    (tmp_path / "lion.yaml").write_text(text)
    monkeypatch.setattr(module, "shipped", lambda: {"lion": tmp_path / "lion.yaml"})
    assert [entry.lr for entry in shelf()] == [2e-4]


def test_an_index_is_read_back() -> None:
    entry = entry_of(recipes_dir() / "lion.yaml")
    (row,) = json.loads(index_text([entry]))
    assert type(entry)(**row) == entry


# ------------------------------------------------------------------ learning rates


@pytest.mark.parametrize(
    ("name", "settings", "summary"),
    [
        ("adamw", {}, "adam"),
        ("ademamix", {}, "adam x2"),
        ("ademamix", {"beta1": 0}, "adam x2"),
        ("ademamix", {"alpha": 8, "warmup": 1, "beta3": 0.99}, "adam x9"),
        ("simplified_ademamix", {"warmup": 1, "beta1": 0.9, "alpha": 0}, "adam x10"),
        ("laprop", {}, "adam"),
        ("lion", {}, "sign"),
        ("grams", {}, "adam"),
        ("cautious_lion", {}, "sign"),
        ("lars", {}, "norm x10"),
        ("lamb", {}, "norm"),
        ("novograd", {}, "norm x20"),
        ("mars", {}, "adam"),
        ("sgd", {}, "grad"),
        ("sgd_momentum", {}, "grad x10"),
        ("sgd_momentum", {"momentum": 0.5}, "grad x2"),
        ("sgd_momentum", {"momentum": 0.5, "dampening": 0.5}, "grad"),
        ("lookahead_adamw", {}, "adam"),
    ],
)
def test_what_lr_multiplies_is_read_off_the_program(
    name: str, settings: dict[str, float], summary: str
) -> None:
    assert lr_summary(optzoo.describe(optzoo.load_recipe(name), **settings)) == summary


def test_equal_weights_mean_equal_steps_on_a_constant_gradient() -> None:
    """What the weight is for: on a gradient that does not change, steps are lr times the weight."""
    import torch

    for name, settings in (
        ("ademamix", {"warmup": 1, "beta3": 0.99}),
        ("adamw", {"weight_decay": 0}),
    ):
        recipe = optzoo.load_recipe(name).with_overrides(settings)
        weight = gradient_weight(optzoo.describe(recipe, total_steps=4000))
        param = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        opt = recipe.build([param], total_steps=4000, lr=1e-3)
        for _ in range(2000):
            before = param.detach().clone()
            param.grad = torch.tensor([1.0, -3.0], dtype=torch.float64)
            opt.step()
        moved = (param.detach() - before).abs()
        assert weight is not None
        torch.testing.assert_close(moved, torch.full_like(moved, 1e-3 * weight), rtol=1e-4, atol=0)


def test_the_sentence_has_where_to_start_and_what_the_authors_say() -> None:
    found = optzoo.describe(optzoo.load_recipe("lion"))
    text = lr_sentence(found)
    assert text.startswith("start at lr = 0.0001; ")
    assert "whatever the gradient" in text
    assert text.endswith("3 to 10 times less than AdamW's by its authors, with as many times more "
                         "weight decay")  # fmt: skip
    momentum = lr_sentence(optzoo.describe(optzoo.load_recipe("sgd_momentum")))
    assert "a gradient weighs 10 lr in all steps of a run, in SGD lr" in momentum
    assert lr_scale(found) == "sign"


def test_no_weight_is_said_under_a_schedule_or_without_a_rate() -> None:
    recipe = optzoo.load_recipe("ademamix")
    assert gradient_weight(optzoo.describe(recipe, lr_schedule="linear", total_steps=100)) is None
    assert gradient_weight(optzoo.describe(recipe, lr=0)) is None
