"""An operation in floats, rationals, decimals and arrays: the same value, or none in any."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optzoo.engines.elementwise import ELEMENTWISE
from optzoo.interpreters.arrays import RULES as ARRAYS
from optzoo.program.arithmetic import (
    DECIMAL,
    FLOAT,
    IEEE,
    RATIONAL,
    NotRationalError,
    precisely,
    rational,
)
from optzoo.program.ops import OPS

NUMBERS = [op for op in OPS if op in FLOAT]
VALUES = [Fraction(n, d) for n in (-7, -3, -2, -1, 0, 1, 2, 3, 5, 12) for d in (1, 2, 3, 4)]
ARGUMENTS = st.lists(st.sampled_from(VALUES), min_size=3, max_size=3)


def arguments(op: str, drawn: list[Fraction]) -> list[Fraction]:
    """Return as many as an operation takes; decays lie in [0, 1]."""
    if op == "half_life":
        drawn = [abs(x) / 12 for x in drawn]
    return drawn[: OPS[op].max_args or 2]


def in_floats(op: str, args: list[Fraction]) -> float | None:
    try:
        return float(FLOAT[op](*map(float, args)))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def test_every_table_has_every_operation_on_numbers() -> None:
    assert set(FLOAT) == set(RATIONAL) == set(DECIMAL) == set(IEEE)
    assert set(FLOAT) == {name for name, op in OPS.items() if op.on_scalars}


@given(st.sampled_from(NUMBERS), ARGUMENTS)
@settings(max_examples=1500, derandomize=True, deadline=None)
def test_rationals_and_decimals_are_the_floats(op: str, drawn: list[Fraction]) -> None:
    args = arguments(op, drawn)
    wanted = in_floats(op, args)
    try:
        exact = rational(op, args)
    except (NotRationalError, ValueError, ZeroDivisionError):
        exact = None
    if exact is not None:
        assert wanted is not None, args
        assert math.isclose(float(exact), wanted, rel_tol=1e-12, abs_tol=1e-12), args
    with precisely():
        try:
            digits = DECIMAL[op](*(Decimal(x.numerator) / x.denominator for x in args))
        except (ArithmeticError, ValueError):
            assert wanted is None, args
            return
    if not digits.is_finite():
        assert wanted is None, args
        return
    if op == "pow" and wanted is None:  # -1/3 in decimals is not exactly that
        return
    assert wanted is not None, args
    if op in ("less", "greater", "equal", "mod") and any(x.denominator == 3 for x in args):
        return  # thirds are rounded, and these jump
    assert math.isclose(float(digits), wanted, rel_tol=1e-12, abs_tol=1e-12), args


@given(st.sampled_from(NUMBERS), ARGUMENTS)
@settings(max_examples=1500, derandomize=True, deadline=None)
def test_elements_and_arrays_are_the_floats(op: str, drawn: list[Fraction]) -> None:
    args = [float(x) for x in arguments(op, drawn)]
    wanted = in_floats(op, arguments(op, drawn))
    element = IEEE[op](*args) if op not in ("mod", "cospi", "half_life") else wanted
    if wanted is not None and element is not None:
        assert element == wanted
    if op in ARRAYS and wanted is not None:
        with np.errstate(all="ignore"):
            found = ARRAYS[op](*(np.array([x, x]) for x in args))
        assert np.allclose(found, wanted, rtol=1e-12, atol=1e-12), args
    if op in ELEMENTWISE and element is not None:
        tensor = ELEMENTWISE[op](*(torch.tensor([x], dtype=torch.float64) for x in args))
        assert np.allclose(tensor.numpy(), element, rtol=1e-12, atol=1e-12, equal_nan=True), args


@pytest.mark.parametrize(
    ("op", "args", "value"),
    [
        ("atan2", (0, -1), math.pi),
        ("atan2", (0, 0), 0.0),
        ("atan2", (-1, 0), -math.pi / 2),
        ("mod", (-1, 3), 2.0),
        ("mod", (5, 0), 5.0),
        ("tanh", (50, None), 1.0),
        ("ratio", (3, 0), 0.0),
        ("pow", (0, 0), 1.0),
        ("where", (0, 1, 2), 2.0),
        ("where", (-3, 1, 2), 1.0),
    ],
)
def test_values_that_are_told(op: str, args: tuple[int | None, ...], value: float) -> None:
    given_ = [x for x in args if x is not None]
    assert FLOAT[op](*map(float, given_)) == value
    with precisely():
        assert math.isclose(float(DECIMAL[op](*map(Decimal, given_))), value)
    try:
        assert math.isclose(float(RATIONAL[op](*map(Fraction, given_))), value)
    except NotRationalError:
        assert op in ("atan2", "tanh")
