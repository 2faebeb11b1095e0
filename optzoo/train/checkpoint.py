"""Checkpoints: safetensors and JSON in a folder that either is whole or is not there.

    checkpoints/step-00000200/
        model.safetensors      one file per group of tensors, any number of groups
        optimizer.safetensors
        state.json             what is not a tensor
        manifest.json          format version, step, size and sha256 of every other file

A checkpoint is written under another name, flushed to the disk and renamed; a process killed at
any moment leaves the older ones as they were. Nothing is ever unpickled. This module does not know
what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from optzoo.durable import sync_folder, to_json
from optzoo.errors import Diagnostic, InputError, RunError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"step-(\d{8,})$")

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: named groups of named tensors, and JSON values."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


class BadCheckpointError(Exception):
    """A checkpoint folder that cannot be used; the text says why."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint into `folder` and delete all but the newest `keep`.

    Those of later steps do not count and stay: the run went on from before them, so they are
    damaged, and must not push out good ones. Raises RunError, with the older checkpoints untouched,
    when a tensor has a value that is not finite or when the disk does not take the files.
    """
    for group, tensors in checkpoint.tensors.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise RunError(
                    Diagnostic(
                        "non-finite",
                        f"after step {checkpoint.step:,} `{name}` ({group}) has values that are "
                        "not finite; no checkpoint was written",
                    )
                )
    target = folder / f"step-{checkpoint.step:08d}"
    partial = folder / f".partial-{target.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        partial.mkdir()
        _write(partial, checkpoint)
        if target.exists():  # a damaged one of the same step, from before a resume
            target.rename(folder / f".old-{target.name}")
        partial.rename(target)
        sync_folder(folder)
        found = list_checkpoints(folder)
        for old in found[found.index(target) + keep :]:
            trash = folder / f".old-{old.name}"
            old.rename(trash)
        remove_leftovers(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            Diagnostic(
                "checkpoint-failed",
                f"the checkpoint of step {checkpoint.step:,} could not be written to {folder}: "
                f"{error.strerror or error}",
                hint="the checkpoints before it are unharmed; make room and resume",
            )
        ) from None
    return target


def load_newest(folder: Path, *, warn: Warn) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None when there has never been one.

    A damaged one is passed over with a warning. Raises InputError when all are damaged, or when
    one was written by a newer optzoo.
    """
    found = list_checkpoints(folder)
    reasons = []
    for path in found:
        try:
            return load_checkpoint(path)
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


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and check every hash.

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
    try:
        tensors = {
            Path(name).stem: load_file(path / name)
            for name in manifest["files"]
            if name.endswith(".safetensors")
        }
    except (SafetensorError, OSError) as error:
        raise BadCheckpointError(f"not readable as safetensors: {error}") from None
    return Checkpoint(int(manifest["step"]), tensors, _read_json(path / STATE))


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


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    for group, tensors in checkpoint.tensors.items():
        # cloned: safetensors refuses tensors that share memory, as the clocks of parameters do
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(own, folder / f"{group}.safetensors")
    (folder / STATE).write_bytes(to_json(checkpoint.state))
    files = {path.name: _describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {"format_version": FORMAT_VERSION, "step": checkpoint.step, "files": files}
    (folder / MANIFEST).write_bytes(to_json(manifest))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


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
