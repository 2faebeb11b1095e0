"""Expressions: parsing and printing are inverse, and what is not allowed is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optzoo.program.arithmetic import FloatDomain, half_life
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, Num, format_expression
from optzoo.program.ops import FUNCTIONS
from optzoo.program.parsing import ExpressionError, parse_expression

NUMBERS = st.decimals(min_value=0, max_value=10**6, places=6).map(lambda d: Num(Fraction(d)))
NAMES = st.builds(
    Name, st.sampled_from(["a", "beta1", "t", "m"]), st.sampled_from(["now", "prev", "next"])
)


def calls(children: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    binary = st.sampled_from(["add", "sub", "mul", "div", "pow", "min", "max", "ratio"])
    unary = st.sampled_from(["neg", "sqrt", "square", "exp", "log", "sign", "norm"])
    return st.one_of(
        st.builds(lambda op, a, b: Call(op, (a, b)), binary, children, children),
        st.builds(lambda op, a: Call(op, (a,)), unary, children),
        st.builds(lambda a, b, c: Call("half_life", (a, b, c)), children, children, children),
    )


EXPRESSIONS = st.recursive(st.one_of(NUMBERS, NAMES), calls, max_leaves=12)


@given(EXPRESSIONS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_print_then_parse_is_the_identity(expr: Expr) -> None:
    assert parse_expression(format_expression(expr)) == expr


@given(st.text(max_size=60))
@settings(max_examples=400, derandomize=True, deadline=None)
def test_any_text_parses_or_gives_one_clear_error(text: str) -> None:
    error = None
    try:
        expr = parse_expression(text)
    except ExpressionError as caught:
        error = caught
    if error is None:
        assert parse_expression(format_expression(expr)) == expr
    else:
        assert error.message
        assert 0 <= error.offset <= max(1, len(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 - 2 - 3", -4.0),
        ("2**3**2", 512.0),
        ("-2**2", -4.0),
        ("(1 - 0.9)/(1 - 0.9**2)", 0.1 / 0.19),
        ("1/(2/4)", 2.0),
        ("min(3, 1, 2)", 1.0),
        ("ratio(1, 0) + ratio(1, 4)", 0.25),
        ("positive(0) + positive(3)", 1.0),
        ("cospi(1)", -1.0),
        ("1e-3", 0.001),
    ],
)
def test_values(text: str, value: float) -> None:
    assert evaluate(parse_expression(text), FloatDomain(), {}) == pytest.approx(value, rel=1e-15)


def test_numbers_are_exact_decimals() -> None:
    assert parse_expression("0.1") == Num(Fraction(1, 10))
    assert parse_expression(0.1) == Num(Fraction(1, 10))
    assert parse_expression(1e-8) == parse_expression("1e-8")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "().__class__",
        "m.grad",
        "m[0]",
        "a if b else c",
        "lambda: 1",
        "[x for x in y]",
        "a and b",
        "a <= b",
        "a < b < c",
        "'text'",
        "True",
        "1j",
        "10**400 * 1e999",
        "f(x)",
        "min(1)",
        "min(a=1, b=2)",
        "sqrt(*a)",
        "a := 1",
        "a; b",
        "",
        "(" * 5000 + ")" * 5000,
        "+".join("1" * 5000),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_expression(text)


def test_every_function_has_a_scalar_rule_or_is_for_tensors_only() -> None:
    from optzoo.program.arithmetic import FLOAT

    assert {name for name, op in FUNCTIONS.items() if op.on_scalars} <= set(FLOAT)


class TestHalfLife:
    """The half-life-linear schedule of AdEMAMix (arXiv 2409.03137, section 3)."""

    def test_ends(self) -> None:
        assert half_life(0.9, 0.999, 0.0) == 0.9
        assert half_life(0.9, 0.999, 1.0) == 0.999
        assert half_life(0.9, 0.999, 2.0) == 0.999

    def test_half_way_is_the_mean_half_life(self) -> None:
        from math import log

        middle = log(0.5) / log(half_life(0.9, 0.999, 0.5))
        ends = log(0.5) / log(0.9), log(0.5) / log(0.999)
        assert middle == pytest.approx(sum(ends) / 2, rel=1e-12)

    def test_a_start_of_0_is_its_limit(self) -> None:
        assert half_life(0.0, 0.999, 0.0) == 0.0
        assert half_life(0.0, 0.999, 0.3) == pytest.approx(half_life(1e-300, 0.999, 0.3), rel=1e-2)
        assert half_life(0.0, 0.0, 0.5) == 0.0
