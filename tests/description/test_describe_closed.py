"""Closed forms: their text, read as Python, gives the numbers, for every recipe and random knobs.

The response is asked for directly here, gradient by gradient, in rationals.
"""

from __future__ import annotations

import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from oracles import ORACLES

import optzoo
from optzoo.description.description import Description
from optzoo.description.forms.closed_forms import Closed
from optzoo.description.forms.formulas import find_formulas
from optzoo.description.forms.symbolic_step import System
from optzoo.description.forms.symbols import Symbols
from optzoo.description.forms.verify import verified
from optzoo.files.shipped import shipped
from optzoo.interpreters.random_point import draw_from
from optzoo.program.expressions import Name
from optzoo.program.intervals import Interval
from optzoo.program.simplify import with_given_sums

SIDE_BY_SIDE = ("ademamix", "aggmo", "adan", "grokfast_adamw")
NESTED = ("gpa_adamw", "schedule_free_adamw_inner_momentum")
RECIPES = sorted(shipped())
INDEX = (Path(__file__).parents[2] / "docs" / "recipes" / "README.md").read_text()
OTHER = set(re.findall(r"^\| \[(\w+)\].*\| no \|", INDEX, re.MULTILINE))
"""Recipes that are not of the form of Eq. (1), by their reviewed pages."""
OF_THE_FORM_AS_SHIPPED = {"schedule_free_muon"}
"""Recipes with a momentum more than Eq. (1) has where a hyperparameter is not 0 (its mu)."""
SCHEDULES = ("constant", "cosine:5")
TIMES = (2, 3, 17, 40)


def at_random_knobs(name: str, seed: int, **options: Any) -> Description:
    """Describe a recipe at random values of its hyperparameters, four digits each."""
    rng = random.Random(seed)
    recipe = optzoo.load_recipe(name)
    values = {}
    for knob in recipe.hyperparameters.values():
        if isinstance(knob.default, float) and knob.name != "weight_decay":
            wide = knob.interval
            high = min(wide.high, 3.0) if wide.high > 1 else wide.high
            values[knob.name] = round(float(draw_from(Interval(wide.low, high), rng)), 4)
    return optzoo.describe(recipe, total_steps=30, **options, **values)


