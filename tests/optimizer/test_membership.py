"""Parameters come, go and are exchanged in `param_groups`, with their state or without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loops import RECIPES, assert_same, build, copies, parameters, run
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map_only

import optzoo


def exchange(opt: Any, old: Tensor, new: Tensor, cut: Callable[[Tensor], Tensor]) -> None:
    """Do what densifying and pruning trainers do."""
    for group in opt.param_groups:
        for i, p in enumerate(group["params"]):
            if p is old:
                group["params"][i] = new
    entry = opt.state.pop(old)
    opt.state[new] = {k: cut(v) if v.dim() else v for k, v in entry.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_rows_are_pruned_with_their_state(name: str) -> None:
    keep = torch.tensor([True, False, True, True, False])
    params = [nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))]
    opt = build(name, params)
    alone = [nn.Parameter(params[0].detach()[keep].clone())]
    other = build(name, alone)
    for step in range(8):
        if step == 4:
            new = nn.Parameter(params[0].detach()[keep])
            exchange(opt, params[0], new, lambda v: v[keep])
            params = [new]
        grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        grad /= 100  # so that no norm of it is clipped, which is over all rows
        params[0].grad = grad[keep] if step >= 4 else grad
        alone[0].grad = grad[keep]
        opt.step()
        other.step()
    torch.testing.assert_close(params[0], alone[0], rtol=1e-6, atol=1e-7)
    assert len(opt.state_dict()["state"]) == 1


def test_rows_are_added_with_zeros() -> None:
    (param,) = params = [nn.Parameter(torch.ones(2, 3))]
    opt = build("schedule_free_adamw", params)
    run(opt, params, range(3))
    grown = nn.Parameter(torch.cat([param.detach(), torch.ones(4, 3)]))
    exchange(opt, param, grown, lambda v: torch.cat([v, torch.zeros(4, 3)]))
    run(opt, [grown], range(3, 5))
    assert float(opt.state[grown]["step"]) == 5
    with opt.evaluation():
        assert grown.shape == (6, 3)


def test_state_that_was_not_cut_is_refused_and_nothing_moves() -> None:
    (param,) = params = [nn.Parameter(torch.ones(4, 3))]
    opt = build("adamw", params)
    run(opt, params, range(2))
    cut = nn.Parameter(torch.ones(2, 3))
    exchange(opt, param, cut, lambda v: v)
    with pytest.raises(optzoo.InputError, match=r"`m` of parameter 0 has shape \(4, 3\)"):
        run(opt, [cut], range(2, 3))
    assert torch.equal(cut, torch.ones(2, 3))


def test_data_is_replaced_by_rows_of_itself() -> None:
    """The same parameter with fewer rows at the same address; its state is cut with it."""
    param = nn.Parameter(torch.ones(4, 3))
    opt = build("lion", [param])
    run(opt, [param], range(2))
    param.grad = None
    param.data = param.data[:2]
    opt.state[param]["m"] = opt.state[param]["m"][:2]
    run(opt, [param], range(2, 4))
    assert opt.state[param]["m"].shape == (2, 3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_parameter_is_appended_to_a_group(name: str) -> None:
    params, alone = parameters(), parameters()
    opt, first = build(name, params[:1]), build(name, alone[:1])
    late = build(name, alone[1:])
    run(opt, params[:1], range(3))
    run(first, alone[:1], range(3))
    opt.param_groups[0]["params"].append(params[1])
    for step in range(3, 6):
        run(opt, params, [step])
        for p, q in zip(params, alone, strict=True):
            q.grad = p.grad
        first.step()
        late.step()
    assert_same(params, alone)
    assert [float(s["step"]) for s in opt.state_dict()["state"].values()] == [6, 3]


@pytest.mark.parametrize("drops_state", [True, False])
def test_a_group_is_removed(drops_state: bool) -> None:
    a, b = params = parameters()
    opt = build("schedule_free_adamw", [{"params": [a]}, {"params": [b], "lr": 0.5}])
    run(opt, params, range(2))
    gone = opt.param_groups.pop()
    if drops_state:
        del opt.state[b]
    run(opt, [a], range(2, 4))
    with opt.evaluation():
        pass
    saved = opt.state_dict()
    assert (len(saved["state"]), len(saved["param_groups"])) == (1, 1)
    twin = copy.deepcopy((a, opt))[1]
    assert len(twin.param_groups) == 1
    opt.param_groups.append(gone)  # and it is there again
    run(opt, params, range(4, 5))
    assert float(opt.state[b]["step"]) == (1 if drops_state else 3)


def test_groups_are_taken_in_another_order_and_split() -> None:
    params, others = parameters(), parameters()
    opt, other = build("ademamix", params), build("ademamix", others)
    run(opt, params, range(2))
    run(other, others, range(2))
    (group,) = opt.param_groups
    opt.param_groups = [{**group, "params": [p]} for p in reversed(group["params"])]
    run(opt, params, range(2, 5))
    run(other, others, range(2, 5))
    assert_same(params, others)
    assert [len(g["params"]) for g in opt.state_dict()["param_groups"]] == [1, 1]


def test_placeholders_and_shards_swapped_in_by_a_launcher() -> None:
    """Each parameter makes room for an empty tensor, then for another, before the first step."""
    params = parameters()
    opt = build("adamw", params)
    group = opt.param_groups[0]
    for i, p in enumerate(params):
        group["params"][i] = torch.empty(1, dtype=p.dtype)
    opt.state_dict()
    shards = copies(params)
    group["params"] = list(shards)
    assert len(opt.state_dict()["state"]) == 2
    run(opt, shards, range(2))
    assert set(opt.state) == set(shards), "what never took a step holds no memory"
    others = parameters()
    run(build("adamw", others), others, range(2))
    assert_same(shards, others)


def test_parameters_and_state_replaced_for_a_while() -> None:
    """`param_groups` with a view of a dictionary, `state` with a plain copy, and back."""
    params = parameters()
    opt = build("adamw", params)
    run(opt, params, range(2))
    kept = copies(params)
    named = {str(i): p for i, p in enumerate(copies(params))}
    states, group = copy.copy(opt.state), opt.param_groups[0]
    originals = group["params"]
    group["params"] = named.values()
    opt.state = {named[str(i)]: copy.deepcopy(states[p]) for i, p in enumerate(params)}
    run(opt, named.values(), range(2, 4))
    group["params"], opt.state = originals, states
    assert_same(params, kept)
    run(opt, params, range(2, 4))
    assert_same(params, named.values())


def swap_in(opt: Any, params: list[Tensor], saved: dict[str, Any]) -> Any:
    """torch's way of lending an optimizer other parameters and state for a while."""
    named = {str(i): p for i, p in enumerate(params)}
    core = {key: saved[key] for key in ("state", "param_groups")}
    return torch.optim.swap_in_optimizer_params_and_state(opt, named, core)


