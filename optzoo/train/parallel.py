"""How a model is spread over the processes of a run, by PyTorch's own engine.

    none   one process
    ddp    every process has the whole model and sees its share of each batch
    fsdp   every process has a shard of each parameter, its gradient and its optimizer state

Both average gradients over processes. A loss is therefore divided by the targets of one process's
share, all shares being equal, and the average is the gradient of the global batch.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from optzoo.distributed.world import World
from optzoo.errors import Diagnostic, InputError
from optzoo.train.model.transformer import Transformer
from optzoo.train.setup.schema import Setup

_KEPT: list[nn.Module] = []
"""DDP wrappers, kept until the process ends: letting go of one after the other processes have left
can wait for ever for its communication threads, with the interpreter's lock held (torch 2.13)."""


@dataclass(frozen=True)
class Parallel:
    """A model as it is called in training; `kind` is none, ddp or fsdp."""

    kind: str
    module: Any

    @contextlib.contextmanager
    def accumulating(self, *, last: bool) -> Iterator[None]:
        """Run forward and backward of a micro-batch; gradients meet only on the last one."""
        if self.kind == "fsdp":
            self.module.set_requires_gradient_sync(last)
        if self.kind == "ddp" and not last:
            with self.module.no_sync():
                yield
        else:
            yield


def resolve_kind(setup: Setup, world: World) -> str:
    """Return how this run is spread: one process is `none`, and several are `ddp` unless told.

    Raises InputError where the processes cannot share the setup's batch equally.
    """
    asked = setup.execution.parallel
    if world.size == 1:
        return "none"
    if asked == "none":
        raise InputError(
            Diagnostic(
                "bad-value",
                f"`execution.parallel: none`, and there are {world.size} processes",
                hint="start one process, or train with `--parallel ddp`",
            )
        )
    if setup.batch.sequences % world.size:
        raise InputError(
            Diagnostic(
                "bad-value",
                f"`batch.sequences` {setup.batch.sequences} is not a multiple of the "
                f"{world.size} processes",
                hint="choose a number of processes that divides the batch",
            )
        )
    return "ddp" if asked == "auto" else asked


def spread_model(model: Transformer, kind: str, world: World, device: str) -> Parallel:
    """Return the model spread over the processes; with fsdp its parameters become shards in place.

    Every process gives the same initial weights.
    """
    if kind == "ddp":
        devices = [model.head.weight.device] if device == "cuda" else None
        wrapper = nn.parallel.DistributedDataParallel
        known = inspect.signature(wrapper.__init__).parameters
        # the one buffer, of rotary positions, is the same everywhere; torch has renamed the option
        sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {sync: False, "gradient_as_bucket_view": True}
        wrapped = wrapper(model, device_ids=devices, **options)
        _KEPT.append(wrapped)
        return Parallel(kind, wrapped)
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device, (world.size,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
    return Parallel(kind, model)
