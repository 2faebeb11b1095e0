"""Tuned optima against closed forms, their certificates, and the searches that find them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import optzoo
from optzoo.errors import InputError
from optzoo.risk.regression.problem import Problem
from optzoo.risk.search import tuning
from optzoo.risk.search.knobs import find_knobs, rate_names
from optzoo.risk.search.minimise import Box, differential_evolution, nelder_mead
from optzoo.risk.search.tuning import tune, tune_to_risk


def test_sgd_on_one_coordinate() -> None:
    """The risk of a step falls by 1 - 2 lr lam + lr^2 lam^2 (1 + 2/B) with Gaussian inputs."""
    for batch, factor in [(1.0, 3.0), (4.0, 1.5), (math.inf, 1.0)]:
        problem = Problem((0.7,), 1, batch=batch)
        (best,) = tune("sgd", problem, knobs=["lr"], steps=1)
        assert best.values["lr"] == pytest.approx(1 / (0.7 * factor), rel=1e-4)
        assert best.risk == pytest.approx(0.7 / 2 * (1 - 1 / factor), rel=1e-6, abs=1e-9)
        assert best.rates["lr"] == pytest.approx(0.5, rel=1e-4)
        assert best.certificate.bounds == {}


def test_two_learning_rates_are_one() -> None:
    """Steps of exact gradients in two directions: the best constant rate has equal leftovers."""
    problem = Problem((1.0, 0.2), 2, (1.0, 5**0.5), batch=math.inf)
    (best,) = tune("sgd", problem, knobs=["lr"], steps=40)
    fine = np.linspace(1.5, 1.9, 400_001)
    risks = ((1 - fine) ** 80 + (1 - 0.2 * fine) ** 80) / 2
    assert best.risk == pytest.approx(risks.min(), rel=1e-8)
    assert best.values["lr"] == pytest.approx(fine[risks.argmin()], rel=1e-4)


def test_nothing_accelerates_on_one_hot_inputs() -> None:
    problem = Problem("power:2", math.inf, "power:0.4", "onehot")
    (plain,) = tune("sgd", problem, knobs=["lr"], steps=200)
    (momentum,) = tune("sgd_momentum", problem, knobs=["lr", "momentum"], steps=200)
    (mixed,) = tune("accelerated_sgd", problem, knobs=["eta", "alpha", "k"], steps=200)
    assert momentum.risk == pytest.approx(plain.risk, rel=1e-6)
    assert mixed.risk == pytest.approx(plain.risk, rel=1e-6)
    gaussian = Problem("power:2", math.inf, "power:0.4")
    (plain,) = tune("sgd", gaussian, knobs=["lr"], steps=200)
    (mixed,) = tune("accelerated_sgd", gaussian, knobs=["eta", "alpha", "k"], steps=200)
    assert mixed.risk < 0.6 * plain.risk


def test_families_hold_those_within_them() -> None:
    """Heavy ball holds SGD, quasi-hyperbolic momentum heavy ball, and so do their optima."""
    problem = Problem("power:1.5", 20, noise=0.05)
    batches = [1, 8, 64]
    plain = tune("sgd", problem, knobs=["lr"], steps=100, batches=batches)
    heavy = tune("sgd_momentum", problem, knobs=["lr", "momentum"], steps=100, batches=batches)
    mixed = tune("qhm", problem, knobs=["lr", "beta", "nu"], steps=100, batches=batches)
    for small, middle, large in zip(plain, heavy, mixed, strict=True):
        assert middle.risk <= small.risk * (1 + 1e-7)
        assert large.risk <= middle.risk * (1 + 1e-7)
        for each in (middle, large):
            assert min(each.certificate.nesting.values()) >= 1 - 1e-6
    evolved = [each.certificate.evolution for each in mixed]
    assert evolved[1] is not None
    assert evolved[1] >= 1 - 1e-6
    assert heavy == tune(
        "sgd_momentum", problem, knobs=["lr", "momentum"], steps=100, batches=batches
    )


def test_one_family_in_three_parametrisations_has_one_optimum() -> None:
    """AGNES, ASGD and MaSS are Eq. (1) with constants, read off at x, with other knobs."""
    problem = Problem("power:1.5", 20, "power:0.5", "onehot-scaled", 0.01)
    least = [
        tune(name, problem, knobs=["all"], steps=100, certify=False)[0].risk
        for name in ("agnes", "asgd_jain", "mass")
    ]
    assert least == pytest.approx([least[0]] * 3, rel=1e-5)


def test_the_optimum_does_not_depend_on_the_unit_of_the_problem() -> None:
    one = tune("sgd_momentum", Problem((1, 0.1), 2, noise=0.1), knobs=["all"], steps=50)[0]
    scaled = Problem((1e6, 1e5), 2, noise=0.1e6)
    other = tune("sgd_momentum", scaled, knobs=["all"], steps=50)[0]
    assert other.risk == pytest.approx(1e6 * one.risk, rel=1e-6)
    assert other.rates["lr"] == pytest.approx(one.rates["lr"], rel=1e-2)


def test_what_a_search_misses_its_certificate_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three points and with descents of one step: differential evolution gets there."""
    problem = Problem("power:1.5", 20, noise=0.05)
    kw = {"knobs": ["lr", "momentum"], "steps": 100}
    (good,) = tune("sgd_momentum", problem, **kw)
    monkeypatch.setattr(tuning, "EVALUATIONS", 1)
    monkeypatch.setattr(tuning, "POINTS", {2: 3})
    monkeypatch.setattr(tuning._Family, "look_around", lambda family, optimum: optimum)
    (poor,) = tune("sgd_momentum", problem, **kw, certify=False)
    (mended,) = tune("sgd_momentum", problem, **kw)
    assert poor.risk > good.risk * 1.01
    assert mended.risk == pytest.approx(good.risk, rel=1e-3)


