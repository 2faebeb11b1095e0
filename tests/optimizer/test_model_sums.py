"""Numbers of the whole model: over the parameters that take the rule, whatever their group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optzoo

FAR = """
name: far
version: 2
summary: two sums, of which a group may not need one
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  c:  {default: 1, in: "[0, inf)", doc: weight of the parameters}
model:
  far:     {sum: "sum(square(param), model)"}
  squares: {sum: "sum(square(grad), model)"}
update: {mix: grad, scale: "lr/(1 + max(0, c*far) + max(0, squares))"}
"""
DOG = """
name: dog
version: 2
summary: the rate is the distance over the root of the squares
reference: none
hyperparameters:
  lr:    {default: 1, in: "[0, inf)", doc: multiplies the rate}
  first: {default: 1e-3, in: "(0, inf)", doc: distance before the first step}
model:
  distance: {max: "sqrt(sum(square(param - start.prev), model))", start: first}
  squares:  {sum: "sum(square(grad), model)"}
buffers:
  start: {input: start.prev, decay: 0, gain: 1, init: param}
update: {mix: grad, scale: "lr*ratio(distance, sqrt(squares))"}
"""
ROUTES = """
routes:
  - {name: "0.*", use: prodigy, set: {weight_decay: 0}}
  - {name: "2.*", use: prodigy, set: {weight_decay: 0.1, lr: 0.5*lr}}
  - {use: here}
"""


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)).double()


def learn(model: nn.Module, *optimizers: Any, steps: int = 6) -> None:
    for step in range(steps):
        random = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, generator=random, dtype=torch.float64)
        model.zero_grad()
        model(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_each_rule_has_numbers_of_its_own() -> None:
    """Two routes to one recipe are two rules: each sums up what it takes, as if it were alone."""
    routed, apart = make_model(), make_model()
    learn(routed, optzoo.parse_recipe(DOG + ROUTES).build(routed))
    prodigy = optzoo.load_recipe("prodigy")
    learn(
        apart,
        prodigy.build(apart[0].parameters(), weight_decay=0),
        optzoo.parse_recipe(DOG).build(apart[1].parameters()),
        prodigy.build(apart[2].parameters(), weight_decay=0.1, lr=0.5),
    )
    for a, b in zip(routed.parameters(), apart.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_group_that_needs_no_sum_is_part_of_it_all_the_same(first: float) -> None:
    """With c = 0 nothing of a group depends on `far`, and that of the others counts the group."""
    model, plain = make_model(), make_model()
    weights = (first, 1.0 - first)
    parts = [list(model[0].parameters()), list(model[1:].parameters())]
    groups = [{"params": part, "c": c} for part, c in zip(parts, weights, strict=True)]
    learn(model, optzoo.parse_recipe(FAR).build(groups))

    far = squares = 0.0

    class ByHand:
        def step(self) -> None:
            nonlocal far, squares
            far += sum(float(p.detach().square().sum()) for p in plain.parameters())
            squares += sum(float(grad(p).square().sum()) for p in plain.parameters())
            for i, layer in enumerate(plain):
                rate = 0.1 / (1 + weights[min(i, 1)] * far + squares)
                for p in layer.parameters():
                    p.data -= rate * grad(p)

    learn(plain, ByHand())
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_a_parameter_without_a_gradient_has_no_part_in_the_sum() -> None:
    model, alone = make_model(), make_model()
    for frozen in (model[0], alone[0]):
        frozen.requires_grad_(False)
    recipe = optzoo.parse_recipe(DOG)
    learn(model, recipe.build(model.parameters()))
    learn(alone, recipe.build(alone[1:].parameters()))
    for a, b in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a, b)
