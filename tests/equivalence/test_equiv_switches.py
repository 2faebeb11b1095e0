"""`optzoo equiv` where methods switch, under warmups, and where a step is not linear."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import optzoo
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import Verdict, equivalence, format_verdict

SHORT = Conditions(long_steps=0)
HEAD = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 0.01, in: "[0, inf)", doc: learning rate}
  k: {default: 1e-4, in: "(0, inf)", doc: a number}
"""
MOMENTUM = "buffers: {m: {input: grad, decay: 0.9, gain: 0.1}}\n"


def recipe(rest: str, **settings: Any) -> optzoo.Recipe:
    return optzoo.parse_recipe(HEAD + rest + "\n").with_overrides(settings)


def verdict(left: optzoo.Recipe, right: optzoo.Recipe, conditions: Conditions = SHORT) -> Verdict:
    return equivalence(left, right, conditions=conditions, search=False)


SIGN = "preconditioner: sign\nupdate: {}\nweight_decay: {{amount: k, kind: coupled}}"
SWITCHING = [
    SIGN.format("grad"),
    MOMENTUM + SIGN.format("m"),
    MOMENTUM + SIGN.format("m.prev"),
    "update: sign(grad + k*param) + grad/4",
    "signals: {u: grad - k*sign(grad - 3)}\nupdate: sign(u)",
    "update: {mix: {grad: 1}, clip_value: 1/k}",
    "update: {mix: {grad: 1}, clip_norm: 1/k}",
    MOMENTUM + "update: {mix: {m: 1}, clip_norm: 1/k}",
    "signals: {u: {input: grad, clip_norm: 1/k}}\n" + MOMENTUM.replace("grad", "u") + "update: m",
    "update: max(grad, 1/k)",
    "update: grad + max(0, abs(grad) - 1/k)",
    "update: (1 + sign(grad*param - k))*grad",
    "averaging: {weight: 1/t, beta: '1 - 1/(t + 1)'}\nupdate: {mix: {grad: 1}, clip_norm: 1/k}",
]


@pytest.mark.parametrize("text", SWITCHING)
@pytest.mark.parametrize("k", [2e-4, 1.000001e-4])
def test_what_drawn_gradients_never_meet_is_seen(text: str, k: float) -> None:
    left, right = recipe(text), recipe(text, k=k)
    for found in (verdict(left, right), verdict(right, left)):
        assert not found.same
        assert format_verdict(found, []).startswith("different: ")
    same = verdict(left, left)
    assert same.same
    assert same.comparison.switches
    assert "where signs turn and clips begin too" in format_verdict(same, [])


def test_what_stands_under_a_sign_counts_up_to_a_positive_factor() -> None:
    texts = ("sign(2*m) + 3*grad", "sign(m/3) + 3*grad", "sign(m + 1e-9*grad) + 3*grad")
    a, b, c = (recipe(f"{MOMENTUM}update: {text}") for text in texts)
    assert verdict(a, b).same
    assert not verdict(a, c).same


def test_the_decay_behind_a_sign_is_named() -> None:
    found = verdict(recipe(SWITCHING[0]), recipe(SWITCHING[0], k=2e-4))
    assert found.cause is not None
    assert found.cause.decay
    assert found.cause.weight is None


def test_small_gradients_meet_no_clip() -> None:
    clipped = recipe("update: {mix: {grad: 1}, clip_value: 0.5}")
    plain = recipe("update: grad")
    assert not verdict(clipped, plain).same
    assert verdict(clipped, plain, Conditions(long_steps=0, grad_size=Fraction(1, 10))).same


def test_smooth_methods_have_no_such_places() -> None:
    found = verdict(optzoo.load_recipe("adamw"), optzoo.load_recipe("adamw"))
    assert found.same
    assert not found.comparison.switches


def test_lr0_is_the_learning_rate_at_construction() -> None:
    """One steps by lr0, the other by the lr of its first step: under a warmup they differ."""
    first = 'scalars: {first: {expr: "first.prev + (lr - first.prev)*(1 - min(1, t - 1))"}}\n'
    left = recipe("update: {mix: {grad: 1}, scale: lr0}")
    right = recipe(first + "update: {mix: {grad: 1}, scale: first}")
    found = verdict(left, right)
    assert not found.same
    assert found.constant_lr_same
    assert found.cause is not None
    assert found.cause.weight is not None
    assert verdict(left, recipe('update: {mix: {grad: 1}, scale: "lr0*lr/max(lr, 1e-9)"}')).same


@pytest.mark.parametrize(
    "update", ["grad*abs(grad)*grad", "max(grad, m)", "square(grad) - m", "m*grad"]
)
def test_steps_that_are_not_linear_are_compared_too(update: str) -> None:
    left, right = (
        recipe(f"{MOMENTUM}update: {factor}*({update}) + 0*m") for factor in ("1", "1.5")
    )
    assert verdict(left, left).same
    found = equivalence(left, right, conditions=SHORT)
    assert not found.same
    assert format_verdict(found, []).startswith("different: ")


def test_a_point_that_stays_put_is_the_same() -> None:
    """Rounding in the 70th digit of an average that never moves is no difference."""
    rest = "averaging: {{weight: 0, beta: '1 - 1/(t + 1)'}}\nupdate: {}"
    left, right = (recipe(rest.format(u)) for u in ("grad/3/(abs(grad) + 0.1)*3/7",
                                                    "grad/7/(abs(grad) + 0.1)"))  # fmt: skip
    assert verdict(left, right, Conditions(long_steps=60)).same
