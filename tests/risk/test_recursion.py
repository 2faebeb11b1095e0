"""The recursion over long runs, against the whole covariance and methods written by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from full_covariance import (
    Method,
    ademamix,
    averaged_heavy_ball,
    covariance_risk,
    heavy_ball,
    nesterov_pair,
    schedule_free,
)

from optzoo.files.shipped import shipped
from optzoo.recipe.recipe import load_recipe, parse_recipe
from optzoo.risk import moments, moments_kernel, transition
from optzoo.risk.expected import LinearRecipe, expected_risk
from optzoo.risk.regression.problem import Problem
from optzoo.risk.simulation import simulate

LAM = np.array([1.1, 0.45, 0.02])
TARGET = np.array([0.4, -1.3, 2.0])
STEPS = 200

Case = tuple[str, str, dict[str, Any], Method]
WITHOUT = {"adam_atan2", "prodigy"}
"""Recipes without an expected risk: not linear, and of sums over all parameters."""
CASES: list[Case] = [
    ("sgd_momentum", "eval", {"lr": 0.04, "momentum": 0.9}, heavy_ball(0.04, 0.9)),
    (
        "sgd_momentum",
        "eval",
        {"lr": 0.04, "momentum": 0.8, "weight_decay": 0.07},
        heavy_ball(0.04, 0.8, 0.07),
    ),
    ("sgd_nesterov", "eval", {"lr": 0.03, "momentum": 0.9}, nesterov_pair(0.03, 0.9)),
    (
        "sgd_momentum",
        "tail:0.1",
        {"lr": 0.04, "momentum": 0.9},
        averaged_heavy_ball(0.04, 0.9, lambda t: min(1.0, 1 / (0.1 * t))),
    ),
    (
        "sgd_momentum",
        "uniform",
        {"lr": 0.04, "momentum": 0.9},
        averaged_heavy_ball(0.04, 0.9, lambda t: 1 / t),
    ),
    (
        "sgd_momentum",
        "ema:0.97",
        {"lr": 0.04, "momentum": 0.9},
        averaged_heavy_ball(0.04, 0.9, lambda t: 0.03 / (1 - 0.97**t)),
    ),
    (
        "schedule_free_sgd",
        "eval",
        {"lr": 0.3, "beta": 0.85, "r": 1.5},
        schedule_free(0.3, 0.85, 1.5),
    ),
    (
        "ademamix",
        "eval",
        {"lr": 0.05, "beta1": 0.8, "beta3": 0.99, "alpha": 4.0},
        ademamix(0.05, 0.8, 0.99, 4.0, STEPS),
    ),
]  # fmt: skip
IDS = [f"{name}-{view}-{len(settings)}" for name, view, settings, _ in CASES]


def brute(method: Method, stream: str, noise: float, batch: float) -> float:
    return covariance_risk(method, LAM, TARGET, stream, noise=noise, batch=batch, steps=STEPS)


def exact(name: str, view: str, settings: dict[str, Any], *problem: Any) -> float:
    stream, noise, batch = problem
    return expected_risk(
        name, Problem(LAM, 3, TARGET, stream, noise, batch), steps=STEPS, view=view, **settings
    )


@pytest.mark.parametrize(("name", "view", "settings", "method"), CASES, ids=IDS)
def test_long_runs(name: str, view: str, settings: dict[str, Any], method: Method) -> None:
    for problem in [("gaussian", 0.1, 1), ("onehot", 0.1, 3), ("elliptical:1.4", 0.0, 8)]:
        found = exact(name, view, settings, *problem)
        assert found == pytest.approx(brute(method, *problem), rel=1e-11)
    still = exact(name, view, settings, "gaussian", 0.3, math.inf)
    assert still == pytest.approx(brute(method, "gaussian", 0.3, math.inf), rel=1e-11)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_are_one_run(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scalars with memory, schedules and the first step cross the seams."""
    problem = Problem(LAM, 3, TARGET, noise=0.1)
    for name, view in [("schedule_free_sgd", "eval"), ("ademamix", "tail:0.3"), ("adan", "eval")]:
        kw: dict[str, Any] = {"lr": 0.02, "lr_schedule": "cosine:10", "steps": [0, 1, 8, 64, 100]}
        whole = expected_risk(name, problem, view=view, **kw)
        with monkeypatch.context() as patch:
            patch.setattr(transition, "CHUNK", chunk)
            assert expected_risk(name, problem, view=view, **kw) == pytest.approx(whole, rel=1e-13)


