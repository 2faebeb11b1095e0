"""The run directory: what a run writes, where, and how it is found again.

    run.json         identity: format version, digests, corpus fingerprint, command line
    recipe.yaml      the recipe with overrides and observers written in
    setup.yaml       the setup with overrides and the thread count written in
    program.txt      the program the recipe becomes
    versions.json    python, torch, optzoo, numpy, platform, threads
    metrics.jsonl    training and held-out losses
    checkpoints/     see optzoo.train.runs.checkpoint_folder
    loss.png         training and held-out loss against steps
    sample.txt       text drawn from the trained model
    result.json      final losses and weights; there only when the run has finished

`run.json` is written last when a run is created, so a directory that has one is complete enough to
resume from. One process at a time holds a run directory.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import optzoo
from optzoo.data.corpus import Corpus
from optzoo.errors import Diagnostic, InputError, RunError, check_version
from optzoo.files.atomic import to_json, write_durably
from optzoo.files.lock import locked
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.train.setup.schema import Setup, load_setup

RUN_FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that exists, with the identity it was created with."""

    path: Path
    identity: Mapping[str, Any]

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The metrics log."""
        return self.path / "metrics.jsonl"

    @property
    def is_finished(self) -> bool:
        """Whether the run reached its last step and said so."""
        return (self.path / "result.json").is_file()

    def load_recipe(self) -> Recipe:
        """Return the resolved recipe. Raises InputError when the file no longer is that recipe."""
        return self._unchanged(load_recipe(self.path / "recipe.yaml"))

    def load_setup(self) -> Setup:
        """Return the resolved setup."""
        return load_setup(str(self.path / "setup.yaml"))

    def check_corpus(self, corpus: Corpus) -> None:
        """Raise InputError when the corpus is not the one this run was trained on."""
        theirs = self.identity["corpus"]
        if theirs["fingerprint"] != corpus.fingerprint:
            raise InputError(
                Diagnostic(
                    "other-corpus",
                    f"{self.path} was trained on {theirs['title']} "
                    f"({theirs['fingerprint'][:12]}), and this is {corpus.title} "
                    f"({corpus.fingerprint[:12]})",
                    hint="use the Python that started the run: see `python` in "
                    f"{self.path / 'versions.json'}"
                    if theirs["name"] == "stdlib"
                    else "put the data back that the run was started with: see `data.path` in "
                    f"{self.path / 'setup.yaml'}",
                )
            )

    def write(self, name: str, data: bytes) -> None:
        """Replace a file of the run in one step. Raises RunError when the disk does not take it."""
        try:
            write_durably(self.path / name, data)
        except OSError as error:
            raise RunError(
                f"{self.path / name} could not be written: {error.strerror or error}"
            ) from None

    def _unchanged(self, recipe: Recipe) -> Recipe:
        if recipe.digest != self.identity["recipe_digest"]:
            raise InputError(
                Diagnostic(
                    "changed-recipe",
                    f"{self.path / 'recipe.yaml'} is no longer the recipe this run started with",
                    hint="put the file back as it was, or start a new run with the changed recipe",
                )
            )
        return recipe


def default_path(recipe: Recipe, setup: Setup, root: Path = Path("runs")) -> Path:
    """Return runs/RECIPE-SETUP-sSEED, with -2, -3, ... when that is taken."""
    return free_path(root / f"{recipe.name}-{setup.name}-s{setup.seed}")


def free_path(path: Path) -> Path:
    """Return the path, with -2, -3, ... after its name when that is taken."""
    numbered = (path.with_name(f"{path.name}-{i}") for i in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())


def create_run(
    path: Path, recipe: Recipe, setup: Setup, corpus: Corpus, *, given: Recipe, given_name: str
) -> RunDirectory:
    """Make the directory and everything in it that is known before training.

    `given` is the recipe before overrides, `given_name` what the user called it. Raises InputError
    when the directory is not empty or cannot be written.
    """
    identity = {
        "format_version": RUN_FORMAT_VERSION,
        "recipe": recipe.name,
        "given_recipe": given_name,
        "recipe_digest": recipe.digest,
        "given_digest": given.digest,
        "setup": setup.name,
        "seed": setup.seed,
        "corpus": {
            "name": corpus.name,
            "title": corpus.title,
            "fingerprint": corpus.fingerprint,
        },
        "command": shlex.join(["optzoo", *sys.argv[1:]]),
    }
    run = RunDirectory(path, identity)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _refuse_used(path)
        run.checkpoints.mkdir(exist_ok=True)
        run.metrics.touch()
        write_durably(path / "recipe.yaml", recipe.to_yaml().encode())
        write_durably(path / "setup.yaml", setup.to_yaml().encode())
        write_durably(path / "program.txt", (recipe.program().text() + "\n").encode())
        write_durably(path / "versions.json", to_json(describe_environment()))
        write_durably(path / "run.json", to_json(identity))
    except OSError as error:
        raise _unwritable(path, error) from None
    run._unchanged(load_recipe(path / "recipe.yaml"))
    return run


def open_run(path: Path) -> RunDirectory:
    """Return an existing run. Raises InputError when there is none at `path`."""
    try:
        identity = json.loads((path / "run.json").read_bytes())
        version = identity["format_version"]
        if not isinstance(version, int):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            Diagnostic(
                "not-a-run",
                f"{path} is not a run directory: it has no readable `run.json`",
                hint="give the directory that `optzoo train` printed, such as "
                "runs/ademamix-quick-s0",
            )
        ) from None
    check_version(f"{path} has run format", version, RUN_FORMAT_VERSION)
    return RunDirectory(path, identity)


@contextlib.contextmanager
def hold(run: RunDirectory) -> Iterator[None]:
    """Keep other processes from training in this directory; the system lets go if we are killed.

    Raises InputError when another process holds it, or when it cannot be written.
    """
    taken = Diagnostic("run-in-use", f"another process is training in {run.path}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.path, taken))
        except OSError as error:
            raise _unwritable(run.path, error) from None
        yield


def describe_environment() -> dict[str, Any]:
    """Return what else could explain a difference between two runs."""
    return {
        "optzoo": optzoo.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
    }


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        Diagnostic(
            "unwritable",
            f"the run directory {path} cannot be written: {error.strerror or error}",
            hint="make it writable, or name another one with `--run-dir`",
        )
    )


def _refuse_used(path: Path) -> None:
    if any(path.iterdir()):
        has_run = (path / "run.json").exists()
        remedy = f"continue it with `--resume {shlex.quote(str(path))}`" if has_run else ""
        raise InputError(
            Diagnostic(
                "directory-in-use",
                f"the run directory {path} is not empty",
                hint=f"{remedy}{', or ' if remedy else ''}name another one with `--run-dir`",
            )
        )
