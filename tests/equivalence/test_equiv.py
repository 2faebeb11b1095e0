"""`optzoo equiv`: the equivalences that the paper states, what tells recipes apart, and the search.

The right sides under tests/claims are written from the paper's formulas, not from the recipes.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.equivalence.search import find_substitution
from optzoo.equivalence.sides import Conditions, Side, compare
from optzoo.equivalence.verdict import equivalence
from optzoo.errors import InputError
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.arithmetic import FLOAT
from optzoo.program.expressions import format_expression
from optzoo.program.parsing import parse_expression

CLAIMS = Path(__file__).parents[1] / "claims"
ANY, CONSTANT, SHORT = Conditions(), Conditions(constant_lr=True), Conditions(long_steps=0)
NO_CLIP = Conditions(grad_size=Fraction(1, 10))
PAPER = "Connections paper"
JAIN = {"alpha": 0.8, "beta": 0.3, "gamma": 0.1, "delta": 0.03}
VASWANI = {"alpha": "2/(t + 3)", "beta": "1 - 1/(t + 1)", "gamma": "(t + 9)/2", "eta": 0.03}
SCHEDULED = {
    "beta_a": "(1 - 1/(t + 1))*(1 - 2/(t + 3))*(t + 6)/(t + 7)",
    "eta_a": "2/(t + 4)*0.03*(t + 7)/2",
    "alpha_a": 0.03,
}
SIM = {"alpha": 0, "beta1": 0.9, "beta_start": 0.9}

Claim = tuple[str, str, dict[str, Any], str, dict[str, Any], Conditions, bool]
"""Where it is stated, left, its settings, right, its settings, conditions, iterates only."""

STATED: list[Claim] = [
    ("4.1: Schedule-Free is accelerated SGD, then averaging", "schedule_free_sgd", {},
     "schedule_free_as_accelerated", {}, CONSTANT, False),
    ("4.1 with warmup, or any other schedule", "schedule_free_sgd", {"beta": 0.7},
     "schedule_free_as_accelerated", {"beta": 0.7}, ANY, False),
    ("4.1.1: beta = 0 is SGD with averaging", "schedule_free_sgd", {"beta": 0},
     "sgd_averaged", {}, CONSTANT, False),
    ("4.1.2: beta = 1 is momentum, decay 1 - 1/(t - 1) with t from 1", "schedule_free_sgd",
     {"beta": 1}, "equation_one",
     {"beta_a": "1 - ratio(1, t - 1)", "eta_a": "1/t", "alpha_a": 0}, CONSTANT, False),
    ("4.1.3: beta = 0.9, the default", "schedule_free_sgd", {"beta": 0.9}, "equation_one",
     {"beta_a": "1 - ratio(1, t - 1)", "eta_a": "0.9/t", "alpha_a": 0.1}, CONSTANT, True),
    ("4.2: Lion is the sign of accelerated SGD", "lion", {"beta2": 0.95},
     "lion_as_accelerated", {"beta2": 0.95}, ANY, False),
    ("4.3: MARS rewritten, no clip acting", "mars", {}, "mars_rewritten", {}, NO_CLIP, False),
    ("4.4: AdEMAMix at beta1 = 0", "ademamix", {"beta1": 0, "beta3": 0.98},
     "ademamix_as_accelerated", {"beta3": 0.98}, ANY, False),
    ("4.5: Algorithm 3", "accelerated_adamw", {"beta1": 0.95, "delta": 0.3},
     "algorithm_3_as_accelerated", {"beta1": 0.95, "delta": 0.3}, ANY, False),
    ("B.1: AGNES", "agnes", {"eta": 0.03, "alpha": 0.01, "rho": "t/(t + 3)"}, "equation_one",
     {"beta_a": "(t - 1)/(t + 2)", "eta_a": "0.01*t/(t + 3)", "alpha_a": 0.03}, ANY, True),
    ("B.2, corrected: ASGD", "asgd_jain", JAIN, "equation_one",
     {"beta_a": 0.56, "eta_a": 0.014, "alpha_a": 0.03}, ANY, True),
    ("B.3: MaSS", "mass", {"eta1": 0.03, "eta2": 0.01, "gamma": 0.8}, "equation_one",
     {"beta_a": 0.8, "eta_a": 0.014, "alpha_a": 0.03}, ANY, True),
    ("B.4: Nesterov of Vaswani et al., scheduled", "nesterov_vaswani", VASWANI,
     "equation_one", SCHEDULED, ANY, True),
]  # fmt: skip


def recipe(name: str, settings: dict[str, Any]) -> optzoo.Recipe:
    path = CLAIMS / f"{name}.yaml"
    return optzoo.load_recipe(path if path.exists() else name).with_overrides(settings)


@pytest.mark.parametrize("claim", STATED, ids=lambda claim: claim[0])
def test_what_the_paper_states(claim: Claim) -> None:
    _, left, settings, right, others, conditions, iterates_only = claim
    verdict = equivalence(
        recipe(left, settings),
        recipe(right, others),
        conditions=conditions,
        iterates_only=iterates_only,
        search=False,
    )
    assert verdict.same


@pytest.mark.parametrize("claim", STATED, ids=lambda claim: claim[0])
def test_a_claim_can_fail(claim: Claim) -> None:
    """Each number of the right side, moved by one part in a billion, is seen."""
    _, left, settings, right, others, conditions, iterates_only = claim
    names = [n for n in others if others[n] != 0] or ["lr"]
    for name in names:
        knob = recipe(right, others).hyperparameters[name].default
        moved: Any = knob * (1 - 1e-9) if isinstance(knob, float) else f"({knob})*(1 - 1e-9)"
        other = recipe(right, {**others, name: moved})
        verdict = equivalence(
            recipe(left, settings), other, conditions=conditions,
            iterates_only=iterates_only, search=False,
        )  # fmt: skip
        assert not verdict.same, name


def test_schedule_free_parts_from_the_constant_form_when_lr_moves() -> None:
    eq1 = recipe(
        "equation_one", {"beta_a": "1 - ratio(1, t - 1)", "eta_a": "0.9/t", "alpha_a": 0.1}
    )
    verdict = equivalence(recipe("schedule_free_sgd", {}), eq1, iterates_only=True, search=False)
    assert not verdict.same
    assert verdict.constant_lr_same


def test_b2_as_printed_is_another_method() -> None:
    printed = {"beta_a": 0.56, "eta_a": "0.2*(0.1 - 0.7*0.8*0.03)", "alpha_a": "0.8*0.03"}
    verdict = equivalence(
        recipe("asgd_jain", JAIN), recipe("equation_one", printed), iterates_only=True, search=False
    )
    assert not verdict.same
    assert verdict.cause is not None
    assert verdict.cause.weight is not None
    assert verdict.cause.weight.step == 1
    assert verdict.cause.weight.left == pytest.approx(0.044 * 1.37)  # lr at step 1


def test_simplified_ademamix_at_alpha_0_is_adam_with_another_learning_rate() -> None:
    left, right = recipe("simplified_ademamix", SIM), recipe("adamw", {"weight_decay": 0})
    assert not equivalence(left, right, search=False).same
    rule = parse_expression("lr*(1 - 0.9**t)/(1 - 0.9)")
    assert equivalence(left, right, right_lr=rule, search=False).same


# ------------------------------------------------------------------ the search

FOUND: list[tuple[str, dict[str, Any], str, dict[str, str], str | None]] = [
    ("ademamix", {"beta1": 0, "warmup": 1}, "simplified_ademamix",
     {"lr": "lr*(1 - beta3)*alpha", "alpha": "1/((1 - beta3)*alpha)", "beta1": "beta3",
      "beta_start": "beta3"}, None),
    ("simplified_ademamix", SIM, "adamw", {}, "lr*10*(1 - 0.9**t)"),
    ("ademamix", {"alpha": 0}, "adamw", {"lr": "lr", "beta1": "beta1", "eps": "eps"}, None),
    ("agnes", {"eta": 0.03, "alpha": 0.01, "rho": 0.8}, "mass",
     {"eta1": "eta", "eta2": "rho*(eta - alpha)", "gamma": "rho"}, None),
    ("adan", {"beta2": 0, "beta3": 0.95}, "adamw", {"beta1": "beta1", "beta2": "beta3"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("left", "settings", "right", "formulas", "lr"), FOUND)
def test_the_substitution_is_found(
    left: str, settings: dict[str, Any], right: str, formulas: dict[str, str], lr: str | None
) -> None:
    side = Side(recipe(left, settings))
    found = find_substitution(side, recipe(right, {}), SHORT)
    assert found is not None
    assert (None if found.lr is None else format_expression(found.lr)) == lr
    known = {
        c.name: None if c.formula is None else format_expression(c.formula) for c in found.changes
    }
    assert {name: known[name] for name in formulas} == formulas
    # the proof, run again from the printed numbers
    values = {c.name: str(float(c.value)) for c in found.changes}
    again = Side(recipe(right, {}).with_overrides(values), found.lr)
    assert compare(side, again, SHORT).same


def test_what_cannot_be_the_same_is_not_found() -> None:
    assert find_substitution(Side(recipe("lion", {})), recipe("sgd", {}), SHORT) is None


def test_fixed_hyperparameters_stay() -> None:
    side, right = Side(recipe("qhm", {"nu": 1})), recipe("sgd_momentum", {})
    assert find_substitution(side, right, SHORT) is not None
    assert find_substitution(side, right, SHORT, fixed=frozenset({"momentum"})) is None


# ------------------------------------------------------------------ why they part


def test_decay_is_named() -> None:
    verdict = equivalence(
        recipe("adamw", {"weight_decay": 0.1}), recipe("adamw", {"weight_decay": 0}), search=False
    )
    assert verdict.cause is not None
    assert verdict.cause.decay
    assert verdict.cause.weight is None


def test_decay_is_not_blamed_for_what_stands_under_a_sign() -> None:
    verdict = equivalence(recipe("lion", {}), recipe("signum", {}), search=False)
    assert verdict.cause is not None
    assert not verdict.cause.decay


def test_what_is_not_linear_is_named() -> None:
    verdict = equivalence(
        recipe("signum", {"beta": 0, "lr": 1}), recipe("sgd", {"lr": 1}), search=False
    )
    assert verdict.cause is not None
    assert verdict.cause.weight is None
    assert (verdict.cause.left_held, verdict.cause.right_held) == (("sign",), ())


def test_the_coefficient_is_named() -> None:
    verdict = equivalence(
        recipe("sgd_momentum", {"momentum": 0.9}), recipe("sgd_momentum", {"momentum": 0.8}),
        conditions=CONSTANT, search=False,
    )  # fmt: skip
    assert verdict.cause is not None
    weight = verdict.cause.weight
    assert weight is not None
    assert (weight.step, weight.of_step) == (2, 1)
    assert weight.left_form == pytest.approx((0.9, 0.01, 0), abs=1e-15)
    assert weight.right_form == pytest.approx((0.8, 0.01, 0), abs=1e-15)


def test_evaluation_points_are_compared_too() -> None:
    averaged, plain = (
        recipe("adamw_averaged", {"weight_decay": 0}),
        recipe("adamw", {"weight_decay": 0}),
    )
    verdict = equivalence(averaged, plain, search=False)
    assert not verdict.same
    assert verdict.comparison.train is None
    assert verdict.comparison.eval is not None
    assert equivalence(averaged, plain, iterates_only=True, search=False).same


# ------------------------------------------------------------------ the arithmetic


@pytest.mark.parametrize(
    ("op", "args"),
    [("cospi", (0.37,)), ("cospi", (5.25,)), ("half_life", (0.9, 0.999, 0.3)),
     ("half_life", (0, 0.999, 0.3)), ("pow", (0.97, 3.5)), ("exp", (-0.3,)), ("log", (1.7,))],
)  # fmt: skip
def test_decimals_agree_with_floats(op: str, args: tuple[float, ...]) -> None:
    domain = ReferenceDomain("decimal")
    value = domain.apply(op, [domain.number(Fraction(a)) for a in args])
    assert float(value) == pytest.approx(FLOAT[op](*args), rel=1e-14)  # type: ignore[arg-type]


def test_decimals_carry_the_digits_they_say() -> None:
    domain = ReferenceDomain("decimal")
    third = domain.number(Fraction(1, 3))
    half = domain.apply("cospi", [third])
    assert abs(Fraction(half) - Fraction(1, 2)) < Fraction(1, 10**65)  # type: ignore[arg-type]


# ------------------------------------------------------------------ the command


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["equiv", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_exit_codes() -> None:
    assert run("lion", "signum", "--set-a", "beta2=0.9")[0] == 0
    code, text = run("lion", "signum", "--no-search")
    assert code == 1
    assert text.startswith("different: the training points of lion and signum part at step 2")


def test_the_suggested_command_proves_it() -> None:
    import shlex

    code, text = run("simplified_ademamix", "adamw", *(f"--set-a={k}={v}" for k, v in SIM.items()))
    assert code == 1
    proof = next(line for line in text.splitlines() if line.startswith("proof: optzoo equiv "))
    code, text = run(*shlex.split(proof.removeprefix("proof: optzoo equiv ")))
    assert code == 0, text


def test_json() -> None:
    code, text = run("agnes", "mass", "--json")
    found = json.loads(text)
    assert code == 1
    assert not found["same"]
    assert found["exact"]
    assert found["substitution"]["set"] == {"eta1": 0.001, "eta2": 0, "gamma": 0.99}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lion", "lyon"), "lyon"),
        (("lion", "signum", "--lr-b", "lr*("), "--lr-b"),
        (("lion", "signum", "--lr-b", "lr*beta"), "`beta` is neither `lr` nor `t`"),
        (("lion", "signum", "--set-a", "beta9=1"), "beta9"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)


# ------------------------------------------------------------------ both sides; what is not found


def test_a_sign_is_no_obstacle_and_decays_may_be_tied() -> None:
    found = find_substitution(Side(recipe("signum", {})), recipe("lion", {}), SHORT)
    assert found is not None
    values = {c.name: c.value for c in found.changes}
    assert values["beta1"] == values["beta2"] == 0.9
    assert found.general


def test_the_other_side_is_searched_too() -> None:
    code, text = run("lion", "signum")
    assert code == 1
    first = text.splitlines()[0]
    assert first == "different: but lion is signum at beta2 = 0.9"
    assert "proof: optzoo equiv lion signum --set-a beta2=0.9" in text
    held = json.loads(run("lion", "signum", "--set-a", "beta2=0.99", "--json")[1])
    assert held["substitution"] is None
    assert held["substitution_of_left"] is None


def test_a_failed_search_is_worded_as_what_it_is() -> None:
    assert (
        "none found: no hyperparameters of laprop that make it adamw" in run("adamw", "laprop")[1]
    )
    text = run("ademamix", "lion")[1]
    assert "ademamix has 2 momenta and lion at most 1" in text
    assert "none found" not in text


def test_the_answer_is_a_sentence_for_programs_too() -> None:
    found = json.loads(run("agnes", "mass", "--json")[1])
    assert found["sentence"].startswith("different: but mass is agnes at ")


def test_what_a_recipe_computes_is_a_number_of_it() -> None:
    text = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 1e-3, in: "[0, inf)", doc: learning rate}
  tau: {default: 20, in: "[1, inf)", doc: a time}
scalars: {q: exp(-1/tau)}
buffers: {m: {input: 4*grad, decay: q, gain: 1 - q}}
update: m
"""
    left = Side(optzoo.parse_recipe(text))
    found = find_substitution(left, recipe("sgd_momentum", {}), Conditions())
    assert found is not None
    formulas = {c.name: format_expression(c.formula) for c in found.changes if c.formula}
    assert formulas["momentum"] == "exp(-1/tau)"
    assert found.lr is not None  # no decimal is exactly 4*(1 - exp(-1/20)) lr
    assert not found.lr_moves


def test_a_number_that_no_formula_says_is_found_to_all_digits() -> None:
    text = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 1e-3, in: "[0, inf)", doc: learning rate}
  a: {default: 0.37, in: "(0, 1]", doc: a number}
  b: {default: 0.21, in: "(0, 1]", doc: another}
signals: {s: grad*(1 + a**1.5)}
buffers: {m: {input: s, decay: 0.9, gain: exp(b)}}
update: m*sqrt(a + b)
"""
    left = Side(optzoo.parse_recipe(text))
    found = find_substitution(left, recipe("sgd_momentum", {}), Conditions())
    assert found is not None
    assert found.lr is not None
    wanted = 1e-3 * (1 + 0.37**1.5) * math.exp(0.21) * math.sqrt(0.58)
    value = FLOAT["mul"](1e-3, float(_factor(found.lr)))
    assert value == pytest.approx(wanted, rel=1e-12)


def _factor(rule: Any) -> Fraction:
    """Return c of lr*c."""
    from optzoo.program.expressions import Call, Num

    assert isinstance(rule, Call)
    assert isinstance(rule.args[1], Num)
    return rule.args[1].value
