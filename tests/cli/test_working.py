"""The line that says what a command is at: on a terminal, after a while, and gone at the end."""

from __future__ import annotations

import io
import time

import pytest

from optzoo.cli import working as module
from optzoo.cli.working import working


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_in(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal in the place of stderr; not a fixture, after which pytest puts its own."""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    return shown


def wait_for(text: str, terminal: Terminal) -> None:
    for _ in range(20_000):
        if text in terminal.getvalue():
            return
        time.sleep(0.001)
    pytest.fail(f"{text!r} was never shown")


def test_what_takes_long_is_said_with_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(module, "EVERY", 0.001)
    with working("tuning") as tell:
        for where in ("sgd", "adam\x1b[2J"):
            tell(where)
            wait_for(f"tuning: {where[:3]}", terminal)
    shown = terminal.getvalue()
    assert "tuning: sgd ... 00:00" in shown
    assert "\x1b" not in shown
    assert shown.endswith("\r")
    last = shown.split("\r")[-2]
    assert last.strip() == "", "the line is wiped"
    assert len(last) >= max(len(part.rstrip()) for part in shown.split("\r"))


def test_what_is_quick_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    with working("adding") as tell:
        tell("one")
    assert terminal.getvalue() == ""


def test_the_line_goes_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(module, "PATIENCE", 0.0)

    def divide() -> None:
        with working("dividing"):
            wait_for("dividing", terminal)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide()
    assert terminal.getvalue().split("\r")[-2].strip() == ""


def test_a_pipe_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with working("tuning") as tell:
        tell("sgd")
        time.sleep(0.01)
    assert shown.getvalue() == ""
