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


def stat(busy: int, idle: int) -> str:
    """Return a `/proc/stat` in which cores were busy and idle for so many ticks."""
    user, system, steal = busy // 2, busy // 4, busy - busy // 2 - busy // 4
    return (
        f"cpu  {user} 0 {system} {idle - idle // 3} {idle // 3} 0 0 {steal} {user} 0\n"
        "cpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"
    )


@pytest.mark.parametrize(
    ("minute", "busy", "idle", "is_busy"),
    [
        (2.0, 20, 0, True),
        (2.0, 11, 9, True),
        (2.0, 9, 11, False),  # what worked for the last minute has ended
        (0.9, 20, 0, False),  # something begins, perhaps this command's shell
        (2.0, 0, 0, False),
    ],
)
def test_busy_is_for_a_minute_and_now(
    minute: float, busy: int, idle: int, is_busy: bool, tmp_path: Path
) -> None:
    loads, times = tmp_path / "loadavg", tmp_path / "stat"
    loads.write_text(f"{minute} 5 5 9/300 1")
    times.write_text(stat(10_000, 50_000))

    def pause(seconds: float) -> None:
        times.write_text(stat(10_000 + busy, 50_000 + idle))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 2)
        assert spinning._is_busy(loads, times, pause) == is_busy


@pytest.mark.parametrize("text", [None, "", "cpu\n", "cpu 1 x\n", "other 1 2 3 4 5 6 7 8\n"])
def test_where_nothing_tells_a_machine_is_quiet(text: str | None, tmp_path: Path) -> None:
    loads, times = tmp_path / "loadavg", tmp_path / "stat"
    assert not spinning._is_busy(loads, times, lambda _: None)
    loads.write_text("900.0 5 5 9/300 1")
    if text is not None:
        times.write_text(text)
    assert not spinning._is_busy(loads, times, lambda _: None)
