"""Checkpoints of parameters that are spread over processes, by `torch.distributed.checkpoint`.

Every process writes its shards into a safetensors file of its own; nothing is gathered, and nothing
is pickled. Any number of processes reads them again, each the parts it needs, or one the whole.
The folder is begun, sealed and named by the first process, as other checkpoints are.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from optzoo.distributed.sharding import empty_host_copy, is_sharded
from optzoo.train.runs.checkpoint_folder import (
    BadCheckpointError,
    Checkpoint,
    CheckpointSaver,
    Layout,
)


class ShardedSaver(CheckpointSaver):
    """Saves the checkpoints of all processes together; made by all of them at the same point.

    Tensors are in host memory, and `save` is a collective. It has a process group of its own, so
    that it may work in a thread beside the training.
    """

    is_sharded = True

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo")
        self.is_first = dist.get_rank() == 0

    def write_tensors(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Write the shards of this process."""
        flat = {
            f"{group}/{name}": tensor
            for group, named in checkpoint.tensors.items()
            for name, tensor in named.items()
        }
        storage = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        try:
            save(flat, storage_writer=storage, process_group=self._group)
        except CheckpointException as error:
            causes = "; ".join(str(failure[0]) for failure in error.failures.values())
            raise BadCheckpointError(causes) from None

    def agree(self, good: bool) -> bool:
        """Return whether all processes are `good`."""
        verdict = torch.tensor(int(good))
        dist.all_reduce(verdict, op=dist.ReduceOp.MIN, group=self._group)
        return bool(verdict)


def load_sharded(path: Path, layout: Layout) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a checkpoint by group and name.

    Those that `layout` has spread over processes come spread in the same way, in host memory; all
    processes of it call this. Others are whole.
    """
    reader = HuggingFaceStorageReader(str(path))
    flat: dict[str, Any] = {}
    together = False
    for key, entry in reader.read_metadata().state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise BadCheckpointError(f"`{key}` is not a tensor")
        group, _, name = key.partition("/")
        like = layout.get(group, {}).get(name)
        if like is not None and is_sharded(like) and like.shape == entry.size:
            flat[key] = empty_host_copy(like)
            together = True
        else:
            flat[key] = torch.zeros(entry.size, dtype=entry.properties.dtype)
    with warnings.catch_warnings():  # of one process it says that it is one
        warnings.simplefilter("ignore")
        load(flat, storage_reader=reader, no_dist=not together)
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        group, _, name = key.partition("/")
        found.setdefault(group, {})[name] = tensor
    return found
