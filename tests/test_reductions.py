"""Reductions that the papers state, as equality of trajectories between recipes.

Each pair is trained by the engine on the same gradients, in float64, with a moving learning rate
where the statement allows one; training and evaluation points must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import optzoo

STEPS = 50
EXACT = 1e-12


def constant(t: int) -> float:
    return 1.0


def moving(t: int) -> float:
    return min(1.0, t / 10) * (1 - 0.5 * t / STEPS)


@dataclass(frozen=True)
class Claim:
    """`left` and `right` are the same optimizer; the sentence is where that is said."""

    sentence: str
    left: tuple[str, dict[str, Any]]
    right: tuple[str, dict[str, Any]]
    shape: Callable[[int], float] = moving
    views: tuple[str, ...] = ("train", "eval")
    observers: tuple[str, ...] = field(default=())


ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6}
SF = {"beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1}

CLAIMS = {
    "schedule_free_sgd at beta 0 is sgd with uniform averaging": Claim(
        "Connections paper, 4.1.1: standard SGD with weight averaging",
        ("schedule_free_sgd", {"lr": 0.1, "beta": 0, "weight_lr_power": 0}),
        ("sgd", {"lr": 0.1}),
        views=("train", "eval/uniform"),
        observers=("uniform",),
    ),
    "schedule_free_sgd at beta 1 trains at its average": Claim(
        "Connections paper, 4.1.2: momentum with coefficient 1 - 1/t, weight eta c on the sum",
        ("schedule_free_sgd", {"lr": 0.1, "beta": 1}),
        ("schedule_free_sgd", {"lr": 0.1, "beta": 1, "weight_lr_power": 0}),
        shape=constant,
    ),
    "ademamix at alpha 0 is adamw": Claim(
        "AdEMAMix (arXiv 2409.03137): alpha = 0 recovers AdamW",
        ("ademamix", {"lr": 0.1, **ADAM, "alpha": 0, "weight_decay": 0.1}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0.1}),
    ),
    "ademamix at beta1 0 and alpha 0 is adamw at beta1 0": Claim(
        "AdEMAMix (arXiv 2409.03137), both momenta off",
        ("ademamix", {"lr": 0.1, **ADAM, "beta1": 0, "alpha": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "beta1": 0, "weight_decay": 0}),
    ),
    "simplified_ademamix debiased at alpha 0 is adam": Claim(
        "Connections paper, 4.5: alpha = 0 recovers Adam (authors' bias_correction1)",
        ("simplified_ademamix_debiased", {"lr": 0.1, **ADAM, "beta_start": 0.9, "alpha": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
    ),
    "simplified_ademamix unit mass at alpha 0 is adam": Claim(
        "unit mass: m/num_sum is the debiased average",
        ("simplified_ademamix_unit_mass", {"lr": 0.1, **ADAM, "beta_start": 0.9, "alpha": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
    ),
    "qhadam at nu 1 is adam": Claim(
        "Ma and Yarats 2019, section 4.2",
        ("qhadam", {"lr": 0.1, **ADAM, "nu1": 1, "nu2": 1}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
    ),
    "qhm at nu 1 is momentum as an average": Claim(
        "Ma and Yarats 2019, section 3: nu = 1 is momentum with dampening beta",
        ("qhm", {"lr": 0.1, "beta": 0.9, "nu": 1}),
        ("accelerated_sgd", {"eta": 0.01, "alpha": 0, "k": "0.1*t"}),
        shape=constant,
    ),
    "qhm at nu 0 is sgd": Claim(
        "Ma and Yarats 2019, section 3: nu = 0 is plain SGD",
        ("qhm", {"lr": 0.1, "beta": 0.9, "nu": 0}),
        ("sgd", {"lr": 0.1}),
    ),
    "qhm at nu beta is nesterov": Claim(
        "Ma and Yarats 2019, section 3: nu = beta is Nesterov's momentum, lr scaled by 1 - beta",
        ("qhm", {"lr": 0.1, "beta": 0.9, "nu": 0.9}),
        ("sgd_nesterov", {"lr": 0.01, "momentum": 0.9}),
        shape=constant,
    ),
    "mars at gamma 0 and small gradients is adamw": Claim(
        "MARS (arXiv 2411.10438): gamma = 0 removes the correction; the clip rests below norm 1",
        ("mars", {"lr": 0.1, **ADAM, "gamma": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
    ),
    "adamw averaged at delta 1 is the plain mean": Claim(
        "Connections paper, 3.2, weight 1/(delta t)",
        ("adamw_averaged", {"lr": 0.1, **ADAM, "delta": 1}),
        ("adamw", {"lr": 0.1, **ADAM}),
        views=("train", "eval/uniform"),
        observers=("uniform",),
    ),
    "decoupled schedule-free with matched knobs is schedule-free": Claim(
        "with k = 1 and delta = 1 - beta the average of y is Schedule-Free's x",
        ("decoupled_schedule_free_adamw", {"lr": 0.1, "beta": 0.8, "k": 1, "delta": 0.2, **SF}),
        ("schedule_free_adamw", {"lr": 0.1, "beta": 0.8, **SF}),
        shape=constant,
    ),
    "gpa at mu_y 0 trains at adam": Claim(
        "GPA (arXiv 2512.17131): the gradient point is the base iterate",
        ("gpa_adamw", {"lr": 0.1, **ADAM, "mu_y": 0, "mu_x": 0.9, "weight_decay": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
        views=("train",),
    ),
    "lion at beta1 beta2 is signum": Claim(
        "Lion with equal betas mixes exactly the updated momentum",
        ("lion", {"lr": 0.1, "beta1": 0.9, "beta2": 0.9}),
        ("signum", {"lr": 0.1, "beta": 0.9}),
    ),
    "adam with a flat momentum schedule is adam": Claim(
        "half-life linear from beta1 to beta1",
        ("adam_momentum_schedule", {"lr": 0.1, **ADAM, "beta_start": 0.9}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0}),
    ),
    "laprop at beta1 0 is adam at beta1 0": Claim(
        "without momentum there is no order",
        ("laprop", {"lr": 0.1, **ADAM, "beta1": 0}),
        ("adamw", {"lr": 0.1, **ADAM, "beta1": 0, "weight_decay": 0}),
    ),
    "rmsprop without momentum is adam at beta1 0 but for debiasing": Claim(
        "torch.optim.RMSprop; both at a decay of 0",
        ("rmsprop", {"lr": 0.1, "alpha": 0, "eps": 1e-6}),
        ("adamw", {"lr": 0.1, "beta1": 0, "beta2": 0, "eps": 1e-6, "weight_decay": 0}),
    ),
    "grokfast at lamb 0 is adamw": Claim(
        "Grokfast (arXiv 2405.20233): the filtered gradient has weight lamb",
        ("grokfast_adamw", {"lr": 0.1, **ADAM, "lamb": 0, "weight_decay": 0.1}),
        ("adamw", {"lr": 0.1, **ADAM, "weight_decay": 0.1}),
    ),
    "agnes is eq. (1)": Claim(
        "Connections paper, B.1: beta_a = rho, eta_a = alpha rho, alpha_a = eta",
        ("agnes", {"eta": 0.1, "alpha": 0.2, "rho": 0.9}),
        ("accelerated_sgd", {"eta": 0.18, "alpha": 0.1, "k": "0.1*t"}),
        views=("train",),
    ),
    "mass is eq. (1)": Claim(
        "Connections paper, B.3: beta_a = gamma, eta_a = eta1 gamma - eta2, alpha_a = eta1",
        ("mass", {"eta1": 0.1, "eta2": 0.05, "gamma": 0.9}),
        ("accelerated_sgd", {"eta": 0.04, "alpha": 0.1, "k": "0.1*t"}),
        views=("train",),
    ),
    "asgd is eq. (1), corrected": Claim(
        "Connections paper, B.2 corrected: (1-beta) alpha, (1-alpha)(gamma-delta), delta",
        ("asgd_jain", {"alpha": 0.9, "beta": 0.1, "gamma": 0.05, "delta": 0.01}),
        ("accelerated_sgd", {"eta": 0.004, "alpha": 0.01, "k": "0.19*t"}),
        views=("train",),
    ),
}


def train(side: tuple[str, dict[str, Any]], claim: Claim) -> list[dict[str, list[Tensor]]]:
    recipe, hyper = side
    generator = torch.Generator().manual_seed(7)
    shapes = [(3,), (2, 2)]
    params = [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]
    loaded = optzoo.load_recipe(recipe)
    opt = loaded.build(params, total_steps=STEPS, observers=claim.observers, **hyper)
    base = opt.param_groups[0]["lr"]
    history = []
    for t in range(1, STEPS + 1):
        opt.param_groups[0]["lr"] = base * claim.shape(t)
        for p in params:
            # norms below 1, so that the clip of MARS rests
            p.grad = 0.3 * torch.rand(p.shape, generator=generator, dtype=torch.float64) - 0.1
        opt.step()
        points = {}
        for view in opt.views:
            with opt.evaluation(view):
                points[view] = [p.detach().clone() for p in params]
        history.append(points)
    return history


@pytest.mark.parametrize("name", CLAIMS)
def test_reduction(name: str) -> None:
    claim = CLAIMS[name]
    left, right = train(claim.left, claim), train(claim.right, claim)
    for t, (a, b) in enumerate(zip(left, right, strict=True), start=1):
        for view in claim.views:
            ours, _, theirs = view.partition("/")
            for p, q in zip(a[ours], b[theirs or ours], strict=True):
                scale = max(1.0, float(q.abs().max()))
                assert float((p - q).abs().max()) <= EXACT * scale, (claim.sentence, view, t)


def test_simplified_ademamix_at_alpha_0_is_adam_with_a_growing_rate() -> None:
    """Connections paper, 4.5; optimizers.md, P9: lr becomes lr (1 - beta1**t)/(1 - beta1)."""
    hyper = {**ADAM, "beta_start": 0.9, "alpha": 0}
    plain = Claim("", ("simplified_ademamix", {"lr": 0.01, **hyper}), ("", {}), shape=constant)
    growing = Claim(
        "",
        ("", {}),
        ("adamw", {"lr": 0.01, **ADAM, "weight_decay": 0}),
        shape=lambda t: (1 - 0.9**t) / (1 - 0.9),
    )
    for a, b in zip(train(plain.left, plain), train(growing.right, growing), strict=True):
        for p, q in zip(a["train"], b["train"], strict=True):
            torch.testing.assert_close(p, q, rtol=EXACT, atol=EXACT)


def test_schedule_free_at_beta_1_has_momentum_1_minus_1_over_t() -> None:
    """Connections paper, 4.1.2, with t counted from the previous step: 1 - c_{t-1}."""
    found = optzoo.describe(optzoo.load_recipe("schedule_free_sgd"), beta=1, lr=0.1)
    for t in (3, 10, 500):
        assert found.beta_a(t) == pytest.approx(1 - 1 / (t - 1), rel=EXACT)
        assert found.eta_a(t) == pytest.approx(0.1 / t, rel=EXACT)
        assert found.alpha_a(t) == pytest.approx(0.0, abs=EXACT)


def test_a_reduction_can_fail() -> None:
    claim = CLAIMS["ademamix at alpha 0 is adamw"]
    recipe, hyper = claim.left
    off = train((recipe, {**hyper, "alpha": 1e-3}), claim)[-1]["train"][0]
    assert float((off - train(claim.right, claim)[-1]["train"][0]).abs().max()) > 1e-6
