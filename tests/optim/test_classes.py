"""The classes of `optzoo.optim`: made from the recipes, named as the field names them."""

from __future__ import annotations

import importlib
import inspect
import pickle
from typing import Any

import pytest
import torch
from problems import RECIPES
from torch import nn

import optzoo
import optzoo.optim
from optzoo.optim.classes import optimizer_class
from optzoo.optim.stub import stub_file, stub_text
from optzoo.optim.surface import class_name

TOTAL = 20


def parameters() -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in ((3, 2), (4,))]


def trained(opt: Any, params: list[nn.Parameter]) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw)
        opt.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("name", RECIPES)
def test_a_class_is_its_recipe(name: str) -> None:
    recipe = optzoo.load_recipe(name)
    made = getattr(optzoo.optim, class_name(recipe))
    known = inspect.signature(made).parameters
    said = " ".join(made.__doc__.split())
    for knob in recipe.hyperparameters.values():
        assert known[knob.name].default == knob.default
        assert f"    {knob.name} = " in made.__doc__
        assert f", in {knob.interval}: {knob.doc}" in said
    assert list(known)[:2] == ["params", "lr"]
    assert recipe.spec.summary in made.__doc__
    ours, theirs = parameters(), parameters()
    opt = made(ours, lr=0.01, total_steps=TOTAL)
    assert isinstance(opt, made)
    assert isinstance(opt, optzoo.RecipeOptimizer)
    assert repr(opt).startswith(class_name(recipe))
    built = recipe.build(theirs, lr=0.01, total_steps=TOTAL)
    for a, b in zip(trained(opt, ours), trained(built, theirs), strict=True):
        assert torch.equal(a, b)
    built.load_state_dict(opt.state_dict())  # one and the same to whoever holds a state


@pytest.mark.parametrize("name", RECIPES)
def test_a_title_spells_the_name(name: str) -> None:
    """So a class is found by its name without reading every recipe."""
    assert class_name(optzoo.load_recipe(name)).lower() == name.replace("_", "")


def test_names_are_those_of_the_field() -> None:
    names = set(optzoo.optim.__all__)
    assert {"AdamW", "AdEMAMix", "ScheduleFreeAdamW", "LaProp", "MARS", "NAdam", "RMSprop"} <= names
    assert {"SimplifiedAdEMAMix", "SGDNesterov", "QHAdam", "Lion", "ADOPT", "AMSGrad"} <= names
    assert len(names) == len(RECIPES)
    assert names <= set(dir(optzoo.optim))


def test_a_user_imports_by_name_and_all() -> None:
    found: dict[str, Any] = {}
    exec("from optzoo.optim import *\nfrom optzoo.optim import AdEMAMix as one", found)
    assert found["one"] is found["AdEMAMix"] is optzoo.optim.AdEMAMix


def test_hydra_finds_a_class_by_its_dotted_path() -> None:
    module, _, name = "optzoo.optim.ScheduleFreeAdamW".rpartition(".")
    target = getattr(importlib.import_module(module), name)
    config = {"lr": 2e-3, "weight_decay": 0.1}
    opt = target(params=parameters(), **config)
    assert opt.param_groups[0]["lr"] == 2e-3


def test_classes_and_instances_are_pickled_by_name() -> None:
    cls = optzoo.optim.Lion
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert cls.__module__ == "optzoo.optim"
    params = parameters()
    opt = cls(params, lr=1e-3)
    trained(opt, params)
    again = pickle.loads(pickle.dumps(opt))
    assert type(again) is cls
    assert again.param_groups[0]["lr"] == 1e-3


def test_what_frameworks_pass_to_every_optimizer_of_torch() -> None:
    """torchtitan and Trainer pass `betas`, `fused`, `foreach`; Lightning and Axolotl a few more."""
    params = parameters()
    opt = optzoo.optim.AdamW(
        params, lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, fused=True, foreach=False,
        amsgrad=False, capturable=False, differentiable=False,
    )  # fmt: skip
    group = opt.param_groups[0]
    assert (group["beta1"], group["beta2"], group["eps"]) == (0.8, 0.95, 1e-6)
    up, down = parameters(), parameters()
    rising = optzoo.optim.SGD(up, lr=0.1, maximize=True)
    falling = optzoo.optim.SGD(down, lr=0.1)
    start = parameters()
    for a, b, c in zip(trained(rising, up), trained(falling, down), start, strict=True):
        torch.testing.assert_close(a - c, c - b)


def test_groups_and_positions_are_torchs() -> None:
    first, second = parameters()
    opt = optzoo.optim.AdamW([{"params": [first], "lr": 1e-4}, {"params": [second]}], 1e-2, 0.8)
    assert [group["lr"] for group in opt.param_groups] == [1e-4, 1e-2]
    assert opt.param_groups[0]["beta1"] == 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bata1": 0.8}, "did you mean `beta1`?"),
        ({"beta1": 1.5}, "outside"),
        ({"amsgrad": True}, "has no such option"),
        ({"betas": (0.9,)}, "`betas` in a group lists 1 numbers"),
        ({"betas": (0.9, 0.99), "beta1": 0.8}, "disagree"),
        ({"momentum": 0.9}, "has no such option"),
    ],
)
def test_what_a_recipe_cannot_obey_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(optzoo.InputError, match=message.replace("?", r"\?")):
        optzoo.optim.AdamW(parameters(), **options)


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="did you mean AdEMAMix"):
        optzoo.optim.AdemaMix  # noqa: B018
    with pytest.raises(ImportError):
        exec("from optzoo.optim import Nonsense")


def test_a_recipe_of_ones_own_has_a_class_too() -> None:
    text = optzoo.load_recipe("lion").text.replace("name: lion", "name: my_lion")
    made = optimizer_class(optzoo.parse_recipe(text))
    assert made.__name__ == "MyLion"
    assert made(parameters(), lr=1e-3).recipe.name == "my_lion"


def test_the_types_are_up_to_date() -> None:
    path = stub_file()
    assert path is not None
    command = "optzoo describe --all docs/recipes"
    assert path.exists(), f"{path} is missing; write it: {command}"
    assert path.read_text(encoding="utf-8") == stub_text(), f"write the types anew: {command}"


def test_an_installed_package_has_no_types_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optzoo.optim.stub.checkout", lambda: None)
    assert stub_file() is None
