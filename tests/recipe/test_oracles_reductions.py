"""One method is another at special settings: what the literature states, as equal trajectories.

Between oracles only; optzoo takes no part.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest
from oracles import LIVELY, make_oracle
from oracles.base import half_life_linear, tail_weight
from oracles.trajectory import STEPS, assert_same, eq1, run

ADAM = {key: LIVELY["adamw"][key] for key in ("lr", "beta1", "beta2", "eps", "weight_decay")}
SMALL = {"grad_scale": 1e-2}

REDUCTIONS: dict[str, tuple[str, dict, str, dict]] = {
    "AdEMAMix paper: alpha = 0 recovers AdamW": ("ademamix", {"alpha": 0.0}, "adamw", ADAM),
    "P9: unit mass, alpha = 0 is Adam at the same lr": (
        *("simplified_ademamix_unit_mass", {**ADAM, "alpha": 0.0, "warmup": 0.0}),
        *("adamw", ADAM),
    ),
    "a momentum schedule that stands still is AdamW": (
        *("adam_momentum_schedule", {**ADAM, "beta_start": ADAM["beta1"]}),
        *("adamw", ADAM),
    ),
    "QHAdam paper: nu1 = nu2 = 1 recovers Adam": (
        *("qhadam", {"nu1": 1.0, "nu2": 1.0, "weight_decay": 0.0}),
        *("adamw", {"weight_decay": 0.0}),
    ),
    "QHM paper: nu = 0 recovers plain SGD": (
        *("qhm", {"lr": 0.02, "nu": 0.0}),
        *("sgd", {"weight_decay": 0.0}),
    ),
    "QHM paper: nu = beta recovers Nesterov, lr scaled": (
        *("qhm", {"beta": 0.8, "nu": 0.8, "lr": 0.1}),
        *("sgd_nesterov", {"momentum": 0.8, "lr": 0.1 * (1 - 0.8), "weight_decay": 0.0}),
    ),
    "MaSS paper: eta2 = 0 recovers Nesterov": (
        *("mass", {"eta2": 0.0}),
        *("sgd_nesterov", {"momentum": 0.8, "lr": 0.03, "weight_decay": 0.0}),
    ),
    "AGNES paper: alpha = eta recovers Nesterov": (
        *("agnes", {"alpha": 0.03}),
        *("sgd_nesterov", {"momentum": 0.9, "lr": 0.03, "weight_decay": 0.0}),
    ),
    "AggMo paper: equal dampings are classical momentum": (
        *("aggmo", {"beta1": 0.8, "beta2": 0.8, "beta3": 0.8}),
        *("sgd_momentum", {"momentum": 0.8, "dampening": 0.0, "weight_decay": 0.0}),
    ),
    "Nesterov at momentum 0 is SGD": ("sgd_nesterov", {"momentum": 0.0}, "sgd", {}),
    "Eq. (1) without memory is SGD": (
        *("accelerated_sgd", {"k": STEPS}),
        *("sgd", {"lr": 0.04, "weight_decay": 0.0}),
    ),
    "LaProp paper: at beta1 = 0 the order cannot matter": (
        *("laprop", {"beta1": 0.0}),
        *("adamw", {**ADAM, "beta1": 0.0}),
    ),
    "at constant lr both LaProps agree": (
        *("laprop_official", {"weight_decay": 0.0}),
        *("laprop", {"weight_decay": 0.0}),
    ),
    "Lion paper: beta1 = beta2 is signed momentum": (
        *("lion", {"beta1": 0.85, "beta2": 0.85}),
        *("signum", {}),
    ),
    "MARS at gamma = 0 is AdamW of the clipped gradient": (
        *("mars", {"gamma": 0.0, **SMALL}),
        *("adamw", {**ADAM, **SMALL}),
    ),
    "MARS-Lion at gamma = 0 is Signum": (
        *("mars_lion", {"gamma": 0.0, **SMALL}),
        *("signum", SMALL),
    ),
    "Grokfast with lamb = 0 does nothing": ("grokfast_adamw", {"lamb": 0.0}, "adamw", {}),
    "Grokfast with a = 0 only rescales, which Adam ignores": (
        *("grokfast_adamw", {"a": 0.0, "eps": 0.0}),
        *("adamw", {"eps": 0.0}),
    ),
    "Adan without differences is Adam": (
        *("adan", {"beta1": 0.85, "beta2": 0.0, "beta3": 0.93, "weight_decay": 0.0}),
        *("adamw", {"weight_decay": 0.0}),
    ),
    "GPA with mu_x = 0 averages nothing": ("gpa_adamw", {"mu_x": 0.0}, "adamw", {}),
    "Algorithm 3 with beta3 = 0 has no momentum": (
        *("accelerated_adamw", {"beta3": 0.0}),
        *("adamw_averaged", {"beta1": 0.0}),
    ),
    "with k = 1, delta = 1 - beta the knobs are Schedule-Free's": (
        *("decoupled_schedule_free_adamw", {"k": 1.0, "delta": 1 - 0.8}),
        *("schedule_free_adamw", {"r": 0.0}),
    ),
    "4c: without eps and lr weights the debiasing may move into lr": (
        *("schedule_free_adamw_paper", {"eps": 0.0, "weight_decay": 0.0, "weight_lr_power": 0.0}),
        *("schedule_free_adamw", {"eps": 0.0, "weight_decay": 0.0, "weight_lr_power": 0.0}),
    ),
}


@pytest.mark.parametrize("claim", REDUCTIONS)
def test_reduction(claim: str) -> None:
    left_name, left_changes, right_name, right_changes = REDUCTIONS[claim]
    left, right = run(left_name, **left_changes), run(right_name, **right_changes)
    assert_same(left.train, right.train)
    evaluated_alike = left_name not in ("mass", "agnes")  # these two are evaluated elsewhere
    if evaluated_alike:
        assert_same(left.evaluated, right.evaluated)


def test_schedule_free_with_beta_0_is_sgd_with_averaging() -> None:
    """Section 4.1.1: "when beta = 0, Schedule-Free SGD reduces to standard SGD with weight
    averaging. Since c_t = 1/t, it applies weight averaging from the beginning."
    """
    free = run("schedule_free_sgd", beta=0.0, r=0.0)
    plain = run("sgd")
    assert_same(free.train, plain.train)
    counts = np.arange(1, STEPS + 1)[:, None]
    assert_same(free.evaluated[1:], np.cumsum(plain.train[1:], axis=0) / counts)


def test_schedule_free_with_beta_1_is_momentum_sgd() -> None:
    """Section 4.1.2: "reduces to standard momentum SGD, with the momentum coefficient beta_{a,t}
    scaling as 1 - 1/t". With steps counted from 1 the coefficient is 1 - c_{t-1} = 1 - 1/(t-1).
    """
    free = run("schedule_free_sgd", beta=1.0, r=0.0, weight_decay=0.0)
    lr = LIVELY["schedule_free_sgd"]["lr"]
    momentum = [(1 - 1 / (t - 1) if t > 1 else 0.0, lr / t, 0.0) for t in range(1, STEPS + 1)]
    assert_same(free.train, eq1(free, momentum))
    assert_same(free.train, free.evaluated)


def test_schedule_free_adamw_with_beta_0_is_memoryless_adam_with_averaging() -> None:
    """Section 4.1.1 with a preconditioner: z takes Adam steps with beta1 = 0, x is their mean."""
    free = run("schedule_free_adamw", beta=0.0, r=0.0)
    plain = run("adamw", beta1=0.0)
    assert_same(free.train, plain.train)
    counts = np.arange(1, STEPS + 1)[:, None]
    assert_same(free.evaluated[1:], np.cumsum(plain.train[1:], axis=0) / counts)


def test_schedule_free_radam_is_schedule_free_adamw_with_a_warmup() -> None:
    """Liu et al. 2020: the rectification acts as a learning-rate warmup r_t; 0 while rho_t <= 4."""
    s = LIVELY["schedule_free_radam"]
    t = np.arange(1, STEPS + 1)
    powers = s["beta2"] ** t
    rho_inf = 2 / (1 - s["beta2"]) - 1
    rho = rho_inf - 2 * t * powers / (1 - powers)
    shape = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
    rect = np.where(rho > 4, np.sqrt(np.abs(shape)), 0.0)
    assert 0 < np.count_nonzero(rect == 0) < 10
    radam = run("schedule_free_radam", varying=True)
    warmed = run("schedule_free_adamw", lrs=radam.lrs * rect)
    assert_same(radam.train, warmed.train)
    assert_same(radam.evaluated, warmed.evaluated)


def test_simplified_ademamix_with_alpha_0_is_adam_with_rescaled_lr() -> None:
    """Section 4.5: "setting alpha = 0 recovers the standard Adam optimizer (subject to appropriate
    transformations of eta and beta_1)": lr (1 - b1^t)/(1 - b1), optimizers.md P9.
    """
    constant = {**ADAM, "alpha": 0.0, "warmup": 0.0, "weight_decay": 0.0}
    t = np.arange(1, STEPS + 1)
    rescaled = 5e-3 * (1 - ADAM["beta1"] ** t) / (1 - ADAM["beta1"])
    simplified = run("simplified_ademamix", **{**constant, "lr": 5e-3})
    assert_same(simplified.train, run("adamw", lrs=rescaled, weight_decay=0.0).train)


def test_the_weight_average_of_adamw_is_an_observer() -> None:
    """Section 3.2: "Instead of returning the final iterate w_T, a weighted average"; delta = 1 is
    the plain mean.
    """
    averaged, plain = run("adamw_averaged", varying=True), run("adamw", varying=True)
    assert_same(averaged.train, plain.train)
    mean = run("adamw_averaged", delta=1.0).evaluated[1:]
    iterates = run("adamw").train[1:]
    assert_same(mean, np.cumsum(iterates, axis=0) / np.arange(1, STEPS + 1)[:, None])


def test_qhm_with_nu_1_is_momentum_with_dampening_but_for_the_first_step() -> None:
    """QHM paper, section 3: nu = 1 recovers momentum; torch's first buffer is g, not (1-beta) g."""
    qhm = run("qhm", nu=1.0, lr=0.02)
    beta = LIVELY["qhm"]["beta"]
    ema = [(beta, 0.02 * (1 - beta), 0.0)] * STEPS
    assert_same(qhm.train, eq1(qhm, ema))
    torch_like = run("sgd_momentum", momentum=beta, dampening=beta, lr=0.02, weight_decay=0.0)
    assert np.abs(qhm.train - torch_like.train).max() > 1e-3


