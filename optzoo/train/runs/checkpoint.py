"""Checkpoints: safetensors and JSON in a folder, saved beside the training and loaded again.

A checkpoint is written in one thread, one at a time: training goes on as soon as the tensors are
copied to host memory. What goes wrong in the thread is raised where the training next asks, as one
error. The first checkpoint of a process is read back and compared. What a folder holds is said in
`optzoo.train.runs.checkpoint_folder`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from optzoo.distributed.sharding import is_sharded
from optzoo.distributed.signals import StopRequestedError
from optzoo.errors import Diagnostic, InputError, OptzooError
from optzoo.files.atomic import replacing, to_json
from optzoo.train.runs.checkpoint_folder import (
    MANIFEST,
    STATE,
    BadCheckpointError,
    Checkpoint,
    CheckpointSaver,
    Keep,
    Layout,
    is_leftover,
    list_candidates,
    read_checked_manifest,
    read_json,
    step_of,
)

Warn = Callable[[str], None]
MAX_LOOKS = 1000
"""Times that a folder is looked at which another process keeps changing."""


class PlainSaver(CheckpointSaver):
    """Writes whole tensors, one file per group."""

    is_sharded = False

    def write_tensors(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Write a file per group."""
        for group, tensors in checkpoint.tensors.items():
            save_file(_unshared(tensors), folder / f"{group}.safetensors")


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    keep: Keep,
    verify: bool = False,
    saver: CheckpointSaver | None = None,
) -> Path:
    """Write a checkpoint; with `verify` it is read back and compared. Raises as `saver.save`."""
    check = _compare if verify else None
    return (saver or PlainSaver()).save(folder, checkpoint, keep=keep, check=check)


def load_newest(folder: Path, *, warn: Warn, layout: Layout | None = None) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None when there has never been one.

    A damaged one is passed over with a warning. What a run that goes on takes away while it is read
    is not damaged: the folder is looked at again. Raises InputError when all are damaged, or when
    one was written by a newer optzoo.
    """
    return _load_first(folder, list_candidates, warn, layout)


def load_step(folder: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step. Raises InputError when there is none, or it is damaged."""
    known: list[int] = []

    def of_step(folder: Path) -> list[Path]:
        found = list_candidates(folder)
        known[:] = dict.fromkeys(step_of(path) for path in reversed(found))
        return [path for path in found if step_of(path) == step]

    checkpoint = _load_first(folder, of_step, lambda _: None)
    if checkpoint is None:
        raise InputError(
            Diagnostic(
                "no-checkpoint",
                f"{folder} has no checkpoint of step {step}",
                hint=f"steps that have one: {', '.join(map(str, known)) or 'none'}",
            )
        )
    return checkpoint


def _load_first(
    folder: Path,
    candidates: Callable[[Path], list[Path]],
    warn: Warn,
    layout: Layout | None = None,
) -> Checkpoint | None:
    """Return the first of the candidates that is whole, or None when there are none."""
    reasons: dict[str, str] = {}
    for _ in range(MAX_LOOKS):
        reasons = {}
        found = candidates(folder)
        for path in found:
            stamp = _stamp(path)
            try:
                checkpoint = load_checkpoint(path, layout)
            except BadCheckpointError as error:
                if _stamp(path) != stamp:
                    break  # taken away or replaced meanwhile: look again
                if not is_leftover(path):
                    reasons[f"{path} is damaged"] = str(error)
                continue
            for damaged, why in reasons.items():
                warn(f"{damaged} ({why}); trying the one before it")
            return checkpoint
        else:
            break
    if not reasons:
        return None
    listed = "\n  ".join(f"{damaged}: {why}" for damaged, why in reasons.items())
    raise InputError(
        Diagnostic(
            "no-good-checkpoint",
            f"no checkpoint can be read:\n  {listed}",
            hint=f"copy a good checkpoint into {folder}, or delete the damaged ones and "
            "resume from step 0",
        )
    )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what is another when a folder is replaced, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def load_checkpoint(path: Path, layout: Layout | None = None) -> Checkpoint:
    """Read one checkpoint and check every hash.

    A sharded one gives whole tensors, but for those that `layout` has spread over processes: they
    come spread in that way, however they were when they were saved.

    Raises BadCheckpointError when it is not whole, InputError when its format is a newer one.
    """
    manifest = read_checked_manifest(path)
    files = [path / name for name in manifest["files"] if name.endswith(".safetensors")]
    try:
        if manifest["sharded"]:
            from optzoo.train.runs.checkpoint_sharded import load_sharded

            for stranger in set(path.glob("*.safetensors")) - set(files):
                raise BadCheckpointError(f"{MANIFEST} does not list {stranger.name}")
            tensors = load_sharded(path, layout or {})
        else:
            tensors = {file.stem: load_file(file) for file in files}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise BadCheckpointError(f"not readable as safetensors: {error}") from None
    return Checkpoint(manifest["step"], tensors, read_json(path / STATE), manifest.get("loss"))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Replace a safetensors file in one step: written beside, flushed to the disk, renamed."""
    try:
        with replacing(path) as beside:
            save_file(dict(tensors), beside, metadata=dict(metadata))
    except SafetensorError as error:  # how safetensors says that the disk did not take it
        raise OSError(str(error)) from None


Save = Callable[[Checkpoint, bool], None]


class CheckpointWriter:
    """Calls `save(checkpoint, verify)` in a thread; `verify` is true the first time.

    As a context manager it waits at the end for what is under way.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_first = True

    def submit(self, checkpoint: Checkpoint) -> None:
        """Once the one before it is written, copy a checkpoint to host memory and have it written.

        Raises RunError when that one could not be written.
        """
        self.wait()
        copied = checkpoint.on_host()
        self._thread = threading.Thread(
            target=self._work, args=(copied, self._is_first), name="checkpoint", daemon=True
        )
        self._is_first = False
        self._thread.start()

    def check(self) -> None:
        """Raise RunError if a checkpoint could not be written; do not wait."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until nothing is under way. Raises RunError if it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _work(self, checkpoint: Checkpoint, verify: bool) -> None:
        try:
            self._save(checkpoint, verify)
        except BaseException as error:  # raised again where the training asks
            self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, StopRequestedError):
            self.wait()
            return
        if self._thread is not None:
            self._thread.join()
        if not issubclass(kind, OptzooError):  # what other processes saw of this one's failure
            self.check()


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
