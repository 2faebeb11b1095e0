"""A rule of another recipe, over hyperparameters of this one, is that recipe at those values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import optzoo
from optzoo.files.shipped import shipped

HOST = """\
name: host
version: 2
summary: half of its learning rate goes to another recipe
reference: none
hyperparameters:
  lr: {{default: 0.02, in: "[0, inf)", doc: learning rate}}
  q: {{default: 0.5, in: "[0, 1]", doc: share of the learning rate}}
update: grad
routes:
  - {{rank: 1, use: here}}
  - {{use: {name}, set: {{lr: q*lr}}}}
"""


def host(name: str) -> optzoo.Recipe:
    return optzoo.parse_recipe(HOST.format(name=name))


def parameters() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (2, 5)]
    return [nn.Parameter(torch.randn(s, dtype=torch.float64, generator=random)) for s in shapes]


def points(recipe: optzoo.Recipe, lr: float) -> list[list[torch.Tensor]]:
    """Return where a schedule leads, one parameter pausing, and where it is evaluated."""
    params = parameters()
    optimizer = recipe.build(params, total_steps=20, lr=lr)
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for step in range(12):
        random = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, dtype=torch.float64, generator=random)
        if step % 3:
            params[1].grad = None
        optimizer.step()
        scheduler.step()
    with optimizer.evaluation():
        evaluated = [p.detach().clone() for p in params]
    return [[p.detach() for p in params], evaluated]


@pytest.mark.parametrize("name", shipped())
def test_a_rule_is_its_recipe(name: str) -> None:
    routed, alone = points(host(name), 0.01), points(optzoo.load_recipe(name), 0.005)
    for a, b in zip(routed[0] + routed[1], alone[0] + alone[1], strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


def program(text: str, label: str) -> list[str]:
    return optzoo.parse_recipe(text).at(label).trained_program().text().splitlines()


def test_a_set_number_is_written_in_and_a_formula_is_a_line() -> None:
    lines = program(HOST.format(name="adamw"), "adamw")
    assert lines[0] == "program host_adamw (lr=0.02, q=0.5)"
    assert "  scalars  lr_adamw := q*lr" in lines
    assert "  step     m     := 0.9*m.prev + (1 - 0.9)*grad" in lines


def test_what_is_not_set_is_ours_by_name_and_else_the_rules_default() -> None:
    text = HOST.format(name="adamw").replace("set: {lr: q*lr}", "set: {beta1: q}")
    text = text.replace("  q:", '  eps: {default: 1e-6, in: "(0, inf)", doc: e}\n  q:')
    lines = program(text, "adamw")
    assert lines[0] == "program host_adamw (lr=0.02, eps=1e-06, q=0.5)"
    assert "           u     := k*m/(sqrt(v_debias*v) + eps)" in lines
    # `q` may be 1, which beta1 of adamw may not: that is looked at in each step
    assert "  scalars  beta1    := q" in lines


def test_a_decay_that_moves_is_debiased_by_what_has_gathered() -> None:
    text = HOST.format(name="adamw").replace("set: {lr: q*lr}", "set: {beta2: 1 - t**-0.8}")
    lines = program(text, "adamw")
    assert any(line.split()[:2] == ["v_left", ":="] for line in lines)


def test_names_of_the_rule_give_way_to_hyperparameters_of_the_recipe() -> None:
    text = HOST.format(name="adamw").replace(
        "  q:", '  k: {default: 3, in: "[1, 9]", doc: k}\n  q:'
    )
    text = text.replace("set: {lr: q*lr}", "set: {lr: k*lr}")
    lines = program(text, "adamw")
    assert lines[0] == "program host_adamw (lr=0.02, k=3)"
    assert any(line.split() == ["scalars", "lr_adamw", ":=", "k*lr"] for line in lines)
    assert any(line.split()[:2] == ["k_", ":="] for line in lines)


def test_a_hyperparameter_of_the_recipe_that_is_a_formula_is_spelt_out() -> None:
    recipe = optzoo.parse_recipe(HOST.format(name="adamw")).with_overrides({"q": "min(1, t/100)"})
    text = recipe.at("adamw").trained_program().text()
    assert "lr_adamw := min(1, t/100)*lr" in text


def test_zero_folds_in_every_rule() -> None:
    text = HOST.format(name="ademamix").replace("lr: q*lr", "beta1: q")
    whole = optzoo.parse_recipe(text)
    states = {s.name for s in whole.at("ademamix").trained_program().tensor_states}
    folded = whole.with_overrides({"q": 0}).at("ademamix").trained_program()
    assert states == {"m1", "m2", "v"}
    assert {s.name for s in folded.tensor_states} == {"m2", "v"}


def test_the_digest_counts_routes_and_every_rule() -> None:
    first = optzoo.parse_recipe(HOST.format(name="adamw"))
    text = first.text
    others: list[Any] = [
        optzoo.parse_recipe(text.replace("rank: 1", "rank: 0")),
        optzoo.parse_recipe(text.replace("q*lr", "q*q*lr")),
        first.with_overrides({"q": 0.25}),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 4
    assert others[2].program_digest == first.program_digest
    assert others[0].program_digest != first.program_digest
    assert optzoo.parse_recipe(text.replace("half", "a part")).digest == first.digest


@pytest.mark.parametrize("taken", ["s", "start", "found_sum", "d"])
def test_numbers_of_the_model_are_told_from_hyperparameters_of_the_same_name(taken: str) -> None:
    """Of the recipe with the routes: what is summed up reads the rule's own tensors."""
    text = HOST.format(name="prodigy").replace("  q:", f"  {taken}:").replace("q*lr", f"{taken}*lr")
    mine, own = parameters(), parameters()
    routed = optzoo.parse_recipe(text).build(mine, lr=1.0)
    plain = optzoo.load_recipe("prodigy").build(own, lr=0.5)
    random = torch.Generator().manual_seed(1)
    for _ in range(6):
        for a, b in zip(mine, own, strict=True):
            a.grad = torch.randn(a.shape, dtype=a.dtype, generator=random)
            b.grad = a.grad.clone()
        routed.step()
        plain.step()
    for a, b in zip(mine, own, strict=True):
        assert torch.equal(a, b)
