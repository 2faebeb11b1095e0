"""Scalars that leave the reals, and hyperparameters that leave their interval: one error each."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import optzoo
from optzoo.description.description import describe
from optzoo.equivalence.conversion import convert_to_accelerated, convert_to_recipe
from optzoo.equivalence.verdict import equivalence
from optzoo.program.arithmetic import DecimalDomain, NotRealError, RealDomain, half_life, precisely
from optzoo.program.domain import evaluate
from optzoo.program.parsing import parse_expression
from optzoo.recipe.recipe import Recipe, parse_recipe

LINE = 9
"""Where `recipe` puts the scalar k."""


def recipe(k: str, *, a: str = "1", interval: str = "[0, inf)") -> Recipe:
    text = f"""name: made
version: 1
summary: x
reference: x
hyperparameters:
  lr: {{default: 0.1, in: "[0, inf)", doc: x}}
  a: {{default: "{a}", in: "{interval}", doc: x}}
scalars:
  k: "{k}"
buffers:
  m: {{input: grad, decay: 0.9, gain: 0.1}}
update: {{mix: {{m: k}}}}
"""
    return parse_recipe(text, "made.yaml")


def step(opt: Any, params: list[torch.Tensor]) -> None:
    for p in params:
        p.grad = torch.full_like(p, 1e-3)
    opt.step()


LATE = [
    ("a*exp(t*200)", 4, "exp(800)"),
    ("1e200**t", 2, "1e+200**2"),
    ("(2 - a*t)**0.5", 3, "(-1)**0.5 is not a real number"),
    ("sqrt(3 - a*t)", 4, "sqrt(-1) is not a real number"),
    ("a*log(4 - t)", 4, "log(0) is not a real number"),
    ("1e250*max(0, t - 2)*1e60", 3, "more than float64 holds"),
    ("half_life(a*t/2, 0.5, 1/t)", 3, "half_life(1.5"),
    ("(3 - t)**(0 - a)", 3, "0**(-1) is not a real number"),
    ("a*cospi(1e300) + exp(1000*(t - 2))", 3, "exp(1000)"),
]


@pytest.mark.parametrize(("k", "failing", "text"), LATE)
@pytest.mark.parametrize("engine", ["reference", "foreach"])
def test_a_step_without_a_value_is_not_taken(k: str, failing: int, text: str, engine: str) -> None:
    params = [torch.nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in (2, 3)]
    groups = [{"params": params[:1], "a": 0.5 if "a*exp" in k else 1.0}, {"params": params[1:]}]
    opt = recipe(k).build(groups, engine=engine)
    for _ in range(failing - 1):
        step(opt, params)
    kept = [p.detach().clone() for p in params]
    state = copy.deepcopy(opt.state_dict())
    for _ in range(2):
        with pytest.raises(optzoo.RunError) as caught:
            step(opt, params)
        (found,) = caught.value.diagnostics
        assert found.location is not None
        assert (found.location.path, found.location.line) == ("made.yaml", LINE)
        assert found.message.startswith(f"`k` at step {failing}: ")
        assert text in found.message
    assert all(torch.equal(p, q) for p, q in zip(params, kept, strict=True))
    after = opt.state_dict()["state"]
    for i, entries in state["state"].items():
        assert all(torch.equal(value, after[i][name]) for name, value in entries.items())


@pytest.mark.parametrize("k", [k for k, _, _ in LATE])
def test_analyses_name_the_line_and_the_step(k: str) -> None:
    made = recipe(k)
    for analyse in (
        lambda: describe(made),
        lambda: equivalence(made, optzoo.load_recipe("sgd")),
        lambda: equivalence(optzoo.load_recipe("sgd"), made),
        lambda: convert_to_accelerated(made),
        lambda: convert_to_recipe(
            made, optzoo.load_recipe("simplified_ademamix"), total_steps=1_000
        ),
    ):
        with pytest.raises(optzoo.InputError, match=rf"made\.yaml:{LINE}:\d+: `k` at step \d"):
            analyse()


def test_a_scalar_that_leaves_late_is_named_where_it_is_asked_for() -> None:
    found = describe(recipe("exp(t/10)"), at=(1, 10))
    with pytest.raises(optzoo.InputError, match="`k` at step 7,999: exp"):
        found.coefficients(8_000)


def test_a_power_too_long_to_write_out_is_compared_in_digits() -> None:
    made = recipe("(1 + 1e-300)**1e10")
    assert equivalence(made, made).same
    assert describe(made).form


@pytest.mark.parametrize("terms", [140])
def test_formulas_that_would_grow_for_ever_keep_their_names(terms: int) -> None:
    squares = "".join(f"  s{i}: s{i + 1}*s{i + 1}\n" for i in range(terms))
    text = optzoo.load_recipe("adamw").text.replace("{m: k}", "{m: k*s0}")
    text = text.replace("scalars:\n", f"scalars:\n{squares}  s{terms}: 1 - beta1**t\n")
    assert describe(parse_recipe(text)).form


def test_what_meets_float32_must_fit_it() -> None:
    made = recipe("a*1e30**t")
    wide = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64))]
    opt = made.build(wide)
    step(opt, wide)
    step(opt, wide)
    narrow = [torch.nn.Parameter(torch.ones(2))]
    opt = made.build(narrow)
    step(opt, narrow)
    kept = narrow[0].detach().clone()
    with pytest.raises(optzoo.RunError, match=r"`k` at step 2: 1e\+60 meets tensors in float32"):
        step(opt, narrow)
    assert torch.equal(narrow[0], kept)


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_a_learning_rate_that_is_no_number(rate: float) -> None:
    params = [torch.nn.Parameter(torch.ones(2))]
    opt = optzoo.load_recipe("adamw").build(params)
    opt.param_groups[0]["lr"] = rate
    with pytest.raises(optzoo.RunError, match=r"`lr` at step 1: (nan|inf) is outside"):
        step(opt, params)
    assert torch.equal(params[0], torch.ones(2))


def test_a_run_that_fails_keeps_its_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "late.yaml"
    path.write_text(recipe("a*exp(max(0, t - 3)*200)").text)
    small = ("model.width=32", "model.layers=1", "model.hidden=32", "batch.sequences=2")
    small += ("batch.sequence_length=32", "sample.bytes=8", "evaluation.sequences=4")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "optzoo", "train", str(path), "--run-dir", str(run), "-q"]
    command += ["--steps", "8", "--checkpoint-every", "2"]
    command += [word for setting in small for word in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"late.yaml:{LINE}:6: `k` at step 4: " in done.stderr
    assert "Traceback" not in done.stderr
    command = [sys.executable, "-m", "optzoo", "eval", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "after 2 of 8 steps" in done.stdout


# ------------------------------------------------------------------ hyperparameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("beta1", v) for v in ("2**1", "1**1", "sqrt(4)", "max(1, 2)", "-(2**1)", "0.5*4")],
        *[("beta1", v) for v in ("exp(1)", "t", "1 + beta2", "2 - cospi(2)", "T - beta2 + 1")],
        *[("beta1", v) for v in ("9**9**9", "9**9**9**9**9", "1e300*1e300", "log(0)", "1/0")],
        ("weight_decay", "-(5**1)"),
        ("eps", "0*t"),
        ("eps", "-(1**1)"),
    ],
)
def test_an_expression_is_held_to_the_interval(name: str, value: str) -> None:
    adamw = optzoo.load_recipe("adamw")
    params = [torch.nn.Parameter(torch.ones(2))]
    for use in (
        lambda: adamw.with_overrides({name: value}),
        lambda: adamw.build(params, **{name: value}),
        lambda: adamw.build([{"params": params, name: value}]),
        lambda: describe(adamw, **{name: value}),
    ):
        with pytest.raises(optzoo.InputError, match=f"`{name}=.*(outside|has no value)"):
            use()


@pytest.mark.parametrize("value", ["1 - 2**-4", "0.1 + 0.2", "t/(t + 1)", "min(0.9, t/T)", "beta2"])
def test_an_expression_inside_the_interval_is_taken(value: str) -> None:
    params = [torch.nn.Parameter(torch.ones(2))]
    opt = optzoo.load_recipe("adamw").build(params, total_steps=9, beta1=value)
    for _ in range(9):
        step(opt, params)
    assert torch.isfinite(params[0]).all()


def test_an_expression_is_computed_exactly_before_it_is_judged() -> None:
    made = recipe("1 + a", a="0", interval="[0, 0.3]")  # in float64 0.1 + 0.2 is above 0.3
    assert made.with_overrides({"a": "0.1 + 0.2"}).hyperparameters["a"].default == "0.1 + 0.2"
    with pytest.raises(optzoo.InputError, match="outside"):
        made.with_overrides({"a": "0.1 + 0.2 + 1e-15"})


@pytest.mark.parametrize("given", ["build", "group"])
def test_a_value_that_leaves_its_interval_later_is_an_error_then(given: str) -> None:
    params = [torch.nn.Parameter(torch.ones(2))]
    adamw = optzoo.load_recipe("adamw")
    value = {"beta1": "t/3"}
    opt = (
        adamw.build(params, **value)
        if given == "build"
        else adamw.build([{"params": params} | value])
    )
    step(opt, params)
    step(opt, params)
    with pytest.raises(optzoo.RunError, match=r"`beta1` at step 3: `t/3` is 1, outside \[0, 1\)"):
        step(opt, params)


def test_a_group_that_was_moved_out_of_an_interval() -> None:
    params = [torch.nn.Parameter(torch.ones(2))]
    opt = optzoo.load_recipe("adamw").build(params)
    opt.param_groups[0]["beta1"] = 1.5
    with pytest.raises(optzoo.RunError, match=r"`beta1` at step 1: 1.5 is outside"):
        step(opt, params)


# ------------------------------------------------------------------ the rules


@pytest.mark.parametrize(
    ("start", "end", "fraction", "value"),
    [
        (0.9, 1.0, 0.5, 1.0),
        (1.0, 0.9, 0.5, 1.0),
        (1.0, 1.0, 0.5, 1.0),
        (0.0, 1.0, 0.5, 1.0),
        (0.9, 1.0, 0.0, 0.9),
        (1.0, 0.9, 1.0, 0.9),
    ],
)
def test_a_half_life_without_end(start: float, end: float, fraction: float, value: float) -> None:
    assert half_life(start, end, fraction) == value
    near = half_life(*(min(x, 1 - 1e-13) for x in (start, end)), fraction)
    assert near == pytest.approx(value, abs=1e-9)  # it is the limit
    expr = parse_expression(f"half_life({start}, {end}, {fraction})")
    with precisely():
        assert float(evaluate(expr, DecimalDomain(), {})) == value


@pytest.mark.parametrize(
    "text",
    [
        *("half_life(2, 0.5, 0)", "half_life(0.5, 1.1, 1/2)", "half_life(-1, 0, 1)", "exp(710)"),
        *("log(0)", "log(-1)", "sqrt(-1)", "(-8)**(1/3)", "0**-1", "10**400", "1e200*1e200"),
    ],
)
def test_no_domain_makes_a_number_of_what_is_none(text: str) -> None:
    expr = parse_expression(text)
    with pytest.raises(NotRealError):
        evaluate(expr, RealDomain(), {})
    with precisely(), pytest.raises(NotRealError):
        evaluate(expr, DecimalDomain(), {})


@pytest.mark.parametrize(
    ("text", "value"), [("cospi(1e300)", 1), ("cospi(2e15 + 1)", -1), ("cospi(-0.5)", 0)]
)
def test_cosines_of_large_numbers(text: str, value: float) -> None:
    expr = parse_expression(text)
    assert evaluate(expr, RealDomain(), {}) == pytest.approx(value, abs=1e-15)
    with precisely():
        assert float(evaluate(expr, DecimalDomain(), {})) == pytest.approx(value, abs=1e-15)