def test_every_constant_eq1_triple_is_a_qhm() -> None:
    """optimizers.md 9: `lr = alpha_a + eta_a/(1-beta_a), nu = 1 - alpha_a/lr, b = beta_a`."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        beta_a, eta_a, alpha_a = rng.uniform(0, 0.99), *rng.uniform(0.001, 0.02, 2)
        lr = alpha_a + eta_a / (1 - beta_a)
        trajectory = run("qhm", lr=lr, nu=1 - alpha_a / lr, beta=beta_a)
        assert_same(eq1(trajectory, [(beta_a, eta_a, alpha_a)] * STEPS), trajectory.train)


def test_accsgd_is_a_qhm() -> None:
    """QHM paper, appendix C.5, as in qhoptim's from_accsgd (optimizers.md 9)."""
    s = LIVELY["accsgd"]
    small, xi, kappa = s["small_const"], s["xi"], s["kappa"]
    qhm = {
        "lr": s["lr"] * small * (1 + xi) / (1 + small),
        "nu": (small * xi - 1) / (small * (1 + xi)),
        "beta": (kappa - small**2 * xi) / (kappa + small * xi),
    }
    assert_same(run("accsgd").train, run("qhm", **qhm).train)


def test_unit_mass_moves_by_lr_whatever_alpha() -> None:
    """optimizers.md 17.12: m + alpha g has mass num_sum + alpha; without eps a constant gradient
    then moves every weight by lr, at any alpha and beta schedule, as in Adam.
    """
    for alpha in (0.0, 3.0, 100.0):
        settings = {**LIVELY["simplified_ademamix_unit_mass"], "alpha": alpha, "eps": 0.0}
        settings["weight_decay"] = 0.0
        oracle = make_oracle("simplified_ademamix_unit_mass", np.zeros(3), 50, **settings)
        for t in range(1, STEPS + 1):
            oracle.step(np.array([1.0, -0.1, 20.0]), 0.01)
            assert_same(oracle.train_point(), -0.01 * t * np.array([1.0, -1.0, 1.0]))


