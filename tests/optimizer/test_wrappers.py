"""torch's optimizer that spreads state over processes, around ours: saved, loaded, views."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from processes import run_processes
from torch import distributed as dist
from torch import nn

import optzoo

pytestmark = [pytest.mark.xdist_group("processes"), pytest.mark.filterwarnings("default")]


def train(model: nn.Module, opt: Any, steps: range) -> None:
    for step in steps:
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        opt.zero_grad()
        model(x).square().mean().backward()
        opt.step()


def resume(rank: int, world: int, name: str) -> list[float]:
    """Return how far a resumed run, and one process, are from a run that was not broken off."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    def make(params: Any, **options: Any) -> Any:
        return optzoo.load_recipe(name).build(params, total_steps=20, **options)

    def wrap(model: nn.Module) -> Any:
        return ZeroRedundancyOptimizer(model.parameters(), optimizer_class=make, lr=1e-2)

    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    alone = copy.deepcopy(model)
    train(alone, make(alone.parameters(), lr=1e-2), range(8))
    first = wrap(model)
    train(model, first, range(5))
    first.consolidate_state_dict(to=0)
    box = [first.state_dict() if rank == 0 else None]
    dist.broadcast_object_list(box)
    other = copy.deepcopy(model)
    second = wrap(other)
    second.load_state_dict(copy.deepcopy(box[0]))
    train(model, first, range(5, 8))
    train(other, second, range(5, 8))
    differences = [
        max(float((p - q).abs().max()) for p, q in zip(m.parameters(), model.parameters()))
        for m in (other, alone)
    ]
    dist.destroy_process_group()
    return differences


@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw"])
def test_zero_redundancy_resumed(name: str) -> None:
    for differences in run_processes(2, resume, name):
        assert differences[0] == 0
        assert differences[1] < 1e-6
