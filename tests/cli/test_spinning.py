"""Threads that wait give up their cores, unless the user has said how they are to wait."""

from __future__ import annotations

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
