"""What torch checks of its own optimizers (test_optim.py, common_optimizers.py), restated for ours.

What torch supports and recipes do not is asserted here too: docs/integrations.md lists it.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from loops import RECIPES, assert_same, build, copies, parameters, run, set_grads
from torch import Tensor, nn
from torch.optim import lr_scheduler, optimizer
from torch.profiler import ProfilerActivity, profile

import optzoo
from optzoo.optimizer import RecipeOptimizer

every = pytest.mark.parametrize("name", RECIPES)


def regression(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """torch's own problem: weight, bias and an input, whose |output| is to shrink."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 5, generator=generator, dtype=dtype)
    bias = torch.randn(10, generator=generator, dtype=dtype)
    x = torch.randn(5, generator=generator, dtype=dtype)
    return weight, bias, x


def loss_of(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return (weight.mv(x) + bias).square().sum()


# ------------------------------------------------------------------ direction


@every
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("maximize", [True, False])
def test_it_goes_in_the_right_direction(name: str, contiguous: bool, maximize: bool) -> None:
    weight, bias, x = regression()
    if not contiguous:
        weight, bias = (torch.stack([t, t], -1)[..., 0] for t in (weight, bias))
        assert not weight.is_contiguous()
    weight, bias = nn.Parameter(weight), nn.Parameter(bias)
    opt = build(name, [weight, bias], lr=1e-3)
    opt.param_groups[0]["maximize"] = maximize

    def closure() -> Tensor:
        opt.zero_grad()
        loss = loss_of(weight, bias, x)
        loss.backward()
        return -loss if maximize else loss

    first = float(closure().detach())
    for _ in range(20):
        opt.step(closure)
    assert float(closure().detach()) < first


@every
def test_groups_with_a_scheduler_go_in_the_right_direction(name: str) -> None:
    weight, bias, x = (nn.Parameter(t) for t in regression())
    opt = build(name, [{"params": [weight]}, {"params": [bias], "lr": 3e-3}], lr=1e-3)
    schedulers = [
        lr_scheduler.StepLR(opt, gamma=0.9, step_size=10),
        lr_scheduler.ReduceLROnPlateau(opt),
    ]
    losses = []
    for _ in range(20):
        opt.zero_grad()
        loss = loss_of(weight, bias, x)
        loss.backward()
        opt.step()
        losses.append(float(loss.detach()))
        for scheduler in schedulers:
            scheduler.step(*([losses[-1]] if scheduler is schedulers[1] else []))
    assert losses[-1] < losses[0]


@every
@pytest.mark.parametrize("dims", [0, 1])
def test_a_tensor_as_learning_rate(name: str, dims: int) -> None:
    params, others = parameters(), parameters()
    rate = torch.tensor(0.01) if dims == 0 else torch.tensor([0.01])
    opt, other = build(name, params, lr=rate), build(name, others, lr=float(rate))
    run(opt, params, range(5))
    run(other, others, range(5))
    assert_same(params, others)
    opt.param_groups[0]["lr"].fill_(0.1)
    other.param_groups[0]["lr"] = float(torch.tensor(0.1))
    run(opt, params, range(5, 7))
    run(other, others, range(5, 7))
    assert_same(params, others)


@every
def test_weight_decay_of_groups(name: str) -> None:
    params = [nn.Parameter(torch.full((4,), 3.0)) for _ in range(2)]
    opt = build(name, [{"params": params[:1], "weight_decay": 1.0}, {"params": params[1:]}])
    opt.param_groups[1]["weight_decay"] = 0.0
    for _ in range(3):
        for p in params:
            p.grad = torch.full((4,), 1e-3)
        opt.step()
    assert (params[0] < params[1]).all()


@every
def test_a_learning_rate_of_0_in_a_group(name: str) -> None:
    params = parameters()
    opt = build(name, [{"params": params[:1], "lr": 0.0}, {"params": params[1:]}])
    start = copies(params)
    run(opt, params, range(3))
    assert torch.equal(params[0], start[0])
    assert not torch.equal(params[1], start[1])


# ------------------------------------------------------------------ gradients


@every
def test_parameters_without_gradients_stay(name: str) -> None:
    params = parameters()
    opt = build(name, params, weight_decay=0.1)
    start = copies(params)
    opt.step()
    assert_same(params, start)
    set_grads(params, 0)
    params[0].grad = None
    opt.step()
    assert torch.equal(params[0], start[0])


@every
def test_gradients_of_0_move_nothing_without_decay(name: str) -> None:
    params = parameters()
    opt = build(name, params, weight_decay=0)
    start = copies(params)
    for _ in range(3):
        for p in params:
            p.grad = torch.zeros_like(p)
        opt.step()
    assert_same(params, start)


@every
def test_empty_parameters(name: str) -> None:
    params = [nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(5, 0)), *parameters()]
    opt = build(name, params)
    run(opt, params, range(2))
    with opt.evaluation():
        pass
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    run(opt, params, range(2, 3))
    assert float(opt.state[params[0]]["step"]) == 3


