"""Interval rules contain every value they must; divisions that are safe are seen to be."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optzoo.program.arithmetic import FLOAT
from optzoo.program.intervals import Interval, apply_interval, parse_interval
from optzoo.program.parsing import parse_expression

ENDS = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0])
BINARY = ["add", "sub", "mul", "div", "min", "max", "ratio", "pow"]
UNARY = ["neg", "square", "abs", "sign", "positive", "exp", "cospi"]


@st.composite
def intervals_and_points(draw: st.DrawFn) -> tuple[Interval, float]:
    low, high = sorted((draw(ENDS), draw(ENDS)))
    interval = Interval(low, high, draw(st.booleans()), draw(st.booleans()))
    share = draw(st.sampled_from([0.0, 0.125, 0.5, 0.875, 1.0]))
    value = low + share * (high - low)
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
    from optzoo.program.expressions import Name
    from optzoo.program.ranges import interval_of

    values = {
        Name("beta"): Interval(0, 1, False, True),
        Name("shut"): Interval(0, 1),
        Name("delta"): Interval(0, 1, True, False),
        Name("eps"): Interval(0, math.inf, True, True),
        Name("t"): Interval(1, math.inf, False, True),
        Name("product"): Interval(0, 1, False, True),
    }
    assert (0 not in interval_of(parse_expression(divisor), values)) == is_safe
