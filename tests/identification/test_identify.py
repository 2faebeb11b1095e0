"""`optzoo identify`: methods are known in any disguise, and new ones are not taken for known."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from disguises import disguise
from new_methods import NEW
from problems import RECIPES
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.equivalence.fitting.batch import UnknownOperationError
from optzoo.equivalence.search import Substitution
from optzoo.equivalence.sides import Conditions, Side, compare
from optzoo.errors import InputError
from optzoo.identification.identification import identify
from optzoo.identification.traits import possible_traits, traits_of
from optzoo.identification.wording import format_identification, sentence

COUNT = min(30, int(os.environ.get("OPTZOO_FUZZ", "6")))
"""Disguises that are tried, of the thirty of `OPTZOO_FUZZ=30`; new methods are half as many."""
PLAIN = [name for name in RECIPES if optzoo.load_recipe(name).spec.version == 1]
"""Recipes that the disguises know the language of."""
DISGUISED = [(random.Random(seed).choice(PLAIN), seed) for seed in range(COUNT)]


def again(left: optzoo.Recipe, found: Substitution, name: str) -> bool:
    """Run the proof again from what is printed."""
    settings: dict[str, float | str] = {c.name: c.text for c in found.changes}
    right = Side(optzoo.load_recipe(name).with_overrides(settings), found.lr)
    return compare(Side(left), right, Conditions(steps=6, long_steps=60)).same


@pytest.mark.parametrize(("name", "seed"), DISGUISED)
def test_a_recipe_in_disguise_is_known(name: str, seed: int) -> None:
    mine = optzoo.parse_recipe(disguise(name, seed))
    found = identify(mine)
    assert found.known, disguise(name, seed)
    names = [match.name for match in found.matches]
    assert found.name == name or name in names or found.matches[0].special == 0
    assert again(mine, found.matches[0].substitution, names[0])
    assert sentence(found).startswith(f"mine is `{names[0]}`")


@pytest.mark.parametrize("name", [*NEW][: COUNT // 2])
def test_a_new_method_is_not_taken_for_a_known_one(name: str) -> None:
    found = identify(optzoo.parse_recipe(NEW[name]))
    assert not found.known
    assert found.nearest
    text = format_identification(found, name)
    assert text.startswith(f"{name} is none of the {len(RECIPES)} shipped recipes")
    assert "what parts them" in text


def test_disguises_differ_from_the_recipe_and_from_one_another() -> None:
    texts = {disguise("ademamix", seed) for seed in range(5)}
    assert len(texts) == 5
    words = set(optzoo.parse_recipe(disguise("ademamix", 1)).hyperparameters)
    assert words & set(optzoo.load_recipe("ademamix").hyperparameters) == {"lr"}


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_is_screened_out_before_it_is_compared_with_itself(name: str) -> None:
    recipe = optzoo.load_recipe(name)
    try:
        possible_traits(recipe)
    except UnknownOperationError:  # then it is never screened out
        assert name in ("prodigy", "shampoo", "soap")
        return
    assert possible_traits(recipe).can_be(traits_of(recipe.trained_program()))


def test_traits_tell_methods_apart() -> None:
    sgd, lion, lamb, adamw = map(optzoo.load_recipe, ("sgd", "lion", "lamb", "adamw"))
    traits = {r.name: traits_of(r.trained_program()) for r in (sgd, lion, lamb, adamw)}
    assert not possible_traits(sgd).can_be(traits["lion"])  # its steps never grow
    assert not possible_traits(lion).can_be(traits["sgd"])
    assert not possible_traits(adamw).can_be(traits["lamb"])  # it looks at whole tensors


HEAD = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  rate: {default: 2e-3, in: "[0, inf)", doc: learning rate}
  a: {default: 0.15, in: "(0, 1]", doc: what is new}
  tau: {default: 30, in: "[1, inf)", doc: a time}
scalars:
  q: exp(-1/tau)
  k: 1/(1 - (1 - a)**t)
buffers: {mom: {input: 3*grad, decay: 1 - a, gain: a}}
preconditioner: {rms: {of: grad, decay: q, eps: 1e-8}}
order: momentum_first
"""


def test_formulas_in_the_recipes_own_letters_are_named() -> None:
    found = identify(optzoo.parse_recipe(HEAD + "update: {mix: {mom: rate/3*k}}\n"))
    assert found.name == "adamw"
    text = format_identification(found, "mine.yaml")
    assert "beta1 = 0.85 = 1 - a of mine" in text
    assert "beta2 = exp(-1/30) = exp(-1/tau) of mine" in text
    assert "lr = 0.002 = rate of mine" in text


WARMED = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 2e-3, in: "[0, inf)", doc: learning rate}
  a: {default: 0.15, in: "(0, 1]", doc: pace of the warmup}
update: {mix: {grad: 5*(1 - (1 - a)**t)}}
"""


def test_a_learning_rate_of_another_shape_is_said() -> None:
    found = identify(optzoo.parse_recipe(WARMED))
    assert found.name == "sgd"
    assert found.matches[0].lr_moves
    assert sentence(found) == (
        "mine is `sgd` up to its learning rate, which is lr*5*(1 - (1 - a)**t)"
    )


def test_only_the_iterates_may_be_those_of_a_known_method() -> None:
    text = HEAD + "update: {mix: {mom: rate/3*k}}\nevaluate: param - 0.01*mom\n"
    found = identify(optzoo.parse_recipe(text))
    assert found.name == "adamw"
    assert found.evaluated_elsewhere
    assert "evaluated at another point" in sentence(found)
    assert identify(optzoo.parse_recipe(text), iterates_only=True).name == "adamw"


def test_what_a_new_method_contains_is_named_with_the_setting() -> None:
    text = HEAD.replace("  tau:", '  nu: {default: 0.3, in: "[0, 1]", doc: share}\n  tau:')
    text += "signals: {s: sign(mom.prev)}\nupdate: {mix: {mom: rate/3*k, s: nu}}\n"
    found = identify(optzoo.parse_recipe(text))
    assert not found.known
    assert "adamw" in [match.name for match in found.contained]
    assert "becomes `" in sentence(found)


def test_a_name_is_the_simplest_of_equal_methods() -> None:
    """signum is lion where its decays are equal, sgd_momentum is qhm at nu = 1."""
    for name in ("signum", "sgd", "sgd_momentum", "adamw"):
        assert identify(optzoo.load_recipe(name)).name == name


# ------------------------------------------------------------------ the command


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "update: {mix: {mom: rate/3*k}}\n")
    result = CliRunner().invoke(app, ["identify", str(path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].startswith("mine is `adamw` with beta1 = 0.85")
    command = result.output.splitlines()[-1].removeprefix("proof: optzoo ")
    import shlex

    assert CliRunner().invoke(app, shlex.split(command)).exit_code == 0
    found = json.loads(CliRunner().invoke(app, ["identify", str(path), "--json"]).stdout)
    assert found["name"] == "adamw"
    assert found["matches"][0]["formulas"]["beta1"] == "1 - a"
    assert found["sentence"] == result.output.splitlines()[0]


def test_exit_codes_and_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(NEW["two_signs"])
    assert CliRunner().invoke(app, ["identify", str(path), "--quiet"]).exit_code == 1
    for arguments in (["nothing_such"], ["lion", "--set", "beta9=1"]):
        result = CliRunner().invoke(app, ["identify", *arguments])
        assert isinstance(result.exception, InputError)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, optzoo; optzoo.identify(optzoo.load_recipe('sgd'));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