def test_an_optimum_on_a_bound_is_told() -> None:
    problem = Problem((1.0,), 1)
    (best,) = tune("sgd", problem, knobs=["lr"], steps=5, lr_schedule="1e-12")
    assert best.certificate.bounds == {"lr": "high"}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("sgd", {"lr"}),
        ("sgd_momentum", {"lr"}),
        ("accelerated_sgd", {"lr", "eta", "alpha"}),
        ("dana", {"lr", "gamma2", "gamma3"}),
        ("asgd_jain", {"lr", "gamma", "delta"}),
        ("nesterov_vaswani", {"lr", "eta"}),
        ("ademamix", {"lr"}),
        ("accsgd", {"lr"}),
    ],
)
def test_rates_are_seen_from_the_program(name: str, rates: set[str]) -> None:
    assert rate_names(optzoo.load_recipe(name)) == rates


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("sgd", ["lr"]),
        ("sgd_momentum", ["lr", "momentum"]),
        ("accelerated_sgd", ["eta", "alpha", "k"]),
        ("adamw", ["lr", "beta1", "weight_decay"]),
        ("schedule_free_sgd", ["lr", "beta"]),
    ],
)
def test_all_knobs_are_those_that_count(name: str, names: list[str]) -> None:
    found = find_knobs(optzoo.load_recipe(name), "eval", ["all"], Problem(), 100)
    assert [knob.name for knob in found] == names


def test_knobs_go_both_ways() -> None:
    recipe = optzoo.load_recipe("schedule_free_sgd")
    knobs = find_knobs(recipe, "eval", ["lr", "beta", "r"], Problem(), 100)
    knobs += find_knobs(optzoo.load_recipe("ademamix"), "eval", ["beta3"], Problem(), 100)
    assert [knob.role for knob in knobs] == ["rate", "share", "size", "decay"]
    for knob, values in zip(knobs, [(1e-4, 3), (0.01, 0.99), (0, 5.0), (0, 0.999)], strict=True):
        for value in values:
            assert knob.value(knob.variable(value)) == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert knob.value(knob.low) <= values[0]
        assert knob.value(knob.high) >= values[1]


def test_what_cannot_be_tuned() -> None:
    for knobs, said in [
        (["momentun"], "`momentun` is not a hyperparameter"),
        (["momentum", "beta"], "`beta` is not"),
    ]:
        with pytest.raises(InputError, match=said):
            tune("sgd_momentum", knobs=knobs, steps=10)
    with pytest.raises(InputError, match="does not depend on `beta2`"):
        tune("adamw", knobs=["beta2"], steps=10)
    with pytest.raises(InputError, match="below 1e-300"):
        tune("sgd", Problem((1.0,), 1, batch=math.inf), knobs=["lr"], steps=5_000)


def test_the_shortest_run_to_a_risk() -> None:
    problem = Problem("power:1.5", 20, noise=0.05)
    recipe = optzoo.load_recipe("sgd")
    lengths = {1: 20_000, 8: 20_000, 64: 20_000}
    found = tune_to_risk(recipe, problem, lengths, ["lr"], "eval", 0.01)
    for tuned, reached in found:
        assert reached
        assert tuned.risk <= 0.01
        shorter = int(tuned.steps * 0.995)
        one = Problem.of(problem, batch=tuned.batch)
        assert tune("sgd", one, knobs=["lr"], steps=shorter, certify=False)[0].risk > 0.01
    ((never, reached),) = tune_to_risk(recipe, problem, {1: 50}, ["lr"], "eval", 1e-4)
    assert (never.steps, reached) == (50, False)


def rosenbrock(x: np.ndarray) -> float:
    return float((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)


def test_searches_find_known_bottoms() -> None:
    box = Box(np.array([-2.0, -2.0]), np.array([2.0, 2.0]))
    width = np.array([0.2, 0.2])
    found = nelder_mead(rosenbrock, box, np.array([-1.2, 1.0]), width, 2_000, 1e-14)
    assert found.point == pytest.approx([1, 1], abs=1e-5)
    evolved = differential_evolution(rosenbrock, box, 200, members=16)
    assert evolved.point == pytest.approx([1, 1], abs=1e-3)
    corner = nelder_mead(lambda x: float(x @ [1, -1]), box, np.zeros(2), width, 2_000, 1e-12)
    assert corner.point == pytest.approx([-2, 2], abs=1e-6)


def test_halton_fills_the_box() -> None:
    points = Box(np.array([0.0, 10.0]), np.array([1.0, 20.0])).halton(64)
    assert points.shape == (64, 2)
    assert points.min(axis=0) == pytest.approx([0, 10], abs=0.3)
    counts, _, _ = np.histogram2d(*points.T, bins=4)
    assert counts.min() >= 2
