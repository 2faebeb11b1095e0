"""Every linear method is Eq. (1) of the Connections paper: table 16b of optimizers.md, checked.

No test here touches optzoo: the oracles keep their papers' variables, the coefficients are applied
by hand to the gradients they saw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from oracles import LIVELY
from oracles.base import Array, half_life_linear
from oracles.trajectory import STEPS, Triple, assert_same, eq1, numerators, run

Settings = dict[str, float]


# Eq. (1) coefficients, table 16b of optimizers.md ------------------------------------------------

Coefficients = Callable[[Settings, Array], list[Triple]]


def constant(triple: Callable[[Settings], Triple]) -> Coefficients:
    return lambda s, lrs: [triple(s)] * STEPS


def per_step(triple: Callable[[Settings, int, float, float], Triple]) -> Coefficients:
    """Make the list from a function of settings, t, lr_t and lr_{t-1}."""
    return lambda s, lrs: [
        triple(s, t, lrs[t - 1], lrs[t - 2] if t > 1 else lrs[0]) for t in range(1, STEPS + 1)
    ]


def heavy_ball(s: Settings, t: int, lr: float, _: float) -> Triple:
    """Section 1: the first buffer has gain 1, so dampening changes two steps."""
    if t == 1:
        return 0.0, lr, 0.0
    decay = s["momentum"] / (1 - s["dampening"]) if t == 2 else s["momentum"]
    return decay, lr * (1 - s["dampening"]), 0.0


def accsgd(s: Settings, t: int, lr: float, lr_before: float) -> Triple:
    a = 1 - s["small_const"] ** 2 * s["xi"] / s["kappa"]
    zeta = s["small_const"] / (s["small_const"] + 1 - a)
    return a * zeta * lr_before / lr, (1 - zeta) * (s["small_const"] * s["xi"] - 1) * lr, lr


def averaging_weights(s: Settings, lrs: Array) -> Array:
    """Return c_{k+1} of section 4, k = 0, 1, ..."""
    weights = np.arange(1, STEPS + 1) ** s["r"]
    weights = weights * np.maximum.accumulate(lrs) ** s["weight_lr_power"]
    return weights / np.cumsum(weights)


def schedule_free(s: Settings, lrs: Array) -> list[Triple]:
    c = averaging_weights(s, lrs)
    return [
        (
            0.0 if k == 0 else (1 - c[k - 1]) * lrs[k - 1] / lrs[k],
            s["beta"] * c[k] * lrs[k],
            (1 - s["beta"]) * lrs[k],
        )
        for k in range(STEPS)
    ]


def vaswani(s: Settings) -> Triple:
    eta_a = s["alpha"] * s["eta"] * (s["gamma"] - 1)
    return s["beta"] * (1 - s["alpha"]), eta_a, s["eta"]


LINEAR: dict[str, Coefficients] = {
    "sgd": per_step(lambda s, t, lr, _: (0.0, 0.0, lr)),
    "sgd_momentum": per_step(heavy_ball),
    "sgd_nesterov": per_step(lambda s, t, lr, _: (s["momentum"], lr * s["momentum"], lr)),
    "accelerated_sgd": per_step(lambda s, t, lr, _: (max(0, 1 - s["k"] / t), s["eta"], s["alpha"])),
    "agnes": constant(lambda s: (s["rho"], s["alpha"] * s["rho"], s["eta"])),
    "asgd_jain": constant(
        lambda s: (
            (1 - s["beta"]) * s["alpha"],
            (1 - s["alpha"]) * (s["gamma"] - s["delta"]),
            s["delta"],
        )
    ),
    "accsgd": per_step(accsgd),
    "mass": constant(lambda s: (s["gamma"], s["eta1"] * s["gamma"] - s["eta2"], s["eta1"])),
    "nesterov_vaswani": constant(vaswani),
    "qhm": per_step(
        lambda s, t, lr, _: (s["beta"], lr * s["nu"] * (1 - s["beta"]), lr * (1 - s["nu"]))
    ),
    "schedule_free_sgd": schedule_free,
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_methods_are_accelerated_sgd(name: str) -> None:
    """Section 3.3: "many accelerated SGD algorithms ... fall directly within this framework"."""
    changes = {"weight_decay": 0.0} if "weight_decay" in LIVELY[name] else {}
    trajectory = run(name, varying=True, **changes)
    triples = LINEAR[name]({**LIVELY[name], **changes}, trajectory.lrs)
    assert_same(eq1(trajectory, triples), trajectory.train)


@pytest.mark.parametrize("name", ["agnes", "mass", "nesterov_vaswani"])
def test_these_are_evaluated_where_the_gradient_step_alone_leads(name: str) -> None:
    """optimizers.md 14: the evaluation point is `y_{t+1} + eta_a m_t` for MaSS, AGNES, Vaswani."""
    trajectory = run(name)
    triples = LINEAR[name](LIVELY[name], trajectory.lrs)
    momenta = np.array([m for m, _ in numerators(trajectory.grads, triples)])
    readout = trajectory.train[1:] + triples[0][1] * momenta
    assert_same(readout, trajectory.evaluated[1:])


def test_asgd_is_evaluated_at_x() -> None:
    """optimizers.md P1: `x_j = y_j + (1-alpha) b_j`, b_j = (gamma - delta) m_j."""
    s, trajectory = LIVELY["asgd_jain"], run("asgd_jain")
    triples = LINEAR["asgd_jain"](s, trajectory.lrs)
    b = [(s["gamma"] - s["delta"]) * m for m, _ in numerators(trajectory.grads, triples)]
    assert_same(trajectory.train[1:] + (1 - s["alpha"]) * np.array(b), trajectory.evaluated[1:])


def test_appendix_b2_as_printed_is_not_asgd() -> None:
    """Appendix B.2: `(y_{j-1} - v_j)/(gamma - (1-beta) alpha delta)` is no Eq. (1) momentum."""
    s, trajectory = LIVELY["asgd_jain"], run("asgd_jain")
    beta_a = (1 - s["beta"]) * s["alpha"]
    gain = s["gamma"] - beta_a * s["delta"]
    printed = [(beta_a, (1 - s["alpha"]) * gain, s["alpha"] * s["delta"])] * STEPS
    assert np.abs(eq1(trajectory, printed) - trajectory.train).max() > 1e-3


def test_schedule_free_evaluation_point_needs_no_division() -> None:
    """optimizers.md 4: `x_{k+1} = y_{k+1} + (1-beta)(1-c_{k+1}) b_k`."""
    s = {**LIVELY["schedule_free_sgd"], "weight_decay": 0.0}
    trajectory = run("schedule_free_sgd", varying=True, weight_decay=0.0)
    c = averaging_weights(s, trajectory.lrs)
    triples = schedule_free(s, trajectory.lrs)
    for k, (m, _) in enumerate(numerators(trajectory.grads, triples)):
        b = trajectory.lrs[k] * m
        x = trajectory.train[k + 1] + (1 - s["beta"]) * (1 - c[k]) * b
        assert_same(x, trajectory.evaluated[k + 1])


def test_schedule_free_x_is_a_weighted_average_of_y() -> None:
    """Section 4.1: "x_t is a weighted average of y_t", the displayed formula for x_{t+1}."""
    s = LIVELY["schedule_free_adamw"]
    trajectory = run("schedule_free_adamw", varying=True)
    c = averaging_weights(s, trajectory.lrs)
    x = trajectory.train[0]
    for k in range(STEPS):
        old = (1 - c[k]) * (1 - s["beta"])
        x = (old * x + c[k] * trajectory.train[k + 1]) / (old + c[k])
        assert_same(x, trajectory.evaluated[k + 1])


# Preconditioned methods: Eq. (1) in the numerator, the preconditioner taken as given --------------


def root_of_mean_square(inputs: Array, beta2: float, debias: bool = True) -> Array:
    v, roots = np.zeros_like(inputs[0]), []
    for t, u in enumerate(inputs, start=1):
        v = beta2 * v + (1 - beta2) * u**2
        roots.append(np.sqrt(v / (1 - beta2**t) if debias else v))
    return np.array(roots)


def nadam_coefficients(s: Settings, lrs: Array) -> list[Triple]:
    mu = s["beta1"] * (1 - 0.5 * 0.96 ** (s["momentum_decay"] * np.arange(1, STEPS + 2)))
    product = np.cumprod(mu)
    k = 1 - s["beta1"]
    return [
        (
            s["beta1"],
            lrs[i] * mu[i + 1] * k / (1 - product[i + 1]),
            lrs[i] * (1 - mu[i]) / (1 - product[i]),
        )
        for i in range(STEPS)
    ]


def mars(s: Settings, t: int, lr: float, _: float) -> Triple:
    scale = lr / (1 - s["beta1"] ** t)
    return s["beta1"], scale * (1 - s["beta1"]) * (1 - s["gamma"]), scale * s["gamma"]


def ademamix_without_fast_momentum(s: Settings, t: int, lr: float, _: float) -> Triple:
    before, now = (half_life_linear(i, 0.0, s["beta3"], s["warmup"]) for i in (t - 1, t))
    alpha = s["alpha"] * min(t / s["warmup"], 1.0)
    return now * (1 - before) / (1 - now), lr * alpha * (1 - now), lr


def simplified(s: Settings, t: int, lr: float, _: float) -> Triple:
    beta = half_life_linear(t, s["beta_start"], s["beta1"], s["warmup"])
    return beta, lr, lr * s["alpha"]


def lion(s: Settings, t: int, lr: float, _: float) -> Triple:
    return s["beta2"], s["beta1"] * (1 - s["beta2"]) / s["beta2"], 1 - s["beta1"] / s["beta2"]


def algorithm3(s: Settings, t: int, lr: float, _: float) -> Triple:
    ratio = s["beta3"] / s["beta1"]
    return s["beta1"], lr * ratio * (1 - s["beta1"]), lr * (1 - ratio)


def adamw(s: Settings, t: int, lr: float, _: float) -> Triple:
    return s["beta1"], lr * (1 - s["beta1"]) / (1 - s["beta1"] ** t), 0.0


NUMERATORS: dict[str, tuple[Coefficients, Settings]] = {
    "adamw": (per_step(adamw), {}),
    "nadam": (nadam_coefficients, {}),
    "mars": (per_step(mars), {}),
    "ademamix": (per_step(ademamix_without_fast_momentum), {"beta1": 0.0}),
    "simplified_ademamix": (per_step(simplified), {}),
    "accelerated_adamw": (per_step(algorithm3), {}),
}


@pytest.mark.parametrize("name", NUMERATORS)
def test_numerators_are_accelerated_sgd(name: str) -> None:
    """Section 1: these "can be understood as combining preconditioning techniques with
    accelerated SGD approaches".
    """
    coefficients, changes = NUMERATORS[name]
    changes = {**changes, "weight_decay": 0.0}
    s = {**LIVELY[name], **changes}
    small = 1e-2 if name == "mars" else 1.0  # keeps the clip of MARS inactive
    trajectory = run(name, varying=True, grad_scale=small, **changes)
    inputs = trajectory.grads
    if name == "mars":  # v is built from the corrected gradient, with g_0 = 0
        before = np.concatenate([np.zeros_like(inputs[:1]), inputs[:-1]])
        inputs = inputs + s["gamma"] * s["beta1"] / (1 - s["beta1"]) * (inputs - before)
        assert np.sqrt((inputs**2).sum(axis=1)).max() < 1
    denominators = root_of_mean_square(inputs, s["beta2"]) + s["eps"]
    triples = coefficients(s, trajectory.lrs)
    moves = [move for _, move in numerators(trajectory.grads, triples)]
    assert_same(-np.diff(trajectory.train, axis=0), np.array(moves) / denominators)


@pytest.mark.parametrize("name", ["lion", "signum"])
def test_sign_methods_take_the_sign_of_accelerated_sgd(name: str) -> None:
    """Section 4.2: Lion is "an accelerated SGD method followed by a coordinate-wise sign"."""
    s = LIVELY[name]
    many = 2000  # a sign reacts only where its argument is near 0
    trajectory = run(name, varying=True, weight_decay=0.0, shape=(many,))
    signum = constant(lambda s: (s["beta"], 1.0, 0.0))
    triples = (per_step(lion) if name == "lion" else signum)(s, trajectory.lrs)
    signs = [np.sign(move) for _, move in numerators(trajectory.grads, triples)]
    assert_same(-np.diff(trajectory.train, axis=0), trajectory.lrs[:, None] * np.array(signs))


def test_official_laprop_is_momentum_on_normalised_gradients() -> None:
    """Table 16b, LaProp: `b1 lr_{t-1}/lr_t, (1-b1) lr_t^2/s1_t, 0`, on inputs P(g)."""
    s = {**LIVELY["laprop_official"], "weight_decay": 0.0}
    trajectory = run("laprop_official", varying=True, weight_decay=0.0)
    lrs, b1, s1, triples = trajectory.lrs, s["beta1"], 0.0, []
    for k in range(STEPS):
        s1 = b1 * s1 + (1 - b1) * lrs[k]
        decay = b1 * lrs[k - 1] / lrs[k] if k else 0.0
        triples.append((decay, (1 - b1) * lrs[k] ** 2 / s1, 0.0))
    normalised = trajectory.grads / (root_of_mean_square(trajectory.grads, s["beta2"]) + s["eps"])
    moves = [move for _, move in numerators(normalised, triples)]
    assert_same(-np.diff(trajectory.train, axis=0), np.array(moves))


def test_decoupled_schedule_free_is_accelerated_sgd_with_two_knobs() -> None:
    """Sections 4.1 and 5.1, coefficients apart: beta_a = 1 - c_{t-1}, eta_a = beta c_t and
    alpha_a = 1 - beta on the steps s = lr (P(g) + wd y), c_t = min(1, k/t); the average of y has
    weight 1/(1 + delta (t-1)).
    """
    s = LIVELY["decoupled_schedule_free_adamw"]
    trajectory = run("decoupled_schedule_free_adamw", varying=True)
    n = trajectory.grads / (root_of_mean_square(trajectory.grads, s["beta2"]) + s["eps"])
    steps = trajectory.lrs[:, None] * (n + s["weight_decay"] * trajectory.train[:-1])
    c = [1.0, *(min(1.0, s["k"] / t) for t in range(1, STEPS + 1))]
    triples = [(1 - c[t - 1], s["beta"] * c[t], 1 - s["beta"]) for t in range(1, STEPS + 1)]
    moves = [move for _, move in numerators(steps, triples)]
    assert_same(-np.diff(trajectory.train, axis=0), np.array(moves))
    x = trajectory.train[0]
    for t in range(1, STEPS + 1):
        a = 1 / (1 + s["delta"] * (t - 1))
        x = (1 - a) * x + a * trajectory.train[t]
        assert_same(x, trajectory.evaluated[t])


def test_gpa_is_constant_coefficient_acceleration_of_adam_steps() -> None:
    """Table 16b, GPA, constant lr: `mux, muy(1-mux) lr, (1-muy) lr`; x = y + (1-muy) mux b."""
    s = LIVELY["gpa_adamw"]
    trajectory = run("gpa_adamw", weight_decay=0.0)
    adam = [(s["beta1"], (1 - s["beta1"]) / (1 - s["beta1"] ** t), 0.0) for t in range(1, 51)]
    m_hat = np.array([move for _, move in numerators(trajectory.grads, adam)])
    n = m_hat / (root_of_mean_square(trajectory.grads, s["beta2"]) + s["eps"])
    outer = [(s["mu_x"], s["mu_y"] * (1 - s["mu_x"]) * s["lr"], (1 - s["mu_y"]) * s["lr"])] * STEPS
    momenta, moves = zip(*numerators(n, outer), strict=True)
    assert_same(-np.diff(trajectory.train, axis=0), np.array(moves))
    x = trajectory.train[1:] + (1 - s["mu_y"]) * s["mu_x"] * s["lr"] * np.array(momenta)
    assert_same(x, trajectory.evaluated[1:])


def test_adana_is_accelerated_sgd_over_its_own_root() -> None:
    """Table 16b, ADANA: `t/(delta+t-1), lr gamma3 (1+(1+t)^{1-kappa}) a_t, lr`."""
    s = LIVELY["adana"]
    trajectory = run("adana", varying=True, weight_decay=0.0)
    v, roots, triples = np.zeros_like(trajectory.grads[0]), [], []
    for t, g in enumerate(trajectory.grads, start=1):
        a, lr = s["delta"] / (s["delta"] + t), trajectory.lrs[t - 1]
        v = (1 - a) * v + a * g**2
        roots.append(np.sqrt(v))
        eta_a = lr * s["gamma3"] * (1 + (1 + t) ** (1 - s["kappa"])) * a
        triples.append((t / (s["delta"] + t - 1) if t > 1 else 0.0, eta_a, lr))
    moves = [move for _, move in numerators(trajectory.grads, triples)]
    expected = np.array(moves) / (np.array(roots) + s["eps"])
    assert_same(-np.diff(trajectory.train, axis=0), expected)


def test_adan_needs_no_gradient_differences_in_its_numerator() -> None:
    """optimizers.md 15b: `h_t = b2 h_{t-1} - ((1-b2)^2/b2) g_t, h_0 = -((1-b2)/b2) g_1`."""
    s = LIVELY["adan"]
    trajectory = run("adan", weight_decay=0.0)
    b1, b2, g = s["beta1"], s["beta2"], trajectory.grads
    before = np.concatenate([g[:1], g[:-1]])
    root = root_of_mean_square(g + b2 * (g - before), s["beta3"]) + s["eps"]
    m, h = np.zeros_like(g[0]), -((1 - b2) / b2) * g[0]
    for t in range(1, STEPS + 1):
        m = b1 * m + (1 - b1) * g[t - 1]
        h = b2 * h - ((1 - b2) ** 2 / b2) * g[t - 1]
        dv = h + ((1 - b2) / b2) * g[t - 1]
        move = s["lr"] * (m / (1 - b1**t) + b2 * dv / (1 - b2**t)) / root[t - 1]
        assert_same(trajectory.train[t - 1] - trajectory.train[t], move)


def test_nadam_without_its_schedule_is_dozats() -> None:
    """Dozat 2016: with constant mu the numerator is `mu m/(1-mu^{t+1}) + (1-mu) g/(1-mu^t)`."""
    s = LIVELY["nadam"]
    trajectory = run("nadam", momentum_decay=1e4, weight_decay=0.0)
    mu, m = s["beta1"], np.zeros_like(trajectory.grads[0])
    root = root_of_mean_square(trajectory.grads, s["beta2"]) + s["eps"]
    for t, g in enumerate(trajectory.grads, start=1):
        m = mu * m + (1 - mu) * g
        move = mu * m / (1 - mu ** (t + 1)) + (1 - mu) * g / (1 - mu**t)
        assert_same(trajectory.train[t - 1] - trajectory.train[t], s["lr"] * move / root[t - 1])
