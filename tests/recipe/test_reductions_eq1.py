"""Recipes as Equation (1) of the Connections paper, and its appendix B, in exact rationals.

Preconditioners, signs and clips are taken off where there are any: what remains is the numerator.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from exact_runs import (
    LR,
    STEPS,
    F,
    Point,
    Schedule,
    assert_equal,
    constant,
    moving,
    one,
    points,
    rationals,
)
from oracles.base import half_life_linear

import optzoo
from optzoo.program.ir import Program
from optzoo.recipe.lower import lower_recipe
from optzoo.recipe.sections import SignalSpec

Triple = tuple[Fraction, Fraction, Fraction]
JAIN = {"alpha": "0.8", "beta": "0.3", "gamma": "0.1", "delta": "0.03"}


def numerator(name: str, **values: Any) -> Program:
    """Return a recipe without its preconditioner and clips: its numerator as a method."""
    spec = optzoo.load_recipe(name).with_overrides(values).spec
    signals = {
        key: s.model_copy(update={"clip_norm": None}) if isinstance(s, SignalSpec) else s
        for key, s in spec.signals.items()
    }
    overrides = optzoo.load_recipe(name).with_overrides(values).overrides
    bare = spec.model_copy(update={"preconditioner": "none", "signals": signals})
    return lower_recipe(bare, overrides)


def whole(name: str, **values: Any) -> Program:
    return optzoo.load_recipe(name).program(**values)


def dampened(t: int) -> Triple:
    mu, keep = F("0.9"), F("0.7")  # k_1 = 1, and 1 - dampening afterwards: optimizers.md 1
    gain = F(1) if t == 1 else keep
    return (mu * (1 if t == 2 else keep) / gain, moving(t) * gain, F(0))


def free_weights(lr: Schedule) -> list[Fraction]:
    """Return c_1, c_2, ... of Schedule-Free with weight_lr_power 2 and r 0, c_0 = 0 before."""
    top = total = F(0)
    weights = [F(0)]
    for t in range(1, STEPS + 1):
        top = max(top, lr(t))
        total += top**2
        weights.append(top**2 / total)
    return weights


def schedule_free(beta: Fraction) -> Callable[[int], Triple]:
    def triple(t: int) -> Triple:
        c = free_weights(moving)
        ratio = moving(t - 1) / moving(t) if t > 1 else F(0)
        return ((1 - c[t - 1]) * ratio, beta * c[t] * moving(t), (1 - beta) * moving(t))

    return triple


def vaswani(t: int) -> Triple:
    alpha, beta, gamma = lambda k: F(2, k + 3), 1 - F(1, t + 1), lambda k: F(k + 9, 2)
    decay = beta * (1 - alpha(t)) * (gamma(t - 1) - 1) / (gamma(t) - 1)
    return (decay, alpha(t + 1) * F("0.03") * (gamma(t) - 1), F("0.03"))


def nadam(t: int) -> Triple:
    b1 = F("0.9")
    mu = lambda k: b1 * (1 - F("0.5") * F("0.96") ** k)  # noqa: E731
    product = F(1)
    for k in range(1, t + 1):
        product *= mu(k)
    eta = moving(t) * mu(t + 1) * (1 - b1) / (1 - product * mu(t + 1))
    return (b1, eta, moving(t) * (1 - mu(t)) / (1 - product))


def adana(t: int) -> Triple:
    delta = F(5)
    growth = 2  # 1 + (1 + t)**0
    return (t / (delta + t - 1), moving(t) * F("0.8") * growth * delta / (delta + t), moving(t))


def mars(t: int) -> Triple:
    b1, gamma, mass = F("0.9"), F("0.05"), 1 - F("0.9") ** t
    return (b1, moving(t) * (1 - b1) * (1 - gamma) / mass, moving(t) * gamma / mass)


B1, B2 = F("0.85"), F("0.95")
QHM = {"beta": "0.9", "nu": "0.7"}
EQUATION_ONE: dict[str, tuple[Program, Schedule, Callable[[int], Triple]]] = {
    "heavy ball": (
        whole("sgd_momentum", momentum="0.9"), moving, lambda t: (F("0.9"), moving(t), F(0)),
    ),
    "heavy ball, dampened": (
        whole("sgd_momentum", momentum="0.9", dampening="0.3"), moving, dampened,
    ),
    "nesterov": (
        whole("sgd_nesterov", momentum="0.9"), moving,
        lambda t: (F("0.9"), moving(t) * F("0.9"), moving(t)),
    ),
    "accelerated_sgd": (
        whole("accelerated_sgd", eta="0.01", alpha="0.03", k=3), one,
        lambda t: (max(F(0), 1 - F(3, t)), F("0.01"), F("0.03")),
    ),
    "qhm": (
        whole("qhm", **QHM), moving,
        lambda t: (F("0.9"), moving(t) * F("0.07"), moving(t) * F("0.3")),
    ),
    "accsgd": (
        whole("accsgd", kappa=60, xi=5, small_const="0.7"), moving,
        lambda t: (
            (60 - F("2.45")) / F("63.5") * (moving(t - 1) / moving(t) if t > 1 else 0),
            F("3.5") / F("63.5") * F("2.5") * moving(t), moving(t),
        ),
    ),
    "asgd_jain (B.2, corrected)": (
        whole("asgd_jain", **JAIN), one, lambda t: (F("0.56"), F("0.014"), F("0.03")),
    ),
    "mass (B.3)": (
        whole("mass", eta1="0.03", eta2="0.01", gamma="0.8"), one,
        lambda t: (F("0.8"), F("0.014"), F("0.03")),
    ),
    "agnes (B.1)": (
        whole("agnes", eta="0.03", alpha="0.01", rho="0.8"), one,
        lambda t: (F("0.8"), F("0.008"), F("0.03")),
    ),
    "agnes, rho_n = n/(n + 3)": (
        whole("agnes", eta="0.03", alpha="0.01", rho="t/(t + 3)"), one,
        lambda t: (F(t - 1, t + 2), F("0.01") * F(t, t + 3), F("0.03")),
    ),
    "nesterov_vaswani (B.4), scheduled": (
        whole("nesterov_vaswani", eta="0.03", alpha="2/(t + 3)", beta="1 - 1/(t + 1)",
              gamma="(t + 9)/2"),
        one, vaswani,
    ),
    "schedule_free_sgd (4.1)": (
        whole("schedule_free_sgd", beta="0.8"), moving, schedule_free(F("0.8")),
    ),
    "schedule_free_sgd, beta = 1 (4.1.2)": (
        whole("schedule_free_sgd", beta=1), constant,
        lambda t: (1 - F(1, t - 1) if t > 1 else F(0), LR / t, F(0)),
    ),
    "gpa, outer": (
        numerator("gpa_adamw", beta1=0, mu_x="0.9", mu_y="0.7"), constant,
        lambda t: (F("0.9"), F("0.07") * LR, F("0.3") * LR),
    ),
    "adamw": (
        numerator("adamw", beta1="0.9", weight_decay=0), moving,
        lambda t: (F("0.9"), moving(t) / 10 / (1 - F("0.9") ** t), F(0)),
    ),
    "lion (4.2)": (
        numerator("lion", beta1=str(B1), beta2="0.95"), moving,
        lambda t: (B2, moving(t) * B1 * (1 - B2) / B2, moving(t) * (1 - B1 / B2)),
    ),
    "accelerated_adamw (Algorithm 3)": (
        numerator("accelerated_adamw", beta1="0.95", beta3=str(B1)), moving,
        lambda t: (B2, moving(t) * B1 * (1 - B2) / B2, moving(t) * (1 - B1 / B2)),
    ),
    "mars (4.3)": (numerator("mars", beta1="0.9", gamma="0.05"), moving, mars),
    "ademamix, beta1 = 0 (4.4)": (
        numerator("ademamix", beta1=0, beta3="0.98", alpha=4, warmup=1), moving,
        lambda t: (F("0.98"), moving(t) * 4 * F("0.02"), moving(t)),
    ),
    "simplified_ademamix (4.5)": (
        numerator("simplified_ademamix", beta1="0.9", beta_start="0.9", alpha=3, warmup=1),
        moving, lambda t: (F("0.9"), moving(t), 3 * moving(t)),
    ),
    "nadam": (numerator("nadam", beta1="0.9", momentum_decay=1), moving, nadam),
    "adana": (numerator("adana", delta=5, kappa=1, gamma3="0.8"), moving, adana),
}  # fmt: skip


def equation_one(triple: Callable[[int], Triple]) -> list[list[Point]]:
    """Run Equation (1) of the paper itself, in rationals."""
    w, m = rationals(0, 3), [F(0)] * 3
    seen: list[list[Point]] = []
    for t in range(1, STEPS + 1):
        beta_a, eta_a, alpha_a = triple(t)
        grad = rationals(t, 3)
        m = [beta_a * old + g for old, g in zip(m, grad, strict=True)]
        w = [x - eta_a * y - alpha_a * g for x, y, g in zip(w, m, grad, strict=True)]
        seen.append([tuple(w)])
    return seen


@pytest.mark.parametrize("name", EQUATION_ONE)
def test_a_recipe_is_accelerated_sgd(name: str) -> None:
    """Connections paper, Eq. (1), sections 4.1 to 4.5 and appendix B; optimizers.md 16b."""
    program, lr, triple = EQUATION_ONE[name]
    found = points(program, lr, ("train",), exact=True)
    assert_equal(found, equation_one(triple), exact=True)


def test_ademamix_with_its_schedule_is_accelerated_sgd() -> None:
    """optimizers.md 6: the gain of the warmed-up average enters beta_a and eta_a."""
    program = numerator("ademamix", beta1=0, beta3="0.98", alpha=4, warmup=8)
    found = points(program, moving, ("train",), exact=False)
    decay = [half_life_linear(t, 0.0, 0.98, 8) for t in range(STEPS + 1)]

    def triple(t: int) -> Triple:
        gain, before = 1 - decay[t], 1 - decay[t - 1]
        alpha = 4 * min(t / 8, 1)
        return (F(decay[t] * before / gain), moving(t) * F(alpha * gain), moving(t))

    assert_equal(found, equation_one(triple), exact=False)


def test_the_recursion_printed_in_b2_is_not_asgd() -> None:
    """Connections paper, B.2: with the printed constants the path is another (optimizers.md P1)."""
    a, b, gamma, delta = (F(JAIN[key]) for key in ("alpha", "beta", "gamma", "delta"))
    printed = ((1 - b) * a, (1 - a) * (gamma - (1 - b) * a * delta), a * delta)
    found = points(whole("asgd_jain", **JAIN), one, ("train",), exact=True)
    wrong = equation_one(lambda t: printed)
    gap = max(abs(x - y) for x, y in zip(found[-1][0], wrong[-1][0], strict=True))
    assert gap > F("0.001")


@pytest.mark.parametrize(
    "name", ["agnes (B.1)", "asgd_jain (B.2, corrected)", "mass (B.3)",
             "nesterov_vaswani (B.4), scheduled"],
)  # fmt: skip
def test_the_evaluated_point_is_the_pure_gradient_step(name: str) -> None:
    """optimizers.md 14: for these methods it is y_{t+1} + eta_a m_t, that is y_t - alpha_a g_t."""
    program, lr, triple = EQUATION_ONE[name]
    seen = points(program, lr, ("train", "eval"), exact=True)
    before: Point = tuple(rationals(0, 3))
    for t, (train, evaluated) in enumerate(seen, 1):
        alpha_a = triple(t)[2]
        wanted = [y - alpha_a * g for y, g in zip(before, rationals(t, 3), strict=True)]
        assert list(evaluated) == wanted
        before = train


def test_schedule_free_evaluates_an_average_of_its_gradient_points() -> None:
    """Connections paper 4.1: x_{t+1} averages the y, with weight c/((1-c)(1-beta) + c) on the new.

    With c = 1/t and beta = 0.9 that is 1/(1 + (t-1)/10), the mean of about the last tenth (4.1.3).
    """
    beta = F("0.9")
    program = whole("schedule_free_sgd", beta="0.9")
    mean: Point = tuple(rationals(0, 3))
    for t, (y, x) in enumerate(points(program, constant, ("train", "eval"), exact=True), 1):
        c = F(1, t)
        weight = c / ((1 - c) * (1 - beta) + c)
        assert weight == 1 / (1 + F(t - 1, 10))
        mean = tuple((1 - weight) * old + weight * new for old, new in zip(mean, y, strict=True))
        assert x == mean
