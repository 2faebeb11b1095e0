"""docs/derivations.md: every argument as an exact computation; of the errata, what is printed fails
and what is corrected holds."""

from __future__ import annotations

import ast
import itertools
import random
import re
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import pytest
from exact_runs import STEPS, F, constant, moving, one, points, rationals
from package_claims import WRONG
from reference_run import ReferenceRun

import optzoo
from optzoo.description.response import Response, decide, matrix_rank
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import equivalence

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "tests" / "claims"
ANY, CONSTANT = Conditions(long_steps=0), Conditions(long_steps=0, constant_lr=True)


def recipe(name: str, **settings: Any) -> optzoo.Recipe:
    path = CLAIMS / f"{name}.yaml"
    return optzoo.load_recipe(path if path.exists() else name).with_overrides(settings)


def same(
    left: optzoo.Recipe, right: optzoo.Recipe, conditions: Conditions = ANY, *, whole: bool = False
) -> bool:
    verdict = equivalence(left, right, conditions=conditions, iterates_only=not whole, search=False)
    return verdict.same


def eq1(beta_a: Any, eta_a: Any, alpha_a: Any) -> optzoo.Recipe:
    return recipe("equation_one", beta_a=beta_a, eta_a=eta_a, alpha_a=alpha_a)


# ------------------------------------------------------------------ the arguments

Row = list[Fraction]


def drawn(seed: int, count: int = STEPS) -> Row:
    """Return rationals other than 0, one per step; element 0 is that of step 1."""
    rng = random.Random(seed)
    return [F(rng.choice([-1, 1]) * rng.randint(1, 60), 40) for _ in range(count)]


def equation_one_rows(beta: Row, eta: Row, alpha: Row) -> list[Row]:
    """Return h(t, s) of Eq. (1), by carrying the weight of every gradient in m along."""
    rows, m = [], []
    for t in range(len(beta)):
        m = [*(beta[t] * weight for weight in m), F(1)]
        rows.append([-eta[t] * weight for weight in m])
        rows[-1][-1] -= alpha[t]
    return rows


def test_the_response_of_equation_one() -> None:
    beta, eta, alpha = drawn(1), drawn(2), drawn(3)
    rows = equation_one_rows(beta, eta, alpha)
    for t in range(1, STEPS + 1):
        assert rows[t - 1][t - 1] == -(alpha[t - 1] + eta[t - 1])
        for s in range(1, t):
            assert rows[t - 1][s - 1] == -eta[t - 1] * prod(beta[s:t])
    for k in range(1, STEPS):
        assert matrix_rank([row[:k] for row in rows[k:]]) == 1
    found = Response(tuple(map(tuple, rows))).coefficients()
    assert found is not None
    assert (found.beta[1:-1], found.eta[1:-1]) == (tuple(beta[1:-1]), tuple(eta[1:-1]))


