"""The way of a condition that is not taken needs no value, wherever a program is read or run."""

from __future__ import annotations

import math

import pytest
import torch

import optzoo
from optzoo.description.description import describe
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import equivalence
from optzoo.program.bounds.ranges import interval_of
from optzoo.program.expressions import Name
from optzoo.program.intervals import Interval
from optzoo.program.parsing import parse_expression

ENGINES = ("reference", "foreach", "compiled")
HEAD = """
name: mine
version: 2
summary: ways
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: learning rate}
"""
SPARED = (
    "where(t == 1, 1, 1/(t - 1))",
    "where(t > 1, 1/(t - 1), 1)",
    "where(1 - (t < 2), 1/(t - 1), 1)",
    "where((t > 1)*(t < 9), 1/(t - 1), 1)",
    "where(max(t == 1, T < 3), 1, 1/(t - 1))",
    "where(t > 1, exp(-log(t - 1)), 1)",
    "where(t > 1, (t - 1)**(-1), 1)",
    "where(t == 1, 1, where(t < 3, 1/(t - 1), sqrt(t - 2)/((t - 1)*sqrt(t - 2))))",
)
LINES = (
    "update: {{mix: 'grad*({0})'}}",
    "scalars: {{k: '{0}'}}\nupdate: {{mix: k*grad}}",
    "update: {{mix: '{1}'}}",
    "update: {{mix: '({1}) + 0*mean(grad, row)'}}",
    "update: {{mix: '({1})*(norm(grad) + 1)/(norm(grad) + 1)'}}",
)


def on_gradient(text: str) -> str:
    """Return the same with the gradient inside its ways, which are then tensors."""
    if text.startswith("where(t == 1, 1, "):
        return f"where(t == 1, grad, grad*({text[17:-1]}))"
    if text.startswith("where(max("):
        return "where(max(t == 1, T < 3), grad, grad/(t - 1))"
    condition, way = text.removeprefix("where(").removesuffix(", 1)").split(", ", 1)
    return f"where({condition}, grad*{way}, grad)"


def recipe_of(line: str, text: str) -> optzoo.Recipe:
    return optzoo.parse_recipe(HEAD + line.format(text, on_gradient(text)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", SPARED)
def test_what_is_spared_may_have_no_value(text: str, engine: str) -> None:
    for line in LINES:
        param = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
        optimizer = recipe_of(line, text).build([param], engine=engine, total_steps=8)
        wanted = 1.0
        for t in range(1, 5):
            param.grad = torch.full_like(param, 2.0)
            optimizer.step()
            wanted -= 2.0 * (1 if t == 1 else 1 / (t - 1))
            assert torch.allclose(param, torch.full_like(param, wanted), rtol=0, atol=1e-14), line


@pytest.mark.parametrize("text", SPARED)
def test_descriptions_spare_it_too(text: str) -> None:
    for line in LINES[:3]:
        recipe = recipe_of(line, text)
        assert describe(recipe, total_steps=8, at=(1, 2, 3)).sentence
        short = Conditions(steps=6, long_steps=0)
        assert equivalence(recipe, recipe, conditions=short, search=False).same


@pytest.mark.parametrize(
    "text",
    [
        "where(t > 0, 1/(t - 1), 1)",
        "where(t < 5, 1/(t - 1), 1)",
        "where(t == 2, 1, 1/(t - 1))",
        "where(t > 1, 1, 1/(t - 1))",
        "where((t > 1)*(grad > 0), 1/(t - 1), 1)",
        "where(max(t > 1, T > 5), 1/(t - 1), 1)",
        "where(1 - (t > 1), 1/(t - 1), 1)",
        "where(grad > 0, 1/grad, 0)",
    ],
)
def test_a_condition_that_does_not_spare_is_no_excuse(text: str) -> None:
    with pytest.raises(optzoo.InputError, match="which can be 0"):
        optzoo.parse_recipe(f"{HEAD}update: {{mix: 'grad*({text})'}}")


def test_what_is_taken_has_to_have_a_value() -> None:
    recipe = optzoo.parse_recipe(f"{HEAD}update: {{mix: 'where(t > 2, sqrt(3.5 - t)*grad, grad)'}}")
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = recipe.build([param], engine="foreach")
    for _ in range(3):
        param.grad = torch.ones(2)
        optimizer.step()
    before = param.detach().clone()
    with pytest.raises(optzoo.RunError, match="at step 4"):
        optimizer.step()
    assert torch.equal(param, before)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("where(t > 4, t, 9)", 4.0, math.inf),
        ("where(t < 4, t, 2)", 1.0, 4.0),
        ("where(t == 3, t, 3)", 3.0, 3.0),
        ("where(1 - (t < 4), t, 5)", 4.0, math.inf),
        ("where((t > 2)*(t < 4), t, 3)", 2.0, 4.0),
        ("where(x > 0, x, 0)", 0.0, 1.0),
        ("where(0, x, 5)", 5.0, 5.0),
        ("where(1 - max(t > 1, 2), t, 7)", 1.0, math.inf),  # no condition that is 0 or 1
    ],
)
def test_names_are_narrowed_by_conditions(text: str, low: float, high: float) -> None:
    names = {Name("t"): Interval(1, math.inf, False, True), Name("x"): Interval(-1, 1)}
    found = interval_of(parse_expression(text), names)
    assert (found.low, found.high) == (low, high)


def test_nested_conditions_are_looked_at_once() -> None:
    text = "1"
    for _ in range(18):
        text = f"where({text} > 0, 1, 0)"
    assert interval_of(parse_expression(text), {}).high == 1
