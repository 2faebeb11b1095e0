"""Means, standard errors and Student's tests, against tables and by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optzoo.comparison.statistics import difference, summarise, two_sided_p

CRITICAL = {  # degrees of freedom: t at 5% and at 1%, two-sided, as in every printed table
    1: (12.7062, 63.6567),
    2: (4.3027, 9.9248),
    4: (2.7764, 4.6041),
    10: (2.2281, 3.1693),
    30: (2.0423, 2.7500),
}


@pytest.mark.parametrize("freedom", CRITICAL)
def test_p_values_are_those_of_the_tables(freedom: int) -> None:
    """Four decimals of t leave p known to about 1e-4 of itself."""
    for t, p in zip(CRITICAL[freedom], (0.05, 0.01), strict=True):
        assert two_sided_p(t, 1.0, freedom) == pytest.approx(p, rel=2e-4)
        assert two_sided_p(-t * 3, 3.0, freedom) == pytest.approx(p, rel=2e-4)


def test_with_one_degree_of_freedom_it_is_cauchys() -> None:
    for t in (0.1, 1.0, 7.5, 1e4):
        assert two_sided_p(t, 1.0, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi, rel=1e-9)


def test_a_summary_by_hand() -> None:
    found = summarise([1.0, 2.0, 4.0])
    assert (found.count, found.mean) == (3, pytest.approx(7 / 3))
    variance = Fraction(14, 3) / 2
    assert found.std == pytest.approx(float(variance) ** 0.5)
    assert found.error == pytest.approx((float(variance) / 3) ** 0.5)
    assert summarise([2.5]) == summarise([2.5])
    assert summarise([2.5]).error is None


def test_the_same_seeds_are_paired() -> None:
    """Seeds that move both methods alike hide a difference from Welch, not from pairs."""
    ours, theirs = {0: 1.0, 1: 2.0, 2: 3.1}, {0: 1.1, 1: 2.1, 2: 3.3}
    found = difference(ours, theirs)
    assert found.test == "paired"
    assert found.freedom == 2
    assert found.mean == pytest.approx(-0.4 / 3)
    assert found.error == pytest.approx(1 / 30)
    assert found.p == pytest.approx(two_sided_p(4.0, 1.0, 2), rel=1e-9)
    other = difference(ours, {seed + 10: loss for seed, loss in theirs.items()})
    assert other.test == "welch"
    assert other.p is not None
    assert other.p > 0.8
    assert other.is_within_noise


def test_welch_by_hand() -> None:
    """Samples of 3 and 5: the degrees of freedom of Welch and Satterthwaite."""
    ours = dict(enumerate((1.0, 2.0, 3.0)))
    theirs = dict(enumerate((2.0, 4.0, 6.0, 8.0, 10.0)))
    found = difference(ours, theirs)
    a, b = 1 / 3, 10 / 5
    assert found.test == "welch"
    assert found.mean == -4
    assert found.error == pytest.approx((a + b) ** 0.5)
    assert found.freedom == pytest.approx((a + b) ** 2 / (a**2 / 2 + b**2 / 4))


def test_one_seed_is_no_verdict() -> None:
    for found in (difference({0: 1.0}, {0: 2.0}), difference({0: 1.0}, {1: 2.0, 2: 3.0})):
        assert found.p is None
        assert found.is_within_noise


def test_values_without_spread() -> None:
    assert difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p == 1
    assert difference({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5}).p == 0
    assert difference({0: 1.0, 1: 1.0}, {2: 1.0, 3: 1.0}).p == 1
    assert difference({0: 1.0, 1: 1.0}, {2: 2.0, 3: 2.0}).p == 0


LOSSES = st.lists(st.floats(1, 5), min_size=2, max_size=6)


@given(LOSSES, LOSSES)
def test_turning_it_round_changes_the_sign_alone(a: list[float], b: list[float]) -> None:
    ours, theirs = dict(enumerate(a)), {i + 10: x for i, x in enumerate(b)}
    one, two = difference(ours, theirs), difference(theirs, ours)
    assert one.mean == pytest.approx(-two.mean)
    assert one.p == pytest.approx(two.p)
    assert one.p is not None
    assert 0 <= one.p <= 1
