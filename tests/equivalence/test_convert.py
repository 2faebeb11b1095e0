"""`optzoo convert`: what is written trains identically, and is in the form that was asked for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from problems import RECIPES
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.description.response import decide
from optzoo.equivalence.conversion import convert_to_accelerated, convert_to_recipe
from optzoo.equivalence.momentum import ConversionError
from optzoo.equivalence.nearest import (
    MomentumKnobs,
    NearestSettings,
    impulse_response,
    momentum_knobs,
    nearest_settings,
)
from optzoo.equivalence.rewrite import to_accelerated
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import equivalence
from optzoo.errors import InputError
from optzoo.interpreters.terms import terms_of
from optzoo.program.check import sorts_of
from optzoo.program.expressions import Call, format_expression, names_in, walk
from optzoo.program.parsing import parse_expression

REFUSED = {
    "adagrad": "no past gradient",
    "adan": "starts at the first gradient",
    "adan_no_prox": "starts at the first gradient",
    "ademamix": "2 momenta",
    "aggmo": "2 momenta",
    "gpa_adamw": "two momenta",
    "grokfast_adamw": "starts at grad",
    "mars": "clipped",
    "mars_lion": "clipped",
    "mars_paper": "clipped",
    "rmsprop": "no past gradient",
    "schedule_free_adamw_inner_momentum": "two momenta",
    "schedule_free_muon": "two momenta",
    "sgd": "no past gradient",
}
SHORT = Conditions(long_steps=0)


def nearest(original: optzoo.Recipe, **options: Any) -> NearestSettings:
    """Return the nearest Simplified-AdEMAMix in step 1,000."""
    knobs = momentum_knobs(recipe("simplified_ademamix"), 1000)
    assert knobs == MomentumKnobs("beta1", "alpha")
    return nearest_settings(original, knobs, 1000, **options)


def recipe(name: str, **settings: Any) -> optzoo.Recipe:
    return optzoo.load_recipe(name).with_overrides(settings)


@pytest.mark.parametrize("name", [n for n in RECIPES if n not in REFUSED])
def test_the_accelerated_form_moves_alike(name: str) -> None:
    original = recipe(name)
    if has_no_such_form(original):
        with pytest.raises(ConversionError):
            to_accelerated(original)
        return
    written = to_accelerated(original)
    assert equivalence(original, written, conditions=SHORT, search=False).same
    assert len(written.spec.buffers) == 1
    before, after = original.trained_program(), written.trained_program()
    assert len(after.tensor_states) <= len(before.tensor_states)
    assert decide(after).momenta == decide(before).momenta


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_such_form_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(ConversionError, match=REFUSED[name]):
        to_accelerated(recipe(name))


def has_no_such_form(original: optzoo.Recipe) -> bool:
    """Whether a recipe has another rank than 1, clips what it averages, or writes a divisor out.

    What a recipe divides by is kept where it stands under `preconditioner`. Buffers beside an
    average are two momenta as they are written, also where one has a decay of 0.
    """
    rule = original.spec.averaging
    if rule is not None and rule.beta is not None and original.spec.buffers:
        return True
    program = original.trained_program()
    tensors = {name for name, sort in sorts_of(program).items() if sort == "tensor"}
    divisors = {
        name
        for line in program.step
        for node in walk(line.expr)
        if isinstance(node, Call) and node.op == "div"
        for name in names_in(node.args[1])
    }
    if original.spec.preconditioner == "none" and not tensors.isdisjoint(divisors):
        return True
    operations = (node for line in program.step for node in walk(line.expr))
    clips = any(isinstance(node, Call) and node.op == "norm" for node in operations)
    return clips or decide(program).momenta != 1


def test_the_list_of_refusals_is_no_longer_than_needed() -> None:
    for name in RECIPES:
        assert (name in REFUSED) <= has_no_such_form(recipe(name)), name


def test_ademamix_without_its_fast_momentum_is_accelerated_sgd() -> None:
    found = convert_to_accelerated(recipe("ademamix", beta1=0))
    assert found.verdict.same
    assert list(found.recipe.spec.buffers) == ["m"]


def test_mars_needs_one_buffer_where_no_clip_acts() -> None:
    found = convert_to_accelerated(recipe("mars"), drop_clips=True)
    assert found.verdict.same
    assert found.verdict.conditions.grad_size == Fraction(1, 10)
    assert "clip" in found.remarks[-1]
    mars_lion = convert_to_accelerated(recipe("mars_lion"), drop_clips=True)
    assert len(mars_lion.recipe.trained_program().tensor_states) == 1


def test_lion_comes_out_with_the_coefficients_of_the_paper() -> None:
    """Section 4.2: eta_a = beta1 (1 - beta2)/beta2, alpha_a = 1 - beta1/beta2, times lr."""
    mix = yaml.safe_load(to_accelerated(recipe("lion")).to_yaml())["update"]["mix"]
    assert mix == {"m": "beta1/beta2 - beta1", "grad": "1 - beta1/beta2"}


# ------------------------------------------------------------------ to another recipe


def test_to_a_recipe_with_the_same_trajectory() -> None:
    found = convert_to_recipe(
        recipe("adamw", beta1=0.95), recipe("simplified_ademamix_debiased"), total_steps=100
    )
    assert found.verdict.same
    assert found.recipe.hyperparameters["alpha"].default == 0
    assert found.recipe.hyperparameters["beta1"].default == 0.95


def test_adamw_is_near_to_theory_style_momentum() -> None:
    """experiments.md 1.5: alpha 0 and lr (1 - beta1); what is left is AdamW's debiasing."""
    adamw = recipe("adamw", weight_decay=0)
    found = convert_to_recipe(adamw, recipe("simplified_ademamix"), total_steps=1000)
    values = {n: h.default for n, h in found.recipe.hyperparameters.items()}
    assert values["alpha"] == pytest.approx(0, abs=1e-9)
    assert values["lr"] == pytest.approx(1e-4, rel=1e-9)
    assert values["beta1"] == values["beta_start"] == pytest.approx(0.9, rel=1e-12)
    assert not found.verdict.same
    assert any("1 - 0.9**t" in remark for remark in found.remarks)


