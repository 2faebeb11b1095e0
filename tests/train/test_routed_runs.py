"""Runs of recipes with routes: resumed bit for bit, and what is written and shown of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done, optzoo
from tiny_runs import stopped_run

import optzoo as package
from optzoo.interpreters.cost import cost
from optzoo.optimizer.kinds import subjects_of
from optzoo.train.experiment import model_without_memory
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.plan import describe_data, make_plan
from optzoo.train.setup.schema import load_setup
from optzoo.train.setup.state_size import parameters_of_setup, state_bytes

TEXT = """\
name: mixed
version: 2
summary: momentum for matrices, AdamW for the rest
reference: none
extends: momentum.yaml
hyperparameters:
  weight_decay: {default: 0.1}
routes:
  - {kind: matrix, use: here}
  - {name: "head.*", use: averaged}
  - {use: adamw, set: {lr: lr/10, weight_decay: weight_decay}}
parts:
  averaged: {averaging: {weight: "min(1, 2/t)"}}
"""
PARENT = "name: momentum\nversion: 2\nextends: sgd_momentum\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "momentum.yaml").write_text(PARENT)
    (folder / "mixed.yaml").write_text(TEXT)
    return folder / "mixed.yaml"


def weights(path: Path) -> dict[str, str]:
    result = json.loads((path / "result.json").read_text())
    return {view: loss["weights_sha256"] for view, loss in result["views"].items()}


def test_a_run_is_resumed_bit_for_bit_and_holds_its_own_recipe(
    tiny: Callable[..., Done], recipe: Path, tmp_path: Path
) -> None:
    done = tiny("whole", "--steps", "8", recipe=str(recipe))
    assert done.returncode == 0, done.stderr
    found = weights(tmp_path / "whole")
    assert set(found) == {"train", "eval"}
    assert found["train"] != found["eval"]  # the head is averaged
    program = (tmp_path / "whole" / "program.txt").read_text()
    assert program.startswith("recipe mixed\n  route    kind matrix -> here\n")
    assert "program mixed_adamw (lr=" in program

    half = stopped_run(tmp_path / "half", 5, ("budget.steps", "8"), recipe=str(recipe))
    for file in recipe.parent.iterdir():  # the run holds all that the recipe was made of
        file.unlink()
    resumed = optzoo("train", "--resume", str(half), "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert weights(half) == found
    shown = optzoo("eval", str(tmp_path / "half"), "--json")
    assert shown.returncode == 0, shown.stderr
    exported = optzoo("export", str(tmp_path / "half"), "--out", str(tmp_path / "m.safetensors"))
    assert exported.returncode == 0, exported.stderr
    average = optzoo(
        *("export", str(tmp_path / "half"), "--view", "average"),
        *("--out", str(tmp_path / "a.safetensors")),
    )
    assert average.returncode == 0, average.stderr


@pytest.mark.parametrize("name", ["quick", "c4-150m"])
def test_the_plan_knows_the_parameters_of_the_model(name: str) -> None:
    setup = load_setup(name)
    planned = [
        (each.subject.name, each.subject.kinds, each.subject.rank, each.rows, each.cols)
        for each in parameters_of_setup(setup, describe_data(setup)["vocabulary"])
    ]
    model = model_without_memory(setup)
    built = [
        (what.name, what.kinds, what.rank, len(p), p.numel() // len(p))
        for what, p in subjects_of(model)
    ]
    assert sorted(planned) == sorted(built)


def test_layers_beyond_those_that_are_named_count_as_the_last() -> None:
    deep = override_setup(load_setup("quick"), {"model.layers": "2500"})
    total = sum(each.elements for each in parameters_of_setup(deep, 264))
    plan = make_plan(package.load_recipe("adamw"), deep)
    assert total == plan["parameters"]["total"]


def test_state_is_counted_rule_by_rule(recipe: Path) -> None:
    setup, mixed = load_setup("quick"), package.load_recipe(recipe)
    per_rule = {r.label: 4 * len(cost(r.trained_program()).buffers) for r in mixed.rules}
    assert per_rule == {"here": 4, "averaged": 8, "adamw": 8}
    sizes = dict.fromkeys(per_rule, 0)
    for what, parameter in subjects_of(model_without_memory(setup)):
        sizes[mixed.routing.rule_of(what, "mixed")] += parameter.numel()
    expected = sum(per_rule[rule] * size for rule, size in sizes.items())
    assert state_bytes(mixed, setup, 264) == expected
    plan = make_plan(mixed, setup)
    assert plan["memory_bytes"]["optimizer_state"] == expected
    assert [row["rule"] for row in plan["routes"]] == ["here", "averaged", "adamw"]


def test_state_that_is_not_shaped_like_its_parameter_is_counted_by_its_sides() -> None:
    setup = load_setup("quick")
    rows = package.parse_recipe(
        "name: rows\nversion: 2\nsummary: a number for each row\nreference: none\n"
        'hyperparameters: {b: {default: 0.9, in: "[0, 1)", doc: decay}}\n'
        'buffers: {v: {input: "mean(square(grad), row)", decay: b, gain: 1 - b}}\n'
        "update: grad/(sqrt(v) + 1e-8)\n"
    )
    expected = sum(4 * len(p) for _, p in subjects_of(model_without_memory(setup)))
    assert state_bytes(rows, setup, 264) == expected


def test_the_command_routes_shows_what_goes_where(recipe: Path) -> None:
    done = optzoo("routes", str(recipe), "--setup", "quick")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:4] == [
        ["route", "takes", "rule", "set"],
        ["1", "kind", "matrix", "here"],
        ["2", "name", "head.*", "averaged"],
        ["3", "anything", "adamw", "lr=lr/10,", "weight_decay=weight_decay"],
    ]
    rows = {line[0]: line[1:] for line in lines[7:]}
    assert rows["head.weight"] == ["head", "264", "x", "96", "averaged", "mixed_averaged"]
    assert rows["blocks.1.mlp_up.weight"][-2:] == ["here", "mixed"]
    found = json.loads(optzoo("routes", str(recipe), "--json").stdout)
    assert found["parameters"][0] == {
        "name": "embedding.weight",
        "kind": "embedding",
        "shape": [264, 96],
        "rule": "adamw",
        "program": "mixed_adamw",
    }
    only = recipe.with_name("only.yaml")
    only.write_text(
        TEXT.replace("  - {use: adamw, set: {lr: lr/10, weight_decay: weight_decay}}\n", "")
    )
    done = optzoo("routes", str(only))
    assert done.returncode == 2
    assert done.stderr.startswith("error: mixed has no route for `embedding.weight` (embedding, 2")
