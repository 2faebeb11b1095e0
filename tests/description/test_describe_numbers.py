"""The numbers of describe to 1e-12, up to a million steps, against other ways to compute them.

The oracles below are exact rationals where the optimizer is rational, and decimals of 60 digits
stepped one by one where it is not. They share no code with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest

import optzoo
from optzoo.description.scalars import WALKED
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.parsing import parse_expression
from optzoo.recipe.schedules import parse_lr_schedule
from optzoo.train.setup.overrides import override_setup
from optzoo.train.setup.schema import load_setup

MILLION = 1_000_000
F, D = Fraction, Decimal
Triple = tuple[Any, Any, Any]
BEYOND = WALKED + 333  # past the steps that are walked in decimals


def half_life(start: str, end: str, x: Decimal) -> Decimal:
    return (1 / ((1 - x) / D(start).ln() + x / D(end).ln())).exp() if x < 1 else D(end)


def adamw(t: int) -> Triple:
    beta = D("0.999999")
    return beta, D("1e-3") * (1 - beta) / (1 - beta**t), D(0)


def ademamix(t: int) -> Triple:
    """optimizers.md 16b at beta1 = 0: the half-life grows linearly from 0 to that of beta3."""

    def beta3(step: int) -> Decimal:
        return (D("0.999999").ln() * MILLION / step).exp() if step else D(0)

    now, before = beta3(t), beta3(t - 1)
    eta = D("1e-3") * 2 * t / MILLION * (1 - now)
    return now * (1 - before) / (1 - now), eta, D("1e-3")


def simplified(t: int) -> Triple:
    return half_life("0.9", "0.9999", D(t) / MILLION), D("1e-5"), D("5e-4")


def simplified_debiased(t: int) -> Triple:
    """The running mass forgets: beta1_t is at most 0.99, so 4,000 steps leave 4e-18."""
    mass = D(0)
    for s in range(max(1, t - 4000), t + 1):
        mass = half_life("0.9", "0.99", D(s) / MILLION) * mass + 1
    return half_life("0.9", "0.99", D(t) / MILLION), D("1e-3") / mass, D("0.05") / mass


def momentum_schedule(t: int) -> Triple:
    decay = [half_life("0.9", "0.99", D(s) / MILLION) for s in range(max(1, t - 4000), t + 1)]
    left = D(1)
    for d in decay:
        left *= d
    gain, before = 1 - decay[-1], 1 - half_life("0.9", "0.99", D(t - 1) / MILLION)
    return decay[-1] * before / gain, D("1e-3") * gain / (1 - left), D(0)


def nadam(t: int) -> Triple:
    def mu(step: int) -> Decimal:
        return D("0.9") * (1 - D("0.5") * D("0.96") ** (step * D("0.004")))

    product = D(1)
    for s in range(1, min(t, 1000) + 1):  # 0.9**1000 is 2e-46
        product *= mu(s)
    eta = D("2e-3") * mu(t + 1) * D("0.1") / (1 - product * mu(t + 1))
    return D("0.9"), eta, D("2e-3") * (1 - mu(t)) / (1 - product)


def warmed(t: int) -> Fraction:
    """The learning rate of `constant:warmup=1000,start=0`, as a fraction of the whole."""
    return min(F(1), F(t - 1, 1000))


def schedule_free(t: int) -> Triple:
    """weight = lr_max**2 = lr**2, summed in closed form: the rise, and ones after it."""

    def c(step: int) -> Fraction:
        n = min(step, 1001) - 1
        total = F(n * (n + 1) * (2 * n + 1), 6 * 1000**2) + max(0, step - 1001)
        return warmed(step) ** 2 / total

    lr = F("0.0025")
    ratio = warmed(t - 1) / warmed(t)
    return (1 - c(t - 1)) * ratio, F("0.9") * c(t) * lr * warmed(t), F("0.1") * lr * warmed(t)


WARMED = {"lr_schedule": "constant:1000,start=0"}
CASES: dict[str, tuple[dict[str, Any], Callable[[int], Triple]]] = {
    "adamw": ({"beta1": 0.999999}, adamw),
    "ademamix": ({"beta1": 0, "beta3": 0.999999}, ademamix),
    "simplified_ademamix": ({"beta1": 0.9999}, simplified),
    "simplified_ademamix_debiased": ({"beta1": 0.99}, simplified_debiased),
    "adam_momentum_schedule": ({}, momentum_schedule),
    "nadam": ({}, nadam),
    "schedule_free_sgd": ({"lr": 0.0025, **WARMED}, schedule_free),
    "schedule_free_adamw": (WARMED, schedule_free),
}


@pytest.mark.parametrize("recipe", CASES)
def test_a_million_steps_cost_no_digits(recipe: str) -> None:
    hyper, wanted = CASES[recipe]
    found = optzoo.describe(optzoo.load_recipe(recipe), total_steps=MILLION, **hyper)
    for t in (4, WALKED, BEYOND, 70_000, MILLION):
        with localcontext(prec=60):
            triple = [float(x) for x in wanted(t)]
        c = found.coefficients(t)
        assert [c.beta_a, c.eta_a, c.alpha_a] == pytest.approx(triple, rel=1e-13, abs=0), t


def test_a_walk_of_hundreds_of_steps_agrees_with_rationals() -> None:
    """The official LaProp under a linear schedule: a running mean of the learning rate."""
    schedule, total = "linear:warmup=10,start=0.5,final=0", 2000
    found = optzoo.describe(
        optzoo.load_recipe("laprop_official"), total_steps=total, lr_schedule=schedule
    )
    beta, lr0 = F("0.9"), F("0.0004")

    def lr(t: int) -> Fraction:
        return lr0 * min(F(1, 2) + F(t - 1, 20), min(F(1), 1 - F(t - 11, total - 10)))

    def mean(t: int) -> Fraction:
        return sum(((1 - beta) * beta ** (t - s) * lr(s) for s in range(1, t + 1)), F(0))

    for t in (2, 11, 200, BEYOND):
        c = found.coefficients(t)
        triple = (beta * lr(t - 1) / lr(t), (1 - beta) * lr(t) ** 2 / mean(t), 0)
        assert [c.beta_a, c.eta_a, c.alpha_a] == pytest.approx(
            [float(x) for x in triple], rel=1e-13, abs=0
        )


def test_the_fold_and_the_walk_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe with running scalars, under a schedule: long double against 50 digits."""
    from optzoo.description import scalars

    for recipe in ("laprop_official", "schedule_free_radam"):
        triples = []
        for walked in (2000, 10):
            monkeypatch.setattr(scalars, "WALKED", walked)
            found = optzoo.describe(optzoo.load_recipe(recipe), lr_schedule="cosine:100")
            c = found.coefficients(1500)
            triples.append((c.beta_a, c.eta_a, c.alpha_a))
        assert triples[0] == pytest.approx(triples[1], rel=1e-15, abs=0), recipe


