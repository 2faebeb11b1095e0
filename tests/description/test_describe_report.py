"""What describe says beyond the coefficients, against sums written out or facts from the papers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import optzoo
from optzoo.description.averages import EvaluatedPoint
from optzoo.description.description import Description
from optzoo.description.output.text import format_report
from optzoo.description.weights import (
    Window,
    impulse_response,
    iterate_weights,
    nearest_form,
    total_weight,
    weight_from,
    weights_in,
    window_at,
)
from optzoo.recipe.recipe import parse_recipe


def window(found: Description, point: EvaluatedPoint, t: int) -> Window:
    assert point.weight is not None
    return window_at(found.derivation, point.weight, t)


def find(name: str, **options: Any) -> Description:
    return optzoo.describe(optzoo.load_recipe(name), **options)


# ------------------------------------------------------------ sums over gradients


@pytest.mark.parametrize("name", ["ademamix", "gpa_adamw", "schedule_free_sgd", "nadam"])
def test_weights_in_a_step_are_the_response(name: str) -> None:
    found = find(name, total_steps=50)
    t, lags = 40, 12
    moves = found.derivation.run(range(t - lags, t + 1)).moves
    wanted = [-float(moves[-1].terms[t - lag]) for lag in range(lags + 1)]
    assert list(weights_in(found.derivation, t, t - 1)[: lags + 1]) == pytest.approx(
        wanted, rel=1e-9
    )


@pytest.mark.parametrize("name", ["ademamix", "gpa_adamw", "schedule_free_sgd", "nadam"])
def test_an_impulse_response_is_one_gradient_through_the_steps(name: str) -> None:
    found = find(name, total_steps=60)
    s, steps = 20, 15
    moves = found.derivation.run(range(s, s + steps + 1)).moves
    wanted = [-float(move.terms[s]) for move in moves]
    weights = impulse_response(found.derivation, s, steps)
    assert list(weights) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["ademamix", "gpa_adamw", "schedule_free_sgd"])
def test_the_total_weight_is_the_sum_over_steps(name: str) -> None:
    found = find(name, total_steps=60)
    wanted = sum(float(weights_in(found.derivation, t, t - 10)[-1]) for t in range(10, 61))
    assert total_weight(found.derivation, 10, 60) == pytest.approx(wanted, rel=1e-12)


def test_every_gradient_of_schedule_free_weighs_lr_in_the_end() -> None:
    """eta_a = lr beta/t and beta_a = (t - 2)/(t - 1) telescope to lr, but for lr beta (s - 1)/T."""
    found = find("schedule_free_sgd", lr=0.5, total_steps=20_000)
    for s in (2, 50):
        missing = 0.9 * (s - 1) / 20_000
        assert weight_from(found.derivation, s) == pytest.approx(0.5 * (1 - missing), rel=1e-12)


def test_a_recipe_of_the_form_is_its_own_nearest() -> None:
    found = find("sgd_nesterov", lr=0.1, momentum=0.8)
    near = nearest_form(found.derivation, 60, 50)
    assert (near.beta_a, near.eta_a, near.alpha_a) == pytest.approx((0.8, 0.08, 0.1), rel=1e-6)
    assert near.error < 1e-6


def test_the_nearest_form_is_a_least_squares_fit() -> None:
    """AggMo with decays 0.9 and 0.99: moving beta_a either way, eta_a refitted, is worse."""
    near = find("aggmo", lr=3).nearest(400)
    assert near is not None

    def error(beta: float) -> float:
        past = [0.9**j + 0.99**j for j in range(1, near.num_lags + 1)]
        powers = [beta**j for j in range(1, near.num_lags + 1)]
        eta = sum(p * q for p, q in zip(past, powers, strict=True)) / sum(q * q for q in powers)
        rest = sum((p - eta * q) ** 2 for p, q in zip(past, powers, strict=True))
        return (rest / (sum(p * p for p in past) + 3**2)) ** 0.5

    assert near.error == pytest.approx(error(near.beta_a), rel=1e-9)
    assert near.error < min(error(near.beta_a - 1e-4), error(near.beta_a + 1e-4))
    assert near.alpha_a == pytest.approx(3 - near.eta_a, rel=1e-12)


# ------------------------------------------------------------ several momenta


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ademamix", {"beta1 = 0", "alpha = 0", "beta1 = beta3"}),
        ("aggmo", {"beta2 = 0", "beta3 = 0", "beta2 = beta3"}),
        ("adan", {"beta1 = 0", "beta2 = 0", "beta1 = beta2"}),
        ("gpa_adamw", {"beta1 = 0", "mu_x = 0", "mu_y = 0"}),
        ("grokfast_adamw", {"beta1 = 0", "a = 0", "lamb = 0"}),
        ("schedule_free_adamw_inner_momentum", {"beta = 0", "inner_momentum = 0"}),
    ],
)
def test_settings_that_give_equation_one(name: str, settings: set[str]) -> None:
    found = find(name)
    assert {r.setting for r in found.reductions} == settings
    assert "Eq. (1) with one momentum at: " in format_report(found)


# ------------------------------------------------------------ what is not linear


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("adamw", [("preconditioner", "u", ("m",), ())]),
        ("laprop", [("preconditioner", "preconditioned", (), ("m",))]),
        ("lion", [("sign", "u", ("m",), ())]),
        ("gpa_adamw", [("preconditioner", "u", ("m",), ("b",))]),
        ("mars", [("norm clip", "c", (), ("m",)), ("preconditioner", "u", ("m",), ())]),
        (
            "adopt",
            [
                ("preconditioner", "preconditioned", (), ("m",)),
                ("elementwise clip", "preconditioned", (), ("m",)),
            ],
        ),
        ("qhm", []),
    ],
)
def test_what_is_held_fixed_and_where(name: str, places: list[Any]) -> None:
    found = find(name).nonlinearities
    assert [(p.kind, p.line, p.after, p.before) for p in found] == places


def test_words_for_it() -> None:
    text = format_report(find("mars"))
    assert "c: divided by max(1, ||d_t||), before the momentum m" in text
    assert "u: divided by sqrt(v_t/(1 - beta2^t)) + eps, after the momentum m" in text


def test_a_step_that_is_not_linear_is_said_to_be_so() -> None:
    source = optzoo.load_recipe("sgd_momentum").text
    squared = source.replace("buffers:", "signals:\n  q: square(grad)\nbuffers:")
    found = optzoo.describe(parse_recipe(squared.replace("input: grad", "input: q")))
    assert not found.form
    assert "not linear in the gradients" in format_report(found)
    with pytest.raises(optzoo.InputError, match="not linear"):
        found.beta_a(3)


def test_a_copy_of_the_parameter_is_followed() -> None:
    """x <- a x + (1 - a)(w - r g), w <- w - z g - (1 - z)(w - x): Eq. (1) by optimizers.md 11."""
    recipe = parse_recipe(
        "name: copyist\nversion: 1\nsummary: s\nfamily: f\nreference: r\n"
        "hyperparameters:\n"
        '  lr: {default: 0.1, in: "[0, inf)", doc: d}\n'
        '  a: {default: 0.9, in: "[0, 1)", doc: d}\n'
        "buffers:\n"
        "  x: {input: param - 20*lr*grad, decay: a, gain: 1 - a, init: param}\n"
        "update: {mix: {grad: 0.3*lr, param: 0.7, x: -0.7}, scale: 1}\n"
    )
    found = optzoo.describe(recipe)
    assert found.order == 1
    w = x = Fraction(0)
    path = []
    for t in range(1, 12):
        g, lr = Fraction(t == 4), Fraction(1, 10)
        x = Fraction(9, 10) * x + Fraction(1, 10) * (w - 20 * lr * g)
        w = w - (Fraction(3, 10) * lr * g + Fraction(7, 10) * (w - x))
        path.append(w)
    m, at = 0.0, 0.0
    for t, wanted in enumerate(path, 1):
        c = found.coefficients(t)
        m = c.beta_a * m + (t == 4)
        at -= c.eta_a * m + c.alpha_a * (t == 4)
        assert at == pytest.approx(float(wanted), rel=1e-12, abs=1e-15), t


# ------------------------------------------------------------ the evaluated point


def test_schedule_free_evaluates_the_last_tenth() -> None:
    """Connections paper, 4.1.3: beta = 0.9 averages about the last 10% of the iterates."""
    found = find("schedule_free_adamw")
    (point,) = found.points
    assert point.kind == "average"
    reach = window(found, point, 10_000)
    assert reach.steps / 10_000 == pytest.approx(0.1, rel=0.01)
    assert reach.newest == pytest.approx(1 / (1 + 0.1 * 9999), rel=1e-12)
    text = format_report(find("schedule_free_adamw", at=(10_000,)))
    assert "share the buffer b" in text
    assert "remembers 9,999 steps" in text


def test_tailed_averaging_covers_delta_of_the_run() -> None:
    found = find("adamw_averaged", delta=0.2)
    (point,) = found.points
    assert window(found, point, 5000).steps == pytest.approx(1000, rel=1e-12)
    assert "share the buffer" not in format_report(found)


def test_weights_of_iterates_are_a_mean() -> None:
    found = find("gpa_adamw", mu_x=0.9, mu_y=0.5)
    (point,) = found.points
    assert point.weight is not None
    weights = iterate_weights(found.derivation, point.weight, 30)
    w = 0.1 / (1 - 0.9 * 0.5)  # optimizers.md 15e
    wanted = [(1 - w) ** 30] + [w * (1 - w) ** (30 - t) for t in range(1, 31)]
    assert list(weights) == pytest.approx(wanted, rel=1e-12)
    assert window(found, point, 30).effective == pytest.approx(1 / sum(x * x for x in wanted))


@pytest.mark.parametrize("name", ["agnes", "asgd_jain", "mass", "nesterov_vaswani"])
def test_the_pure_gradient_step_is_told(name: str) -> None:
    (point,) = find(name).points
    assert point.kind == "gradient step"


def test_observers_are_described() -> None:
    found = find("adamw", observers=["tail:0.1", "ema:0.99", "uniform"])
    plain, tail, ema, uniform = found.points
    assert plain.kind == "parameters"
    assert [window(found, p, 2000).steps for p in (tail, ema, uniform)] == pytest.approx(
        [200, 100, 2000], rel=1e-8
    )


def test_json_says_all_of_it() -> None:
    data = find("ademamix", at=(5, 50)).to_json()
    assert data["form"] is False
    assert data["closed_form"] == {"alpha_a": "0"}
    assert [m["buffers"] for m in data["momenta"]] == ["m1", "m2"]
    assert data["momenta"][0]["beta_at_t"] == [0.9, 0.9]
    assert data["nearest"]["t"] == 50
    assert data["not_linear"][0]["after"] == ("m1", "m2")
    assert data["evaluated"][0]["kind"] == "parameters"


def test_a_report_begins_with_the_answer_in_one_sentence() -> None:
    found = optzoo.describe(optzoo.load_recipe("ademamix"), beta1=0, warmup=1)
    assert found.sentence == (
        "ademamix at beta1 = 0, warmup = 1 is accelerated SGD divided by sqrt(v_t/(1 - beta2^t)) "
        "+ eps; at step 1,000 the current gradient weighs about 33% of what it will in all"
    )
    assert " ".join(format_report(found).split()).startswith(found.sentence)
    assert found.to_json()["sentence"] == found.sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sgd", "sgd is SGD without momentum"),
        ("lion", "accelerated SGD under a sign"),
        ("ademamix", "no accelerated SGD: it has two momenta"),
        ("schedule_free_sgd", "evaluated at an average of about the last 100.9 iterates"),
        ("agnes", "evaluated beside the point it trains at"),
    ],
)
def test_the_sentence_says_form_and_evaluation_point(name: str, words: str) -> None:
    assert words in optzoo.describe(optzoo.load_recipe(name)).sentence


def test_the_sentence_counts_what_it_says() -> None:
    """Heavy ball at 0.9: of 1 + 0.9 + 0.81 + ... = 10 the current gradient is 1."""
    assert "about 10%" in optzoo.describe(optzoo.load_recipe("sgd_momentum")).sentence
    whole = optzoo.describe(optzoo.load_recipe("ademamix"), beta1=0, total_steps=1000)
    now = whole.eta_a(500) + whole.alpha_a(500)
    assert whole.whole_run is not None
    assert f"{100 * now / whole.whole_run:.2g}% of its weight until step 1,000" in whole.sentence