def test_weight_decay_keeps_its_product_with_lr() -> None:
    near = nearest(recipe("adamw", weight_decay=0.01))
    assert near.values["lr"] * near.values["weight_decay"] == pytest.approx(1e-3 * 0.01, rel=1e-9)


def test_ademamix_at_its_final_values_has_the_known_translation() -> None:
    """experiments.md 1.5: alpha 8, beta3 .999, lr 1e-3 become alpha 125 and lr 8e-6."""
    near = nearest(recipe("ademamix", beta1=0, beta3=0.999, alpha=8))
    assert near.values["alpha"] == pytest.approx(125, rel=1e-8)
    assert near.values["lr"] == pytest.approx(8e-6, rel=1e-8)
    assert near.values["beta1"] == pytest.approx(0.999, rel=1e-12)
    assert near.error < 1e-9


def test_two_momenta_keep_the_slow_one_and_the_total_weight() -> None:
    original = recipe("ademamix", beta3=0.999, warmup=1)
    near = nearest(original)
    weights = impulse_response(original.trained_program(), 1000, 12_000)
    lr, alpha, beta = (near.values[n] for n in ("lr", "alpha", "beta1"))
    assert lr * (1 / (1 - beta) + alpha) == pytest.approx(sum(weights), rel=1e-4)
    assert beta == pytest.approx(0.999, rel=1e-9)
    assert 0.1 < near.error < 1


MOMENTUM_SUM = """
name: renamed
version: 1
summary: a momentum sum and a weight of the current gradient, under names of its own
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  mu: {default: 0.9, in: "[0, 1)", doc: decay}
  boost: {default: 1, in: "[0, inf)", doc: weight}
signals: {d: {input: grad, clip_norm: 1}}
buffers: {m: {input: d, decay: mu, gain: 1}}
update: {mix: {m: 1, d: boost}}
"""


def test_the_nearest_is_found_for_any_recipe_with_a_momentum_sum_and_a_weight() -> None:
    found = convert_to_recipe(
        recipe("adamw", weight_decay=0), optzoo.parse_recipe(MOMENTUM_SUM), total_steps=1000
    )
    values = {n: h.default for n, h in found.recipe.hyperparameters.items()}
    assert values == pytest.approx({"lr": 1e-4, "mu": 0.9, "boost": 0}, rel=1e-9, abs=1e-9)
    for name in ("adamw", "lion", "agnes", "simplified_ademamix_debiased"):
        assert momentum_knobs(recipe(name), 1000) is None


def test_the_rules_of_the_authors_at_a_batch_size() -> None:
    near = nearest(recipe("ademamix"), batch_tokens=65_536)
    assert near.values["alpha"] == 50
    beta, start = near.values["beta1"], near.values["beta_start"]
    assert near.values["lr"] == pytest.approx(1e-3 * ((1 - beta) * (1 - start)) ** 0.5)


# ------------------------------------------------------------------ sums of products


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a*(1 - b) - a + a*b", "0"),
        ("(a + b)*(a - b)", "a**2 - b**2"),
        ("a/b*b", "a"),
        ("(2*a + 2*b)/(a + b)", "2"),
        ("sqrt(a + a)*c/sqrt(2*a)", "c"),
        ("1/(1 - a) - 1/(1 - a)", "0"),
    ],
)
def test_terms_cancel(text: str, printed: str) -> None:
    assert format_expression(terms_of(parse_expression(text)).expr()) == printed


# ------------------------------------------------------------------ the command


