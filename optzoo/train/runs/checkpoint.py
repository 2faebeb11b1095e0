"""Checkpoints: safetensors and JSON in a folder that either is whole or is not there.

    checkpoints/step-00000200/
        model.safetensors      one file per group of tensors, any number of groups
        optimizer.safetensors
        state.json             what is not a tensor
        manifest.json          format version, step, held-out loss, size and sha256 of the others

Format 2 is the same with the tensors in files per process; see
`optzoo.train.runs.checkpoint_sharded`.

A checkpoint is written under another name, flushed to the disk and renamed; a process killed at
any moment leaves the older ones as they were. Nothing is ever unpickled. This module does not know
what the tensors mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from optzoo.distributed.sharding import host_copy, is_sharded, local
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.files.atomic import sync_folder, to_json
from optzoo.train.runs.retention import Keep

FORMAT_VERSION = 2
"""The newest format that this module reads: 1 is above, 2 has sharded tensor files."""
SHARDED_VERSION = 2
MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"step-(\d{8,})$")

Warn = Callable[[str], None]
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


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, *, keep: Keep, verify: bool = False
) -> Path:
    """Write a checkpoint into `folder` and delete those that `keep` does not name.

    With `verify` it is read back and compared. Raises RunError, with the older checkpoints
    untouched, when a tensor has a value that is not finite, when the disk does not take the files,
    or when they do not read back as they were written.
    """
    if (bad := checkpoint.name_of_bad_tensor()) is not None:
        raise not_finite(checkpoint, bad)
    with reporting_failure(folder, checkpoint.step):
        partial = begin_checkpoint(folder, checkpoint.step)
        for group, tensors in checkpoint.tensors.items():
            save_file(_unshared(tensors), partial / f"{group}.safetensors")
        return finish_checkpoint(folder, partial, checkpoint, keep=keep, verify=verify)


def not_finite(checkpoint: Checkpoint, what: str) -> RunError:
    """Return the error of a checkpoint that is not worth keeping."""
    return RunError(
        Diagnostic(
            "non-finite",
            f"after step {checkpoint.step:,} {what} has values that are not finite; no checkpoint "
            "was written",
        )
    )


def begin_checkpoint(folder: Path, step: int) -> Path:
    """Return the empty folder that the files of a new checkpoint go into."""
    partial = folder / f".partial-step-{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    partial.mkdir()
    return partial


def finish_checkpoint(
    folder: Path,
    partial: Path,
    checkpoint: Checkpoint,
    *,
    keep: Keep,
    verify: bool,
    version: int = 1,
) -> Path:
    """Seal a checkpoint whose tensors are written: state, manifest, the name it is found by."""
    _seal(partial, checkpoint, version)
    if verify:
        _compare(partial, checkpoint)
    target = folder / f"step-{checkpoint.step:08d}"
    if target.exists():  # a damaged one of the same step, from before a resume
        target.rename(folder / f".old-{target.name}")
    partial.rename(target)
    sync_folder(folder)
    found = {step_of(path): path for path in list_checkpoints(folder)}
    stays = keep.stays({step: _loss(path) for step, path in found.items()}, checkpoint.step)
    for step, path in found.items():
        if step not in stays:
            path.rename(folder / f".old-{path.name}")
    remove_leftovers(folder)
    return target


@contextlib.contextmanager
def reporting_failure(folder: Path, step: int) -> Iterator[None]:
    """Turn a disk that does not take a checkpoint into a RunError, and clean up."""
    try:
        yield
    except (OSError, SafetensorError, BadCheckpointError) as error:
        shutil.rmtree(folder / f".partial-step-{step:08d}", ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            Diagnostic(
                "checkpoint-failed",
                f"the checkpoint of step {step:,} could not be written to {folder}: {reason}",
                hint="the checkpoints before it are unharmed; make room and resume",
            )
        ) from None


def load_newest(folder: Path, *, warn: Warn, layout: Layout | None = None) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None when there has never been one.

    A damaged one is passed over with a warning. Raises InputError when all are damaged, or when
    one was written by a newer optzoo.
    """
    found = list_checkpoints(folder)
    reasons = []
    for path in found:
        try:
            return load_checkpoint(path, layout)
        except BadCheckpointError as error:
            reasons.append(f"{path}: {error}")
            if path is not found[-1]:
                warn(f"{path} is damaged ({error}); trying the one before it")
    if reasons:
        raise InputError(
            Diagnostic(
                "no-good-checkpoint",
                "no checkpoint can be read:\n  " + "\n  ".join(reasons),
                hint=f"copy a good checkpoint into {folder}, or delete the damaged ones and "
                "resume from step 0",
            )
        )
    return None


