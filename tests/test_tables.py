"""Tables and numbers for people."""

from __future__ import annotations

import pytest

from optzoo.tables import (
    align,
    align_records,
    format_clock,
    format_count,
    format_hours,
    format_short,
    format_size,
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("", "ms", "share"), ("adamw", "1.25", "100%"), ("a longer name", "12", "")]
    assert align(rows, "<>", gap=1, indent=0) == [
        "                ms share",
        "adamw         1.25  100%",
        "a longer name   12",
    ]


def test_columns_may_be_wider_and_to_the_left() -> None:
    assert align([("a", "b"), ("ccc", "d")], least=(2, 9), indent=1) == [" a    b", " ccc  d"]
    assert align([("a", "b")], "<>", least=(2, 4), indent=0) == ["a      b"]
    assert align([]) == []


def test_records_have_their_keys_above_them() -> None:
    records = [{"name": "lion", "state_bytes": 4}, {"name": "sgd", "state_bytes": 0}]
    assert align_records(records) == ["name  state bytes", "lion  4", "sgd   0"]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (format_count(999), "999"),
        (format_count(999_900), "1M"),
        (format_count(29_400_000), "29.4M"),
        (format_count(1_500_000_000), "1.5B"),
        (format_short(0.123456), "0.1235"),
        (format_short(12345.6), "12,346"),
        (format_short(1e16), "1e+16"),
        (format_short(None), "-"),
        (format_short(float("nan")), "-"),
        (format_size(3 * 2**19), "1.5 MiB"),
        (format_size(2**30), "1.0 GiB"),
        (format_hours(0.05), "3 min"),
        (format_hours(1234.5), "1,234.5 h"),
        (format_clock(59.6), "01:00"),
        (format_clock(3725), "1:02:05"),
    ],
)
def test_numbers(shown: str, text: str) -> None:
    assert shown == text