@every
def test_zero_grad(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    set_grads(params, 0)
    opt.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in params)
    opt.zero_grad()
    assert all(p.grad is None for p in params)


@every
def test_mixed_dtypes_and_a_foreign_default(name: str) -> None:
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    params = [nn.Parameter(torch.ones(3, dtype=d)) for d in dtypes]
    opt = build(name, params)
    for _ in range(10):
        for p in params:
            p.grad = torch.full_like(p, 0.25)
        opt.step()
    for p in params[:3]:
        torch.testing.assert_close(p.double(), params[3].double(), rtol=1e-2, atol=0)


@every
def test_a_step_returns_the_loss_of_its_closure(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    assert opt.step() is None
    assert opt.step(lambda: 1.5) == 1.5
    assert opt.step(closure=lambda: torch.tensor(2.5)) == 2.5


# ------------------------------------------------------------------ state


@every
def test_saved_and_loaded_with_weights_only(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(4))
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    others = copies(params)
    other = build(name, others)
    other.load_state_dict(saved)
    run(opt, params, range(4, 8))
    run(other, others, range(4, 8))
    assert_same(params, others)


@every
def test_a_state_of_the_past_lacks_what_came_since(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(3))
    saved = copy.deepcopy(opt.state_dict())
    for key in ("maximize", "capturable", "differentiable", "betas", "observers"):
        saved["param_groups"][0].pop(key, None)
    opt.load_state_dict(saved)
    run(opt, params, range(3, 5))


@every
def test_named_and_unnamed_states_load_into_each_other(name: str) -> None:
    params = parameters()
    named = build(name, zip("ab", params, strict=True))
    run(named, params, range(2))
    unnamed = build(name, copies(params))
    unnamed.load_state_dict(named.state_dict())
    assert unnamed.param_groups[0]["param_names"] == ["a", "b"]
    again = build(name, zip("cd", copies(params), strict=True))
    saved = copy.deepcopy(named.state_dict())
    del saved["param_groups"][0]["param_names"]
    again.load_state_dict(saved)
    assert again.param_groups[0]["param_names"] == ["c", "d"]


@every
def test_saving_is_deterministic_and_state_is_not_empty(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(2))
    first, second = opt.state_dict(), opt.state_dict()
    assert first["param_groups"] == second["param_groups"]
    assert [list(s) for s in first["state"].values()] == [list(s) for s in second["state"].values()]
    assert all(first["state"].values())


@every
def test_copies_have_all_public_attributes(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    run(opt, params, range(2))
    public = {k for k in opt.__dict__ if not k.startswith("_")}
    for other in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert {k for k in other.__dict__ if not k.startswith("_")} == public
        assert isinstance(other, RecipeOptimizer)
        assert type(other).__module__.startswith("optzoo.optimizer")
        others = other.param_groups[0]["params"]
        run(other, others, range(2, 4))
    run(opt, params, range(2, 4))
    assert_same(params, others)


@every
def test_it_can_be_printed(name: str) -> None:
    assert name in repr(build(name, parameters()))


def test_an_optimizer_that_was_wrapped_by_a_scheduler_can_be_copied() -> None:
    params = parameters()
    opt = build("adamw", params)
    scheduler = lr_scheduler.StepLR(opt, 2)
    run(opt, params, range(2))
    scheduler.step()
    pickle.loads(pickle.dumps(opt))
    copy.deepcopy(opt).step()


# ------------------------------------------------------------------ groups and hooks


@every
def test_groups_are_added(name: str) -> None:
    params = parameters()
    opt = build(name, params[:1])
    opt.add_param_group({"params": params[1], "lr": 0.5})
    assert opt.param_groups[1]["lr"] == 0.5
    assert set(opt.defaults) - set(opt.param_groups[1]) == set()
    run(opt, params, range(2))
    with pytest.raises(ValueError, match="appear in more than one"):
        opt.add_param_group({"params": params[1]})


def test_what_torch_refuses_is_refused() -> None:
    param = parameters()[0]
    with pytest.raises(TypeError, match="should be an iterable of Tensors"):
        build("adamw", param)
    with pytest.raises(ValueError, match="empty parameter list"):
        build("adamw", [])
    with pytest.raises(TypeError, match="ordered collections"):
        build("adamw", [{"params": {param}}])
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        build("adamw", [param, 3])
    with pytest.raises(ValueError, match="non-leaf"):
        build("adamw", [param * 2])
    with pytest.raises(ValueError, match="names"):
        build("adamw", [("a", param), nn.Parameter(torch.ones(1))])
    with pytest.raises(TypeError, match="must be a dict"):
        build("adamw", [param]).add_param_group([param])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        build("adamw", [param, param])


@pytest.mark.parametrize(
    "options", [{"lr": -1.0}, {"beta1": 1.0}, {"beta2": -0.1}, {"eps": -1e-8}, {"weight_decay": -1}]
)
def test_illegal_hyperparameters(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="outside"):
        build("adamw", parameters(), **options)


def test_global_hooks_and_those_of_one_optimizer() -> None:
    calls: list[str] = []
    handles = [
        optimizer.register_optimizer_step_pre_hook(lambda *_: calls.append("global before")),
        optimizer.register_optimizer_step_post_hook(lambda *_: calls.append("global after")),
    ]
    opt = build("adamw", parameters())
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.step()
    for handle in handles:
        handle.remove()
    assert calls == ["global before", "before", "after", "global after"]


def test_a_step_has_its_name_in_profiles() -> None:
    params = parameters()
    opt = build("adamw", params)
    set_grads(params, 0)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        opt.step()
        opt.zero_grad()
    names = {event.name for event in found.events()}
    assert "Optimizer.step#RecipeOptimizer.step" in names
    assert any(n.startswith("Optimizer.zero_grad#RecipeOptimizer") for n in names)


def test_a_step_of_ones_own_in_a_subclass() -> None:
    calls = []

    class Mine(RecipeOptimizer):
        def step(self, closure: Any = None) -> Any:
            calls.append("mine")
            return super().step(closure)

    params = parameters()
    opt = Mine(params, optzoo.load_recipe("adamw"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    run(opt, params, range(1))
    assert calls[0] == "mine"
    assert float(opt.state[params[0]]["step"]) == 1


# ------------------------------------------------------------------ what torch does and we do not


def test_complex_and_sparse_are_refused() -> None:
    with pytest.raises(optzoo.InputError, match="view_as_real"):
        build("adamw", [nn.Parameter(torch.ones(2, dtype=torch.complex64))])
    table = nn.Embedding(4, 2, sparse=True)
    opt = build("sgd_momentum", table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(optzoo.InputError, match="sparse"):
        opt.step()


@pytest.mark.parametrize("option", ["differentiable", "capturable", "amsgrad"])
def test_options_of_torch_that_are_refused(option: str) -> None:
    with pytest.raises(optzoo.InputError, match=option):
        build("adamw", [{"params": parameters(), option: True}])
    with pytest.raises(optzoo.InputError, match=option):
        build("adamw", parameters(), **{option: True})
