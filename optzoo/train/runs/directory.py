"""The run directory: what a run writes, where, and how it is found again.

    run.json         identity: format version, digests, setup, corpus fingerprint, command line,
                     and what was changed since; sealed with a hash of itself
    recipe.yaml      the recipe with overrides and observers written in
    setup.yaml       the setup with overrides and the thread count written in
    program.txt      the program the recipe becomes
    versions.json    python, torch, optzoo, numpy, platform, threads
    metrics.jsonl    training and held-out losses
    checkpoints/     see optzoo.train.runs.checkpoint_folder
    result.json      final losses and weights; there only when the run has finished; sealed too
    loss.png         training and held-out loss against steps
    sample.txt       text drawn from the trained model

`run.json` is written last when a run is created, so a directory that has one is complete enough to
resume from. How a directory is begun is in `optzoo.train.runs.beginning`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import optzoo
from optzoo.errors import Diagnostic, InputError, RunError, check_version
from optzoo.files.atomic import write_durably
from optzoo.files.sealed import DamagedFileError, read_object, unseal
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.train.setup.identity import (
    MAY_CHANGE,
    recorded_setup,
    setup_changes,
    with_place_of,
)
from optzoo.train.setup.schema import Setup, load_setup

if TYPE_CHECKING:
    from optzoo.data.corpus import Corpus

RUN_FORMAT_VERSION = 2
"""1 has no setup in `run.json`, and no seals."""

TEXT = {"recipe": str, "given_recipe": str, "recipe_digest": str, "given_digest": str}
FIELDS: dict[str, type] = {**TEXT, "setup": str, "seed": int, "corpus": dict}
SINCE_2: dict[str, type] = {
    "id": str,
    "recipe_asks": dict,
    "given_asks": dict,
    "command": str,
    "setup_sha256": str,
    "setup_values": dict,
    "changes": list,
}
"""What `run.json` has, by the type of its values."""


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
    def is_sealed(self) -> bool:
        """Whether its identity covers the setup; a run of format 1 is sealed when resumed."""
        return "setup_sha256" in self.identity

    def load_recipe(self) -> Recipe:
        """Return the resolved recipe. Raises InputError when the file no longer is that recipe."""
        path = self.path / "recipe.yaml"
        recipe = load_recipe(path)
        asks = self.identity.get("recipe_asks", recipe_asks(recipe))
        found = (recipe.digest, recipe.name, recipe_asks(recipe))
        if found != (self.identity["recipe_digest"], self.identity["recipe"], asks):
            raise InputError(
                Diagnostic(
                    "changed-recipe",
                    f"{path} is no longer the recipe this run started with",
                    hint="put the file back as it was, or start a new run with the changed recipe: "
                    f"`optzoo train {shlex.quote(str(path))}`",
                )
            )
        return recipe

    def recorded_setup(self) -> Setup:
        """Return the setup as the run has recorded it; of format 1, as `setup.yaml` has it."""
        if not self.is_sealed:
            return self._setup_file() or _lost(self.path / "setup.yaml")
        try:
            return recorded_setup(self.identity["setup_values"])
        except DamagedFileError as error:
            raise _damaged(self.path / "run.json", str(error)) from None

    def load_setup(self) -> Setup:
        """Return the setup as `setup.yaml` has it now; where it is gone, the recorded one.

        Raises InputError when a field has changed that a run cannot change on the way.
        """
        recorded, found = self.recorded_setup(), self._setup_file()
        if found is None:
            return recorded
        path = self.path / "setup.yaml"
        fixed = [change for change in setup_changes(recorded, found) if not change.is_free]
        if fixed:
            raise InputError(
                Diagnostic(
                    "changed-setup",
                    f"{path} was changed since the run started: {', '.join(map(str, fixed))}",
                    hint=f"put it back, or delete the file (`{self.path / 'run.json'}` holds the "
                    "values); a changed setup is a new run: `optzoo train "
                    f"{shlex.quote(self.identity['given_recipe'])} --setup "
                    f"{shlex.quote(str(path))}`. What may change on the way: {MAY_CHANGE}",
                )
            )
        return found

    def setup_here(self) -> Setup:
        """Return the recorded setup, computed where and how `setup.yaml` says now."""
        return with_place_of(self.recorded_setup(), self.load_setup())

    def _setup_file(self) -> Setup | None:
        path = self.path / "setup.yaml"
        return load_setup(str(path)) if path.exists() else None

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
                    f"{self.path / 'setup.yaml'}; `optzoo eval RUN --data DIR` measures on others",
                )
            )

    def check_in_place(self) -> None:
        """Raise RunError when the path is not, or no longer, that of this run."""
        try:
            gone = read_object(self.path / "run.json").get("id") != self.identity["id"]
        except (FileNotFoundError, NotADirectoryError):
            gone = True
        except (OSError, DamagedFileError):  # a file system that does not answer now
            gone = False
        if gone:
            raise RunError(
                Diagnostic(
                    "run-is-gone",
                    f"{self.path} is no longer the directory of this run: it was moved or deleted "
                    "while the run was under way",
                    hint="if it was moved, resume it where it is now: `optzoo train --resume DIR`",
                )
            )

    def write(self, name: str, data: bytes) -> None:
        """Replace a file of the run in one step, while it is under way.

        Raises RunError when the disk does not take it, or when the directory is gone.
        """
        self.check_in_place()
        try:
            self.replace(name, data)
        except OSError as error:
            raise RunError(
                f"{self.path / name} could not be written: {error.strerror or error}"
            ) from None

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file of the run in one step. Raises OSError."""
        write_durably(self.path / name, data)


