"""A running optimizer of another package goes on as ours: the same steps, to rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import optzoo

BEFORE, AFTER = 7, 10
Make = Callable[[Any], Any]


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in ((5, 4), (6,))]


def run(opt: Any, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw).to(p.dtype)
        opt.step()


def migrated(make: Make, recipe: str, **options: Any) -> tuple[float, Any]:
    """Return how far the old optimizer and ours part after the same further steps, and ours."""
    params = parameters()
    old = make(params)
    run(old, params, range(BEFORE))
    held = copy.deepcopy(old.state_dict())
    new = optzoo.load_recipe(recipe).build(params, **{"total_steps": 100, **options})
    new.load_state_dict(optzoo.from_torch(old, new))
    for now, then in zip(
        (t for e in old.state_dict()["state"].values() for t in e.values()),
        (t for e in held["state"].values() for t in e.values()),
        strict=True,
    ):
        assert now is then is None or torch.equal(torch.as_tensor(now), torch.as_tensor(then))
    start = [p.detach().clone() for p in params]
    run(old, params, range(BEFORE, BEFORE + AFTER))
    there = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, first in zip(params, start, strict=True):
            p.copy_(first)
    run(new, params, range(BEFORE, BEFORE + AFTER))
    apart = [float((p.detach() - q).abs().max()) for p, q in zip(params, there, strict=True)]
    return max(apart), new


TORCH: dict[str, tuple[Make, str]] = {
    "AdamW": (lambda p: torch.optim.AdamW(p, 3e-3, (0.8, 0.97), 1e-6, 0.1), "adamw"),
    "AdamW amsgrad": (lambda p: torch.optim.AdamW(p, 3e-3, amsgrad=True), "amsgrad"),
    "Adam without decay": (lambda p: torch.optim.Adam(p, 3e-3), "adamw"),
    "Adam maximize": (lambda p: torch.optim.Adam(p, 3e-3, maximize=True), "adamw"),
    "SGD": (lambda p: torch.optim.SGD(p, 1e-2, weight_decay=0.1), "sgd"),
    "SGD momentum": (lambda p: torch.optim.SGD(p, 1e-2, 0.9, weight_decay=0.1), "sgd_momentum"),
    "SGD dampening": (lambda p: torch.optim.SGD(p, 1e-2, 0.9, 0.3), "sgd_momentum"),
    "SGD nesterov": (lambda p: torch.optim.SGD(p, 1e-2, 0.9, nesterov=True), "sgd_nesterov"),
    "NAdam": (lambda p: torch.optim.NAdam(p, 3e-3), "nadam"),
    "RAdam": (lambda p: torch.optim.RAdam(p, 3e-3), "radam"),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, 3e-3, 0.95), "rmsprop"),
    "Adagrad": (lambda p: torch.optim.Adagrad(p, 3e-2), "adagrad"),
    "Adadelta": (lambda p: torch.optim.Adadelta(p, 0.5), "adadelta"),
    "Adamax": (lambda p: torch.optim.Adamax(p, 3e-3), "adamax"),
}


@pytest.mark.parametrize("name", TORCH)
def test_torchs_optimizers_go_on(name: str) -> None:
    apart, _ = migrated(*TORCH[name])
    assert apart < 1e-12


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("AdamWScheduleFree", "schedule_free_adamw"),
        ("SGDScheduleFree", "schedule_free_sgd"),
        ("RAdamScheduleFree", "schedule_free_radam"),
    ],
)
def test_schedulefree_goes_on_and_evaluates_at_its_average(name: str, recipe: str) -> None:
    schedulefree = pytest.importorskip("schedulefree")
    opts: list[Any] = []

    def make(params: Any) -> Any:
        opts.append(getattr(schedulefree, name)(params, lr=3e-3, weight_decay=0.1))
        opts[0].train()
        return opts[0]

    apart, new = migrated(make, recipe)
    assert apart < 1e-12
    params = new.param_groups[0]["params"]
    with new.evaluation():
        ours = [p.detach().clone() for p in params]
    opts[0].eval()  # its parameters are the same ones, at the same point
    for p, mine in zip(params, ours, strict=True):
        torch.testing.assert_close(p.detach(), mine, rtol=0, atol=1e-12)


def test_schedulefrees_own_warmup_must_be_over() -> None:
    schedulefree = pytest.importorskip("schedulefree")

    def make(warmup: int) -> Make:
        def made(params: Any) -> Any:
            opt = schedulefree.AdamWScheduleFree(params, lr=3e-3, warmup_steps=warmup)
            opt.train()
            return opt

        return made

    assert migrated(make(5), "schedule_free_adamw")[0] < 1e-12
    with pytest.raises(optzoo.InputError, match="warm-up inside the optimizer"):
        migrated(make(50), "schedule_free_adamw")


def test_lion_goes_on() -> None:
    lion = pytest.importorskip("lion_pytorch")
    apart, _ = migrated(lambda p: lion.Lion(p, lr=3e-3, weight_decay=0.1), "lion")
    assert apart < 1e-12


@pytest.mark.parametrize(
    ("make", "recipe", "message"),
    [
        (lambda p: torch.optim.Adam(p, 3e-3, weight_decay=0.1), "adamw", "their next steps differ"),
        (lambda p: torch.optim.AdamW(p, amsgrad=True), "adamw", "it keeps exp_avg, .*max_exp"),
        (lambda p: torch.optim.AdamW(p), "ademamix", "it keeps exp_avg, exp_avg_sq"),
        (lambda p: torch.optim.SGD(p, 1e-2, 0.9), "lion", "their next steps differ"),
        (
            lambda p: torch.optim.RMSprop(p, centered=True),
            "rmsprop",
            "it keeps square_avg, grad_avg",
        ),
    ],
)
def test_what_would_not_go_on_is_an_error(make: Make, recipe: str, message: str) -> None:
    with pytest.raises(optzoo.InputError, match=message):
        migrated(make, recipe)


def test_hyperparameters_and_schedules_go_along() -> None:
    params = parameters()
    old = torch.optim.AdamW(
        [{"params": params[:1], "lr": 1e-2}, {"params": params[1:], "weight_decay": 0.0}],
        lr=1e-3, betas=(0.8, 0.9), weight_decay=0.3,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(old, lambda t: 1 / (1 + t))
    for step in range(3):
        run(old, params, range(step, step + 1))
        schedule.step()
    groups = [{"params": [p]} for p in params]
    new = optzoo.optim.AdamW(groups, lr=0.5)
    new.load_state_dict(optzoo.from_torch(old, new))
    found = [
        {k: g[k] for k in ("lr", "lr0", "initial_lr", "beta1", "betas", "weight_decay")}
        for g in new.param_groups
    ]
    assert found[0]["lr"] == pytest.approx(1e-2 / 4)
    assert found[0] | {"lr": 0} == {
        "lr": 0, "lr0": 1e-2, "initial_lr": 1e-2, "beta1": 0.8, "betas": (0.8, 0.9),
        "weight_decay": 0.3,
    }  # fmt: skip
    assert found[1]["weight_decay"] == 0.0


def test_a_learning_rate_that_is_0_now_hides_nothing() -> None:
    params = parameters()
    old = torch.optim.Adam(params, lr=1e-3, weight_decay=0.1)
    run(old, params, range(3))
    old.param_groups[0]["lr"] = 0.0
    new = optzoo.load_recipe("adamw").build(params)
    with pytest.raises(optzoo.InputError, match="does not go on"):
        optzoo.from_torch(old, new)


def test_parameters_that_never_trained_begin_later() -> None:
    params = parameters()
    old = torch.optim.AdamW(params, lr=1e-3)
    run(old, params[:1], range(3))
    new = optzoo.load_recipe("adamw").build(params, lr=1e-3)
    new.load_state_dict(optzoo.from_torch(old, new))
    assert [float(new.state[p]["step"]) for p in params] == [3, 0]
    run(old, params, range(3, 6))
    theirs = [p.detach().clone() for p in params]
    again = parameters()
    first = torch.optim.AdamW(again, lr=1e-3)
    run(first, again[:1], range(3))
    ours = optzoo.load_recipe("adamw").build(again, lr=1e-3)
    ours.load_state_dict(optzoo.from_torch(first, ours))
    run(ours, again, range(3, 6))
    for a, b in zip(again, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=0, atol=1e-12)


def test_observers_start_now() -> None:
    params = parameters()
    old = torch.optim.AdamW(params, lr=1e-3)
    run(old, params, range(3))
    new = optzoo.load_recipe("adamw").build(params, observers=["ema:0.9"])
    with pytest.warns(UserWarning, match="`ema:0.9` starts now"):
        new.load_state_dict(optzoo.from_torch(old, new))
    before = [p.detach().clone() for p in params]
    with new.evaluation("ema:0.9"):
        for p, q in zip(params, before, strict=True):
            assert torch.equal(p, q)


def test_narrow_parameters_and_their_wide_copies() -> None:
    params = parameters(torch.bfloat16)
    old = torch.optim.AdamW(params, lr=1e-3)
    run(old, params, range(3))
    new = optzoo.load_recipe("adamw").build(params)
    new.load_state_dict(optzoo.from_torch(old, new))
    assert new.state[params[0]]["m"].dtype == torch.float32
    assert torch.equal(new.state[params[0]]["m"], old.state[params[0]]["exp_avg"].float())
    run(new, params, range(3, 5))


def test_optimizers_that_cannot_be_taken_over() -> None:
    params = parameters()
    ours = optzoo.load_recipe("adamw").build(params)
    with pytest.raises(optzoo.InputError, match="optzoo optimizer already"):
        optzoo.from_torch(ours, ours)
    others = torch.optim.AdamW(parameters())
    with pytest.raises(optzoo.InputError, match="not in the optimizer to take over"):
        optzoo.from_torch(others, ours)
    apart = torch.optim.AdamW([{"params": [p]} for p in params])
    with pytest.raises(optzoo.InputError, match="from 2 groups"):
        optzoo.from_torch(apart, ours)
    wrapper = torch.optim.SGD(params, lr=0.1)
    wrapper.inner = others  # type: ignore[attr-defined]
    with pytest.raises(optzoo.InputError, match="wraps another one"):
        optzoo.from_torch(wrapper, ours)


def test_an_average_that_is_shown_is_put_away_first() -> None:
    schedulefree = pytest.importorskip("schedulefree")
    params = parameters()
    old = schedulefree.AdamWScheduleFree(params, lr=1e-3)
    old.train()
    run(old, params, range(3))
    old.eval()
    new = optzoo.load_recipe("schedule_free_adamw").build(params)
    with pytest.raises(optzoo.InputError, match=r"old\.train\(\)"):
        optzoo.from_torch(old, new)


def test_hooks_of_the_old_optimizer_do_not_run() -> None:
    params = parameters()
    old = torch.optim.AdamW(params, lr=1e-3)
    run(old, params, range(2))
    calls: list[int] = []
    old.register_step_post_hook(lambda *_: calls.append(1))
    new = optzoo.load_recipe("adamw").build(params)
    before = [p.detach().clone() for p in params]
    optzoo.from_torch(old, new)
    assert calls == []
    assert all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
