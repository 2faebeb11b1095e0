"""The folder of a checkpoint: either it is whole or it is not there.

    checkpoints/step-00000200/
        model.safetensors      one file per group of tensors, any number of groups
        optimizer.safetensors
        state.json             what is not a tensor
        manifest.json          format version, step, held-out loss, size and sha256 of the others,
                               and the sha256 of all this

The tensors may also be in files per process; see `optzoo.train.runs.checkpoint_sharded`.

A checkpoint is written under another name, flushed to the disk and renamed; a process killed at
any moment leaves the older ones as they were. One that is saved again steps aside first: killed in
between, it is found under that name, as is one that is complete and has no name yet. Nothing is
ever unpickled. This module does not know what the tensors mean, nor how they are written.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from optzoo.distributed.sharding import host_copy, local
from optzoo.errors import Diagnostic, InputError, RunError, check_version
from optzoo.files.atomic import sync_folder, to_json
from optzoo.files.sealed import DamagedFileError, read_object, seal, unseal

FORMAT_VERSION = 3
"""The format of the above. 1 and 2 have no hash of the manifest; 2 is what 1 is, sharded."""
MANIFEST = "manifest.json"
STATE = "state.json"
PARTIAL, ASIDE, DROPPED = ".partial-", ".aside-", ".dropped-"
"""What a folder's name begins with that is being written, stands aside, is being deleted."""
LEFTOVERS = (PARTIAL, ASIDE, ".old-")
"""Names under which a whole one may be found; `.old-` is what versions before format 3 wrote."""
_NAME = re.compile(r"(?:\.[a-z]+-)?step-(\d{8,18})$")

Layout = Mapping[str, Mapping[str, Tensor]]
"""Tensors by group and name, as a checkpoint has them: for the way they are spread."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: named groups of named tensors, and JSON values.

    `loss` is the held-out loss at this step, where there was an evaluation. Tensors may be spread
    over processes (`DTensor`).
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    loss: float | None = None

    def on_host(self) -> Checkpoint:
        """Return a copy in host memory, which what is trained next does not change."""
        tensors = {
            group: {name: host_copy(tensor) for name, tensor in named.items()}
            for group, named in self.tensors.items()
        }
        return replace(self, tensors=tensors)

    def name_of_bad_tensor(self) -> str | None:
        """Return the name of a tensor with values that are not finite, if there is one."""
        for group, named in self.tensors.items():
            for name, tensor in named.items():
                held = local(tensor)
                if held.is_floating_point() and not bool(torch.isfinite(held).all()):
                    return f"`{name}` ({group})"
        return None


class BadCheckpointError(Exception):
    """A checkpoint folder that cannot be used; the text says why."""


Check = Callable[[Path, Checkpoint], None]
"""Raises BadCheckpointError unless the files in a folder are as they should be."""


@dataclass(frozen=True)
class Keep:
    """How many checkpoints stay: the `last` newest, the `best`, and those of steps `milestones`.

    Those of later steps than the one that was just written do not count and stay: the run went on
    from before them, so they are damaged, and must not push out good ones. The one of step 0 is a
    rehearsal that shows at once whether checkpoints can be written; it goes as soon as there is
    another.
    """

    last: int = 2
    best: int = 0
    milestones: tuple[int, ...] = ()

    def stays(self, losses: Mapping[int, float | None], newest: int) -> set[int]:
        """Return the steps that stay, of those in `losses`, after that of `newest` is written.

        `losses` are held-out losses by step, None where there was no evaluation. Of equal losses
        the earlier is the better.
        """
        past = sorted((step for step in losses if step <= newest), reverse=True)
        if newest > 0 and 0 not in self.milestones:
            past = [step for step in past if step != 0]
        later = {step for step in losses if step > newest}
        measured = [(loss, step) for step in past if (loss := losses[step]) is not None]
        best = {step for _, step in sorted(measured)[: self.best]}
        return set(past[: self.last]) | best | (set(past) & set(self.milestones)) | later


class CheckpointSaver(abc.ABC):
    """Writes checkpoints whole or not at all; how their tensors are written is for a subclass.

    Several processes may save together: each writes tensors, the first one the rest.
    """

    is_sharded: ClassVar[bool]
    is_first = True

    @abc.abstractmethod
    def write_tensors(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Write files that end in `.safetensors`. Raises BadCheckpointError or OSError."""

    def agree(self, good: bool) -> bool:
        """Return whether all that save together are `good`."""
        return good

    def save(
        self, folder: Path, checkpoint: Checkpoint, *, keep: Keep, check: Check | None = None
    ) -> Path:
        """Write a checkpoint into `folder` and delete those that `keep` does not name.

        `check` is called with the files before they get the name that they are found by. Raises
        RunError, with the older checkpoints untouched, when a tensor has a value that is not
        finite, when the disk does not take the files, or when `check` raises BadCheckpointError.
        """
        bad = checkpoint.name_of_bad_tensor()
        if not self.agree(bad is None):
            raise _not_finite(checkpoint, bad or "a shard of another process")
        step = checkpoint.step
        partial = folder / f"{PARTIAL}step-{step:08d}"

        def begin() -> None:
            if self.is_first:
                folder.mkdir(exist_ok=True)
                adopt_leftovers(folder)
                partial.mkdir()

        def write() -> None:
            self.write_tensors(partial, checkpoint)
            if self.is_first:
                _seal(partial, checkpoint, is_sharded=self.is_sharded)
                if check is not None:
                    check(partial, checkpoint)
                _put_in_place(folder, partial, step)
                _drop_old(folder, step, keep)

        for work in (begin, write):
            self._together(folder, step, work)
        return folder / f"step-{step:08d}"

    def _together(self, folder: Path, step: int, work: Callable[[], None]) -> None:
        """Do the work of this process; where it fails in one of them, raise RunError in all."""
        error: RunError | None = None
        try:
            with _reporting_failure(folder, step):
                work()
        except RunError as failed:
            error = failed
        if not self.agree(error is None):
            raise error or RunError()  # without a word: the one that failed says why