def run_id(path: Path) -> str:
    """Return what a run is called elsewhere, wherever it lies; of format 1, where it lies now."""
    text = (path / "run.json").read_bytes()
    with contextlib.suppress(ValueError):
        known = json.loads(text).get("id")
        if isinstance(known, str):
            return known
    place = str(path.resolve() / "run.json").encode()
    return hashlib.sha256(place + text).hexdigest()


def recipe_asks(recipe: Recipe) -> dict[str, Any]:
    """Return what decides a run and is no part of a recipe's program, as JSON values."""
    return {"lr_schedule": recipe.training.lr_schedule, "state_dtypes": recipe.kept_dtypes}


def open_run(path: Path) -> RunDirectory:
    """Return an existing run. Raises InputError when there is none at `path`, or a damaged one."""
    file = path / "run.json"
    try:
        identity = read_object(file)
        version = identity.get("format_version")
        if not isinstance(version, int) or isinstance(version, bool):
            raise DamagedFileError("it has no `format_version`")
        check_version(f"{path} has run format", version, RUN_FORMAT_VERSION)
        identity = unseal(identity, file.name, always=version >= 2)
        check_fields(identity, {**FIELDS, **(SINCE_2 if version >= 2 else {})})
        check_fields(identity["corpus"], {"name": str, "title": str, "fingerprint": str})
    except DamagedFileError as error:
        raise _damaged(file, str(error)) from None
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "" if gone else f" ({error.strerror})"
        raise InputError(
            Diagnostic(
                "not-a-run",
                f"{path} is not a run directory: it has no readable `run.json`{reason}",
                hint="give the directory that `optzoo train` printed, such as "
                "runs/ademamix-quick-s0",
            )
        ) from None
    return RunDirectory(path, identity)


def check_fields(values: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    """Raise DamagedFileError where a field is missing, or has a value of another type."""
    for name, kind in fields.items():
        value = values.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DamagedFileError(f"it has no `{name}`, or not what that should be")


def describe_environment() -> dict[str, Any]:
    """Return what else could explain a difference between two runs."""
    import numpy as np  # here: whoever only reads runs waits for neither
    import torch

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


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        Diagnostic(
            "damaged-run",
            f"{path} is damaged: {why}",
            hint="put it back from a copy; checkpoints and metrics beside it are not touched",
        )
    )


def _lost(path: Path) -> NoReturn:
    raise InputError(
        Diagnostic("not-found", f"{path} is gone", hint="put it back as it was from a copy")
    )