HAS_SWAP = hasattr(torch.optim, "swap_in_optimizer_params_and_state")


@pytest.mark.skipif(not HAS_SWAP, reason="this torch has no swap_in_optimizer_params_and_state")
@pytest.mark.parametrize("name", RECIPES)
def test_parameters_and_state_are_swapped_in(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(3))
    kept, others = copies(params), copies(params)
    saved = copy.deepcopy(opt.state_dict())
    with swap_in(opt, others, saved):
        run(opt, others, range(3, 5))
    assert_same(params, kept)
    assert {float(s["step"]) for s in saved["state"].values()} == {5}, "changed in place"
    run(opt, params, range(3, 5))
    assert_same(params, others)
    for p, entry in zip(params, saved["state"].values(), strict=True):
        for key, value in entry.items():
            assert torch.equal(value, opt.state[p][key]), key


@pytest.mark.skipif(not HAS_SWAP, reason="this torch has no swap_in_optimizer_params_and_state")
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_on_fake_parameters_is_traced(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(2))
    kept = copies(params)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fakes = [mode.from_tensor(p) for p in params]
        for fake, p in zip(fakes, params, strict=True):
            fake.grad = mode.from_tensor(p.grad)
        saved = tree_map_only(Tensor, mode.from_tensor, opt.state_dict())

    def step(lent: list[Tensor], state: dict[str, Any]) -> list[Tensor]:
        with swap_in(opt, lent, state):
            opt.step()
        return lent

    graph = make_fx(step)(fakes, saved)
    assert len(graph.graph.nodes) > 10
    with mode:
        opt.load_state_dict(saved)
    opt.load_state_dict(build(name, kept).state_dict())
    assert_same(params, kept)
    run(opt, params, range(2, 4))