def read_checked_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files are as it says; `sharded` is always there.

    Raises BadCheckpointError when it is not whole, InputError when its format is a newer one.
    """
    manifest = read_json(path / MANIFEST)
    version, files = manifest.get("format_version"), manifest.get("files")
    if not isinstance(version, int) or not isinstance(files, dict):
        raise BadCheckpointError(f"{MANIFEST} is not that of an optzoo checkpoint")
    check_version(f"{path} has checkpoint format", version, FORMAT_VERSION)
    try:
        manifest = unseal(manifest, MANIFEST, always=version >= 3)
    except DamagedFileError as error:
        raise BadCheckpointError(str(error)) from None
    step = manifest.get("step")
    if type(step) is not int or (_NAME.match(path.name) and step != step_of(path)):
        raise BadCheckpointError(f"{MANIFEST} says step {step}, and the folder is {path.name}")
    if STATE not in files:
        raise BadCheckpointError(f"{MANIFEST} does not list {STATE}")
    for name, expected in files.items():
        _check_file(path, name, expected)
    return {**manifest, "sharded": manifest.get("sharded", version == 2)}


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, newest first, good or not."""
    return _folders(folder, ("",))


def list_candidates(folder: Path) -> list[Path]:
    """Return the folders that a checkpoint may be in, newest first; leftovers after named ones.

    A leftover without a manifest is none: its writing did not get so far.
    """
    leftovers = [path for path in _folders(folder, LEFTOVERS) if (path / MANIFEST).exists()]
    return sorted([*list_checkpoints(folder), *leftovers], key=step_of, reverse=True)


def is_leftover(path: Path) -> bool:
    """Whether a folder has not, or no longer, the name of a checkpoint."""
    return path.name.startswith(LEFTOVERS)


