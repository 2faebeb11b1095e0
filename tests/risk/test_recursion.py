"""The recursion over long runs, against the whole covariance and methods written by hand."""

from __future__ import annotations

import math
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

from optzoo.risk import moments, moments_kernel, transition
from optzoo.risk.expected import LinearRecipe, expected_risk
from optzoo.risk.regression.problem import Problem

LAM = np.array([1.1, 0.45, 0.02])
TARGET = np.array([0.4, -1.3, 2.0])
STEPS = 200

Case = tuple[str, str, dict[str, Any], Method]
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
