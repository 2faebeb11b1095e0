"""Hooks of torch: those before a load come before any check, those after it have the last word."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from loops import RECIPES, assert_same, build, copies, parameters, run
from torch import nn

import optzoo

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def in_order(order: str, sizes: dict[str, int], dtype: torch.dtype) -> dict[str, nn.Parameter]:
    return {n: nn.Parameter(torch.ones(sizes[n], dtype=dtype)) for n in order}


def by_name(opt: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """The way that torch's documentation shows."""
    here = [n for g in opt.param_groups for n in g["param_names"]]
    there = [n for g in saved["param_groups"] for n in g["param_names"]]
    state = {i: saved["state"][there.index(n)] for i, n in enumerate(here)}
    group = {**saved["param_groups"][0], "params": list(range(len(here))), "param_names": here}
    return {**saved, "state": state, "param_groups": [group]}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_a_pre_hook_matches_parameters_by_name(name: str, dtype: torch.dtype) -> None:
    sizes = {"a": 3, "b": 4, "c": 5}
    first = in_order("abc", sizes, dtype)
    opt = build(name, first.items())
    run(opt, first.values(), range(4))
    second = in_order("cab", sizes, dtype)
    other = build(name, second.items())
    with torch.no_grad():
        for n, p in second.items():
            p.copy_(first[n])
    other.register_load_state_dict_pre_hook(by_name)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.param_groups[0]["param_names"] == list("cab")
    run(opt, first.values(), range(4, 7))
    for step in range(4, 7):
        run(other, [second[n] for n in "abc"], [step])
    assert_same(first.values(), [second[n] for n in "abc"])


def test_a_pre_hook_drops_what_a_smaller_model_lacks() -> None:
    params = parameters(sizes=(5, 3, 4))
    opt = build("lion", params)
    run(opt, params, range(2))

    def first_two(_: Any, saved: dict[str, Any]) -> dict[str, Any]:
        saved["state"] = {i: saved["state"][i] for i in range(2)}
        saved["param_groups"] = [{**saved["param_groups"][0], "params": [0, 1]}]
        return saved

    others = copies(params[:2])
    other = build("lion", others)
    other.register_load_state_dict_pre_hook(first_two)
    saved = copy.deepcopy(opt.state_dict())
    other.load_state_dict(saved)
    assert len(saved["state"]) == 3, "the caller's dictionary is not the hook's to change"
    run(opt, params, range(2, 4))
    run(other, others, range(2, 4))
    assert_same(params[:2], others)


def test_a_pre_hook_turns_another_optimizers_state_into_ours() -> None:
    params = parameters()
    theirs = torch.optim.AdamW(params, lr=1e-2)
    run(theirs, params, range(4))
    others = copies(params)
    ours = build("adamw", others)
    empty = ours.state_dict()

    def convert(_: Any, saved: dict[str, Any]) -> dict[str, Any]:
        names = {"exp_avg": "m", "exp_avg_sq": "v", "step": "step"}
        state = {i: {names[k]: v for k, v in s.items()} for i, s in saved["state"].items()}
        return {**empty, "state": state}

    ours.register_load_state_dict_pre_hook(convert)
    ours.load_state_dict(theirs.state_dict())
    run(theirs, params, range(4, 8))
    run(ours, others, range(4, 8))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_a_post_hook_does_holds(dtype: torch.dtype) -> None:
    params = parameters(dtype)
    opt = build("lion", params)
    run(opt, params, range(3))
    saved = copy.deepcopy(opt.state_dict())

    def forget(optimizer: Any) -> None:
        for entry in optimizer.state.values():
            entry["m"].zero_()
            entry["step"].fill_(100)
            entry["note"] = "kept"
        for group in optimizer.param_groups:
            group["lr"] = 0.5

    opt.register_load_state_dict_post_hook(forget)
    opt.load_state_dict(saved)
    assert not opt.state[params[0]]["m"].any()
    assert opt.param_groups[0]["lr"] == 0.5
    run(opt, params, range(3, 4))
    assert float(opt.state[params[0]]["step"]) == 101
    assert opt.state_dict()["state"][0]["note"] == "kept"


def test_a_post_hook_puts_a_master_in() -> None:
    params = parameters(torch.bfloat16)
    opt = build("lion", params, lr=0.0)
    run(opt, params, range(1))
    saved = copy.deepcopy(opt.state_dict())
    fine = [p.detach().float() + 2.0**-12 for p in params]

    def put(optimizer: Any) -> None:
        for p, wide in zip(params, fine, strict=True):
            optimizer.state[p]["master"] = wide

    opt.register_load_state_dict_post_hook(put)
    opt.load_state_dict(saved)
    run(opt, params, range(1, 2))
    assert_same([opt.state[p]["master"] for p in params], fine)


def test_the_order_of_hooks() -> None:
    params = parameters()
    opt = build("adamw", params)
    calls: list[str] = []

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            calls.append(name)

        return hook

    opt.register_load_state_dict_pre_hook(note("second"))
    opt.register_load_state_dict_pre_hook(note("first"), prepend=True)
    opt.register_load_state_dict_post_hook(note("third"))
    opt.register_state_dict_pre_hook(note("before saving"))
    opt.register_state_dict_post_hook(note("after saving"))
    opt.load_state_dict(opt.state_dict())
    assert calls == ["before saving", "after saving", "first", "second", "third"]
    calls.clear()
    with pytest.raises(optzoo.InputError):
        opt.load_state_dict({"state": {}, "param_groups": []})
    assert calls == ["first", "second"]


def test_a_saved_state_is_what_the_hook_returns() -> None:
    params = parameters()
    opt = build("adamw", params)
    opt.register_state_dict_post_hook(lambda _, saved: {**saved, "epoch": 3})
    saved = opt.state_dict()
    assert saved["epoch"] == 3
    assert saved["optzoo"]["recipe"] == "adamw"
    opt.load_state_dict(saved)


def test_step_hooks_change_arguments_and_see_the_state() -> None:
    params = parameters()
    opt = build("adamw", params)
    seen: list[float] = []
    opt.register_step_pre_hook(lambda o, *_: seen.append(float(o.state[params[0]]["step"])))
    opt.register_step_post_hook(lambda o, *_: seen.append(float(o.state[params[0]]["step"])))
    handle = opt.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), kwargs))
    run(opt, params, range(1))
    assert opt.step() == 7.0
    handle.remove()
    assert opt.step() is None
    assert seen == [0, 1, 1, 2, 2, 3]