def load_step(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step. Raises InputError when there is none, or it is damaged."""
    found = {step_of(path): path for path in reversed(list_checkpoints(folder))}
    if step not in found:
        known = ", ".join(str(number) for number in found) or "none"
        raise InputError(
            Diagnostic(
                "no-checkpoint",
                f"{folder} has no checkpoint of step {step}",
                hint=f"steps that have one: {known}",
            )
        )
    try:
        return load_checkpoint(found[step])
    except BadCheckpointError as error:
        raise InputError(
            Diagnostic("damaged-checkpoint", f"{found[step]} is damaged: {error}")
        ) from None


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, newest first, good or not."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if path.is_dir() and _NAME.match(path.name)]
    return sorted(named, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """Return the step that a checkpoint folder is named after."""
    match = _NAME.match(path.name)
    assert match is not None
    return int(match[1])


def load_checkpoint(path: Path, layout: Layout | None = None) -> Checkpoint:
    """Read one checkpoint and check every hash.

    A sharded one gives whole tensors, but for those that `layout` has spread over processes: they
    come spread in that way, however they were when they were saved.

    Raises BadCheckpointError when it is not whole, InputError when its format is a newer one.
    """
    manifest = _read_json(path / MANIFEST)
    version = manifest.get("format_version")
    if not isinstance(version, int) or not isinstance(manifest.get("files"), dict):
        raise BadCheckpointError(f"{MANIFEST} is not that of an optzoo checkpoint")
    if version > FORMAT_VERSION:
        raise InputError(
            Diagnostic(
                "newer-format",
                f"{path} has checkpoint format {version}; this optzoo reads up to {FORMAT_VERSION}",
                hint="upgrade optzoo: pip install -U optzoo",
            )
        )
    for name, expected in manifest["files"].items():
        _check_file(path / name, expected)
    files = [path / name for name in manifest["files"] if name.endswith(".safetensors")]
    try:
        if version == SHARDED_VERSION:
            from optzoo.train.runs.checkpoint_sharded import load_sharded

            tensors = load_sharded(path, layout or {})
        else:
            tensors = {file.stem: load_file(file) for file in files}
    except (SafetensorError, OSError) as error:
        raise BadCheckpointError(f"not readable as safetensors: {error}") from None
    loss = manifest.get("loss")
    return Checkpoint(int(manifest["step"]), tensors, _read_json(path / STATE), loss)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace a safetensors file in one step: written beside, flushed to the disk, renamed."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        save_file(dict(tensors), beside, metadata=dict(metadata))
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except SafetensorError as error:  # how safetensors says that the disk did not take it
        raise OSError(str(error)) from None
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written or half-deleted."""
    for pattern in (".partial-*", ".old-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without shared memory, as the clocks of parameters have and files may not.

    Only what is shared is copied.
    """
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        address = value.untyped_storage().data_ptr()
        own[name] = value.clone() if address in seen else value
        seen.add(address)
    return own


def _seal(folder: Path, checkpoint: Checkpoint, version: int) -> None:
    (folder / STATE).write_bytes(to_json(checkpoint.state))
    files = {path.name: _describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {
        "format_version": version,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "files": files,
    }
    (folder / MANIFEST).write_bytes(to_json(manifest))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _compare(folder: Path, checkpoint: Checkpoint) -> None:
    """Raise BadCheckpointError unless the files hold what the checkpoint does."""
    back = load_checkpoint(folder)
    if back.state != json.loads(to_json(checkpoint.state)):
        raise BadCheckpointError(f"{STATE} does not read back as it was written")
    for group, named in checkpoint.tensors.items():
        for name, tensor in named.items():
            if is_sharded(tensor):  # its file is this process's only in part: the hashes must do
                continue
            if not torch.equal(back.tensors[group][name], tensor.detach().cpu()):
                raise BadCheckpointError(f"`{name}` does not read back as it was written")


def _loss(path: Path) -> float | None:
    """Return the held-out loss that a checkpoint was written with, as far as that can be read."""
    try:
        loss = _read_json(path / MANIFEST).get("loss")
    except BadCheckpointError:
        return None
    return float(loss) if isinstance(loss, int | float) else None


def _describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _check_file(path: Path, expected: Any) -> None:
    if not isinstance(expected, dict) or path.parent / path.name != path:
        raise BadCheckpointError(f"{MANIFEST} is not that of an optzoo checkpoint")
    try:
        found = _describe_file(path)
    except OSError as error:
        raise BadCheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from None
    if found["bytes"] != expected.get("bytes"):
        raise BadCheckpointError(
            f"{path.name} has {found['bytes']:,} bytes instead of {expected.get('bytes'):,}"
        )
    if found["sha256"] != expected.get("sha256"):
        raise BadCheckpointError(f"{path.name} does not have the sha256 that {MANIFEST} gives")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise BadCheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise BadCheckpointError(f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise BadCheckpointError(f"{path.name} is not a JSON object")
    return value