def test_which_responses_are_those_of_equation_one() -> None:
    """Of all patterns of 0 and 1 below the diagonal, 64 for four steps: 1 to 3 decide it.

    Up to free choices a decay that makes one is 0 or 1, so Eq. (1) is tried out completely.
    """
    zeros_ones = (F(0), F(1))
    size = 4
    reached = set()
    for choice in itertools.product(zeros_ones, repeat=2 * (size - 1)):
        beta, eta = [F(0), *choice[: size - 1]], [F(0), *choice[size - 1 :]]
        rows = equation_one_rows(beta, [-e for e in eta], eta)
        reached.add(tuple(x for t, row in enumerate(rows) for x in row[:t]))
    for below in itertools.product(zeros_ones, repeat=size * (size - 1) // 2):
        weights = iter(below)
        rows = tuple((*(next(weights) for _ in range(t)), F(0)) for t in range(size))
        response = Response(rows)
        said = response.rank <= 1 and response.gap() is None and response.cut() is None
        assert said == (below in reached), rows
        assert said == (response.coefficients() is not None), rows


def test_rank_one_is_not_enough() -> None:
    """w -= g_{t-1} has one momentum and is not Eq. (1); a momentum that dies is."""
    late = decide(written("update: grad.prev").trained_program())
    assert (late.momenta, late.has_form, late.cut) == (1, False, 2)
    dies = written(
        "scalars: {d: 'max(0, 1 - t/4)'}\nbuffers: {m: {input: grad, decay: d, gain: 1}}\nupdate: m"
    )
    assert decide(dies.trained_program()).has_form
    form = optzoo.describe(dies)
    rows = [form.coefficients(t) for t in range(2, 8)]
    assert [c.beta_a for c in rows] == [0.5, 0.25, 0, 0, 0, 0]
    assert all((c.eta_a, c.alpha_a) == (1, 0) for c in rows)


def written(text: str) -> optzoo.Recipe:
    head = "name: mine\nversion: 1\nsummary: mine\nreference: none\nhyperparameters: {}\n"
    return optzoo.parse_recipe(head + text + "\n")


def test_a_gain_is_a_change_of_variables() -> None:
    d, k, p, g = drawn(4), drawn(5), drawn(6), drawn(7)
    x = m = F(0)
    for t in range(STEPS):
        x = d[t] * x + k[t] * g[t]
        m = (d[t] * k[t - 1] / k[t] if t else F(0)) * m + g[t]
        assert p[t] * x == p[t] * k[t] * m
    beta3 = [F(t, t + 1) for t in range(1, STEPS + 1)]
    for t in range(1, STEPS):  # an average: k = 1 - d
        assert beta3[t] * (1 - beta3[t - 1]) / (1 - beta3[t]) != beta3[t]


def test_reading_the_previous_buffer() -> None:
    p, q, d, k = F("0.9"), F("0.1"), F("0.99"), F("0.01")
    old = m = F(0)
    for g in drawn(8):
        new = d * old + k * g
        m = d * m + g
        assert p * old + q * g == (p * k / d) * m + (q - p * k / d) * g
        old = new
    assert (p * k / d, q - p * k / d) == (F("0.9") * (1 - d) / d, 1 - p / d)
    assert q - p * k / d > 0 > 1 - F("0.9") / F("0.8")


def test_averaging_is_a_readout() -> None:
    beta, c, s = F("0.7"), [F(1, t) for t in range(1, STEPS + 1)], drawn(9)
    z = x = y = F(3)
    b = F(0)
    for t in range(STEPS):
        z = z - s[t]
        b_now = x - z
        b = (1 - (c[t - 1] if t else F(0))) * b + s[t]
        assert b == b_now
        x = (1 - c[t]) * x + c[t] * z
        y = y - (beta * c[t] * b + (1 - beta) * s[t])
        assert y == (1 - beta) * z + beta * x
        assert x == y + (1 - beta) * (1 - c[t]) * b


def test_the_weight_of_the_newest_iterate() -> None:
    beta, s = F("0.9"), drawn(10)
    z = x = F(2)
    for t in range(1, STEPS + 1):
        c, before = F(1, t), x
        z -= s[t - 1]
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        weight = c / ((1 - c) * (1 - beta) + c)
        assert x == (1 - weight) * before + weight * y
    c = F(1, 1000)
    assert F("9.9") < 1000 * c / ((1 - c) * (1 - beta) + c) < 10


DECAYS = [
    (kind, at, times_lr)
    for kind in ("coupled", "decoupled")
    for at in ("param", "base", "average")
    for times_lr in ((True,) if kind == "coupled" else (True, False))
]


@pytest.mark.parametrize(("kind", "at", "times_lr"), DECAYS)
def test_decay_at_each_point_while_beta_moves(kind: str, at: str, times_lr: bool) -> None:
    """The program moves as the three points z, x, y do, and its views are theirs."""
    rule = f"{{amount: 0.5, kind: {kind}, at: {at}, times_lr: {str(times_lr).lower()}}}"
    mine = written(
        "averaging: {weight: 2/(t + 1), beta: '1 - 2/(t + 2)'}\nupdate: grad\n"
        "observers: {tail: {weight: '1/t'}}\nweight_decay: " + rule
    )
    run = ReferenceRun(mine.program(), [F(2)], exact=True)
    z = x = y = observed = F(2)
    for t, g in enumerate(drawn(11), start=1):
        lr, c, beta = F(1, 10 + t % 3), F(2, t + 1), 1 - F(2, t + 2)
        point = {"param": y, "base": z, "average": x}[at]
        rate = (lr if times_lr else 1) * F("0.5")
        z = z - lr * (g + F("0.5") * point) if kind == "coupled" else z - lr * g - rate * point
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        observed = (1 - F(1, t)) * observed + F(1, t) * y
        run.step([g], lr=lr)
        assert (run.view("train"), run.view("eval")) == ((y,), (x,)), t
        assert run.view("tail") == (observed,)


def test_mars_has_one_momentum() -> None:
    beta1, gamma = F("0.95"), F("0.025")
    k = gamma * beta1 / (1 - beta1)
    m = other = last = F(0)
    for g in drawn(12):
        m = beta1 * m + (1 - beta1) * (g + k * (g - last))
        other = beta1 * other + (1 - beta1) * (1 - gamma) * g
        assert (m - gamma * g, m) == (other, other + gamma * g)
        last = g


# ------------------------------------------------------------------ the errata


def test_the_weight_of_3_2() -> None:
    """At delta = 1 the average of all iterates: 1/t of the newest, not 1 - 1/t."""
    iterates = drawn(13)
    for weight, holds in ((lambda t: F(1, t), True), (lambda t: 1 - F(1, t), False)):
        average = F(0)
        for t, w in enumerate(iterates, start=1):
            average = (1 - weight(t)) * average + weight(t) * w
        assert (average == sum(iterates) / len(iterates)) is holds


def test_b2_asgd() -> None:
    asgd = recipe("asgd_jain", alpha=0.8, beta=0.3, gamma=0.1, delta=0.03)
    assert not same(asgd, eq1("0.7*0.8", "0.2*(0.1 - 0.7*0.8*0.03)", "0.8*0.03"))
    assert same(asgd, eq1("0.7*0.8", "0.2*(0.1 - 0.03)", "0.03"))


def test_line_7_of_algorithm_3() -> None:
    """As printed delta has no effect; as meant 1/(delta t) of the newest iterate is averaged in."""
    literal, meant = "accelerated_adamw_literal", "accelerated_adamw"
    assert same(recipe(literal, delta=0.3), recipe(literal, delta=1), whole=True)
    assert not same(recipe(meant, delta=0.3), recipe(meant, delta=1), whole=True)


def test_lines_2_and_5_of_algorithm_3_climb() -> None:
    """On w**2/2 from 1, w := w - eta N moves away from 0 with g = -grad, and to it with grad."""
    ends = []
    for sign in (-1, 1):
        weight, momentum = Fraction(1), Fraction(0)
        for _ in range(5):
            grad = sign * weight
            weight -= (momentum * F("0.9") + grad * F("0.1")) / 10
            momentum = momentum * F("0.9") + grad * F("0.1")
        ends.append(abs(weight))
    assert ends[0] > 1 > ends[1]


def test_schedule_free_with_warmup() -> None:
    free = recipe("schedule_free_sgd")
    printed = eq1("1 - ratio(1, t - 1)", "0.9/t", 0.1)
    assert same(free, printed, CONSTANT)
    assert not same(free, printed)
    assert same(free, recipe("schedule_free_as_accelerated"), whole=True)


def test_the_decay_of_schedule_free_at_beta_1() -> None:
    """With optzoo's steps, from 1, it is 1 - 1/(t - 1): 1 - 1/t of the step before."""
    free = recipe("schedule_free_sgd", beta=1)
    assert same(free, eq1("1 - ratio(1, t - 1)", "1/t", 0), CONSTANT)
    assert not same(free, eq1("1 - 1/t", "1/t", 0), CONSTANT)
    # the paper's recurrences with c_t = 1/t, the step t = 0 making x_1 = z_1
    x = z = F(0)
    m = F(0)
    for t, g in enumerate(drawn(14)):
        z, c_next = z - g, F(1, t + 1)
        if t:
            m = (1 - F(1, t)) * m + g
        else:
            m = g
        assert m == x - z
        x = (1 - c_next) * x + c_next * z


def test_the_ratio_of_4_1_3() -> None:
    """The momentum's mass is t/2 = 1/(2c), its weight in the step is beta/2, that of g 1 - beta."""
    form = optzoo.describe(recipe("schedule_free_sgd", beta=0.9, lr=1))
    beta, mass = F("0.9"), F(0)
    for t in range(1, 200):
        c = form.coefficients(t)
        mass = (F(t - 2, t - 1) if t > 1 else F(0)) * mass + 1
        assert c.beta_a == pytest.approx(float(F(t - 2, t - 1)) if t > 1 else 0, abs=1e-15)
        assert c.eta_a == pytest.approx(float(beta / t), rel=1e-15)
        assert c.alpha_a == pytest.approx(float(1 - beta), rel=1e-15)
        assert (1 - beta) / (beta / t) == (1 - beta) / beta * t  # as printed: not fixed
        assert t == 1 or mass == F(t, 2)
        assert t == 1 or (1 - beta) / (beta / t * mass) == 2 * (1 - beta) / beta == F(2, 9)


def test_mars_rewritten_needs_g_0_to_be_0() -> None:
    small = Conditions(long_steps=0, grad_size=F("0.1"))
    assert same(recipe("mars"), recipe("mars_rewritten"), small)
    assert not same(recipe("mars_paper"), recipe("mars_rewritten"), small)


def test_simplified_ademamix_at_alpha_0() -> None:
    settings = {"alpha": 0, "beta1": 0.9, "beta_start": 0.9, "lr": 1e-4}
    adam = recipe("adamw", weight_decay=0, lr=1e-3)
    assert not same(recipe("simplified_ademamix", **settings), adam)
    debiased = recipe("simplified_ademamix_debiased", **{**settings, "lr": 1e-3})
    assert same(debiased, adam)


def mass(newest: bool) -> list[Any]:
    """Run MaSS by the recursion of B.3 for d = w - u, driven by the newest gradient or the last."""
    eta1, eta2, gamma = F("0.03"), F("0.01"), F("0.8")
    u, d, last = rationals(0, 3), [F(0)] * 3, [F(0)] * 3
    seen = []
    for t in range(1, STEPS + 1):
        grad = rationals(t, 3)
        drive = grad if newest else last
        d = [gamma * old + (eta1 * gamma - eta2) * g for old, g in zip(d, drive, strict=True)]
        step = [gamma * x + (eta1 * (1 + gamma) - eta2) * g for x, g in zip(d, grad, strict=True)]
        u = [x - s for x, s in zip(u, step, strict=True)]
        last = grad
        seen.append(tuple(u))
    return seen


def test_the_index_in_b3() -> None:
    program = optzoo.load_recipe("mass").program(eta1="0.03", eta2="0.01", gamma="0.8")
    found = [views[0] for views in points(program, one, ("train",), exact=True)]
    assert found == mass(newest=False)
    assert found != mass(newest=True)


def test_b4_with_schedules() -> None:
    settings = {"alpha": "2/(t + 3)", "beta": "1 - 1/(t + 1)", "gamma": "(t + 9)/2", "eta": 0.03}
    nesterov = recipe("nesterov_vaswani", **settings)
    eta, decay = "2/(t + 4)*0.03*(t + 7)/2", "(1 - 1/(t + 1))*(1 - 2/(t + 3))"
    assert not same(nesterov, eq1(decay, eta, 0.03))
    assert same(nesterov, eq1(f"{decay}*(t + 6)/(t + 7)", eta, 0.03))


def test_the_learning_rates_here_do_move() -> None:
    assert len({moving(t) for t in range(1, 5)}) == 4
    assert len({constant(t) for t in range(1, 5)}) == 1


# ------------------------------------------------------------------ the documents


def test_every_named_test_exists() -> None:
    text = (ROOT / "docs" / "derivations.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 15
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, (path, name)


def test_every_disagreement_stands_in_the_zoo() -> None:
    """docs/zoo.md lists every claim of tests/package_claims.py in its words."""
    text = (ROOT / "docs" / "zoo.md").read_text()
    for key, wrong in WRONG.items():
        assert f"| {wrong.package} {wrong.version} | {wrong.claim} |" in text, key
