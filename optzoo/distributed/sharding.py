"""Tensors that are spread over processes (torch `DTensor`), as the optimizer sees them.

An elementwise program is right on any shard, so engines are given what this process holds. A norm
is over a whole tensor: the processes add up the squares of theirs, and every process takes part,
also with an empty shard. Nothing here knows of recipes or programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def is_sharded(tensor: Tensor) -> bool:
    """Return whether the tensor is a DTensor, without importing torch's distributed code."""
    return hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor: its own memory, or the tensor itself."""
    if not is_sharded(tensor):
        return tensor
    held: Tensor = tensor.to_local()  # type: ignore[attr-defined]  # a DTensor
    return held


def local_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return what this process holds of a tensor once it is spread as `like` is."""
    if is_sharded(like) and is_sharded(tensor) and _layout(tensor) != _layout(like):
        mesh, placements = _layout(like)
        tensor = tensor.redistribute(mesh, placements)  # type: ignore[attr-defined]
    return local(tensor)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; every process that holds a shard must ask."""
    if not is_sharded(tensor):
        return tensor
    gathered: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    return gathered


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, which every process has, spread as `like` is; no communication."""
    if not is_sharded(like) or is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = _layout(like)
    return distribute_tensor(
        tensor.to(local(like).device), mesh, list(placements), src_data_rank=None
    )


def repeated_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, which every process has, as one that each process of `like` holds."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = _layout(like)
    if is_sharded(tensor):
        spread: Any = tensor
        repeated: Tensor = spread.redistribute(mesh, [Replicate()] * len(placements))
        return repeated
    held = tensor.to(local(like).device)
    return DTensor.from_local(held, mesh, [Replicate()] * len(placements), run_check=False)


def gathered(held: Tensor, like: Tensor) -> Tensor:
    """Return all of a tensor of which this process holds a part, spread as `like` is.

    A collective: every process of the mesh calls it with tensors in the same order.
    """
    return whole(_respread(held.contiguous(), like, _layout(like)[0]))


def part_here(tensor: Tensor, like: Tensor) -> Tensor:
    """Return what this process holds of a whole tensor once it is spread as `like` is."""
    return local(spread_like(tensor, like))


def host_copy(tensor: Tensor) -> Tensor:
    """Return a copy in host memory, spread as the tensor is."""
    copy = local(tensor).detach().to("cpu", copy=True)
    return _respread(copy, tensor, _host_mesh(tensor)) if is_sharded(tensor) else copy


def empty_host_copy(tensor: Tensor) -> Tensor:
    """Return zeros in host memory, spread as the tensor is."""
    zeros = torch.zeros_like(local(tensor), device="cpu")
    return _respread(zeros, tensor, _host_mesh(tensor)) if is_sharded(tensor) else zeros


def moved_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor on the devices of `like`, spread as it is already, or else as `like` is.

    State that each process has all of may have the sides of `like`, or others.
    """
    if not is_sharded(like):
        return tensor
    if not is_sharded(tensor):
        return spread_like(tensor, like)
    return _respread(local(tensor).to(local(like).device), tensor, _layout(like)[0])


def _respread(held: Tensor, like: Tensor, mesh: Any) -> Tensor:
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        held,
        mesh,
        list(_layout(like)[1]),
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def _host_mesh(tensor: Tensor) -> Any:
    """Return the mesh of the same processes with their host memory as devices."""
    mesh = _layout(tensor)[0]
    if mesh.device_type == "cpu":
        return mesh
    if mesh not in _HOST_MESHES:
        from torch.distributed.device_mesh import init_device_mesh

        _HOST_MESHES[mesh] = init_device_mesh("cpu", tuple(mesh.shape))
    return _HOST_MESHES[mesh]


_HOST_MESHES: dict[Any, Any] = {}


@dataclass(frozen=True)
class Shards:
    """How the tensors of a batch are spread: all alike, on one device mesh."""

    mesh: Any
    placements: tuple[Any, ...]

    def whole_norms(self, norms: Sequence[Tensor]) -> list[Tensor]:
        """Return the L2 norms of whole tensors from those of the shards held here.

        A collective: the processes of the mesh call it with the same tensors in the same order.
        Squares are added in float64.
        """
        squares = torch.stack(list(norms)).double().square()
        for dim, placement in enumerate(self.placements):
            if not placement.is_replicate():
                dist.all_reduce(squares, group=self.mesh.get_group(dim))
        return list(squares.sqrt().to(norms[0].dtype).unbind())

    def owners(self) -> Owners | None:
        """Return the processes that share the work on whole tensors; None where each has all.

        Those along the first axis of the mesh that tensors are cut along; the processes of other
        axes do the same, each line of them for itself.
        """
        for dim, placement in enumerate(self.placements):
            if not placement.is_replicate():
                group = self.mesh.get_group(dim)
                return Owners(group, dist.get_rank(group), dist.get_world_size(group))
        return None


@dataclass(frozen=True)
class Owners:
    """Processes that take turns with whole tensors: this one's rank, and how many there are."""

    group: Any
    rank: int
    count: int

    def hand_out(self, tensor: Tensor, owner: int) -> None:
        """Let a tensor hold what it holds at its owner, in every process."""
        dist.broadcast(tensor, dist.get_global_rank(self.group, owner), group=self.group)


def shards_of(tensor: Tensor) -> Shards | None:
    """Return how a tensor is spread, or None when this process has all of it."""
    return Shards(*_layout(tensor)) if is_sharded(tensor) else None


def _layout(tensor: Any) -> tuple[Any, tuple[Any, ...]]:
    return tensor.device_mesh, tuple(tensor.placements)
