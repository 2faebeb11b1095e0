"""Reductions that the literature states: two recipes, matched settings, the same trajectory.

Programs that stay rational run in exact arithmetic and must agree with `==`; the others agree to
1e-12 in float64. Each case cites what it tests. Reductions to Equation (1): test_reductions_eq1.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from exact_runs import (
    LR,
    UNIT,
    F,
    Schedule,
    assert_equal,
    constant,
    is_rational,
    moving,
    one,
    points,
)

import optzoo


@dataclass(frozen=True)
class Reduction:
    """`left` at its settings is `right` at its own. `says` is where that is stated."""

    left: str
    settings: dict[str, Any]
    right: str
    other: dict[str, Any]
    says: str
    lr: Schedule = moving
    other_lr: Schedule | None = None
    views: tuple[tuple[str, str], ...] = (("train", "train"), ("eval", "eval"))
    exact: bool = False
    observers: tuple[str, ...] = ()
    size: Fraction = UNIT

    def __str__(self) -> str:
        return f"{self.left}-is-{self.right}: {self.says}"


TRAIN = (("train", "train"),)
UNIFORM = (("train", "train"), ("eval", "uniform"))
ADAM = {"beta1": "0.9", "beta2": "0.95", "eps": "0.01", "weight_decay": "0.1"}
NO_DECAY = {**ADAM, "weight_decay": 0}
SIM = {**NO_DECAY, "beta_start": "0.9", "warmup": 1}
FREE = {"beta2": "0.95", "eps": "0.01", "r": 0, "weight_decay": "0.1"}
JAIN = {"alpha": "0.8", "beta": "0.3", "gamma": "0.1", "delta": "0.03"}
VASWANI = {"eta": "0.03", "alpha": "0.2", "beta": "0.9", "gamma": 4}


def without(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def adam_gain(t: int) -> Fraction:
    return moving(t) * (1 - F("0.9") ** t) / (1 - F("0.9"))


PAPER = "Connections paper"
REDUCTIONS = [
    # Schedule-Free
    Reduction(
        "schedule_free_sgd", {"beta": 0}, "sgd", {},
        f"{PAPER} 4.1.1: reduces to standard SGD with weight averaging; c_t = 1/t",
        lr=constant, views=UNIFORM, observers=("uniform",), exact=True,
    ),
    Reduction(
        "schedule_free_adamw", {**FREE, "beta": 0}, "adamw", {**ADAM, "beta1": 0},
        f"{PAPER} 4.1.1, preconditioned",
        lr=constant, views=UNIFORM, observers=("uniform",),
    ),
    Reduction(
        "decoupled_schedule_free_adamw",
        {**without(FREE, "r"), "beta": "0.8", "k": 1, "delta": "0.2"},
        "schedule_free_adamw", {**FREE, "beta": "0.8"},
        f"{PAPER} 4.1: momentum 1 - c_t followed by averaging, 5.1: coupled; ours with k = 1, "
        "delta = 1 - beta",
        lr=constant,
    ),
    Reduction(
        "schedule_free_adamw_inner_momentum", {**FREE, "inner_momentum": 0},
        "schedule_free_adamw", FREE, "schedule_free: inner_momentum = 0.0 is the default",
    ),
    Reduction(
        "schedule_free_adamw_paper", {**FREE, "beta2": 0}, "schedule_free_adamw",
        {**FREE, "beta2": 0}, "the two differ by the debiasing of the mean square alone",
        exact=True,
    ),
    Reduction(
        "schedule_free_adamw_decay_at_z", {**FREE, "beta": 0}, "schedule_free_adamw",
        {**FREE, "beta": 0}, f"{PAPER} 4.1: y_t = z_t at beta = 0",
    ),
    Reduction(
        "gpa_adamw", {**ADAM, "beta1": 0, "mu_x": "1 - 1/t", "mu_y": "0.8"},
        "schedule_free_adamw", {**FREE, "beta": "0.8"},
        "arXiv 2512.17131: Schedule-Free is primal averaging with mu_x = 1 - 1/t", lr=constant,
    ),
    Reduction(
        "gpa_adamw", {**ADAM, "mu_x": "1 - 1/t", "mu_y": "0.8"},
        "schedule_free_adamw_inner_momentum", {**FREE, "beta": "0.8", "inner_momentum": "0.9"},
        "optimizers.md 15e: schedule-free on a momentum-preconditioned input", lr=constant,
    ),
    Reduction(
        "gpa_adamw", {**ADAM, "mu_y": 0}, "adamw", ADAM,
        "arXiv 2512.17131: mu_y = 0 leaves the base optimizer, averaged", views=TRAIN,
    ),
    # AdEMAMix and its relatives
    Reduction(
        "ademamix", {**ADAM, "alpha": 0, "beta3": "0.99"}, "adamw", ADAM,
        "AdEMAMix paper, section 3: alpha = 0 recovers Adam",
    ),
    Reduction(
        "ademamix", {**NO_DECAY, "beta1": 0, "beta3": "0.98", "alpha": 4, "warmup": 1},
        "simplified_ademamix", {**SIM, "beta1": "0.98", "beta_start": "0.98", "alpha": "12.5"},
        f"{PAPER} 4.4 and 4.5: with beta_1 = 0, AdEMAMix aligns with Equation (1)",
        other_lr=lambda t: moving(t) * 4 * F("0.02"),
    ),
    Reduction(
        "simplified_ademamix", {**SIM, "alpha": 0, "beta1": "0.9"}, "adamw", NO_DECAY,
        f"{PAPER} 4.5: alpha = 0 recovers Adam, subject to transformations of eta",
        other_lr=adam_gain,
    ),
    Reduction(
        "simplified_ademamix_debiased", {**SIM, **ADAM, "alpha": 0, "beta1": "0.9"}, "adamw",
        ADAM, "bias_correction1=True: the same learning rate (optimizers.md, P9)",
    ),
    Reduction(
        "simplified_ademamix_unit_mass", {**SIM, **ADAM, "alpha": 0, "beta1": "0.9"}, "adamw",
        ADAM, "docs/zoo.md: a numerator of unit mass takes AdamW's learning rate",
    ),
    Reduction(
        "simplified_ademamix", {**SIM, "beta1": 0, "beta_start": 0, "alpha": 3}, "adamw",
        {**NO_DECAY, "beta1": 0}, "without momentum, 1 + alpha multiplies the learning rate",
        other_lr=lambda t: 4 * moving(t),
    ),
    Reduction(
        "accelerated_adamw", {**NO_DECAY, "beta3": "0.9", "delta": "0.3"}, "simplified_ademamix",
        {**SIM, "beta1": "0.9", "alpha": 0},
        f"{PAPER}, Algorithm 3 with beta_3 = beta_1 reads out the new momentum, not debiased",
        other_lr=lambda t: moving(t) / 10, views=TRAIN,
    ),
    Reduction(
        "accelerated_adamw", {**ADAM, "beta3": 0, "delta": 1}, "adamw", {**ADAM, "beta1": 0},
        f"{PAPER}, Algorithm 3 with beta_3 = 0: no momentum", views=UNIFORM,
        observers=("uniform",),
    ),
    Reduction(
        "accelerated_adamw_literal", {**ADAM, "beta3": "0.8", "delta": "0.1"},
        "accelerated_adamw", {**ADAM, "beta3": "0.8", "delta": 1},
        f"{PAPER}, Algorithm 3 line 7 as printed: delta never acts (optimizers.md, P2)",
    ),
    Reduction(
        "adam_momentum_schedule", {**ADAM, "beta_start": "0.9"}, "adamw", ADAM,
        f"{PAPER} 4.4: a schedule from beta_1 to beta_1",
    ),
    Reduction(
        "adamw_averaged", {**ADAM, "delta": 1}, "adamw", ADAM,
        f"{PAPER} 3.2: the mean of all iterates", views=UNIFORM, observers=("uniform",),
    ),
    Reduction(
        "adamw_averaged", {**ADAM, "delta": "0.25"}, "adamw", ADAM,
        f"{PAPER} 3.2: the mean of the last part of them",
        views=(("train", "train"), ("eval", "tail:0.25")), observers=("tail:0.25",),
    ),
    # quasi-hyperbolic momentum
    Reduction(
        "qhm", {"beta": "0.9", "nu": 0}, "sgd", {},
        "Ma and Yarats 2019, section 3: nu = 0 is SGD", exact=True,
    ),
    Reduction(
        "qhm", {"beta": "0.9", "nu": 1}, "sgd_momentum", {"momentum": "0.9"},
        "Ma and Yarats 2019, section 3: nu = 1 is momentum",
        other_lr=lambda t: moving(t) / 10, exact=True,
    ),
    Reduction(
        "qhm", {"beta": "0.9", "nu": "0.9"}, "sgd_nesterov", {"momentum": "0.9"},
        "Ma and Yarats 2019, section 4.2: nu = beta is Nesterov's",
        other_lr=lambda t: moving(t) / 10, exact=True,
    ),
    Reduction(
        "qhadam", {**NO_DECAY, "nu1": 1, "nu2": 1}, "adamw", NO_DECAY,
        "Ma and Yarats 2019, section 4.3: nu1 = nu2 = 1 is Adam",
    ),
    Reduction(
        "qhadam", {**NO_DECAY, "nu1": 0, "nu2": 1}, "adamw", {**NO_DECAY, "beta1": 0},
        "Ma and Yarats 2019, section 4.3: nu1 = 0, nu2 = 1 is RMSProp, debiased",
    ),
    Reduction(
        "accsgd", {"kappa": 60, "xi": 5, "small_const": "0.7"}, "qhm",
        {"beta": str((60 - F("0.49") * 5) / (60 + F("3.5"))).join("()"),
         "nu": str((F("3.5") - 1) / (F("0.7") * 6)).join("()")},
        "qhoptim param_conv.from_accsgd", lr=constant,
        other_lr=lambda t: LR * F("0.7") * 6 / F("1.7"), exact=True,
    ),
    # the accelerated methods of appendix B
    Reduction(
        "mass", {"eta1": "0.03", "eta2": 0, "gamma": "0.8"}, "sgd_nesterov", {"momentum": "0.8"},
        "Liu and Belkin 2020, section 3: eta2 = 0 is SGD+Nesterov",
        lr=one, other_lr=lambda t: F("0.03"), views=TRAIN, exact=True,
    ),
    Reduction(
        "agnes", {"eta": "0.03", "alpha": "0.03", "rho": "0.8"}, "sgd_nesterov",
        {"momentum": "0.8"}, "Gupta et al. 2023, section 1: alpha = eta is Nesterov's",
        lr=one, other_lr=lambda t: F("0.03"), views=TRAIN, exact=True,
    ),
    Reduction(
        "agnes", {"eta": "0.03", "alpha": "0.01", "rho": "0.8"}, "mass",
        {"eta1": "0.03", "eta2": "0.016", "gamma": "0.8"},
        f"{PAPER}, appendix B: both are Equation (1)", exact=True,
    ),
    Reduction(
        "asgd_jain", JAIN, "agnes", {"eta": "0.03", "alpha": "0.025", "rho": "0.56"},
        f"{PAPER}, appendix B.2, with the recursion that holds (optimizers.md, P1)", exact=True,
    ),
    Reduction(
        "nesterov_vaswani", VASWANI, "agnes", {"eta": "0.03", "alpha": "0.025", "rho": "0.72"},
        f"{PAPER}, appendix B.4", exact=True,
    ),
    Reduction(
        "accelerated_sgd", {"eta": "0.02", "alpha": 0, "k": "0.1*t"}, "sgd_momentum",
        {"momentum": "0.9"}, f"{PAPER} 3.3: alpha_a = 0 recovers standard SGD with momentum",
        lr=one, other_lr=lambda t: F("0.02"), exact=True,
    ),
    Reduction(
        "aggmo", {"beta1": "0.9", "beta2": "0.9", "beta3": "0.9"}, "sgd_momentum",
        {"momentum": "0.9"}, "Lucas et al. 2019, section 3: one damping is classical momentum",
        exact=True,
    ),
    Reduction(
        "rmsprop", {"alpha": 0, "eps": "0.01"}, "adamw", {**NO_DECAY, "beta1": 0, "beta2": 0},
        "torch.optim.RMSprop: without memory both divide by the gradient's own size", exact=True,
    ),
    Reduction("sgd_momentum", {"momentum": 0}, "sgd", {}, "torch.optim.SGD", exact=True),
    Reduction("sgd_nesterov", {"momentum": 0}, "sgd", {}, "torch.optim.SGD", exact=True),
    # signs, corrections, orders
    Reduction(
        "lion", {"beta1": "0.9", "beta2": "0.9", "weight_decay": "0.1"}, "signum",
        {"beta": "0.9", "weight_decay": "0.1"},
        "Chen et al. 2023, section 3: beta1 = beta2 is signSGD with momentum", exact=True,
    ),
    Reduction(
        "mars_lion", {"beta1": "0.9", "gamma": 0, "weight_decay": "0.1"}, "signum",
        {"beta": "0.9", "weight_decay": "0.1"},
        "Yuan et al. 2024: gamma = 0 leaves the base optimizer (no norm above 1 here)",
        size=F("0.1"),
    ),
    Reduction(
        "mars", {**ADAM, "gamma": 0}, "adamw", ADAM,
        "Yuan et al. 2024: gamma = 0 leaves the base optimizer (no norm above 1 here)",
        size=F("0.1"),
    ),
    Reduction("mars_paper", {**ADAM, "gamma": 0}, "mars", {**ADAM, "gamma": 0}, "g_0 drops out"),
    Reduction(
        "laprop", {**ADAM, "beta1": 0}, "adamw", {**ADAM, "beta1": 0},
        "Ziyin et al. 2021: without momentum the order does not matter",
    ),
    Reduction(
        "laprop_official", NO_DECAY, "laprop", NO_DECAY,
        "optimizers.md 3: they part by the place of a moving lr and by the decay", lr=constant,
    ),
    Reduction(
        "adan", {**NO_DECAY, "beta2": 0, "beta3": "0.95"}, "adamw", NO_DECAY,
        "Xie et al. 2022: without the gradient differences it is Adam",
    ),
    Reduction(
        "grokfast_adamw", {**ADAM, "a": "0.9", "lamb": 0}, "adamw", ADAM,
        "Lee et al. 2024: lamb = 0 leaves the gradient alone",
    ),
    Reduction("nadam", NO_DECAY, "nadamw", NO_DECAY, "they part by the decay alone"),
    Reduction("adopt", NO_DECAY, "adopt_decoupled", NO_DECAY, "they part by the decay alone"),
    Reduction(
        "adan", {**NO_DECAY, "beta3": "0.99"}, "adan_no_prox", {**NO_DECAY, "beta3": "0.99"},
        "they part by the decay alone",
    ),
]  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_two_recipes_move_alike(reduction: Reduction) -> None:
    left = optzoo.load_recipe(reduction.left).program(**reduction.settings)
    recipe = optzoo.load_recipe(reduction.right).with_observers(reduction.observers)
    right = recipe.program(**reduction.other)
    assert (is_rational(left) and is_rational(right)) == reduction.exact
    other_lr = reduction.other_lr or reduction.lr
    kind = {"exact": reduction.exact, "size": reduction.size}
    a = points(left, reduction.lr, [view for view, _ in reduction.views], **kind)
    b = points(right, other_lr, [view for _, view in reduction.views], **kind)
    assert_equal(a, b, exact=reduction.exact)


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_a_reduction_can_fail(reduction: Reduction) -> None:
    """The comparison above sees a learning rate that is one part in a million off."""
    left = optzoo.load_recipe(reduction.left).program(**reduction.settings)
    kind = {"exact": reduction.exact, "size": reduction.size}
    a = points(left, reduction.lr, ("train",), **kind)
    b = points(left, lambda t: reduction.lr(t) * F("1.000001"), ("train",), **kind)
    with pytest.raises(AssertionError, match="step"):
        assert_equal(a, b, exact=reduction.exact)