def test_without_a_compiler_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(noise=0.1, dim=11, batch=2)
    kw: dict[str, Any] = {"lr": 0.1, "steps": [3, 40], "view": "tail:0.5"}
    compiled = [expected_risk(name, problem, **kw) for name in ("ademamix", "sgd_momentum")]

    def refuse(size: int) -> None:
        raise moments.CompilationError("there is no compiler")

    monkeypatch.setattr(moments, "moments_kernel", refuse)
    plain = [expected_risk(name, problem, **kw) for name in ("ademamix", "sgd_momentum")]
    np.testing.assert_allclose(plain, compiled, rtol=1e-12)
    assert expected_risk("sgd", problem, steps=400, lr=9.0) > 1e100


MUTANTS = [
    ("own + i) * m[0]", "own + i) * 1.001 * m[0]"),
    ("noise = g * total + sigma2", "noise = 1.001 * g * total + sigma2"),
    ("noise = g * total + sigma2", "noise = g * total + 1.001 * sigma2"),
    ("noise = g * total + sigma2", "noise = g * total"),
    ("A[j * K] - curve * b[j]", "A[j * K] - 1.001 * curve * b[j]"),
    ("column[j] * m[PAIR(0, c)]", "A[j * K] * m[PAIR(0, c)]"),
    ("p[j][0] * column[c]", "p[j][0] * A[c * K]"),
    ("(b[j] * b[c]) * force", "(b[j] * b[j]) * force"),
    ("(j == c ? 1 : 2)", "1"),
    ("p[j][h] * A[c * K + h]", "p[j][h] * A[j * K + h]"),
    ("sum(risk) / 2", "sum(risk)"),
]


