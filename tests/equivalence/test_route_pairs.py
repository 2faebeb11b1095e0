"""equiv, convert and describe of recipes with routes: rule by rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.description.description import describe, describe_rules
from optzoo.description.output.page import format_markdown
from optzoo.equivalence.conversion import convert_to_accelerated, convert_to_recipe
from optzoo.equivalence.route_pairs import format_comparison, paired_rules, routed_equivalence

HEAD = (
    "name: {name}\nversion: 2\nsummary: a recipe with routes\nreference: none\n"
    "extends: sgd\nroutes:\n"
)
ADAMW = "  - {kind: [embedding, head, norm, bias], use: adamw, set: {lr: lr/10, weight_decay: 0}}\n"
MATRIX = "  - {kind: matrix, use: here}\n"


def recipe(routes: str, name: str = "mine") -> optzoo.Recipe:
    return optzoo.parse_recipe(HEAD.format(name=name) + routes, f"{name}.yaml")


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_the_same_routes_are_pairs() -> None:
    a, b = recipe(MATRIX + ADAMW), recipe(MATRIX + ADAMW.replace("lr/10", "0.1*lr"), "other")
    found = routed_equivalence(a, b)
    assert found.same
    assert [(p.takes, p.left, p.right) for p in found.pairs] == [
        ("kind matrix", "here", "here"),
        ("kind embedding, head, norm, bias", "adamw", "adamw"),
    ]
    other = routed_equivalence(a, recipe(MATRIX + ADAMW.replace("lr/10", "lr/9")))
    assert [pair.verdict.same for pair in other.pairs] == [True, False]
    assert not other.same


def test_routes_by_kind_are_compared_kind_by_kind() -> None:
    a = recipe(MATRIX + ADAMW)
    b = recipe(MATRIX + "  - {kind: head, use: lion}\n  - {use: adamw}\n")
    assert paired_rules(a, b) == [
        ("kind matrix", "here", "here"),
        ("kind embedding, norm, bias", "adamw", "adamw"),
        ("kind head", "adamw", "lion"),
    ]


def test_a_recipe_without_routes_meets_every_route() -> None:
    a = recipe(MATRIX + "  - {use: adamw}\n")
    found = routed_equivalence(a, optzoo.load_recipe("sgd"))
    assert [(p.takes, p.right, p.verdict.same) for p in found.pairs] == [
        ("kind matrix", "here", True),
        ("anything", "here", False),
    ]
    assert [p.left for p in routed_equivalence(optzoo.load_recipe("sgd"), a).pairs] == ["here"] * 2


def test_routes_that_cannot_be_told_to_take_the_same_are_refused() -> None:
    a = recipe("  - {name: '*.q', use: here}\n  - {use: adamw}\n")
    with pytest.raises(optzoo.InputError, match="the routes of mine and other ask for different"):
        paired_rules(a, recipe(MATRIX + ADAMW, "other"))
    with pytest.raises(optzoo.InputError, match="mine has no route for the kind head, and the"):
        paired_rules(
            recipe(MATRIX + "  - {kind: [norm, bias, embedding], use: adamw}\n"),
            recipe(MATRIX + ADAMW, "b"),
        )


def test_the_commands_go_route_by_route(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD.format(name="mine") + MATRIX + ADAMW)
    code, text = run("equiv", str(path), "sgd")
    assert code == 1
    assert text.startswith(
        "different, route by route: mine and sgd\n\nkind matrix (here of mine, here of sgd)\n"
    )
    assert "\n  same: mine and sgd have the same iterates" in text
    code, text = run("equiv", str(path), str(path), "--json")
    assert code == 0
    assert [row["right"] for row in json.loads(text)["routes"]] == ["here", "adamw"]
    code, text = run("describe", str(path))
    assert text.startswith("mine: a recipe with routes\n\nroute  takes")
    assert "\nrule here: a recipe with routes\n" in text
    assert "\nrule adamw: Adam with decoupled weight decay\n" in text
    assert "  eta_a(t)   = 0.01*lr/(1 - 0.9**t)\n" in text
    code, text = run("describe", str(path), "--json")
    assert list(json.loads(text)["rules"]) == ["here", "adamw"]
    code, text = run("describe", str(path), "--latex")
    assert text.count(r"\paragraph{") == 2
    code, text = run("show", str(path), "--program")
    assert text.startswith("route  takes")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("program")] == [
        "mine",
        "mine_adamw",
    ]
    assert run("show", str(path)) == (0, path.read_text())
    code, text = run("show", str(path), "--resolved")
    assert optzoo.parse_recipe(text).digest == optzoo.load_recipe(path).digest
    code, text = run("validate", str(path))
    assert text == f"ok  {path}: mine, routes: 2, buffers by rule: here 0, adamw 2\n"


def test_the_page_has_a_section_for_each_rule() -> None:
    mine = recipe(MATRIX + ADAMW)
    page = format_markdown(*describe_rules(mine))
    heads = [line for line in page.splitlines() if line.startswith("#")]
    assert heads == [
        "# mine",
        "## Routes",
        "## rule here: a recipe with routes",
        "### Step",
        "### As accelerated SGD",
        "## rule adamw: Adam with decoupled weight decay",
        "### Step",
        "### As accelerated SGD",
        "## Recipe",
    ]
    assert describe(mine).recipe.label == "here"


def test_one_rule_at_a_time_is_converted() -> None:
    mine = recipe(MATRIX + ADAMW)
    with pytest.raises(optzoo.InputError, match="mine has routes, and one rule at a time"):
        convert_to_accelerated(mine)
    with pytest.raises(optzoo.InputError, match="mine has routes, and one rule at a time"):
        convert_to_recipe(optzoo.load_recipe("sgd"), mine, total_steps=100)


def test_a_filter_that_is_linear_is_converted(tmp_path: Path) -> None:
    mine = optzoo.parse_recipe(
        "name: mine\nversion: 2\nextends: sgd_momentum\nupdate: 2*direction + grad\n"
    )
    found = convert_to_accelerated(mine)
    assert found.verdict.same
    assert found.recipe.spec.direction is None


def test_a_copy_of_a_recipe_elsewhere_has_its_files_written_in(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\nversion: 2\nextends: adamw\n")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "name: mine\nversion: 2\nextends: base.yaml\nhyperparameters: {eps: {default: 1e-6}}\n"
    )
    (tmp_path / "far").mkdir()
    code, _ = run("new", "copy", "--from", str(mine), "-o", str(tmp_path / "far" / "copy.yaml"))
    assert code == 0
    copied = optzoo.load_recipe(tmp_path / "far" / "copy.yaml")
    assert (copied.name, copied.hyperparameters["eps"].default) == ("copy", 1e-6)
    code, _ = run("new", "near", "--from", str(mine), "-o", str(tmp_path / "near.yaml"))
    assert "extends: base.yaml" in (tmp_path / "near.yaml").read_text()


def test_a_sum_and_an_average_before_polar_differ_by_its_eps_alone() -> None:
    text = "name: summed\nversion: 2\nsummary: a sum\nreference: none\nextends: muon\n"
    summed = text + "buffers: {m: {gain: 1}}\nupdate: {mix: {m: mu, grad: 1}}\n"
    found = routed_equivalence(optzoo.load_recipe("muon"), optzoo.parse_recipe(summed))
    matrix, rest = found.pairs
    assert rest.verdict.same
    assert not matrix.verdict.same
    assert matrix.verdict.unguarded is not None
    shown = format_comparison(found, ["muon", "summed"])
    assert shown.startswith("the same but for the eps inside `polar`, route by route: muon")
    assert "with that eps at 0: equal to 40 digits" in shown
    assert matrix.verdict.to_json()["same_without_polar_eps"]
    other = summed.replace("grad: 1}", "grad: 2}")
    found = routed_equivalence(optzoo.load_recipe("muon"), optzoo.parse_recipe(other))
    assert found.pairs[0].verdict.unguarded is None
    assert format_comparison(found, ["muon", "summed"]).startswith("different, route by route")
