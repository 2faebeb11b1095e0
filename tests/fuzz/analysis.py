"""What is said of a drawn recipe, held against what the reference does with it in float64.

Each check returns whether it had anything to say, and fails by an assertion or by whatever is not
an InputError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from random import Random

import draw
from reference_run import ReferenceRun
from twins import perturbed, rewritten

import optzoo
from optzoo.description.derivation import NoValueError
from optzoo.description.description import Description, describe
from optzoo.description.output.page import format_latex_page, format_markdown
from optzoo.description.output.text import format_report
from optzoo.equivalence.conversion import convert_to_accelerated
from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import equivalence, format_verdict
from optzoo.errors import InputError
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name, names_in
from optzoo.program.ir import Program
from optzoo.program.parsing import parse_expression

TOTAL_STEPS, STEPS = 6, 9
WARMUP = "min(1, t/4)"
SHORT = Conditions(steps=6, long_steps=0)
Rows = list[list[float]]


class LinearDraft(draw.Draft):
    """A draft whose tensors are linear mixes only."""

    def tensor(self, depth: int = 2) -> str:
        """Return a linear mix of tensors."""
        return self.linear()


def draw_linear(random: Random) -> optzoo.Recipe:
    """Return a drawn recipe whose step is linear in the gradients."""
    while True:
        text = draw.draw_recipe(random, LinearDraft)
        if any(word in text for word in ("preconditioner", "clip_", "init: param")):
            continue
        try:
            return optzoo.parse_recipe(text)
        except InputError:
            continue


def responses(program: Program, lr_factors: Sequence[float]) -> Rows:
    """Return h(t, s) by running the reference: element s - 1 has the gradient 1 in step s alone.

    One more element has no gradient at all: what it does is no response.
    """
    run = ReferenceRun(program, [0.0] * (STEPS + 1), total_steps=TOTAL_STEPS)
    base = float(next((h.value for h in program.hypers if h.name == "lr"), 1))
    rows, before = [], run.param
    for t in range(1, STEPS + 1):
        grad = [float(s == t) for s in range(1, STEPS + 2)]
        run.step(grad, lr=base * lr_factors[t - 1])
        moved = [b - a for a, b in zip(before, run.param, strict=True)]  # type: ignore[arg-type]
        rows.append([m - moved[-1] for m in moved[:t]])
        before = run.param
    return rows


def check_coefficients(recipe: optzoo.Recipe, *, warmup: bool) -> bool:
    """The coefficients of Eq. (1), or of several momenta, give the response of the reference.

    The formulas as they are printed have the values that are given for them.
    """
    schedule = WARMUP if warmup else "constant"
    found = describe(recipe, total_steps=TOTAL_STEPS, at=(1, 2, 5), lr_schedule=schedule)
    factors = [min(1.0, t / 4) if warmup else 1.0 for t in range(1, STEPS + 1)]
    _check_printed(found)
    if "parameter" in (found.left_out or ""):
        return False
    actual = responses(found.derivation.undecayed, factors)
    if found.form:
        said = _by_coefficients(found)
    elif found.formulas is not None and found.formulas.inner is None:
        said = _by_momenta(found)
    else:
        return False
    scale = max((abs(x) for row in actual for x in row), default=0.0)
    for row, other in zip(said, actual, strict=False):
        for x, y in zip(row, other, strict=True):
            assert math.isnan(x) or abs(x - y) <= 1e-9 * scale + 1e-14
    return True


def _check_printed(found: Description) -> None:
    for t in (1, 2, 5):
        for m, (beta, eta) in zip(found.momenta, found.momentum_values(t), strict=True):
            said = {m.eta: eta} if t == 1 else {m.eta: eta, m.beta: beta}  # beta at step 1 is 0
            for text, value in said.items():
                printed = _printed_value(found, text, t)
                assert math.isnan(value) or abs(printed - value) <= 1e-9 * max(abs(value), 1e-3)


def _printed_value(found: Description, text: str, t: int) -> float:
    """Return the value of a printed formula, read again from its text; NaN where it is 0/0."""

    scalars = found.derivation.scalars

    def at(match: re.Match[str]) -> str:
        return f"({float(scalars.value(Name(match[1]), t + int(match[2] or 0)))!r})"

    plain = parse_expression(re.sub(r"\b([A-Za-z_]\w*)\(t([+-]\d+)?\)", at, text))
    values = {name: float(scalars.value(name, t)) for name in names_in(plain)}
    try:
        return evaluate(plain, FloatDomain(), values)
    except ZeroDivisionError:
        return math.nan


def _by_coefficients(found: Description) -> Rows:
    rows, kept = [], []
    for t in range(1, STEPS):
        try:
            c = found.coefficients(t)
        except NoValueError:
            break
        kept = [*(c.beta_a * k for k in kept), 1.0]
        rows.append([-c.eta_a * k for k in kept])
        rows[-1][-1] -= c.alpha_a
    return rows


def _by_momenta(found: Description) -> Rows:
    assert found.formulas is not None
    first = found.formulas.outer.first
    rows, kept = [], [[] for _ in found.momenta]
    for t in range(1, STEPS):
        values = found.momentum_values(t)
        kept = [[*(beta * k for k in ks), 1.0] for (beta, _), ks in zip(values, kept, strict=True)]
        row = [
            -sum(eta * ks[i] for (_, eta), ks in zip(values, kept, strict=True)) for i in range(t)
        ]
        row[-1] -= found.gradient_weights(t)[0]
        rows.append([x if i + 1 >= first else math.nan for i, x in enumerate(row)])
    return rows


def trajectory(recipe: optzoo.Recipe, seed: int) -> Rows:
    """Return the training and evaluation points of the reference, the learning rate moving."""
    random = Random(seed)
    program = recipe.trained_program()
    run = ReferenceRun(program, [random.uniform(-1, 1) for _ in range(3)], total_steps=TOTAL_STEPS)
    base = float(next((h.value for h in program.hypers if h.name == "lr"), 1))
    points: Rows = []
    for _ in range(STEPS):
        grad = [random.uniform(-2, 2) for _ in range(3)]
        run.step(grad, lr=base * random.uniform(0.2, 1.5))
        points += [[*run.view("train")], [*run.view("eval")]]  # type: ignore[misc]
    return points


def distance(a: Rows, b: Rows) -> float:
    """Return the largest difference of two trajectories, relative to the larger."""
    size = max((abs(x) for row in (*a, *b) for x in row), default=0.0)
    apart = max((abs(x - y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)),
                default=0.0)  # fmt: skip
    return apart / size if size else 0.0


def check_words(recipe: optzoo.Recipe) -> None:
    """Everything that is printed of a recipe can be printed."""
    found = describe(recipe, total_steps=TOTAL_STEPS, at=(1, 2, 7))
    format_report(found)
    format_latex_page(found)
    format_markdown(found)
    found.to_json()


def check_same(text: str, random: Random) -> bool:
    """A recipe written otherwise is the same to equiv, and has the same coefficients."""
    recipe = optzoo.parse_recipe(text)
    try:
        other = optzoo.parse_recipe(rewritten(text, random))
    except InputError:  # the intervals see less in another order
        return False
    verdict = equivalence(recipe, other, conditions=SHORT, search=False)
    assert verdict.same, format_verdict(verdict, [])
    a, b = (describe(r, total_steps=TOTAL_STEPS) for r in (recipe, other))
    assert (a.form, a.order, a.decision.held_fixed) == (b.form, b.order, b.decision.held_fixed)
    for t in (1, 2, 5) if a.form else ():
        try:
            one, two = vars(a.coefficients(t)), vars(b.coefficients(t))
        except NoValueError:
            continue
        for name in one:
            assert math.isclose(one[name], two[name], rel_tol=1e-9, abs_tol=1e-12), (t, name)
    return True


def check_different(text: str, random: Random) -> bool:
    """A recipe with one number moved is another method where the reference tells them apart."""
    moved = perturbed(text, random)
    if moved is None:
        return False
    try:
        recipe, other = optzoo.parse_recipe(text), optzoo.parse_recipe(moved)
    except InputError:
        return False
    try:
        apart = distance(trajectory(recipe, 0), trajectory(other, 0))
    except (ArithmeticError, ValueError):  # the number moved leads out of the reals
        return False
    if not apart > 1e-7:
        return False
    verdict = equivalence(recipe, other, conditions=SHORT, search=False)
    assert not verdict.same
    format_verdict(verdict, [])
    return True


def check_conversion(recipe: optzoo.Recipe) -> bool:
    """What convert writes is a recipe that trains as its source, or the reason is given."""
    try:
        found = convert_to_accelerated(recipe)
    except InputError:
        return False
    again = optzoo.parse_recipe(found.recipe.to_yaml())
    assert distance(trajectory(recipe, 1), trajectory(again, 1)) < 1e-9
    return True
