"""How a run directory is begun: claimed, held, and filled; what a failed start left is no obstacle.

A folder is claimed by its lock, so that of two processes that start in it at once one is refused.
Names that nobody gave are claimed by making the folder: simultaneous starts take the next number.
Until `run.json` is there, a file `.starting` says whose the others are.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optzoo.data.corpus import Corpus
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError
from optzoo.files.atomic import to_json, write_durably
from optzoo.files.lock import locked
from optzoo.files.sealed import seal
from optzoo.recipe.recipe import Recipe
from optzoo.train.runs.checkpoint_folder import list_checkpoints, step_of
from optzoo.train.runs.directory import (
    RUN_FORMAT_VERSION,
    RunDirectory,
    describe_environment,
    recipe_asks,
)
from optzoo.train.runs.metrics import read_metrics
from optzoo.train.setup.identity import hash_setup, recorded_values
from optzoo.train.setup.schema import Setup

STARTING = ".starting"
OWN = frozenset(
    {
        *("run.json", "recipe.yaml", "setup.yaml", "program.txt", "versions.json"),
        *("metrics.jsonl", "checkpoints", STARTING, ".lock"),
    }
)
"""What a start writes, before the first step."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE})
"""What a disk or a system answers that is at its end: nobody gave it a wrong name."""

Warn = Callable[[str], None]


def default_path(recipe: Recipe, setup: Setup, root: Path = Path("runs")) -> Path:
    """Return runs/RECIPE-SETUP-sSEED, the name of a run that nobody named."""
    return root / f"{recipe.name}-{setup.name}-s{setup.seed}"


def numbered(path: Path) -> Iterator[Path]:
    """Yield the path, and then with -2, -3, ... after its name."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def free_path(path: Path) -> Path:
    """Return the first of the numbered paths that is not taken now."""
    return next(p for p in numbered(path) if not os.path.lexists(p))


@contextlib.contextmanager
def claimed(path: Path, *, given: bool, warn: Warn) -> Iterator[Path]:
    """Hold a folder for a new run: `path` if it was `given`, else the first of its numbers.

    Raises InputError when another process trains in it, when it has something else in it, or when
    it cannot be written, RunError when the disk is full.
    """
    _check_name(path)
    with contextlib.ExitStack() as stack:
        with reporting(path):
            is_new = not given or not path.exists()
            folder = path if given else _first_free(path)
            folder.mkdir(parents=True, exist_ok=True)
            if is_new:
                stack.callback(_remove_if_empty, folder)
            is_held = stack.enter_context(_locked(folder, warn))
            _clear_failed_start(folder, is_held)
        yield folder


@contextlib.contextmanager
def hold(run: RunDirectory, *, warn: Warn) -> Iterator[None]:
    """Keep other processes from training in this directory; the system lets go if we are killed.

    Raises InputError when another process holds it, or when it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with reporting(run.path):
            stack.enter_context(_locked(run.path, warn))
        yield


def _locked(folder: Path, warn: Warn) -> contextlib.AbstractContextManager[bool]:
    taken = Diagnostic("run-in-use", f"another process is training in {folder}")
    return locked(folder, taken, warn=warn)


def create_run(
    path: Path, recipe: Recipe, setup: Setup, corpus: Corpus, *, given: Recipe, given_name: str
) -> RunDirectory:
    """Write into an empty folder everything that is known before training.

    `given` is the recipe before overrides, `given_name` what the user called it. Where it fails,
    what was written is deleted again. Raises InputError or RunError as `claimed` does.
    """
    identity = {
        "format_version": RUN_FORMAT_VERSION,
        "id": secrets.token_hex(16),
        "recipe": recipe.name,
        "given_recipe": given_name,
        "recipe_digest": recipe.digest,
        "given_digest": given.digest,
        "recipe_asks": recipe_asks(recipe),
        "given_asks": recipe_asks(given),
        "setup": setup.name,
        "setup_sha256": hash_setup(setup),
        "setup_values": recorded_values(setup),
        "seed": setup.seed,
        "corpus": describe_corpus(corpus),
        "command": shlex.join(["optzoo", *sys.argv[1:]]),
        "changes": [],
    }
    run = RunDirectory(path, identity)
    try:
        with reporting(path):
            path.mkdir(parents=True, exist_ok=True)
            (path / STARTING).touch()
            run.checkpoints.mkdir(exist_ok=True)
            run.metrics.touch()
            write_durably(path / "recipe.yaml", recipe.to_yaml().encode())
            write_durably(path / "setup.yaml", setup.to_yaml().encode())
            write_durably(path / "program.txt", (recipe.identity(values=True) + "\n").encode())
            write_durably(path / "versions.json", to_json(describe_environment()))
            write_durably(path / "run.json", seal(identity))
            (path / STARTING).unlink()
        run.load_recipe()
    except OptzooError:
        _clear(path)
        raise
    return run


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return what tells one corpus from another, as JSON values."""
    return {"name": corpus.name, "title": corpus.title, "fingerprint": corpus.fingerprint}


@contextlib.contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn what the system refuses in a run directory into one error that names it."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: " if error.filename not in (None, str(path)) else ""
        message = f"the run directory {path} cannot be written: {what}{error.strerror or error}"
        if error.errno in FULL:
            hint = "make room, and give the same command again"
            raise RunError(Diagnostic("disk-full", message, hint=hint)) from None
        hint = "make it writable, or name another one with `--run-dir`"
        if os.path.islink(path) and not os.path.exists(path):
            hint = f"{path} is a link to {os.readlink(path)}, which is not there: {hint}"
        raise InputError(Diagnostic("unwritable", message, hint=hint)) from None


def _check_name(path: Path) -> None:
    """Raise InputError for a name that safetensors cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        message = f"the run directory {path} has a name that is not UTF-8"
        hint = "name another one with `--run-dir`"
        raise InputError(Diagnostic("bad-value", message, hint=hint)) from None


def _first_free(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for candidate in numbered(path):
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("numbers do not end")


def _remove_if_empty(folder: Path) -> None:
    """Delete a folder that was made for a run, and that nothing was written into."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} == {".lock"}:
            (folder / ".lock").unlink()
            folder.rmdir()


def _clear_failed_start(folder: Path, is_held: bool) -> None:
    """Make the folder empty if all that is in it is from a start that took no step.

    Raises InputError when there is anything else. What may be another process's is left alone
    where there are no locks.
    """
    names = {path.name for path in folder.iterdir()}
    if names <= {".lock"}:
        return
    has_run = "run.json" in names
    if is_held and (has_run or STARTING in names) and _has_taken_no_step(folder, names):
        _clear(folder)
        return
    remedy = f"continue it with `optzoo train --resume {shlex.quote(str(folder))}`, or "
    raise InputError(
        Diagnostic(
            "directory-in-use",
            f"the run directory {folder} is not empty",
            hint=f"{remedy if has_run else ''}name another one with `--run-dir`",
        )
    )


def _has_taken_no_step(folder: Path, names: set[str]) -> bool:
    ours = all(name in OWN or name.endswith(".partial") for name in names)
    if not ours or any(step_of(path) for path in list_checkpoints(folder / "checkpoints")):
        return False
    metrics = folder / "metrics.jsonl"
    return not metrics.exists() or not any(True for _ in read_metrics(metrics, "step"))


def _clear(folder: Path) -> None:
    """Delete what a start writes; the lock stays with its holder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != ".lock":
                path.unlink(missing_ok=True)
