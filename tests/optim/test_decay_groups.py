"""`no_decay_groups`: the split that `optzoo train` makes, for any model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import optzoo
from optzoo.train.experiment import make_model, parameter_groups
from optzoo.train.setup.schema import load_setup


def names(groups: list[dict[str, Any]]) -> list[list[str]]:
    return [[name for name, _ in group["params"]] for group in groups]


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "tokens": nn.Embedding(5, 4),
            "mix": nn.Linear(4, 4),
            "norm": nn.LayerNorm((3, 4)),
            "head": nn.Linear(4, 5),
        }
    )


def test_it_is_the_split_of_a_run() -> None:
    setup = load_setup("quick")
    transformer = make_model(setup, 256)
    recipe = optzoo.load_recipe("adamw").with_overrides({"weight_decay": 0.1})
    of_a_run = parameter_groups(transformer, recipe, setup)
    ours = optzoo.no_decay_groups(transformer, none_for=setup.weight_decay.none_for)
    assert names(ours) == names(of_a_run)
    assert [group.get("weight_decay") for group in ours] == [None, 0.0]


def test_biases_and_norms_do_not_decay() -> None:
    found = names(optzoo.no_decay_groups(model()))
    assert found == [
        ["tokens.weight", "mix.weight", "head.weight"],
        ["mix.bias", "norm.weight", "norm.bias", "head.bias"],
    ]


def test_embeddings_and_names_may_be_left_alone_too() -> None:
    found = names(optzoo.no_decay_groups(model(), none_for=["norm", "embedding", "head.*"]))
    assert found[0] == ["mix.weight"]
    assert len(names(optzoo.no_decay_groups(model(), none_for=[]))) == 1


def test_frozen_parameters_are_left_out_and_empty_groups() -> None:
    frozen = model()
    for name, param in frozen.named_parameters():
        param.requires_grad_(name == "mix.weight")
    assert names(optzoo.no_decay_groups(frozen)) == [["mix.weight"]]


def test_a_name_that_fits_nothing() -> None:
    with pytest.raises(optzoo.InputError, match="did you mean `embedding`"):
        optzoo.no_decay_groups(model(), none_for=["embeding"])


@pytest.mark.parametrize("recipe", ["adamw", "lion", "sgd_momentum"])
def test_the_second_group_keeps_its_weights_without_gradients(recipe: str) -> None:
    net = model()
    groups = optzoo.no_decay_groups(net)
    opt = optzoo.load_recipe(recipe).build(groups, lr=0.1, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"tokens.weight", "mix.weight", "head.weight"}
