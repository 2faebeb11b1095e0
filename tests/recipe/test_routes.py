"""Routes and parts: what takes what, and what is wrong with them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import optzoo
from optzoo.recipe.routes import Subject
from optzoo.recipe.schema import KINDS

HEAD = """\
name: mine
version: 2
summary: a recipe with routes
reference: none
extends: sgd_momentum
"""
PARTS = """\
parts:
  plain: {buffers: {m: null}, scalars: {later: null}, update: grad}
  double: {update: 2*direction}
"""


def recipe(routes: str, parts: str = "") -> optzoo.Recipe:
    return optzoo.parse_recipe(HEAD + "routes:\n" + routes + parts)


def fails(routes: str, parts: str = "") -> str:
    with pytest.raises(optzoo.InputError) as caught:
        recipe(routes, parts)
    return str(caught.value)


def rule(found: optzoo.Recipe, name: str | None, kind: str, rank: int) -> str:
    return found.routing.rule_of(Subject(name, (kind,), rank), found.name)


def test_the_first_route_that_fits_counts() -> None:
    found = recipe(
        '  - {name: ["*.q", "*.k"], use: plain}\n'
        "  - {kind: [matrix, head], rank: 2, use: here}\n"
        "  - {kind: matrix, use: double}\n"
        "  - {use: adamw}\n",
        PARTS,
    )
    assert rule(found, "a.q", "matrix", 2) == "plain"
    assert rule(found, "a.q.b", "matrix", 2) == "here"
    assert rule(found, "a.Q", "matrix", 3) == "double"
    assert rule(found, "a.b", "head", 2) == "here"
    assert rule(found, "a.b", "head", 3) == "adamw"
    assert rule(found, None, "matrix", 2) == "here"
    assert [r.label for r in found.rules] == ["plain", "here", "double", "adamw"]


def test_a_bare_vector_is_a_norm_or_a_bias() -> None:
    found = recipe(
        "  - {kind: bias, use: here}\n  - {kind: norm, use: plain}\n", PARTS.split("  d")[0]
    )
    vector = Subject(None, ("norm", "bias"), 1)
    assert found.routing.rule_of(vector, "mine") == "here"


def test_what_no_route_takes_is_an_error_with_all_routes() -> None:
    found = recipe("  - {kind: matrix, use: here}\n  - {kind: head, rank: [2, 3], use: adamw}\n")
    with pytest.raises(optzoo.InputError) as caught:
        rule(found, "wte.weight", "embedding", 2)
    assert str(caught.value) == (
        "error: mine has no route for `wte.weight` (embedding, 2 axes)\n\n"
        "hint: routes: kind matrix -> here; kind head and rank 2, 3 -> adamw"
    )
    with pytest.raises(optzoo.InputError) as caught:
        found.routing.rule_of(Subject(None, ("norm", "bias"), 1), "mine")
    assert "no route for a parameter without a name (norm or bias, 1 axis)" in str(caught.value)
    assert "`recipe.build(model)`" in str(caught.value)


def test_rules_are_told_apart_by_what_they_set() -> None:
    found = recipe(
        "  - {kind: matrix, use: here}\n"
        "  - {kind: head, use: adamw, set: {beta2: 0.95}}\n"
        "  - {kind: norm, use: adamw}\n"
        "  - {kind: bias, use: adamw, set: {beta2: 0.95}}\n"
        "  - {kind: embedding, use: here, set: {weight_decay: 0}}\n"
    )
    assert [route.rule for route in found.routing.routes] == [
        "here",
        "adamw",
        "adamw_2",
        "adamw",
        "here_2",
    ]
    undecayed = found.with_overrides({"weight_decay": 0.1}).at("here_2").trained_program()
    assert [h.name for h in undecayed.hypers] == ["lr", "momentum"]


def test_a_part_is_the_recipe_with_changes() -> None:
    found = recipe(
        "  - {kind: matrix, use: here}\n  - {kind: head, use: plain}\n  - {use: double}\n", PARTS
    )
    assert [str(line) for line in found.at("plain").trained_program().step] == [
        "param := param.prev - lr*grad"
    ]
    doubled = found.at("double").program()
    assert [str(line) for line in doubled.step][-2:] == [
        "u := 2*direction",
        "param := param.prev - lr*u",
    ]
    assert (doubled.name, found.program().name) == ("mine_double", "mine")


def test_children_inherit_routes_and_parts_and_change_them(tmp_path: Path) -> None:
    three = "  - {kind: matrix, use: here}\n  - {kind: head, use: plain}\n  - {use: double}\n"
    (tmp_path / "base.yaml").write_text(f"{HEAD}routes:\n{three}{PARTS}")
    child = "name: child\nversion: 2\nextends: base.yaml\nbuffers: {m: {gain: 1}}\n"
    child += "scalars: {later: null}\n"
    child += "parts:\n  double: {update: 3*direction, buffers: {m: {gain: 2}}}\n"
    (tmp_path / "child.yaml").write_text(child)
    found = optzoo.load_recipe(tmp_path / "child.yaml")
    assert [r.label for r in found.rules] == ["here", "plain", "double"]
    assert "m := momentum*m.prev + g" in map(str, found.program().step)
    assert [str(line) for line in found.at("double").program().step][1:4] == [
        "m := momentum*m.prev + 2*g",
        "direction := m",
        "u := 3*direction",
    ]
    assert "buffers" not in optzoo.load_recipe(tmp_path / "base.yaml").spec.parts["double"]
    less = child.replace("parts:", "routes: [{use: double}]\nparts:\n  plain: null")
    (tmp_path / "child.yaml").write_text(less)
    assert list(optzoo.load_recipe(tmp_path / "child.yaml").spec.parts) == ["double"]


def test_a_recipe_may_be_written_in_place() -> None:
    whole = recipe("  - {kind: matrix, use: here}\n  - {use: adamw, set: {lr: lr/10}}\n")
    again = optzoo.parse_recipe(whole.to_yaml())
    assert "reference: Loshchilov" in whole.to_yaml()
    assert again.digest == whole.digest
    assert again.identity() == whole.identity()


MATRIX = "  - {kind: matrix, use: here}\n"
MISTAKES = {
    "no such kind": (
        "  - {kind: matrx, use: here}\n",
        "7:12: `routes.0.kind`: `matrx` is not allowed",
    ),
    "no such rule": (
        "  - {use: heer}\n",
        "7:11: `heer` is neither `here`, nor a part, nor a shipped",
    ),
    "no rule": ("  - {kind: matrix}\n", "7:5: `routes.0` lacks the key `use`"),
    "a number": (
        "  - {use: 3}\n",
        "7:11: `routes.0.use`: expected `here`, a part or a recipe, not `3`",
    ),
    "never reached": (
        MATRIX + "  - {kind: matrix, rank: 2, use: lion}\n",
        "8:5: this route is never reached: route 1 takes kind matrix before",
    ),
    "after all": (
        "  - {use: here}\n  - {kind: matrix, use: lion}\n",
        "8:5: this route is never reached: route 1 takes anything before",
    ),
    "set what is not there": (
        MATRIX + "  - {use: adamw, set: {betta1: 0.9}}\n",
        "8:24: `betta1` is not a hyperparameter of adamw",
    ),
    "set from nowhere": (
        MATRIX + "  - {use: adamw, set: {beta1: mu}}\n",
        "8:31: `set` reads hyperparameters of mine, `t` and `T`, not `mu`",
    ),
    "set out of range": (
        MATRIX + "  - {use: adamw, set: {beta1: 2}}\n",
        "8:31: `beta1` of adamw: 2 is outside [0, 1)",
    ),
    "set to nothing": (
        MATRIX + "  - {use: adamw, set: {beta1: 1 +}}\n",
        "8:31: `routes.1.set.beta1`: ",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_routes(name: str) -> None:
    routes, message = MISTAKES[name]
    text = fails(routes)
    assert f"<recipe>:{message}" in text
    assert text.count("error:") == 1


def part(text: str) -> str:
    return fails(MATRIX + "  - {use: p}\n", f"parts:\n  p: {text}\n")


def test_mistakes_of_parts() -> None:
    text = part("{hyperparameters: {x: 1}, update: grad}")
    assert "<recipe>:10:7: `hyperparameters` cannot be changed by the part `p`" in text
    assert "give it another value in a route's `set`" in text
    assert "<recipe>:10:22: `zz` is not a hyperparameter" in part("{update: grad + zz}")
    assert "`later` would be a buffer, and is a scalar of mine" in part(
        "{buffers: {later: {input: grad, decay: 0, gain: 1}}}"
    )
    assert "<recipe>:10:7: `updat` is not a key of the file" in part("{updat: grad}")
    text = fails(MATRIX, "parts:\n  p: {update: grad}\n")
    assert "<recipe>:9:3: no route uses the part `p`" in text
    assert "<recipe>:10:17: division by `lr`, which can be 0" in part("{update: m/lr}")
    text = part("{update: grad}")
    assert "<recipe>:10:3: the buffer `m` never reaches `param` or a view after these" in text
    assert text.endswith("hint: use it, or remove it: `buffers: {m: null}`")


def test_every_kind_meets_its_route() -> None:
    routes = "".join(f"  - {{kind: {kind}, use: here}}\n" for kind in KINDS)
    found = recipe(routes)
    for kind, rank in itertools.product(KINDS, range(4)):
        assert rule(found, "x", kind, rank) == "here"
