"""The coefficients against the torch engine: a unit gradient at step s and zeros after.

Every shipped recipe, with what is not linear taken off: preconditioner, sign and clips. What is
left is the numerator that describe speaks of, run by the same engine that trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from mutants import mixed_names
from oracles import ORACLES

import optzoo
from optzoo.description.description import Description
from optzoo.files.shipped import shipped
from optzoo.program.expressions import names_in
from optzoo.program.ir import GRAD
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import Routing
from optzoo.recipe.schema import RecipeSpec
from optzoo.recipe.sections import SignalSpec

STEPS = 20
TOTAL = 16  # schedules end on the way


def numerator(name: str) -> Recipe:
    recipe = optzoo.load_recipe(name)
    spec = recipe.spec
    signals = {
        key: s.model_copy(update={"clip_norm": None, "clip_value": None})
        if isinstance(s, SignalSpec)
        else s
        for key, s in spec.signals.items()
    }
    if spec.order == "precondition_first" and spec.preconditioner != "none":
        signals["preconditioned"] = GRAD
    changed = {"signals": signals, "preconditioner": "none", "weight_decay": None}
    changed |= {"routes": [], "parts": {}}
    return replace(recipe, spec=without_unread(spec.model_copy(update=changed)), routing=Routing())


def without_unread(spec: RecipeSpec) -> RecipeSpec:
    """Return a recipe without what only a preconditioner or a weight decay read."""
    read = {name.id for use in uses_of(spec) for name in names_in(use.expr)}
    read.update(mixed_names(spec))
    tables = {
        table: {key: value for key, value in getattr(spec, table).items() if key in read}
        for table in ("scalars", "signals")
    }
    if all(kept == getattr(spec, table) for table, kept in tables.items()):
        return spec
    return without_unread(spec.model_copy(update=tables))


def displacements(recipe: Recipe, s: int, lr_factor: list[float]) -> Iterator[float]:
    param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    opt = recipe.build([param], total_steps=TOTAL, engine="foreach")
    base = opt.param_groups[0]["lr"]
    for t in range(1, STEPS + 1):
        opt.param_groups[0]["lr"] = base * lr_factor[t - 1]
        param.grad = torch.full_like(param, float(t == s))
        before = float(param.detach())
        opt.step()
        yield float(param.detach()) - before


def predicted(found: Description, s: int) -> Iterator[float]:
    """Eq. (1), level by level where a momentum is fed by another."""
    if found.form:
        m = 0.0
        for t in range(1, STEPS + 1):
            c = found.coefficients(t)
            m = c.beta_a * m + (t == s)
            yield -(c.eta_a * m + c.alpha_a * (t == s))
        return
    momenta = found.momenta
    held = [0.0] * len(momenta)
    for t in range(1, STEPS + 1):
        values, alphas = found.momentum_values(t), found.gradient_weights(t)
        reached = {"grad": float(t == s)}
        for level, moved in reversed(list(enumerate(dict.fromkeys(m.moves for m in momenta)))):
            rows = [i for i, m in enumerate(momenta) if m.moves == moved]
            source = reached[momenta[rows[0]].of]
            for i in rows:
                held[i] = values[i][0] * held[i] + source
            reached[moved] = sum(values[i][1] * held[i] for i in rows) + alphas[level] * source
        yield -reached["param"]


@pytest.mark.parametrize("s", [1, 7])
@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_unit_gradient_moves_the_engine_as_described(name: str, s: int) -> None:
    schedule = "linear:4,start=0.25,final=0.1"
    recipe = numerator(name)
    found = optzoo.describe(recipe, total_steps=TOTAL, lr_schedule=schedule)
    assert (found.formulas is not None) == ORACLES[name].has_closed_form
    if found.formulas is None or found.nonlinearities:
        return  # a mask, a norm or a divisor that the recipe writes out cannot be taken off
    if not found.form and s < max(level.first for level in found.formulas.levels):
        return  # a buffer starts from the first gradient: the report says so
    factors = [
        float(found.derivation.scalars.lr_at(t) / found.derivation.scalars.base_lr)
        for t in range(1, STEPS + 1)
    ]
    seen = list(displacements(recipe, s, factors))
    wanted = list(predicted(found, s))
    assert any(wanted) or ORACLES[name].starts_silent
    scale = max(map(abs, wanted))
    assert seen == pytest.approx(wanted, rel=1e-10, abs=1e-12 * scale)


@pytest.mark.parametrize("name", ["sgd_momentum", "qhm", "lion", "mars", "schedule_free_sgd"])
def test_a_schedule_that_ends_at_zero(name: str) -> None:
    """At the last step with a learning rate the next one shows nothing of the momentum any more."""
    recipe = numerator(name)
    found = optzoo.describe(recipe, total_steps=TOTAL, lr_schedule="linear:final=0")
    factors = [max(0.0, 1 - (t - 1) / TOTAL) for t in range(1, STEPS + 1)]
    seen = list(displacements(recipe, 3, factors))[:TOTAL]
    wanted = list(islice(predicted(found, 3), TOTAL))
    assert seen == pytest.approx(wanted, rel=1e-10, abs=1e-18)
