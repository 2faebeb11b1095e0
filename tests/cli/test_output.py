"""Tables fit the terminal that they are shown in, and are plain and whole everywhere else."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optzoo.cli.output import columns_that_fit, show_table

ROOT = Path(__file__).parents[2]
RECORDS = [
    {"name": "lion", "family": "sign", "bytes": 4, "reference": "Chen et al. 2023, " * 4},
    {"name": "schedule_free_sgd", "family": "averaged", "bytes": 4, "reference": "Defazio"},
]
CODES = re.compile(r"\x1b\[[0-9;]*m")


def in_terminal(columns: int, *arguments: str, **environment: str) -> str:
    """Return what a command shows in a terminal of so many columns."""
    import fcntl
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    done = subprocess.Popen(
        [sys.executable, "-m", "optzoo", *arguments], stdin=other, stdout=other,
        stderr=subprocess.DEVNULL, close_fds=True,
        env={**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        shown += part
    assert done.wait() == 0
    os.close(main)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_table_fits_the_terminal(columns: int) -> None:
    shown = CODES.sub("", in_terminal(columns, "list", "--family", "sign"))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert "cautious_lion" in shown
    assert ("order" in lines[0]) == (columns >= 120)


def test_colour_heeds_no_color() -> None:
    bright = in_terminal(100, "list", "--search", "signum")
    assert "\x1b[36m" in bright
    dull = in_terminal(100, "list", "--search", "signum", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", dull)
    assert "signum" in dull


def test_columns_go_before_others_wrap() -> None:
    keys = list(RECORDS[0])
    assert columns_that_fit(RECORDS, 200, ("reference",), ("family", "bytes")) == keys
    narrow = columns_that_fit(RECORDS, 55, ("reference",), ("family", "bytes"))
    assert narrow == ["name", "bytes", "reference"]
    assert columns_that_fit(RECORDS, 10, (), ("family",)) == ["name", "bytes", "reference"]


def test_without_a_terminal_a_table_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(RECORDS, wraps=("reference",), goes=("family",))
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split() == ["name", "family", "bytes", "reference"]
    assert RECORDS[0]["reference"].strip() in shown


def test_what_comes_from_files_does_not_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[dict[str, Any]] = [{"name": "a\x1b[2J", "n": 1}]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_table(records)
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "a\\x1b[2J" in shown
