"""What describe holds fixed, leaves out, and says of points, whatever way a recipe is written."""

from __future__ import annotations

from typing import Any

import pytest

import optzoo
from optzoo.description.derivation import NoValueError
from optzoo.description.description import Description
from optzoo.description.output.text import format_report, statement
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import equivalence

HEAD = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  k: {default: 0.25, in: "(0, inf)", doc: a factor}
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
"""


def described(rest: str, **options: Any) -> Description:
    return optzoo.describe(optzoo.parse_recipe(HEAD + rest + "\n"), **options)


def texts(found: Description) -> list[str]:
    return [place.text for place in found.nonlinearities]


MASK = "sign(abs(grad))"


@pytest.mark.parametrize(
    "update",
    [
        f"k*{MASK}*m", f"{MASK}*(k*m)", f"(k*m)*{MASK}", f"m*({MASK}*k)", f"m/4*{MASK}/(1/(4*k))",
        f"-({MASK}*m)*(-k)", f"({MASK}*4)*(k*m)/4",
    ],
)  # fmt: skip
def test_how_a_product_is_written_does_not_matter(update: str) -> None:
    found = described(f"update: {update}")
    assert found.form
    assert found.eta_a(7) == pytest.approx(0.1 * 0.25 * 0.1, rel=1e-14)
    assert found.decision.held_fixed == ("elementwise factor",)
    assert texts(found) == ["multiplied by sign(abs(g_t))"]


@pytest.mark.parametrize(
    ("update", "held", "said"),
    [
        (f"{MASK}*m/(abs(grad) + 1)", ("elementwise factor", "preconditioner"),
         ["multiplied by sign(abs(g_t))", "divided by abs(g_t) + 1"]),
        (f"m/(abs(grad) + 1)*{MASK}", ("elementwise factor", "preconditioner"),
         ["divided by abs(g_t) + 1", "multiplied by sign(abs(g_t))"]),
        ("m*(1/(abs(grad) + 1))", ("preconditioner",), ["divided by abs(g_t) + 1"]),
        ("m*min(1, 1/(norm(m) + 1))", ("norm factor",),
         ["multiplied by min(1, 1/(||m_t|| + 1))"]),
        ("norm(param)/(norm(m) + 1)*m", ("norm clip", "norm factor"),
         ["multiplied by ||w_t||", "divided by ||m_t|| + 1"]),
        ("param*m", ("elementwise factor",), ["multiplied by w_t"]),
        ("sign(m)*abs(grad)", ("elementwise factor", "sign"),
         ["only the sign is kept", "multiplied by abs(g_t)"]),
    ],
)  # fmt: skip
def test_everything_held_fixed_is_listed(update: str, held: Any, said: list[str]) -> None:
    found = described(f"update: {update}")
    assert found.decision.held_fixed == held
    assert texts(found) == said
    assert found.left_out is None


def test_a_mask_with_a_name_is_held_whole() -> None:
    """(sign + 1)/2 is 0 or 1: the half of it is no matter of the coefficients."""
    found = described('signals: {mask: "(sign(m*grad) + 1)/2"}\nupdate: mask*m')
    assert found.eta_a(7) == pytest.approx(0.1 * 0.1)
    assert texts(found) == ["multiplied by mask_t"]


def test_a_product_of_gradients_is_not_linear() -> None:
    for update in ("grad*m", "m*grad*m", "m*(grad*abs(m)*m)"):
        assert not described(f"update: {update}").decision.linear


def test_a_momentum_that_dies_is_equation_one() -> None:
    dying = optzoo.describe(optzoo.load_recipe("simplified_ademamix"), total_steps=50, beta1=0)
    assert dying.form
    assert (dying.beta_a(50), dying.beta_a(60), dying.eta_a(60)) == (0, 0, 1e-5)
    assert statement(dying).startswith("Eq. (1) form: yes, one momentum")
    inline = 'm2: {input: grad, decay: "max(0, 1 - t/4)", gain: 1}'
    text = HEAD.replace("m: {input: grad, decay: 0.9, gain: 0.1}", inline)
    found = optzoo.describe(optzoo.parse_recipe(text + "update: m2\n"))
    assert found.closed_form is None
    for t in range(2, 5):  # without a closed form any beta_a will do where the momentum dies
        c = found.coefficients(t)
        assert c.beta_a * c.eta_a == pytest.approx(0.1 * max(0, 1 - t / 4))
        assert c.eta_a + c.alpha_a == pytest.approx(0.1)


def test_a_gradient_that_an_earlier_one_outlives() -> None:
    """At these settings step 3 has no coefficients; the table says so and goes on."""
    text = HEAD.replace("gain: 0.1}", 'gain: "(t - 12*k)**2"}') + "update: m\n"
    found = optzoo.describe(optzoo.parse_recipe(text), at=(2, 3, 5))
    assert found.form
    with pytest.raises(NoValueError, match="no value at this step"):
        found.coefficients(3)
    assert found.beta_a(5) == pytest.approx(0.9 * 1 / 4)
    rows = format_report(found).splitlines()
    assert next(row for row in rows if row.startswith("  3")).split() == ["3", *"-----"]
    assert found.to_json()["beta_a"][1] is None


# ------------------------------------------------------------------ what is left out


AVERAGED = 'averaging: {weight: 1/t, beta: "1 - 1/(t + 1)"}\n'
DECAYS = [
    f"{{amount: k, kind: {kind}, at: {at}}}"
    for kind, at in (
        ("coupled", "param"), ("coupled", "base"), ("coupled", "average"), ("decoupled", "param"),
        ("decoupled", "base"), ("decoupled", "average"), ("after", "param"), ("proximal", "param"),
    )
]  # fmt: skip


@pytest.mark.parametrize("decay", DECAYS)
def test_weight_decay_is_left_out_whole(decay: str) -> None:
    plain, decayed = (
        described(AVERAGED + "update: m" + rest, at=(1, 2, 5))
        for rest in ("", f"\nweight_decay: {decay}")
    )
    assert "weight decay left out" in statement(decayed)
    assert "left out" not in statement(plain)
    assert decayed.momenta == plain.momenta
    assert decayed.closed_form == plain.closed_form
    assert [p.weight for p in decayed.points] == [p.weight for p in plain.points]


def test_averaged_descent_with_decay_at_the_average_has_no_momentum() -> None:
    text = HEAD.replace("buffers:\n  m: {input: grad, decay: 0.9, gain: 0.1}\n", "")
    text += "averaging: {weight: 1/t}\nupdate: grad\n"
    text += "weight_decay: {amount: k, kind: coupled, at: average}\n"
    found = optzoo.describe(optzoo.parse_recipe(text))
    assert statement(found) == "Eq. (1) form: yes, no momentum\n  weight decay left out"
    assert found.closed_form is not None
    assert found.closed_form["alpha_a"] == "lr"


@pytest.mark.parametrize(
    "update", ["m + k*param", "m + positive(t - 3)*param", "norm(param)*m + k*param"]
)
def test_a_decay_written_by_hand_is_said_to_be_left_out(update: str) -> None:
    found = described(f"update: {update}".replace("positive(t - 3)", "max(0, min(1, t - 3))"))
    assert found.left_out == "terms in the parameter itself"
    assert found.eta_a(5) == pytest.approx(0.01)


# ------------------------------------------------------------------ the evaluated point


def test_a_point_off_the_parameters_is_no_parameter() -> None:
    late = "  late: {input: grad.prev, decay: 0.5, gain: 1}\n"
    found = described(late + "update: grad + m + late\nevaluate: param - 0.5*late")
    assert found.points[0].kind == "readout"
    assert "evaluated at param - 0.5*late: a readout" in format_report(found)
    same = described(late + "update: grad + m + late\nevaluate: param - 0*late")
    assert same.points[0].kind == "parameters"


def test_no_average_across_a_preconditioner() -> None:
    """Schedule-Free written as a momentum evaluates an average; with its step divided, none."""
    text = HEAD.replace("decay: 0.9, gain: 0.1", "decay: 1 - c.prev, gain: lr")
    text += "scalars: {c: 1/t}\nevaluate: param + 0.1*(1 - c)*m\n"
    step = "0.9*c*m + 0.1*lr*grad"
    for update, kind in ((step, "average"), (f"({step})/(abs(grad) + 1)", "readout")):
        recipe = optzoo.parse_recipe(f"{text}update: {{mix: {update}, scale: 1}}\n")
        assert optzoo.describe(recipe).points[0].kind == kind


def test_a_scalar_that_is_only_read_one_step_on() -> None:
    """As at z = 0, where the scalar itself is folded away."""
    scalars = "scalars: {c: {schedule: linear, start: k, end: 0.9, over: 50}}\n"
    text = HEAD.replace("decay: 0.9", "decay: c.next").replace(
        "buffers", '  z: {default: 0, in: "[0, 1]", doc: a weight}\nbuffers'
    )
    found = optzoo.describe(optzoo.parse_recipe(text + scalars + "update: m + z*c*m\n"))
    assert found.closed_form is not None
    assert found.closed_form["beta_a"] == "c(t+1)"
    assert found.beta_a(4) == pytest.approx(0.25 + 0.65 * 5 / 50)


def test_what_moves_is_no_base_of_a_power() -> None:
    recipe = optzoo.load_recipe("adamw").with_overrides({"beta1": "min(0.9, t/5)"})
    found = optzoo.describe(recipe)
    for t in (2, 3, 7):  # m_t debiased by 1 - beta1**t with this step's beta1
        beta = min(0.9, t / 5)
        assert found.eta_a(t) == pytest.approx(1e-3 * (1 - beta) / (1 - beta**t), rel=1e-12)


def test_equivalent_recipes_are_described_alike() -> None:
    texts = (f"update: k*{MASK}*m", f"update: m*({MASK}*k)")
    left, right = (optzoo.parse_recipe(HEAD + text + "\n") for text in texts)
    assert equivalence(left, right, conditions=Conditions(long_steps=0), search=False).same


def test_a_parameter_that_comes_in_through_buffers_is_said_to_be_left_out() -> None:
    late = '  far: {input: param, decay: 0.5, gain: "max(0, t - 2)"}\n'
    late += "  near: {input: far.prev, decay: 0, gain: k}\n"
    assert described(late + "update: m + near").left_out == "terms in the parameter itself"
    assert described(late.replace("param", "grad") + "update: m + near").left_out is None
