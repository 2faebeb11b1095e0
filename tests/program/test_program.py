"""The program: what the checker refuses, what the passes keep, and what the language means."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_run import ReferenceRun

import optzoo
from optzoo.program.arithmetic import NotRationalError
from optzoo.program.check import check_program, intervals_of
from optzoo.program.expressions import Name
from optzoo.program.intervals import Interval, parse_interval
from optzoo.program.ir import Hyper, Line, Program, State, View
from optzoo.program.ops import Scope
from optzoo.program.parsing import parse_expression
from optzoo.program.simplify import specialise

RATE = Hyper("rate", Fraction(1, 10), parse_interval("[0, 1)"))


def program(
    scalars: dict[str, str], step: dict[str, str], states: tuple[State, ...] = (), **views: str
) -> Program:
    """Build a program from texts; `param` may be left out of the views."""
    views = {"train": "param", "eval": "param", **views}
    return Program(
        "made_here",
        (RATE,),
        states,
        tuple(Line(Name(n), parse_expression(e)) for n, e in scalars.items()),
        tuple(Line(Name(n), parse_expression(e)) for n, e in step.items()),
        tuple(View(n, parse_expression(e)) for n, e in views.items()),
    )


M = State("m", "tensor")
GOOD = {"m": "rate*m.prev + grad", "param": "param.prev - m"}


def codes(p: Program) -> list[str]:
    return [fault.code for fault in check_program(p)]


def test_a_good_program_has_no_faults() -> None:
    assert codes(program({}, GOOD, (M,))) == []


@pytest.mark.parametrize(
    ("scalars", "step", "states", "views", "code"),
    [
        ({}, {"param": "param.prev - u"}, (), {}, "unknown-name"),
        ({}, {"param": "param.prev - u", "u": "grad"}, (), {}, "unknown-name"),
        ({}, {"param": "m.prev"}, (), {}, "unknown-name"),
        ({"a": "1", "rate": "a"}, {"param": "param.prev - rate*grad"}, (), {}, "rebound-name"),
        ({}, {"u": "grad"}, (), {}, "no-param"),
        ({"a": "grad"}, {"param": "a*param.prev"}, (), {}, "sort-mismatch"),
        ({}, {"param": "param.prev - cospi(grad)"}, (), {}, "sort-mismatch"),
        ({"a": "norm(rate)"}, {"param": "a*param.prev"}, (), {}, "sort-mismatch"),
        ({"a": "1"}, {"param": "param.prev - grad"}, (), {}, "unused-name"),
        ({}, {**GOOD, "param": "param.prev - grad"}, (M,), {}, "unused-buffer"),
        ({}, {"param": "param.prev - grad/rate"}, (), {}, "zero-division"),
        ({}, {"param": "param.prev - grad/grad"}, (), {}, "zero-division"),
        ({}, GOOD, (M,), {"eval": "param*m"}, "not-linear"),
        ({}, GOOD, (M,), {"eval": "param + 1"}, "not-linear"),
        ({"a": "2"}, {"param": "a*grad"}, (), {"eval": "a*param"}, "not-kept"),
    ],
)
def test_refused(
    scalars: dict[str, str],
    step: dict[str, str],
    states: tuple[State, ...],
    views: dict[str, str],
    code: str,
) -> None:
    assert code in codes(program(scalars, step, states, **views))


def test_division_by_a_root_plus_eps_is_safe() -> None:
    p = program(
        {},
        {
            "v": "rate*v.prev + (1 - rate)*square(grad)",
            "param": "param.prev - grad/(sqrt(v) + 1)",
        },
        (State("v", "tensor"),),
    )
    assert codes(p) == []
    assert intervals_of(p)[Name("v", "prev")] == Interval(0.0, float("inf"), False, True)


def test_a_running_product_stays_below_one() -> None:
    scalars = {"left": "left.prev*rate", "scale": "1/(1 - left)"}
    step = {"param": "param.prev - scale*grad"}
    state = State("left", "scalar", Fraction(1))
    assert codes(program(scalars, step, (state,))) == []


def test_scopes() -> None:
    assert optzoo.load_recipe("adamw").program().scope is Scope.ELEMENTWISE
    assert optzoo.load_recipe("mars").program().scope is Scope.TENSOR
    assert "[tensor]" in optzoo.load_recipe("mars").program().text()


def test_text_is_what_a_person_would_write() -> None:
    assert optzoo.load_recipe("schedule_free_adamw").program().text(values=False) == (
        "program schedule_free_adamw (lr, beta, beta2, eps, r, weight_lr_power, weight_decay)\n"
        "  state    lr_max.prev : scalar, starts at 0\n"
        "  state    weight_sum.prev : scalar, starts at 0\n"
        "  state    c.prev : scalar, starts at 0\n"
        "  state    v.prev : tensor, starts at 0\n"
        "  state    b.prev : tensor, starts at 0\n"
        "  scalars  lr_max     := max(lr_max.prev, lr)\n"
        "           weight     := t**r*lr_max**weight_lr_power\n"
        "           weight_sum := weight_sum.prev + weight\n"
        "           c          := ratio(weight, weight_sum)\n"
        "           v_debias   := 1/(1 - beta2**t)\n"
        "  step     v              := beta2*v.prev + (1 - beta2)*square(grad)\n"
        "           preconditioned := grad/(sqrt(v_debias*v) + eps)\n"
        "           s              := lr*(preconditioned + weight_decay*param.prev)\n"
        "           b              := (1 - c.prev)*b.prev + s\n"
        "           param          := param.prev - (beta*c*b + (1 - beta)*s)\n"
        "  views    train := param\n"
        "           eval  := param + (1 - beta)*(1 - c)*b"
    )


@pytest.mark.parametrize(
    ("recipe", "zeros", "buffers"),
    [
        ("ademamix", ["beta1"], ["m2", "v"]),
        ("ademamix", ["alpha"], ["m1", "v"]),
        ("ademamix", [], ["m1", "m2", "v"]),
        ("mars", ["gamma"], ["m", "v"]),
        ("sgd_momentum", ["momentum"], []),
        ("lion", ["beta1"], []),
        ("adamw", ["beta1"], ["v"]),
    ],
)
def test_what_is_0_allocates_nothing(recipe: str, zeros: list[str], buffers: list[str]) -> None:
    small = specialise(optzoo.load_recipe(recipe).program(), zeros)
    assert [state.name for state in small.tensor_states] == buffers
    assert check_program(small) == []


@pytest.mark.parametrize("recipe", ["ademamix", "mars", "adamw", "laprop", "schedule_free_adamw"])
def test_specialising_preserves_every_value(recipe: str) -> None:
    loaded = optzoo.load_recipe(recipe)
    names = [n for n in loaded.hyperparameters if n in ("beta1", "gamma", "weight_decay", "r")]
    whole = loaded.program(**dict.fromkeys(names, 0))
    small = specialise(whole, names)
    assert len(small.text()) < len(whole.text())
    runs = [ReferenceRun(p, (1.0, -2.0), total_steps=20) for p in (whole, small)]
    for i in range(20):
        grad = (0.3 + 0.1 * i, -0.2 * i)
        for run in runs:
            run.step(grad)
        assert runs[0].param == runs[1].param
        assert runs[0].view("eval") == runs[1].view("eval")


GRADS = st.lists(st.fractions(-2, 2, max_denominator=16), min_size=8, max_size=8)


@given(GRADS, GRADS)
@settings(max_examples=25, derandomize=True, deadline=None)
def test_linear_recipes_are_additive_in_the_gradients(a: list[Fraction], b: list[Fraction]) -> None:
    p = optzoo.load_recipe("sgd_momentum").program(dampening=0.5)

    def moved(grads: list[Fraction]) -> Fraction:
        run = ReferenceRun(p, (Fraction(0),), exact=True)
        for grad in grads:
            run.step((grad,))
        assert isinstance(run.param, tuple)
        return Fraction(run.param[0])

    assert moved([x + y for x, y in zip(a, b, strict=True)]) == moved(a) + moved(b)


def test_exact_arithmetic_refuses_what_is_not_rational() -> None:
    run = ReferenceRun(optzoo.load_recipe("adamw").program(), (Fraction(1),), exact=True)
    run.step((Fraction(3, 4),))  # the root of a square is rational
    with pytest.raises(NotRationalError):
        run.step((Fraction(1),))


def test_overrides_are_checked_and_may_be_schedules() -> None:
    recipe = optzoo.load_recipe("ademamix")
    assert recipe.program().uses_total_steps
    assert not recipe.program(warmup=100).uses_total_steps
    text = recipe.program(alpha="min(5, t/10)", warmup=100).text()
    assert "alpha    := min(5, t/10)" in text
    with pytest.raises(optzoo.InputError, match="did you mean `alpha`"):
        recipe.with_overrides({"alhpa": 1})
    with pytest.raises(optzoo.InputError, match=r"outside \[0, 1\)"):
        recipe.with_overrides({"beta1": 1})
    with pytest.raises(optzoo.InputError, match="not `m1`"):
        recipe.with_overrides({"beta1": "m1"})
    with pytest.raises(optzoo.InputError, match="the learning rate is a number"):
        recipe.with_overrides({"lr": "1/t"})


def test_the_resolved_yaml_is_the_same_recipe() -> None:
    recipe = optzoo.load_recipe("ademamix").with_overrides({"beta1": 0, "warmup": 50})
    recipe = recipe.with_observers(["tail:0.1", "ema:0.99"])
    again = optzoo.parse_recipe(recipe.to_yaml())
    assert again.program() == recipe.program()
    assert again.digest == recipe.digest
    assert recipe.digest != optzoo.load_recipe("ademamix").digest
