"""Whatever `validate` takes of version 2 can be asked everything, by commands as people run them.

A command answers, or refuses with what it says to the user; anything else is a fault.
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from optzoo.cli.app import app
from optzoo.errors import InputError, RunError

COMMANDS = (
    "validate",
    "show",
    "show --program",
    "show --resolved",
    "show --source c",
    "show --source python",
    "describe --at 1,2,7 --total-steps 6",
    "describe --at 1,3 --total-steps 6 --json",
    "describe --latex --total-steps 6",
    "describe --markdown --total-steps 6",
    "convert --to accelerated --total-steps 12",
    "quadratic --dim 3 --steps 4 --no-gains",
    "routes",
)
"""What is asked of every recipe."""
MUST_ANSWER = ("validate", "show", "show --program", "show --resolved", "routes")


def answer(path: Path, command: str) -> str | None:
    """Return what a command printed of a recipe, or None where it refused.

    Raises what is no refusal.
    """
    verb, *options = command.split()
    done = CliRunner().invoke(app, [verb, str(path), *options])
    if done.exception is None or isinstance(done.exception, SystemExit):
        assert done.exit_code in (0, 1, 2), command
        return done.stdout if done.exit_code == 0 else None
    if isinstance(done.exception, InputError | RunError):
        assert done.exception.diagnostics
        assert command not in MUST_ANSWER, str(done.exception)
        return None
    raise AssertionError(command) from done.exception


def is_its_own_equal(path: Path) -> bool:
    """Return whether `equiv` says that a recipe is itself; False where it refuses to compare."""
    done = CliRunner().invoke(
        app, ["equiv", str(path), str(path), "--no-search", "--steps", "10", "--total-steps", "10"]
    )
    if isinstance(done.exception, InputError | RunError):
        return False
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError("equiv") from done.exception
    assert done.exit_code == 0, done.stdout
    assert "the same" in done.stdout
    return True
