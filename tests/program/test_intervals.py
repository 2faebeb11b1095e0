"""Interval rules contain every value they must; divisions that are safe are seen to be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.arithmetic import FLOAT
from optzoo.program.intervals import Interval, apply_interval, parse_interval, point
from optzoo.program.ops import OPS
from optzoo.program.parsing import parse_expression
from optzoo.program.tensors.elements import Matrix

DOMAIN = ReferenceDomain("float")
ENDS = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0])
BINARY = ["add", "sub", "mul", "div", "min", "max", "ratio", "pow"]
BINARY += ["atan2", "mod", "less", "greater", "equal"]
UNARY = ["neg", "square", "abs", "sign", "positive", "exp", "cospi", "tanh"]
REDUCED = [name for name, op in OPS.items() if op.reduces is not None]


@st.composite
def intervals_and_points(draw: st.DrawFn) -> tuple[Interval, float]:
    low, high = sorted((draw(ENDS), draw(ENDS)))
    share = draw(st.sampled_from([0.0, 0.125, 0.5, 0.875, 1.0]))
    value = low + share * (high - low)
    low = draw(st.sampled_from([low, low, low, -math.inf]))
    high = draw(st.sampled_from([high, high, high, math.inf]))
    is_open = [draw(st.booleans()) or math.isinf(end) for end in (low, high)]
    interval = Interval(low, high, *is_open)
    assume(value in interval)
    return interval, value


@given(st.sampled_from(BINARY), intervals_and_points(), intervals_and_points())
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_binary_rules_are_sound(
    op: str, a: tuple[Interval, float], b: tuple[Interval, float]
) -> None:
    assume(not (op == "div" and b[1] == 0))
    assume(not (op == "pow" and (a[1] < 0 or (a[1] == 0 and b[1] < 0))))
    value = FLOAT[op](a[1], b[1])
    assert value in apply_interval(op, [a[0], b[0]]), (op, a, b, value)


@given(st.sampled_from(UNARY), intervals_and_points())
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_unary_rules_are_sound(op: str, a: tuple[Interval, float]) -> None:
    value = FLOAT[op](a[1])
    assert value in apply_interval(op, [a[0]]), (op, a, value)


@given(intervals_and_points())
@settings(max_examples=300, derandomize=True, deadline=None)
def test_roots_and_logarithms_are_sound(a: tuple[Interval, float]) -> None:
    assume(a[0].low >= 0)
    assert math.sqrt(a[1]) in apply_interval("sqrt", [a[0]])
    if a[1] > 0:
        assert math.log(a[1]) in apply_interval("log", [a[0]])


@given(intervals_and_points(), intervals_and_points(), intervals_and_points())
@settings(max_examples=500, derandomize=True, deadline=None)
def test_a_choice_is_sound(
    c: tuple[Interval, float], a: tuple[Interval, float], b: tuple[Interval, float]
) -> None:
    value = FLOAT["where"](c[1], a[1], b[1])
    assert value in apply_interval("where", [c[0], a[0], b[0]])


@st.composite
def intervals_and_matrices(draw: st.DrawFn) -> tuple[Interval, Matrix]:
    interval, value = draw(intervals_and_points())
    rows, cols = draw(st.sampled_from([(1, 1), (1, 3), (3, 1), (2, 3), (3, 2), (3, 3)]))
    ends = [end for end in (interval.low, interval.high) if math.isfinite(end)]
    far = [end + sign * 7.5 for end in (*ends, value) for sign in (-1, 0, 1)]
    inside = [x for x in (value, *ends, *far) if x in interval]
    elements = [draw(st.sampled_from(inside)) for _ in range(rows * cols)]
    return interval, Matrix(elements, rows, cols)


def elements_of(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


@given(st.sampled_from(REDUCED), intervals_and_matrices(), st.sampled_from([1.0, 2.0, 5.0]))
@settings(max_examples=1500, derandomize=True, deadline=None)
def test_reductions_are_sound(op: str, a: tuple[Interval, Matrix], count: float) -> None:
    blocks = OPS[op].kept == "block"
    value = DOMAIN.apply(op, [a[1], count] if blocks else [a[1]])
    found = apply_interval(op, [a[0], point(count)] if blocks else [a[0]])
    room = 1e-12  # a mean of equal numbers may be rounded
    wide = Interval(found.low - room, found.high + room, found.low_open, found.high_open)
    assert all(x in wide for x in elements_of(value)), (op, a, value, found)
    if 0 not in found:
        assert 0.0 not in elements_of(value)


@given(intervals_and_matrices())
@settings(max_examples=300, derandomize=True, deadline=None)
def test_what_is_made_of_matrices_is_sound(a: tuple[Interval, Matrix]) -> None:
    matrix = a[1]
    turned = DOMAIN.apply("transpose", [matrix])
    gram = DOMAIN.apply("matmul", [matrix, turned])
    column = DOMAIN.apply("row_mean", [matrix])
    places = DOMAIN.apply("order", [column])
    made = {
        "transpose": [matrix],
        "matmul": [matrix, turned],
        "identity": [gram],
        "diagonal": [gram],
        "orthonormal": [matrix],
        "eigenbasis": [gram],
        "power": [gram, 0.5],
        "order": [column],
        "row_take": [matrix, places],
        "rows": [matrix],
        "cols": [matrix],
        "size": [matrix],
        "polar": [matrix, 1.0, 1e-7, 1.5, -0.5, 0.0],
    }
    for op, args in made.items():
        intervals = [hull_of(arg) if i or op in GRAMS else a[0] for i, arg in enumerate(args)]
        found = apply_interval(op, intervals)
        room = Interval(found.low - 1e-12, found.high + 1e-12, found.low_open, found.high_open)
        value = elements_of(DOMAIN.apply(op, args))
        assert all(x in room for x in value), (op, a, value, found)


GRAMS = ("identity", "diagonal", "eigenbasis", "power", "order")


def hull_of(value: Any) -> Interval:
    """Return the interval of the elements of a value."""
    return Interval(min(elements_of(value)), max(elements_of(value)))


def test_a_sum_of_nothing_is_0_and_other_sums_have_an_element() -> None:
    above = Interval(1, 2, True)
    assert str(apply_interval("model_sum", [above])) == "[0, inf)"
    assert str(apply_interval("row_sum", [above])) == "(1, inf)"
    assert str(apply_interval("norm", [Interval(-3, -2)])) == "[2, inf)"
    assert str(apply_interval("sum", [Interval(-3, -2)])) == "(-inf, -2]"
    assert str(apply_interval("sum", [Interval(-3, 2)])) == "(-inf, inf)"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("[0, 1)", [0, 0.5], [1, -0.1]),
        ("(0, inf)", [1e-300, 1e300], [0, math.inf]),
        ("[1, 1]", [1], [0.999]),
    ],
)
def test_parse(text: str, inside: list[float], outside: list[float]) -> None:
    interval = parse_interval(text)
    assert str(interval) == text
    assert all(x in interval for x in inside)
    assert not any(x in interval for x in outside)


@pytest.mark.parametrize("text", ["", "0..1", "[1, 0]", "[nan, 1]", "[0 1]", "[a, b]"])
def test_bad_intervals_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|ends|end"):
        parse_interval(text)


@pytest.mark.parametrize(
    ("divisor", "is_safe"),
    [
        ("1 - beta**t", True),
        ("1 - beta", True),
        ("beta", False),
        ("1 + beta", True),
        ("delta*t", True),
        ("t - 1", False),
        ("max(1, beta)", True),
        ("eps + sqrt(beta)", True),
        ("1 - product", True),
        ("1 - shut", False),
    ],
)
def test_division_is_decided(divisor: str, is_safe: bool) -> None:
    from optzoo.program.bounds.ranges import interval_of
    from optzoo.program.expressions import Name

    values = {
        Name("beta"): Interval(0, 1, False, True),
        Name("shut"): Interval(0, 1),
        Name("delta"): Interval(0, 1, True, False),
        Name("eps"): Interval(0, math.inf, True, True),
        Name("t"): Interval(1, math.inf, False, True),
        Name("product"): Interval(0, 1, False, True),
    }
    assert (0 not in interval_of(parse_expression(divisor), values)) == is_safe