def _folders(folder: Path, prefixes: tuple[str, ...]) -> list[Path]:
    try:
        found = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = error.strerror or error
        raise InputError(Diagnostic("unreadable", f"{folder} cannot be read: {reason}")) from None
    named = [path for path in found if _NAME.match(path.name) and path.is_dir()]
    chosen = [path for path in named if path.name[: path.name.index("step-")] in prefixes]
    return sorted(chosen, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Return the step that a checkpoint folder is named after."""
    match = _NAME.match(path.name)
    assert match is not None
    return int(match[1])


def adopt_leftovers(folder: Path) -> None:
    """Give a whole checkpoint its name that a killed process left without it; delete the rest."""
    for path in _folders(folder, LEFTOVERS):
        target = folder / f"step-{step_of(path):08d}"
        if _is_whole(path) and not _is_whole(target):
            if target.exists():
                target.rename(folder / f"{DROPPED}{target.name}")
            path.rename(target)
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written or half-deleted."""
    for path in folder.iterdir():
        if path.name.startswith((*LEFTOVERS, DROPPED)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_whole(path: Path) -> bool:
    try:
        read_checked_manifest(path)
    except (BadCheckpointError, InputError):
        return False
    return True


def _not_finite(checkpoint: Checkpoint, what: str) -> RunError:
    """Return the error of a checkpoint that is not worth keeping."""
    return RunError(
        Diagnostic(
            "non-finite",
            f"after step {checkpoint.step:,} {what} has values that are not finite; no checkpoint "
            "was written",
        )
    )


@contextlib.contextmanager
def _reporting_failure(folder: Path, step: int) -> Iterator[None]:
    """Turn a disk that does not take a checkpoint into a RunError, and clean up."""
    try:
        yield
    except (OSError, SafetensorError, BadCheckpointError) as error:
        shutil.rmtree(folder / f"{PARTIAL}step-{step:08d}", ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            Diagnostic(
                "checkpoint-failed",
                f"the checkpoint of step {step:,} could not be written to {folder}: {reason}",
                hint="the checkpoints before it are unharmed; make room and resume",
            )
        ) from None


def _seal(folder: Path, checkpoint: Checkpoint, *, is_sharded: bool) -> None:
    """Write what is not a tensor and the manifest, and flush everything to the disk."""
    (folder / STATE).write_bytes(to_json(checkpoint.state))
    files = {path.name: _describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {
        "format_version": FORMAT_VERSION,
        "sharded": is_sharded,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "files": files,
    }
    (folder / MANIFEST).write_bytes(seal(manifest))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _put_in_place(folder: Path, partial: Path, step: int) -> None:
    target = folder / f"step-{step:08d}"
    if target.exists():  # a damaged one of the same step, from before a resume
        target.rename(folder / f"{ASIDE}{target.name}")
    partial.rename(target)
    sync_folder(folder)


def _drop_old(folder: Path, newest: int, keep: Keep) -> None:
    found = {step_of(path): path for path in list_checkpoints(folder)}
    stays = keep.stays({step: _loss(path) for step, path in found.items()}, newest)
    for step, path in found.items():
        if step not in stays:
            path.rename(folder / f"{DROPPED}{path.name}")
    remove_leftovers(folder)


def _loss(path: Path) -> float | None:
    """Return the held-out loss that a checkpoint was written with, as far as that can be read."""
    try:
        loss = read_json(path / MANIFEST).get("loss")
    except BadCheckpointError:
        return None
    return float(loss) if isinstance(loss, int | float) else None


def _describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _check_file(folder: Path, name: str, expected: Any) -> None:
    """Raise BadCheckpointError unless a file of the folder is as its manifest says."""
    path = folder / name
    if not isinstance(expected, dict) or name in ("", ".", "..") or Path(name).name != name:
        raise BadCheckpointError(f"{MANIFEST} names `{name}`, which is no file of a checkpoint")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise BadCheckpointError(f"{name} is not a regular file")
    try:
        found = _describe_file(path)
    except OSError as error:
        raise BadCheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from None
    if found["bytes"] != expected.get("bytes"):
        raise BadCheckpointError(
            f"{path.name} has {found['bytes']:,} bytes instead of {expected.get('bytes')}"
        )
    if found["sha256"] != expected.get("sha256"):
        raise BadCheckpointError(f"{path.name} does not have the sha256 that {MANIFEST} gives")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises BadCheckpointError where there is none."""
    try:
        return read_object(path)
    except OSError as error:
        raise BadCheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except DamagedFileError as error:
        raise BadCheckpointError(str(error)) from None
