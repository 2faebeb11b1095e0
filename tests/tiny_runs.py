"""Commands as a user types them, and the options that make a run tiny."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = (
    *("--set", "model.width=16", "--set", "model.layers=1", "--set", "model.hidden=32"),
    *("--set", "batch.sequences=2", "--set", "batch.sequence_length=16"),
    *("--set", "evaluation.sequences=4", "--set", "evaluation.every=10"),
    *("--set", "sample.bytes=5", "--threads", "1"),
)


def tiny_options(*arguments: str) -> list[str]:
    """The options of a tiny run and these; where both set a field, these do."""
    given = [a.partition("=")[0] for a in arguments if "=" in a]
    pairs = zip(TINY[::2], TINY[1::2])
    kept = [pair for pair in pairs if pair[1].partition("=")[0] not in given]
    return [text for pair in kept for text in pair] + list(arguments)


Done = subprocess.CompletedProcess[str]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "optzoo", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def optzoo(*arguments: str, cwd: Path | None = None) -> Done:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment(),
    )
