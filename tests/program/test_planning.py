"""Plans: what is a number, what needs a pass of its own, and what may be overwritten when."""

from __future__ import annotations

import textwrap

import pytest
from problems import RECIPES

import optzoo
from optzoo.program.expressions import names_in
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.planning import Plan, plan_program


def plan_of(name: str) -> Plan:
    return plan_program(optzoo.load_recipe(name).program())


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_read_after_it_was_overwritten(name: str) -> None:
    """Walk the lines in order, overwrite each store at once: no `.prev` is read after."""
    plan = plan_of(name)
    gone = set()
    for line in plan.lines:
        assert not gone & set(names_in(line.expr)), f"{line} reads what is overwritten"
        if line.target in plan.stores:
            gone.add(line.target.prev)


@pytest.mark.parametrize("name", RECIPES)
def test_lines_read_only_what_is_known(name: str) -> None:
    plan = plan_of(name)
    known = {PARAM.prev, GRAD, *(store.prev for store in plan.stores)}
    known |= {lifted for lifted, _ in (*plan.coefficients, *plan.numbers)}
    for line in plan.lines:
        assert set(names_in(line.expr)) <= known
        known.add(line.target)
    assert set(plan.stores) <= known


def test_a_norm_ends_a_pass() -> None:
    plan = plan_of("mars")
    (each,) = plan.passes
    assert [reduction.name.id for reduction in each.reductions] == ["norm(d)"]
    assert not plan_of("adamw").passes


def test_a_circle_of_previous_values_is_kept_in_order() -> None:
    """x reads y.prev and y reads x.prev: both lines are there, one of them after the other."""
    plan = plan_program(_swapped(optzoo.load_recipe("adamw").program()))
    assert {str(line) for line in plan.lines} == {
        "m := v.prev",
        "v := m.prev",
        "param := param.prev",
    }


def test_different_numbers_have_different_names() -> None:
    text = """
        name: two_norms
        version: 1
        summary: norms whose text differs by brackets alone
        reference: none
        hyperparameters: {lr: {default: 1, in: "[0, inf)", doc: learning rate}}
        update: grad/(norm(grad/(norm(grad) + 1)) + 1) + grad/(norm(grad/norm(grad + 1)) + 1)
    """
    with pytest.raises(optzoo.InputError, match="division by"):
        optzoo.parse_recipe(textwrap.dedent(text))
    text = text.replace("grad/norm(grad + 1)", "grad/(1 + norm(grad)) + 1")
    plan = plan_program(optzoo.parse_recipe(textwrap.dedent(text)).program())
    names = [r.name for each in plan.passes for r in each.reductions]
    assert len(names) == len(set(names)) == 3


def _swapped(program: Program) -> Program:
    from dataclasses import replace

    from optzoo.program.expressions import Name
    from optzoo.program.ir import Line

    m, v = Name("m"), Name("v")
    lines = (Line(m, v.prev), Line(v, m.prev), Line(PARAM, PARAM.prev))
    return replace(program, step=lines)
