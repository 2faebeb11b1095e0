"""Every shipped recipe beside its oracle: fifty steps of random gradients in float64, to 1e-12.

Parameters of rank 0 to 4 and an empty one; weight decay, learning-rate schedules and a parameter
that joins late and pauses. Training point and evaluation point are compared after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from oracles import ORACLES
from oracles.base import Array
from oracles.variants import VASWANI_SCHEDULES, NesterovVaswaniScheduled
from problems import (
    EXACT,
    RECIPES,
    STEPS,
    TOTAL_STEPS,
    expected,
    gradients,
    largest_error,
    lr_factor,
    oracle_class,
    settings_of,
    shapes_of,
    starts,
)
from torch.optim.lr_scheduler import LambdaLR

import optzoo
from optzoo.files.shipped import shipped

SLOW_ENGINE = ("adamw", "ademamix", "mars", "schedule_free_adamw", "adopt", "nesterov_vaswani")
"""Recipes that also run on the reference engine: between them they use every kind of operation."""


def parameters(name: str) -> list[torch.nn.Parameter]:
    points = starts(shapes=shapes_of(name))
    return [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in points]


def train(
    optimizer: torch.optim.Optimizer,
    params: list[torch.nn.Parameter],
    schedule: str,
    drift: float = 0.0,
) -> Iterator[list[Array]]:
    """Run an optimizer through the problem; yield the parameters after each step."""
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(schedule, step))
    for grads in gradients(shapes=tuple(tuple(p.shape) for p in params), drift=drift):
        for p, g in zip(params, grads, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        optimizer.step()
        scheduler.step()
        yield [p.detach().numpy().copy() for p in params]


def compare(name: str, settings: dict[str, float], schedule: str, engine: str) -> None:
    params, before = parameters(name), parameters(name)
    recipe = optzoo.load_recipe(name)
    opt = recipe.build(params, total_steps=TOTAL_STEPS, engine=engine, **settings)
    ours = train(opt, params, schedule, oracle_class(name).drift)
    pairs = zip(ours, expected(name, settings, schedule), strict=True)
    for step, (found, (train_point, eval_point)) in enumerate(pairs, 1):
        assert largest_error(found, train_point) <= EXACT, f"training point after step {step}"
        with opt.evaluation():
            shown = [p.detach().numpy().copy() for p in params]
        assert largest_error(shown, eval_point) <= EXACT, f"evaluation point after step {step}"
    moved = [bool(torch.any(p != w)) for p, w in zip(params, before, strict=True)]
    assert moved == [p.numel() > 0 for p in params]


@pytest.mark.parametrize("kind", ["default", "lively"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_its_oracle(name: str, kind: str) -> None:
    settings = settings_of(name, kind)
    for schedule in ("cosine", "from_zero"):
        compare(name, settings, schedule, "foreach")


@pytest.mark.parametrize("name", SLOW_ENGINE)
def test_a_recipe_is_its_oracle_on_the_reference_engine(name: str) -> None:
    settings = settings_of(name, "lively")
    compare(name, settings, "from_zero", "reference")


AWAITED = {"prodigy"}
"""Oracles that are here before their recipes; whatever recipe comes is compared at once."""


def test_every_oracle_has_a_recipe_and_every_recipe_is_shipped() -> None:
    assert len(RECIPES) >= 46
    assert not set(ORACLES) - set(RECIPES) - AWAITED
    assert sorted(shipped()) == sorted(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_hyperparameters_are_the_oracles(name: str) -> None:
    spec = optzoo.load_recipe(name).spec
    assert spec.name == name
    assert set(spec.hyperparameters) == oracle_class(name).hyperparameters()


@pytest.mark.parametrize("name", RECIPES)
def test_defaults_are_the_authors_or_said_to_be_ours(name: str) -> None:
    oracle, knobs = oracle_class(name), optzoo.load_recipe(name).hyperparameters
    theirs: dict[str, float | str] = {"lr": oracle.default_lr} if oracle.default_lr else {}
    theirs |= {key: value for key, value in oracle.defaults.items() if key != "lr0"}
    assert {key: knobs[key].default for key in theirs} == {**theirs, **oracle.our_defaults}
    for key, ours in oracle.our_defaults.items():
        assert ours != theirs[key], f"`{key}` is the authors'"


# Torch itself as a second witness -----------------------------------------------------------------

Make = Callable[[list[torch.nn.Parameter], dict[str, float]], torch.optim.Optimizer]


def _betas(s: dict[str, float]) -> dict[str, Any]:
    return {
        "lr": s["lr"],
        "betas": (s["beta1"], s["beta2"]),
        "eps": s["eps"],
        "weight_decay": s["weight_decay"],
    }


TORCH: dict[str, Make] = {
    "sgd": lambda p, s: torch.optim.SGD(p, **s),
    "sgd_momentum": lambda p, s: torch.optim.SGD(p, **s),
    "sgd_nesterov": lambda p, s: torch.optim.SGD(p, **s, nesterov=True),
    "adamw": lambda p, s: torch.optim.AdamW(p, **_betas(s)),
    "rmsprop": lambda p, s: torch.optim.RMSprop(p, **s),
    "adagrad": lambda p, s: torch.optim.Adagrad(p, **s),
    "nadam": lambda p, s: torch.optim.NAdam(p, **_betas(s), momentum_decay=s["momentum_decay"]),
    "nadamw": lambda p, s: torch.optim.NAdam(
        p, **_betas(s), momentum_decay=s["momentum_decay"], decoupled_weight_decay=True
    ),
}


@pytest.mark.parametrize("kind", ["default", "lively"])
@pytest.mark.parametrize("name", TORCH)
def test_a_recipe_is_torchs_own_optimizer(name: str, kind: str) -> None:
    settings = settings_of(name, kind)
    ours, theirs = parameters(name), parameters(name)
    opt = optzoo.load_recipe(name).build(ours, total_steps=TOTAL_STEPS, **settings)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product of mu in the default dtype
    try:
        other = TORCH[name](theirs, settings)
        runs = zip(train(opt, ours, "cosine"), train(other, theirs, "cosine"), strict=True)
        for step, (found, wanted) in enumerate(runs, 1):
            assert largest_error(found, wanted) <= EXACT, f"after step {step}"
    finally:
        torch.set_default_dtype(default)


# Hyperparameters that are functions of t ----------------------------------------------------------


def test_nesterov_vaswani_takes_schedules() -> None:
    """Vaswani et al. 2019 let alpha, beta and gamma depend on k; alpha is read one step ahead."""
    (param,) = params = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64))]
    opt = optzoo.load_recipe("nesterov_vaswani").build(params, eta=0.03, **VASWANI_SCHEDULES)
    oracle = NesterovVaswaniScheduled(np.ones(3), STEPS, eta=0.03)
    rng = np.random.default_rng(5)
    for _ in range(STEPS):
        grad = rng.normal(size=3)
        oracle.step(grad, 1.0)
        param.grad = torch.from_numpy(grad)
        opt.step()
        assert largest_error([param.detach().numpy()], [oracle.train_point()]) <= EXACT
        with opt.evaluation():
            assert largest_error([param.detach().numpy()], [oracle.eval_point()]) <= EXACT


def test_a_view_reads_the_learning_rate_of_the_last_step() -> None:
    """AGNES is evaluated a step of lr*alpha back; a scheduler moves lr before anyone evaluates."""
    (param,) = params = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64))]
    opt = optzoo.load_recipe("agnes").build(params, eta=0.1, alpha=0.2, rho=0.5)
    param.grad = torch.ones_like(param)
    opt.step()
    with opt.evaluation():
        before = param.detach().clone()
    opt.param_groups[0]["lr"] = 0.25
    with opt.evaluation():
        assert torch.equal(param, before)
    torch.testing.assert_close(before, torch.full_like(before, 0.9), rtol=0, atol=1e-15)
