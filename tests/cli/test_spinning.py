"""Threads that wait give up their cores, unless the user has said how they are to wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from optzoo.cli import spinning


@pytest.mark.parametrize(("is_busy", "turns"), [(True, "1000"), (False, "20000")])
def test_spinning_is_bounded_by_the_load(
    is_busy: bool, turns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spinning, "_is_busy", lambda: is_busy)
    environment: dict[str, str] = {}
    spinning.bound_spinning(environment)
    assert environment == {"GOMP_SPINCOUNT": turns}


@pytest.mark.parametrize("name", spinning.SETTINGS)
def test_what_the_user_set_stays(name: str) -> None:
    environment = {name: "as the user likes"}
    spinning.bound_spinning(environment)
    assert environment == {name: "as the user likes"}


@pytest.mark.parametrize(
    ("loads", "is_busy"),
    [
        ("9.0 5 5 9/300 1", True),
        ("9.0 5 5 1/300 1", False),
        ("0.0 5 5 9/300 1", False),
        ("", False),
    ],
)
def test_busy_is_for_a_minute_and_now(loads: str, is_busy: bool, tmp_path: Path) -> None:
    path = tmp_path / "loadavg"
    path.write_text(loads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 2)
        assert spinning._is_busy(path) == is_busy
    assert not spinning._is_busy(tmp_path / "absent")
