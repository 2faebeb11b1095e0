"""The recursion against every sequence of samples, run through the oracles of the zoo."""

from __future__ import annotations

from typing import Any

import pytest
from enumeration import enumerated_risk
from oracles import ORACLES

from optzoo.risk.expected import LinearRecipe, expected_risk
from optzoo.risk.regression.problem import Problem

LAM, TARGET = (1.3, 0.4), (0.7, -1.1)
STREAMS = [
    "gaussian",
    "onehot",
    "onehot-scaled",
    "independent:1",
    "independent:2.2",
    "elliptical:1.7",
]
LINEAR = [
    "sgd", "sgd_momentum", "sgd_nesterov", "accelerated_sgd", "agnes", "asgd_jain", "accsgd",
    "mass", "nesterov_vaswani", "qhm", "aggmo", "schedule_free_sgd", "dana",
]  # fmt: skip
PRECONDITIONED = [
    "adamw", "ademamix", "simplified_ademamix", "laprop", "adamw_averaged", "accelerated_adamw",
    "schedule_free_adamw", "gpa_adamw", "adan_no_prox", "adam_momentum_schedule", "qhadam",
    "decoupled_schedule_free_adamw",
]  # fmt: skip


def exact(
    name: str, stream: str, noise: float, batch: int, steps: int, view: str, **kw: Any
) -> float:
    problem = Problem(LAM, 2, TARGET, stream, noise, batch)
    return expected_risk(name, problem, steps=steps, view=view, **kw)


def lively(name: str) -> dict[str, float]:
    return dict(ORACLES[name].lively)


@pytest.mark.parametrize("view", ["train", "eval"])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_recipes(name: str, view: str) -> None:
    for stream, noise, batch, steps in [
        ("gaussian", 0.3, 1, 3),
        ("onehot", 0.3, 2, 3),
        ("gaussian", 0.0, 2, 2),
        ("onehot-scaled", 0.5, 1, 4),
    ]:
        settings = lively(name)
        brute = enumerated_risk(
            name, LAM, TARGET, stream, noise=noise, batch=batch, steps=steps, view=view, **settings
        )
        found = exact(name, stream, noise, batch, steps, view, **settings)
        assert found == pytest.approx(brute, rel=1e-12)


@pytest.mark.parametrize("stream", STREAMS)
def test_streams(stream: str) -> None:
    for name in ("sgd", "sgd_momentum", "schedule_free_sgd"):
        for batch, steps in [(1, 3), (2, 2)]:
            settings = {**lively(name), "lr": 0.4}
            brute = enumerated_risk(
                name,
                LAM,
                TARGET,
                stream,
                noise=0.2,
                batch=batch,
                steps=steps,
                view="eval",
                **settings,
            )
            assert exact(name, stream, 0.2, batch, steps, "eval", **settings) == pytest.approx(
                brute, rel=1e-12
            )


@pytest.mark.parametrize("name", [name for name in LINEAR if "lr" in ORACLES[name].lively])
def test_a_moving_learning_rate(name: str) -> None:
    settings = lively(name)
    lrs = [settings["lr"] * t / 4 for t in (1, 2, 3)]
    brute = enumerated_risk(
        name, LAM, TARGET, "onehot", noise=0.2, batch=1, steps=3, view="eval", lrs=lrs, **settings
    )
    found = exact(name, "onehot", 0.2, 1, 3, "eval", lr_schedule="t/4", **settings)
    assert found == pytest.approx(brute, rel=1e-12)


HUGE = 1e9


@pytest.mark.parametrize("view", ["train", "eval"])
@pytest.mark.parametrize("name", PRECONDITIONED)
def test_preconditioned_recipes_with_an_eps_that_drowns_the_squares(name: str, view: str) -> None:
    """With eps = 1e9 what is divided by is 1e9, but for a part in 1e9."""
    settings = {**lively(name), "eps": HUGE}
    if "weight_decay" in settings:
        settings["weight_decay"] = 0.0
    scaled = {**settings, "lr": settings["lr"] * HUGE}
    brute = enumerated_risk(
        name, LAM, TARGET, "onehot", noise=0.2, batch=1, steps=4, view=view, **scaled
    )
    found = exact(name, "onehot", 0.2, 1, 4, view, **settings)
    assert found == pytest.approx(brute, rel=1e-7)
    assert LinearRecipe.of(name).held_fixed
