"""Commands as a user types them, each in a process of its own that need not import torch first.

They are forked from the server of processes.py. What a fresh interpreter adds, its start and the
encodings of its streams, is tested in tests/cli.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import forkserver

Done = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def typed(*arguments: str) -> list[str]:
    """The command line of a fresh interpreter."""
    return [sys.executable, "-m", "optzoo", *arguments]


def optzoo(*arguments: str, cwd: Path | None = None) -> Done:
    """Run a command to its end."""
    command = Command(*arguments, cwd=cwd)
    output, errors = command.communicate()
    assert command.returncode is not None
    return Done(["optzoo", *arguments], command.returncode, output, errors)


class Command:
    """A command under way, as `subprocess.Popen` has it."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        given = (arguments, str(cwd or Path.cwd()), environment(), self._files)
        self._process = forkserver().Process(target=_run, args=given)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return what was written to stdout and to stderr."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._process.join(timeout)
        if self._process.exitcode is None:
            assert deadline is not None
            self.kill()
            raise subprocess.TimeoutExpired("optzoo", timeout or 0.0)
        output, errors = (file.read_text("utf-8") if file.exists() else "" for file in self._files)
        self._folder.cleanup()
        return output, errors


def _run(arguments: tuple[str, ...], cwd: str, env: dict[str, str], files: list[Path]) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, file in zip((1, 2), files):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8")
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True
    )
    sys.argv = ["optzoo", *arguments]

    import torch

    torch.set_num_threads(1)
    from optzoo.__main__ import main

    main()