@pytest.mark.parametrize(
    "bad",
    [
        {"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]},
        {"params": [nn.Parameter(torch.ones(2))], "lr": -1.0},
        {"params": [nn.Parameter(torch.ones(2))], "weight_decya": 0.1},
        {"params": [nn.Parameter(torch.ones(2))], "amsgrad": True},
        {"params": [torch.ones(2, requires_grad=True) * 2]},
        {"params": ["no tensor"]},
        {"params": {nn.Parameter(torch.ones(2))}},
        {"params": [nn.Parameter(torch.ones(2, dtype=torch.float16))]},
    ],
    ids=["complex", "lr", "misspelt", "amsgrad", "non-leaf", "text", "set", "rounding"],
)
def test_a_refused_group_leaves_nothing_behind(bad: dict[str, Any]) -> None:
    params = parameters()
    opt = build("adamw", params, param_rounding="stochastic")
    stated = dict(bad)
    before = set(opt.state)
    with pytest.raises((optzoo.InputError, TypeError, ValueError)):
        opt.add_param_group(bad)
    assert len(opt.param_groups) == 1
    assert set(opt.state) == before
    assert bad.keys() == stated.keys()
    run(opt, params, range(2))
    opt.state_dict()


def test_a_group_that_needs_a_horizon_leaves_nothing_behind() -> None:
    params = parameters()
    opt = optzoo.load_recipe("ademamix").build(params[:1], warmup=10)
    with pytest.raises(optzoo.InputError, match="how many steps"):
        opt.add_param_group({"params": params[1:], "warmup": "T"})
    assert len(opt.param_groups) == len(opt.state) == 1


# ------------------------------------------------------------------ who trains


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_frozen_integers_do_no_harm(name: str, dtype: torch.dtype) -> None:
    model = nn.Linear(6, 3)
    model.packed = nn.Parameter(torch.zeros(4, dtype=dtype), requires_grad=False)
    opt = build(name, model.parameters())
    for _ in range(2):
        model(torch.ones(2, 6)).sum().backward()
        opt.step()
    with opt.evaluation():
        pass
    saved = copy.deepcopy(opt.state_dict())
    opt.load_state_dict(saved)
    assert model.packed not in opt.state
    assert not model.packed.any()


def test_frozen_complex_parameters_do_no_harm() -> None:
    table = nn.Parameter(torch.ones(3, dtype=torch.complex64), requires_grad=False)
    params = parameters()
    opt = build("adamw", [table, *params])
    run(opt, params, range(2))
    assert len(opt.state_dict()["state"]) == 2


def test_a_frozen_base_costs_nothing_until_it_trains() -> None:
    base, adapter = nn.Linear(64, 64), nn.Parameter(torch.ones(4))
    base.requires_grad_(False)
    opt = build("ademamix", [*base.parameters(), adapter])
    assert list(opt.state) == [adapter]
    run(opt, [adapter], range(3))
    saved = copy.deepcopy(opt.state_dict())
    assert list(saved["state"]) == [2]
    base.requires_grad_(True)
    run(opt, [*base.parameters(), adapter], range(3, 5))
    assert [float(opt.state[p]["step"]) for p in (base.weight, adapter)] == [2, 5]
    again = build("ademamix", [*copies(base.parameters()), nn.Parameter(torch.ones(4))])
    again.load_state_dict(saved)  # unfrozen since: its state may begin anew
    run(again, again.param_groups[0]["params"], range(2))


@pytest.mark.parametrize("name", RECIPES)
def test_lazy_modules(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    opt = build(name, model.parameters())
    assert "groups=[4]" in repr(opt)
    opt.state_dict()
    with opt.evaluation():
        pass
    model(torch.ones(2, 6))
    before = model[0].weight.detach().clone()
    for _ in range(2):
        model(torch.ones(2, 6)).square().sum().backward()
        opt.step()
    assert not torch.equal(before, model[0].weight)
    saved = copy.deepcopy(opt.state_dict())
    other = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
    late = build(name, other.parameters())
    late.load_state_dict(saved)  # before the first batch
    other(torch.ones(2, 6))
    other.load_state_dict(model.state_dict())
    for m, o in ((model, opt), (other, late)):
        o.zero_grad()
        m(torch.ones(2, 6)).square().sum().backward()
        o.step()
    assert_same(model.parameters(), other.parameters())
