"""t and the scalars with memory are in the state, current, and changes made there count."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optzoo

RECIPES = ("adamw", "schedule_free_adamw", "adamw_averaged", "nadam", "mars", "ademamix")


def make(name: str, **options: Any) -> tuple[list[Tensor], Any]:
    params = [nn.Parameter(torch.linspace(1, 2, n)) for n in (5, 3)]
    return params, optzoo.load_recipe(name).build(params, total_steps=40, **{"lr": 1e-2} | options)


def run(opt: Any, params: list[Tensor], steps: range) -> None:
    for step in steps:
        for i, p in enumerate(params):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(9 * step + i))
        opt.step()


def assert_same(a: list[Tensor], b: list[Tensor]) -> None:
    for p, q in zip(a, b, strict=True):
        assert torch.equal(p, q)


def twin(name: str, params: list[Tensor]) -> tuple[list[Tensor], Any]:
    """Return a new optimizer on copies of the parameters."""
    others, opt = make(name)
    with torch.no_grad():
        for p, q in zip(params, others, strict=True):
            q.copy_(p)
    return others, opt


@pytest.mark.parametrize("name", RECIPES)
def test_t_is_there_before_the_first_step_and_after_each(name: str) -> None:
    params, opt = make(name)
    for step in range(4):
        for p in params:
            t = opt.state[p]["step"]
            assert isinstance(t, Tensor)
            assert (t.dim(), float(t)) == (0, step)
        run(opt, params, range(step, step + 1))
    assert float(copy.deepcopy(opt).state_dict()["state"][0]["step"]) == 4
    assert float(opt.state_dict()["state"][1]["step"]) == 4


def clear(opt: Any) -> None:
    opt.state.clear()


def replace(opt: Any) -> None:
    opt.state = {}  # not torch's defaultdict


def empty_each(opt: Any) -> None:
    for entry in opt.state.values():
        entry.clear()


def zero_each(opt: Any) -> None:
    for entry in opt.state.values():
        for value in entry.values():
            value.zero_()


def zero_data(opt: Any) -> None:
    for entry in opt.state.values():
        for value in entry.values():
            value.data.zero_()


def new_zeros(opt: Any) -> None:
    for entry in opt.state.values():
        for key, value in entry.items():
            entry[key] = torch.zeros_like(value)


def plain_numbers(opt: Any) -> None:
    for entry in opt.state.values():
        for key, value in entry.items():
            entry[key] = 0 if value.dim() == 0 else torch.zeros_like(value)


RESTARTS = (clear, replace, empty_each, zero_each, zero_data, new_zeros, plain_numbers)


@pytest.mark.parametrize("restart", RESTARTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", RECIPES)
def test_a_warm_restart_is_a_start(name: str, restart: Callable[[Any], None]) -> None:
    params, opt = make(name)
    run(opt, params, range(12))
    restart(opt)
    others, fresh = twin(name, params)
    run(opt, params, range(12, 16))
    run(fresh, others, range(12, 16))
    assert_same(params, others)


def test_one_parameter_restarts_alone() -> None:
    params, opt = make("schedule_free_adamw")
    run(opt, params, range(6))
    del opt.state[params[0]]
    others, fresh = twin("schedule_free_adamw", params)
    untouched = copy.deepcopy(opt.state[params[1]])
    run(opt, params, range(6, 9))
    run(fresh, others, range(6, 9))
    assert torch.equal(params[0], others[0])
    assert not torch.equal(params[1], others[1])
    assert float(untouched["step"]) == 6
    assert [float(opt.state[p]["step"]) for p in params] == [3, 9]


def by_reference(source: Any, params: list[Tensor], opt: Any, others: list[Tensor]) -> None:
    for p, q in zip(params, others, strict=True):
        opt.state[q] = copy.deepcopy(source.state[p])


def with_numbers(source: Any, params: list[Tensor], opt: Any, others: list[Tensor]) -> None:
    for p, q in zip(params, others, strict=True):
        opt.state[q] = {
            key: float(value) if value.dim() == 0 else value.clone()
            for key, value in source.state[p].items()
        }


def in_float32_and_ints(source: Any, params: list[Tensor], opt: Any, others: list[Tensor]) -> None:
    for p, q in zip(params, others, strict=True):
        opt.state[q].update(
            {key: value.clone() for key, value in source.state[p].items() if key != "step"}
        )
        opt.state[q]["step"] = torch.tensor(int(source.state[p]["step"]))


def in_place(source: Any, params: list[Tensor], opt: Any, others: list[Tensor]) -> None:
    for p, q in zip(params, others, strict=True):
        for key, value in source.state[p].items():
            opt.state[q][key].copy_(value)


def shared_scalars(source: Any, params: list[Tensor], opt: Any, others: list[Tensor]) -> None:
    common = {k: v.clone() for k, v in source.state[params[0]].items() if v.dim() == 0}
    for p, q in zip(params, others, strict=True):
        opt.state[q] = {k: common.get(k, v.clone()) for k, v in source.state[p].items()}


LOADERS = (by_reference, with_numbers, in_float32_and_ints, in_place, shared_scalars)


@pytest.mark.parametrize("stepped", [0, 3], ids=["fresh", "used"])
@pytest.mark.parametrize("load", LOADERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", RECIPES)
def test_state_put_in_by_hand_counts(name: str, load: Callable[..., None], stepped: int) -> None:
    params, opt = make(name)
    run(opt, params, range(6))
    others, other = make(name)
    run(other, others, range(50, 50 + stepped))
    with torch.no_grad():
        for p, q in zip(params, others, strict=True):
            q.copy_(p)
    load(opt, params, other, others)
    run(opt, params, range(6, 10))
    run(other, others, range(6, 10))
    assert_same(params, others)
    with opt.evaluation(), other.evaluation():
        assert_same(params, others)


def test_the_scalars_may_be_moved_to_shared_memory() -> None:
    params, opt = make("schedule_free_adamw")
    others, other = make("schedule_free_adamw")
    for step in range(6):
        run(opt, params, range(step, step + 1))
        run(other, others, range(step, step + 1))
        for entry in opt.state.values():
            for value in entry.values():
                value.share_memory_()
    assert_same(params, others)
    assert float(opt.state[params[0]]["step"]) == 6


@pytest.mark.parametrize("bad", [float("nan"), -1.0, 2.5, float("inf"), "x", None, [1, 2]])
def test_a_time_that_is_none_is_refused_at_the_step(bad: Any) -> None:
    params, opt = make("adamw")
    run(opt, params, range(2))
    if bad is None:
        bad = torch.zeros(3)
    opt.state[params[0]]["step"] = bad
    before = params[0].detach().clone()
    with pytest.raises(optzoo.InputError, match="`step` of parameter 0"):
        run(opt, params, range(2, 3))
    assert torch.equal(params[0], before)


def test_a_step_that_fails_leaves_time_where_it_was() -> None:
    params, opt = make("adamw")
    run(opt, params, range(2))
    params[1].grad = params[1].grad.to_sparse()
    with pytest.raises(optzoo.InputError, match="sparse"):
        opt.step()
    assert [float(opt.state[p]["step"]) for p in params] == [2, 2]


def test_a_buffer_that_is_lost_is_missed() -> None:
    params, opt = make("adamw")
    run(opt, params, range(3))
    del opt.state[params[0]]["v"]
    with pytest.warns(UserWarning, match="`v` starts from zero now"):
        run(opt, params, range(3, 4))
