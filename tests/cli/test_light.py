"""Commands that only read do without what takes seconds to import, and say mistakes before it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_sweeps import make_sweep

REFUSING = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "datasets", "matplotlib"}:
            raise ModuleNotFoundError(f"this command needs {name}")

sys.meta_path.insert(0, Refusing())
from optzoo.__main__ import main
main()
"""


def without_heavy(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that can import neither torch nor datasets nor matplotlib."""
    (cwd / "refusing.py").write_text(REFUSING)
    root = str(Path(__file__).parent.parent.parent)
    return subprocess.run(
        [sys.executable, "refusing.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
    )


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "list --json",
        "show lion",
        "show lion --source c",
        "show lion --source python",
        "show ademamix --program --set beta1=0",
        "show c4-150m",
        "describe lion",
        "describe ademamix --markdown",
        "describe schedule_free_adamw --json",
        "equiv lion signum --set-a beta2=0.9",
        "convert lion --to accelerated",
        "convert ademamix --to simplified_ademamix --set beta1=0 --set warmup=1",
        "validate adamw quick l02-adamw",
        "schema",
        "schema setup",
        "schema sweep",
        "new mine --from lion",
        "train adamw --dry-run",
        "train ademamix --setup c4-150m --dry-run --json",
        "sweep l02-adamw --dry-run",
        "quadratic sgd --steps 10",
    ],
)
def test_reading_takes_neither_torch_nor_datasets_nor_matplotlib(
    command: str, tmp_path: Path
) -> None:
    done = without_heavy(*command.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout or command.startswith("new")


def test_comparing_takes_no_torch(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "made").path
    runs = [str(path) for path in sorted((sweep / "runs").iterdir())[:2]]
    for command in (
        ["compare", str(sweep)],
        ["compare", str(sweep), "--format", "csv"],
        ["compare", *runs],
        ["report", str(sweep)],
        ["sweep", "status", str(sweep)],
    ):
        done = without_heavy(*command, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("train adamww", "did you mean `adamw`?"),
        ("train adamw --setup quik", "did you mean `quick`?"),
        ("train adamw --set bata1=0.8", "did you mean `beta1`?"),
        ("train --resume runs/none", "the directory that `optzoo train` printed"),
        ("eval runs/none", "the directory that `optzoo train` printed"),
        ("export runs/none", "the directory that `optzoo train` printed"),
        ("bench adamww", "did you mean `adamw`?"),
        ("describe lionn", "did you mean `lion`?"),
        ("equiv lion signumm", "did you mean `signum`?"),
        ("quadratic sgdd", "did you mean `sgd`?"),
    ],
)
def test_what_is_mistyped_is_said_before_torch_is_imported(
    command: str, hint: str, tmp_path: Path
) -> None:
    done = without_heavy(*command.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert hint in done.stderr
