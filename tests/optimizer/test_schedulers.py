"""Schedulers that cycle momentum with their defaults, and monitors that read what they moved."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loops import assert_same, build, copies, parameters, run
from torch.optim import lr_scheduler

import optzoo
from optzoo.files.shipped import shipped

CYCLES: dict[str, Callable[[Any], Any]] = {
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 1e-2, total_steps=20),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, step_size_up=4),
}


def decay_of(group: dict[str, Any]) -> float:
    """What Lightning's and others' monitors read."""
    return float(group["betas"][0] if "betas" in group else group["momentum"])


def build_any(name: str, params: Any) -> Any:
    knobs = {"lr": 1e-2} if "lr" in optzoo.load_recipe(name).spec.hyperparameters else {}
    return optzoo.load_recipe(name).build(params, total_steps=20, **knobs)


@pytest.mark.parametrize("kind", CYCLES)
@pytest.mark.parametrize("name", shipped())
def test_every_recipe_takes_them_with_their_defaults(name: str, kind: str) -> None:
    """The recipe's first decay is cycled, or a warning says that nothing is."""
    params = parameters()
    opt = build_any(name, params)
    knobs = optzoo.load_recipe(name).hyperparameters
    before = {n: opt.param_groups[0][n] for n in knobs if n != "lr"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scheduler = CYCLES[kind](opt)
        for step in range(6):
            run(opt, params, [step])
            scheduler.step()
    after = {n: opt.param_groups[0][n] for n in before}
    moved = [n for n in before if before[n] != after[n]]
    told = [str(w.message) for w in said if "it is not cycled" in str(w.message)]
    first = next((n for n in ("momentum", "beta", "beta1") if n in moved), None)
    assert (moved, len(told)) in (([first], 0), ([], 1)), (moved, told)
    if moved:
        assert after[moved[0]] == decay_of(opt.param_groups[0])


@pytest.mark.parametrize("kind", CYCLES)
def test_adamw_is_cycled_as_torchs_own_is(kind: str) -> None:
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    opts = [build("adamw", ours), torch.optim.AdamW(theirs, lr=1e-2)]
    schedulers = [CYCLES[kind](o) for o in opts]
    for step in range(18):
        for opt, params, scheduler in zip(opts, (ours, theirs), schedulers, strict=True):
            run(opt, params, [step])
            scheduler.step()
        ours_now, theirs_now = (o.param_groups[0] for o in opts)
        assert ours_now["betas"] == theirs_now["betas"]
        assert ours_now["beta1"] == theirs_now["betas"][0], "at once, not with the next step"
        if step == 9:  # through a save and a load
            saved = copy.deepcopy((opts[0].state_dict(), schedulers[0].state_dict()))
            ours = copies(ours)
            opts[0] = build("adamw", ours)
            schedulers[0] = CYCLES[kind](opts[0])
            opts[0].load_state_dict(saved[0])
            schedulers[0].load_state_dict(saved[1])
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_betas_and_the_recipes_names_are_one_thing() -> None:
    params = parameters()
    opt = build("ademamix", params)
    group = opt.param_groups[0]
    assert group["betas"] == tuple(group[n] for n in ("beta1", "beta2", "beta3"))
    group["beta2"] = 0.98
    assert opt.param_groups[0]["betas"][1] == 0.98
    group["betas"] = (0.5, *group["betas"][1:])
    assert opt.param_groups[0]["beta1"] == 0.5
    others = parameters()
    other = build("ademamix", others, beta1=0.5, beta2=0.98)
    run(opt, params, range(3))
    run(other, others, range(3))
    assert_same(params, others)
    assert opt.state_dict()["param_groups"][0]["beta1"] == 0.5


def test_betas_of_a_new_group() -> None:
    a, b = parameters()
    opt = build("adamw", [{"params": [a], "betas": (0.8, 0.95)}, {"params": [b], "beta1": 0.7}])
    assert [g["beta1"] for g in opt.param_groups] == [0.8, 0.7]
    assert [g["betas"] for g in opt.param_groups] == [(0.8, 0.95), (0.7, 0.999)]
    with pytest.raises(optzoo.InputError, match="`betas` in a group lists 3 numbers"):
        build("adamw", [{"params": parameters(), "betas": (0.8, 0.9, 0.95)}])
    with pytest.raises(optzoo.InputError, match="and `beta1` disagree"):
        build("adamw", [{"params": parameters(), "betas": (0.8, 0.9), "beta1": 0.7}])
    with pytest.raises(optzoo.InputError, match="outside"):
        build("adamw", [{"params": parameters(), "betas": (1.8, 0.9)}])


def test_the_groups_of_one_optimizer_make_another() -> None:
    params = parameters()
    opt = build("ademamix", params, beta1=0.8)
    others = copies(params)
    other = build("ademamix", [{**opt.param_groups[0], "params": others}])
    run(opt, params, range(2))
    run(other, others, range(2))
    assert_same(params, others)


def test_a_group_of_the_users_own_stays_the_group() -> None:
    params = parameters()
    group = {"params": params}
    opt = build("adamw", [group])
    group["lr"], group["betas"] = 0.5, (0.5, 0.9)
    assert opt.param_groups[0] is group
    others = parameters()
    other = build("adamw", others, lr=0.5, beta1=0.5, beta2=0.9)
    run(opt, params, range(2))
    run(other, others, range(2))
    assert_same(params, others)


@pytest.mark.parametrize("name", ["adamw", "sgd_momentum"])
def test_a_tensor_as_learning_rate_is_moved_in_place(name: str) -> None:
    params = parameters()
    rate = torch.tensor(1e-2)
    opt = build(name, params, lr=rate)
    scheduler = lr_scheduler.OneCycleLR(opt, 1e-2, total_steps=20)
    for step in range(4):
        run(opt, params, [step])
        scheduler.step()
    assert opt.param_groups[0]["lr"] is rate


SQUARES_ONLY = """
name: squares_only
version: 1
summary: a recipe whose only decay is that of the mean square
reference: none
hyperparameters:
  lr: {default: 1e-3, in: "[0, inf)", doc: learning rate}
  beta2: {default: 0.999, in: "[0, 1)", doc: decay of the squared gradient}
scalars:
  floor: 1e-8*(1 + 0/t)
preconditioner:
  rms: {decay: beta2, eps: floor}
update: grad
"""


def test_the_decay_of_the_mean_square_is_not_cycled() -> None:
    params = parameters()
    opt = optzoo.parse_recipe(SQUARES_ONLY).build(params)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scheduler = CYCLES["one cycle"](opt)
        for step in range(3):
            run(opt, params, [step])
            scheduler.step()
    assert ["it is not cycled" in str(w.message) for w in said] == [True]
    assert opt.param_groups[0]["beta2"] == 0.999
