"""The errata listed in docs/derivations.md: what is printed fails, what is corrected holds."""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from exact_runs import STEPS, F, constant, moving, one, points, rationals
from package_claims import WRONG

import optzoo
from optzoo.equivalence.compare import Conditions
from optzoo.equivalence.verdict import equivalence

ROOT = Path(__file__).parent.parent
CLAIMS = ROOT / "tests" / "claims"
ANY, CONSTANT = Conditions(long_steps=0), Conditions(long_steps=0, constant_lr=True)


def recipe(name: str, **settings: Any) -> optzoo.Recipe:
    path = CLAIMS / f"{name}.yaml"
    return optzoo.load_recipe(path if path.exists() else name).with_overrides(settings)


def same(
    left: optzoo.Recipe, right: optzoo.Recipe, conditions: Conditions = ANY, *, whole: bool = False
) -> bool:
    verdict = equivalence(left, right, conditions=conditions, iterates_only=not whole, search=False)
    return verdict.same


def eq1(beta_a: Any, eta_a: Any, alpha_a: Any) -> optzoo.Recipe:
    return recipe("equation_one", beta_a=beta_a, eta_a=eta_a, alpha_a=alpha_a)


def test_b2_asgd() -> None:
    asgd = recipe("asgd_jain", alpha=0.8, beta=0.3, gamma=0.1, delta=0.03)
    assert not same(asgd, eq1("0.7*0.8", "0.2*(0.1 - 0.7*0.8*0.03)", "0.8*0.03"))
    assert same(asgd, eq1("0.7*0.8", "0.2*(0.1 - 0.03)", "0.03"))


def test_line_7_of_algorithm_3() -> None:
    """As printed delta has no effect; as meant 1/(delta t) of the newest iterate is averaged in."""
    literal, meant = "accelerated_adamw_literal", "accelerated_adamw"
    assert same(recipe(literal, delta=0.3), recipe(literal, delta=1), whole=True)
    assert not same(recipe(meant, delta=0.3), recipe(meant, delta=1), whole=True)


def test_lines_2_and_5_of_algorithm_3_climb() -> None:
    """On w**2/2 from 1, w := w - eta N moves away from 0 with g = -grad, and to it with grad."""
    ends = []
    for sign in (-1, 1):
        weight, momentum = Fraction(1), Fraction(0)
        for _ in range(5):
            grad = sign * weight
            weight -= (momentum * F("0.9") + grad * F("0.1")) / 10
            momentum = momentum * F("0.9") + grad * F("0.1")
        ends.append(abs(weight))
    assert ends[0] > 1 > ends[1]


def test_schedule_free_with_warmup() -> None:
    free = recipe("schedule_free_sgd")
    printed = eq1("1 - ratio(1, t - 1)", "0.9/t", 0.1)
    assert same(free, printed, CONSTANT)
    assert not same(free, printed)
    assert same(free, recipe("schedule_free_as_accelerated"), whole=True)


def test_the_decay_of_schedule_free_at_beta_1() -> None:
    free = recipe("schedule_free_sgd", beta=1)
    assert not same(free, eq1("1 - 1/t", "1/t", 0), CONSTANT)
    assert same(free, eq1("1 - ratio(1, t - 1)", "1/t", 0), CONSTANT)


def test_the_ratio_of_4_1_3() -> None:
    form = optzoo.describe(recipe("schedule_free_sgd", beta=0.9))
    ratios = [form.alpha_a(t) / form.eta_a(t) for t in (10, 100, 1000)]
    assert ratios == pytest.approx([t / 9 for t in (10, 100, 1000)], rel=1e-12)
    # the momentum's mass is 1/c = t at a constant learning rate
    assert ratios[1] / 100 == pytest.approx(0.111, abs=1e-3)


def test_mars_rewritten_needs_g_0_to_be_0() -> None:
    small = Conditions(long_steps=0, grad_size=F("0.1"))
    assert same(recipe("mars"), recipe("mars_rewritten"), small)
    assert not same(recipe("mars_paper"), recipe("mars_rewritten"), small)


def test_simplified_ademamix_at_alpha_0() -> None:
    settings = {"alpha": 0, "beta1": 0.9, "beta_start": 0.9, "lr": 1e-4}
    adam = recipe("adamw", weight_decay=0, lr=1e-3)
    assert not same(recipe("simplified_ademamix", **settings), adam)
    debiased = recipe("simplified_ademamix_debiased", **{**settings, "lr": 1e-3})
    assert same(debiased, adam)


def mass(newest: bool) -> list[Any]:
    """Run MaSS by the recursion of B.3 for d = w - u, driven by the newest gradient or the last."""
    eta1, eta2, gamma = F("0.03"), F("0.01"), F("0.8")
    u, d, last = rationals(0, 3), [F(0)] * 3, [F(0)] * 3
    seen = []
    for t in range(1, STEPS + 1):
        grad = rationals(t, 3)
        drive = grad if newest else last
        d = [gamma * old + (eta1 * gamma - eta2) * g for old, g in zip(d, drive, strict=True)]
        step = [gamma * x + (eta1 * (1 + gamma) - eta2) * g for x, g in zip(d, grad, strict=True)]
        u = [x - s for x, s in zip(u, step, strict=True)]
        last = grad
        seen.append(tuple(u))
    return seen


def test_the_index_in_b3() -> None:
    program = optzoo.load_recipe("mass").program(eta1="0.03", eta2="0.01", gamma="0.8")
    found = [views[0] for views in points(program, one, ("train",), exact=True)]
    assert found == mass(newest=False)
    assert found != mass(newest=True)


def test_b4_with_schedules() -> None:
    settings = {"alpha": "2/(t + 3)", "beta": "1 - 1/(t + 1)", "gamma": "(t + 9)/2", "eta": 0.03}
    nesterov = recipe("nesterov_vaswani", **settings)
    eta, decay = "2/(t + 4)*0.03*(t + 7)/2", "(1 - 1/(t + 1))*(1 - 2/(t + 3))"
    assert not same(nesterov, eq1(decay, eta, 0.03))
    assert same(nesterov, eq1(f"{decay}*(t + 6)/(t + 7)", eta, 0.03))


def test_the_learning_rates_here_do_move() -> None:
    assert len({moving(t) for t in range(1, 5)}) == 4
    assert len({constant(t) for t in range(1, 5)}) == 1


# ------------------------------------------------------------------ the documents


def test_every_named_test_exists() -> None:
    text = (ROOT / "docs" / "derivations.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 15
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, (path, name)


def test_every_disagreement_stands_in_the_zoo() -> None:
    """docs/zoo.md lists every claim of tests/package_claims.py in its words."""
    text = (ROOT / "docs" / "zoo.md").read_text()
    for key, wrong in WRONG.items():
        assert f"| {wrong.package} {wrong.version} | {wrong.claim} |" in text, key