# Weight decay alone: gradients are zero, what remains is one factor per step ----------------------


def by_lr(s: dict, t: int, lr: float) -> float:
    return 1 - lr * s["weight_decay"]


DECAYS: dict[str, Callable[[dict, int, float], float]] = {
    **dict.fromkeys(["sgd", "adamw", "adamw_averaged", "adam_momentum_schedule"], by_lr),
    **dict.fromkeys(["grokfast_adamw", "nadamw", "mars", "mars_lion", "ademamix", "lion"], by_lr),
    **dict.fromkeys(["simplified_ademamix", "simplified_ademamix_unit_mass"], by_lr),
    **dict.fromkeys(["laprop", "accelerated_adamw", "signum"], by_lr),
    "adan": lambda s, t, lr: 1 / (1 + lr * s["weight_decay"]),
    "laprop_official": lambda s, t, lr: 1 - s["weight_decay"],
    "adopt_decoupled": lambda s, t, lr: 1.0 if t == 1 else by_lr(s, t, lr),
    "adana": lambda s, t, lr: 1 - s["weight_decay"] * (lr / s["lr"]) / (1 + t / s["wd_ts"]),
}


@pytest.mark.parametrize("name", DECAYS)
def test_weight_decay_alone(name: str) -> None:
    """optimizers.md, each section's line with wd: coupling, lr, first step."""
    s = LIVELY[name]
    trajectory = run(name, varying=True, grad_scale=0.0)
    factors = [DECAYS[name](s, t, lr) for t, lr in enumerate(trajectory.lrs, start=1)]
    expected = trajectory.train[0] * np.cumprod([1.0, *factors])[:, None]
    assert_same(trajectory.train, expected)
    assert np.abs(expected[-1] - expected[0]).max() > 1e-2


