"""Plans: what is a number, what needs a pass of its own, and what may be overwritten when."""

from __future__ import annotations

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
    """Walk the lines in order, overwrite each store that is not late: no `.prev` is read after."""
    plan = plan_of(name)
    gone = set()
    for line in plan.lines:
        assert not gone & set(names_in(line.expr)), f"{line} reads what is overwritten"
        if line.target in plan.stores and line.target not in plan.late:
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


def test_a_circle_of_previous_values_is_broken_by_a_late_store() -> None:
    """x reads y.prev and y reads x.prev: one of them has to wait."""
    program = optzoo.load_recipe("adamw").program()
    swap = _swapped(program)
    plan = plan_program(swap)
    assert len(plan.late) == 1


def _swapped(program: Program) -> Program:
    from dataclasses import replace

    from optzoo.program.expressions import Name
    from optzoo.program.ir import Line

    m, v = Name("m"), Name("v")
    lines = (Line(m, v.prev), Line(v, m.prev), Line(PARAM, PARAM.prev))
    return replace(program, step=lines)