def test_the_command_writes_a_recipe_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "lion_accelerated.yaml"
    result = CliRunner().invoke(app, ["convert", "lion", "--to", "accelerated", "-o", str(path)])
    assert result.exit_code == 0
    assert "same: lion and lion_accelerated" in result.output
    proof = CliRunner().invoke(app, ["equiv", "lion", str(path)])
    assert proof.exit_code == 0
    again = CliRunner().invoke(app, ["convert", "lion", "--to", "accelerated", "-o", str(path)])
    assert isinstance(again.exception, InputError)
    assert "exists already" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lion"], "say what to convert to"),
        (["lion", "--to", "accelerated", "--batch-tokens", "10"], "--batch-tokens"),
        (["lion", "--to", "adamw"], "no hyperparameters of adamw were found"),
        (["sgd", "--to", "simplified_ademamix"], "no momentum"),
    ],
)
def test_bad_input(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["convert", *arguments])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


# ------------------------------------------------------------------ recipes that people write

HEAD = """
name: mine
version: 1
summary: mine
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  beta: {default: 0.9, in: "[0, 1)", doc: a decay}
"""
AVERAGED = "averaging: {weight: 1/t, beta: beta}\n"
MOMENTUM = "buffers: {m: {input: grad, decay: beta, gain: 1 - beta}}\n"


def mine(rest: str) -> optzoo.Recipe:
    return optzoo.parse_recipe(HEAD + rest + "\n")


@pytest.mark.parametrize(
    "rest",
    [
        AVERAGED + "update: grad\nweight_decay: {amount: 0.1, kind: decoupled, times_lr: false}",
        AVERAGED + "update: {mix: {grad: 1}, scale: 0.3}\n"
        "weight_decay: {amount: 0.1, kind: decoupled}",
        AVERAGED + "update: {mix: {grad: 1}, scale: lr*t}\n"
        "weight_decay: {amount: 0.1, kind: coupled}",
        AVERAGED + "update: grad\nevaluate: param",
        AVERAGED + "update: grad\nevaluate: param - 0.5*b",
        AVERAGED + "signals: {d: grad/2}\nupdate: d\nstate_dtype: {b: bfloat16}",
        "scalars: {c: 1/t}\naveraging: {weight: c.prev, beta: beta}\nupdate: grad",
        "scalars: {c: 1/t, half: beta/2}\naveraging: {weight: c, beta: half}\nupdate: grad",
        MOMENTUM + "update: m\naveraging: {weight: 1/t}\nevaluate: average",
        MOMENTUM + "update: m + grad\nstate_dtype: {m: bfloat16}\nobservers: {tail: {weight: 1/t}}",
        MOMENTUM + "update: {mix: {m.prev: 1}, clip_norm: 1}\nevaluate: param - 2*m",
    ],
)
def test_what_is_written_is_a_recipe_that_trains_alike(rest: str) -> None:
    original = mine(rest)
    found = convert_to_accelerated(original)
    again = optzoo.parse_recipe(found.recipe.to_yaml())
    assert equivalence(original, again, conditions=SHORT, search=False).same
    assert decide(again.trained_program(decays=False)).has_form
    assert set(again.state_dtypes.values()) == set(original.state_dtypes.values())


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (AVERAGED + "update: {mix: {grad: 1}, clip_norm: 1}", "clipped before it is averaged"),
        (AVERAGED + "update: {mix: {grad: 1}, clip_value: 1}", "clipped before it is averaged"),
        (AVERAGED + "update: grad + grad.prev", "two momenta"),
        (AVERAGED.replace("beta: beta", "beta: 1 - 1/(t + 1)") + "update: grad", "beta of its"),
        (MOMENTUM + "update: sign(m)", "not linear"),
        (MOMENTUM + "update: m/(abs(grad) + 1)", "not linear"),
        (MOMENTUM + "update: m*sign(abs(grad))", "not linear"),
        (MOMENTUM + "update: m\npreconditioner: {rms: {of: m, decay: 0.9, eps: 1}}", "reads `m`"),
        (MOMENTUM + "signals: {d: grad - m.prev}\nupdate: m\n"
         "preconditioner: {rms: {of: d, decay: 0.9, eps: 1}}", "reads `m.prev`"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_with_the_reason(rest: str, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        convert_to_accelerated(mine(rest))


def test_clips_before_an_averaging_can_be_dropped() -> None:
    found = convert_to_accelerated(
        mine(AVERAGED + "update: {mix: {grad: 1}, clip_norm: 1}"), drop_clips=True
    )
    assert found.verdict.same
    signs = "order: precondition_first\npreconditioner: {sign: true}\n"
    fed = MOMENTUM.replace("grad", "d")
    text = signs + "signals: {d: {input: preconditioned, clip_value: 0.5}}\n" + fed + "update: m"
    with pytest.raises(InputError, match="acts on gradients below"):
        convert_to_accelerated(mine(text), drop_clips=True)