@pytest.mark.parametrize(("old", "new"), MUTANTS, ids=[new for _, new in MUTANTS])
def test_a_wrong_kernel_is_noticed(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with the covariance fails for each of these."""
    assert old in moments_kernel.SOURCE
    name, view, settings, method = CASES[3]
    problem = Problem(LAM, 3, TARGET, "gaussian", 0.1, 1)
    right = brute(method, "gaussian", 0.1, 1)
    kernel = moments_kernel.moments_kernel.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(moments_kernel, "SOURCE", moments_kernel.SOURCE.replace(old, new))
        patch.setattr(moments, "moments_kernel", kernel)
        seen = LinearRecipe.of(name, view, **settings)
        wrong = seen.risks(problem, [1, STEPS], STEPS)[1]
    assert abs(wrong / right - 1) > 1e-6


def test_divergence_is_a_value() -> None:
    problem = Problem(dim=4)
    risks = expected_risk("sgd", problem, steps=[10, 100_000], lr=100.0)
    assert risks[0] > 1e20
    assert risks[1] == math.inf
    assert expected_risk("sgd_momentum", problem, steps=100_000, lr=50.0) == math.inf


def test_steps_to_a_risk_are_the_first() -> None:
    problem = Problem(noise=0.1, batch=4)
    seen = LinearRecipe.of("sgd", lr=0.1)
    curve = seen.curve(problem, 500, 500)
    wanted = float(curve[123]) * (1 + 1e-12)
    assert seen.steps_to(problem, wanted, 500, 500) == 123
    assert seen.steps_to(problem, float(curve[0]), 500, 500) == 0
    assert seen.steps_to(problem, 1e-9, 500, 500) is None
    assert curve[[0, 7]] == pytest.approx(seen.risks(problem, [0, 7], 500), rel=1e-13)


@pytest.mark.parametrize("name", sorted(set(shipped()) - WITHOUT - {"scion"}))
def test_a_step_moves_with_the_target_unless_weights_decay(name: str) -> None:
    """A start = start where all positions are shifted alike; weight decay pulls to 0."""
    recipe = load_recipe(name)
    knobs = [knob for knob in recipe.hyperparameters if knob.startswith("weight_decay")]
    still = LinearRecipe.of(recipe, "tail:0.2", **dict.fromkeys(knobs, 0.0))
    assert not still.transition.pulls
    start, _ = still.transition.start
    size = still.transition.size
    (table,) = still.coefficients(9, 9)
    for row in table.step:
        moved = row[: size * size].reshape(size, size) @ start
        np.testing.assert_allclose(moved, start, atol=1e-14)
    np.testing.assert_allclose(table.view @ start, 1, atol=1e-14)
    if "weight_decay" in knobs:
        assert LinearRecipe.of(recipe, weight_decay=0.1).transition.pulls


def test_large_numbers_are_no_crash() -> None:
    problem = Problem(dim=5, noise=0.1)
    for lr in 10.0 ** np.arange(-2, 12):
        for name, view in [("sgd", "eval"), ("sgd_momentum", "tail:0.5"), ("adan", "eval")]:
            risks = expected_risk(name, problem, steps=range(0, 120, 7), view=view, lr=float(lr))
            assert not any(map(math.isnan, risks))
            for t in (13, 50, 104):
                risk = expected_risk(name, problem, steps=np.int64(t), view=view, lr=float(lr))
                assert risk > 0


LATE = """
name: late
version: 1
summary: SGD whose weight decay begins at step 40
reference: a test
hyperparameters:
  lr: {default: 0.05, in: "[0, inf)", doc: learning rate}
scalars:
  gate: positive(t - 39)
weight_decay: {amount: 0.3*gate, kind: coupled}
update: grad
"""


def test_a_decay_that_begins_late() -> None:
    def maps(t: int) -> Any:
        decay = 0.3 * (t >= 40)
        A = np.array([[1 - 0.05 * decay, -0.05 * decay], [0, 1.0]])
        at = np.array([1.0, 0])
        return A, np.array([0.05, 0]), at, at

    problem = Problem(LAM, 3, TARGET, noise=0.1)
    found = expected_risk(parse_recipe(LATE), problem, steps=STEPS)
    method = Method(np.array([1.0, -1.0]), maps)
    assert found == pytest.approx(brute(method, "gaussian", 0.1, 1), rel=1e-11)


POSITIONS = """
name: positions
version: 1
summary: a slow copy of the parameter pulls it back, and a push from outside fades
reference: a test
hyperparameters:
  lr: {default: 0.05, in: "[0, inf)", doc: learning rate}
buffers:
  x: {input: param, decay: 0.9, gain: 0.1, init: param}
  c: {input: grad, decay: 0.5, gain: 1, init: 3}
update: grad + 0.1*c + 0.2*(param - x.prev)
evaluate: param
"""


def test_buffers_that_start_at_the_parameter_or_at_a_number() -> None:
    """Run by hand with exact gradients: x follows the parameter it is told of, c starts at 3."""
    w, x, c = np.zeros(3), np.zeros(3), np.full(3, 3.0)
    for _ in range(30):
        g = LAM * (w - TARGET)
        x_old, x = x, 0.9 * x + 0.1 * w
        c = 0.5 * c + g
        w = w - 0.05 * (g + 0.1 * c + 0.2 * (w - x_old))
    problem = Problem(LAM, 3, TARGET, batch=math.inf)
    found = expected_risk(parse_recipe(POSITIONS), problem, steps=30)
    assert found == pytest.approx(float(LAM @ (w - TARGET) ** 2) / 2, rel=1e-12)
    sampled = simulate(
        LinearRecipe.of(parse_recipe(POSITIONS)), Problem(LAM, 3, TARGET), 9, 9, 5000
    )
    assert abs(sampled.z) < 4


@pytest.mark.parametrize("name", sorted(set(shipped()) - WITHOUT))
def test_searches_compute_the_same_in_float64(name: str) -> None:
    seen = LinearRecipe.of(name, "tail:0.2", lr_schedule="cosine:10")
    (precise,) = seen.coefficients(300, 300)
    (quick,) = seen.coefficients(300, 300, quick=True)
    np.testing.assert_allclose(quick.step, precise.step, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(quick.view, precise.view, rtol=1e-9, atol=1e-14)


def test_a_risk_needs_no_torch() -> None:
    code = (
        "import sys, optzoo\n"
        "assert optzoo.expected_risk('ademamix', {'dim': 3}, steps=9) > 0\n"
        "assert not {'torch', 'sympy', 'matplotlib', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