# ------------------------------------------------------------ learning-rate schedules


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize(("warmup", "start", "final"), [(0, 0.1, 0.1), (7, 0.0, 0.0), (5, 0.2, 1)])
def test_schedules_mean_what_the_trainer_means(
    kind: str, warmup: int, start: float, final: float
) -> None:
    asked = {"kind": kind, "warmup_steps": warmup, "start_fraction": start, "final_fraction": final}
    changes = {f"schedule.{name}": str(value) for name, value in asked.items()}
    setup = override_setup(
        load_setup("quick"), {**changes, "schedule.scale": "1", "budget.steps": "40"}
    )
    text = f"{kind}:warmup={warmup},start={start}" + (
        "" if kind == "constant" else f",final={final}"
    )
    expr = parse_lr_schedule(text, 40)
    for t in range(1, 41):
        values = {Name("t"): float(t), Name("T"): 40.0}
        assert evaluate(expr, FloatDomain(), values) == setup.lr_schedule().at(t)


@pytest.mark.parametrize(
    ("text", "t", "wanted"),
    [
        ("wsd:warmup=10,decay=20,final=0", 80, 1.0),
        ("wsd:warmup=10,decay=20,final=0", 91, 0.5),
        ("wsd:0.1,decay=0.2,start=0,final=0.5", 6, 0.5),
        ("min(1, t/8)", 4, 0.5),
        ("cosine:0.1", 11, 1.0),
    ],
)
def test_values_of_schedules(text: str, t: int, wanted: float) -> None:
    values = {Name("t"): float(t), Name("T"): 100.0}
    assert evaluate(parse_lr_schedule(text, 100), FloatDomain(), values) == pytest.approx(wanted)


def test_no_schedule_is_the_number_one() -> None:
    assert parse_lr_schedule("constant", 10) == parse_expression(1)


@pytest.mark.parametrize(
    "text",
    [
        "cosines",
        "cosine:rise=3",
        "constant:final=0",
        "cosine:warmup=x",
        "cosine:start=2",
        "cosine:100",
        "wsd:decay=1000",
        "lr*2",
        "t +",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(optzoo.InputError) as error:
        parse_lr_schedule(text, 100)
    assert f"`{text}`" in str(error.value)


def test_scalars_that_nobody_can_jump_to_are_refused_far_out(tmp_path: Any) -> None:
    source = optzoo.load_recipe("qhm").text.replace(
        "buffers:", "scalars:\n  x: {expr: 0.5*x.prev**2 + 0.1}\nbuffers:"
    )
    path = tmp_path / "odd.yaml"
    path.write_text(source.replace("gain: 1 - beta", "gain: 1 - beta*x"))
    found = optzoo.describe(optzoo.load_recipe(path))
    assert found.beta_a(2000) == pytest.approx(0.999, rel=1e-12)
    with pytest.raises(optzoo.InputError, match="followed up to step"):
        found.beta_a(MILLION)