def read(found: Description, text: str, t: int) -> Fraction:
    """Evaluate a formula as Python would, in rationals; c(t-1) is asked of the scalars."""

    def scalar(name: str) -> Any:
        known = [
            n for n in (name, f"{name}_t") if Name(n) in found.derivation.scalars.lines or n == "lr"
        ]
        return lambda step: Fraction(found.derivation.scalars.value(Name(known[-1]), step))

    class Names(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return Fraction(found.derivation.scalars.value(Name(key), t))

    # a name may be both: lr*alpha and alpha(t)
    called = set(re.findall(r"\b(\w+)\(", text))
    text = re.sub(r"\b(\w+)\(", r"_\1(", text)
    names = Names(t=t, **{f"_{name}": scalar(name) for name in called})
    return Fraction(eval(text, {"__builtins__": {}}, names))


WITH_CLOSED_FORMS = {
    name for name in set(RECIPES) - OTHER - OF_THE_FORM_AS_SHIPPED if ORACLES[name].has_closed_form
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", sorted(WITH_CLOSED_FORMS))
def test_the_text_gives_the_numbers(name: str, schedule: str) -> None:
    found = at_random_knobs(name, 3, lr_schedule=schedule)
    assert found.form
    closed = found.closed_form
    assert closed is not None
    assert found.formulas is not None
    for t in (t for t in TIMES if t > found.formulas.outer.first):
        c = found.coefficients(t)
        try:
            triple = [float(read(found, closed[key], t)) for key in ("beta_a", "eta_a", "alpha_a")]
        except ZeroDivisionError:  # nothing enters the momentum yet: RAdam's silent steps
            assert ORACLES[name].starts_silent
            assert c.beta_a == 0
            continue
        beta = triple[0] if found.order else 0.0
        wanted = [c.beta_a, c.eta_a, c.alpha_a]
        if triple[1] == 0 or c.beta_a == 0:
            assert sum(triple[1:]) == pytest.approx(sum(wanted[1:]), rel=1e-12), t
            continue
        assert [beta, *triple[1:]] == pytest.approx(wanted, rel=1e-12, abs=1e-40), t


def test_the_other_forms_are_looked_at_one_by_one() -> None:
    assert {*SIDE_BY_SIDE, *NESTED} < OTHER < set(RECIPES)


def response(found: Description, t: int, lags: int) -> list[float]:
    """Return the weight in step t of gradients t, t - 1, ..., in decimals."""
    moves = found.derivation.run(range(t - lags, t + 1)).moves
    return [-float(moves[-1].terms.get(t - lag, 0)) for lag in range(lags + 1)]


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_momenta_side_by_side_add_up_to_the_response(name: str) -> None:
    found = at_random_knobs(name, 5)
    t, lags = 20, 6
    total = [0.0] * (lags + 1)
    for i in range(found.order):
        product = 1.0
        for lag in range(lags + 1):
            total[lag] += found.momentum_values(t)[i][1] * product
            product *= found.momentum_values(t - lag)[i][0]
    total[0] += found.gradient_weights(t)[0]
    assert total == pytest.approx(response(found, t, lags), rel=1e-11)


@pytest.mark.parametrize("name", NESTED)
def test_a_momentum_of_a_momentum_is_told(name: str) -> None:
    found = at_random_knobs(name, 5)
    outer, inner = found.momenta
    assert (outer.of, outer.moves) == ("u", "param")
    assert (inner.of, inner.moves) == ("grad", "u")
    t, lags = 15, 13

    def level(i: int, step: int, past: int) -> float:
        weight = found.momentum_values(step)[i][1]
        for s in range(past + 1, step + 1):
            weight *= found.momentum_values(s)[i][0]
        return weight + (found.gradient_weights(step)[i] if past == step else 0.0)

    weights = [
        sum(level(0, t, mid) * level(1, mid, t - lag) for mid in range(t - lag, t + 1))
        for lag in range(lags)
    ]
    assert weights == pytest.approx(response(found, t, lags - 1), rel=1e-10)


@pytest.mark.parametrize("constant_lr", [True, False])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_verified_closed_forms(name: str, constant_lr: bool) -> None:
    program = with_given_sums(optzoo.load_recipe(name).trained_program())
    formulas = find_formulas(program, constant_lr=constant_lr)
    assert (formulas is not None) == ORACLES[name].has_closed_form


def test_a_wrong_closed_form_does_not_pass() -> None:
    from optzoo.description.forms.closed_forms import ClosedMomentum, closed_form
    from optzoo.program.ratios import combine, constant_ratio

    program = optzoo.load_recipe("ademamix").with_overrides({"beta1": 0}).trained_program()
    system = System.of(program, Symbols(program, constant_lr=True))
    right = closed_form(system, system.move)
    assert verified(program, right, constant_lr=True) is not None
    (m,) = right.momenta
    tiny = constant_ratio(Fraction(1, 10**30))
    ema = system.symbols.values[Name("beta3_t")]  # what a reader expects and the gain forbids
    for wrong in (
        Closed((ClosedMomentum(m.buffers, ema, m.eta),), right.alpha),
        Closed((ClosedMomentum(m.buffers, m.beta, combine(m.eta, tiny)),), right.alpha),
        Closed(right.momenta, combine(right.alpha, tiny)),
        Closed((), right.alpha),
    ):
        assert verified(program, wrong, constant_lr=True) is None


FORMS = [
    ("adamw", {}, ("beta1", "lr*(1 - beta1)/(1 - beta1**t)", "0")),
    (
        "ademamix",
        {"beta1": 0},
        ("beta3(t)*(1 - beta3(t-1))/(1 - beta3(t))", "lr*alpha(t)*(1 - beta3(t))", "lr"),
    ),
    ("schedule_free_sgd", {}, ("(t - 2)/(t - 1)", "lr*beta/t", "lr*(1 - beta)")),
    (
        "schedule_free_sgd",
        {"lr_schedule": "cosine:10"},
        ("(1 - c(t-1))*lr(t-1)/lr(t)", "lr(t)*beta*c(t)", "lr(t)*(1 - beta)"),
    ),
    ("lion", {}, ("beta2", "lr*beta1*(1 - beta2)/beta2", "lr*(beta2 - beta1)/beta2")),
    (
        "mars",
        {},
        ("beta1", "lr*(1 - beta1)*(1 - gamma)/(1 - beta1**t)", "lr*gamma/(1 - beta1**t)"),
    ),
    ("simplified_ademamix", {}, ("beta1(t)", "lr", "lr*alpha")),
    (
        "accelerated_adamw",
        {},
        ("beta1", "lr*beta3*(1 - beta1)/beta1", "lr*(beta1 - beta3)/beta1"),
    ),
    ("adana", {}, ("t/(delta + t - 1)", "lr*delta*gamma3*(1 + growth(t))/(delta + t)", "lr")),
    (
        "accsgd",
        {},
        (
            "(kappa - small_const**2*xi)/(kappa + small_const*xi)",
            "lr*small_const*xi*(small_const*xi - 1)/(kappa + small_const*xi)",
            "lr",
        ),
    ),
]


@pytest.mark.parametrize(("name", "options", "texts"), FORMS)
def test_formulas_as_people_write_them(
    name: str, options: dict[str, Any], texts: tuple[str, ...]
) -> None:
    """optimizers.md 16b, in the recipes' own letters."""
    closed = optzoo.describe(optzoo.load_recipe(name), **options).closed_form
    assert closed == dict(zip(("beta_a", "eta_a", "alpha_a"), texts, strict=True))


def test_names_in_formulas_are_explained() -> None:
    found = optzoo.describe(optzoo.load_recipe("nadam"))
    assert found.formulas is not None
    assert found.formulas.where_text == {
        "mu(t)": "beta1*(1 - 0.5*0.96**(t*momentum_decay))",
        "mu_product(t)": "mu_product(t-1)*mu(t)",
    }