def test_a_step_of_official_laprop_without_learning_rate_moves_by_its_momentum() -> None:
    """optimizers.md 3: "A step with lr = 0 is not a no-op: ... w moves by the whole of m"."""
    settings = {**LIVELY["laprop_official"], "weight_decay": 0.0, "eps": 0.0}
    oracle = make_oracle("laprop_official", np.zeros(1), 50, **settings)
    oracle.step(np.ones(1), 0.1)  # m = (1 - beta1) 0.1, s1 = m
    assert_same(oracle.train_point(), np.array([-0.1]))
    oracle.step(np.ones(1), 0.0)
    moved = settings["beta1"] * (1 - settings["beta1"]) * 0.1
    assert_same(oracle.train_point(), np.array([-0.1 - moved]))


# Schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.9999), (0.5, 0.99), (0.99, 0.9)])
def test_half_life_is_linear_as_in_apples_code_and_in_the_paper(start: float, end: float) -> None:
    """AdEMAMix paper, section 3, and apple's f, f_inv (without the 1e-8 in the logarithm)."""
    for t in range(1, 40):
        a = min(t / 30, 1.0)
        lives = [log(0.5) / log(beta) - 1 for beta in (start, end)]
        apple = 0.5 ** (1 / ((1 - a) * lives[0] + a * lives[1] + 1))
        printed = exp(log(start) * log(end) / ((1 - a) * log(end) + a * log(start)))
        assert half_life_linear(t, start, end, 30) == pytest.approx(apple, rel=1e-13)
        assert half_life_linear(t, start, end, 30) == pytest.approx(printed, rel=1e-13)


def test_half_life_may_start_at_zero() -> None:
    """optimizers.md 17.4: the schedule "must accept start = 0"; the limit of small starts."""
    values = [half_life_linear(t, 0.0, 0.99, 20) for t in range(23)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[20:] == [0.99] * 3
    assert values[10] == pytest.approx(0.99**2, rel=1e-14)
    assert half_life_linear(10, 1e-300, 0.99, 20) == pytest.approx(values[10], rel=1e-4)


def test_algorithm3_line7_readings() -> None:
    """P2: as printed, `c = max(1 - 1/t, 1 - 1/(delta t))` never uses a delta of at most 1."""
    for t in range(1, 60):
        for delta in (0.05, 0.3, 1.0):
            assert max(1 - 1 / t, 1 - 1 / (delta * t)) == 1 - 1 / t
        assert tail_weight(t, 0.1) == (1.0 if t <= 10 else pytest.approx(10 / t))
