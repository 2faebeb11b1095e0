"""torch's optimizer that spreads state over processes, around ours: saved, loaded, views."""

from __future__ import annotations

import copy
from pathlib import Path
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


def checkpoint(
    rank: int, world: int, folder: str, name: str, shown: str, flat: bool
) -> list[float]:
    """Save FSDP2 shards with torch's distributed checkpoints, take them up, go on with both."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_state_dict,
        set_state_dict,
    )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def make() -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
        model[0].bias.requires_grad_(False)
        for layer in (*model, model):
            fully_shard(layer, mesh=mesh)
        opt = optzoo.load_recipe(name).build(model.parameters(), total_steps=20, lr=1e-2)
        return model, opt

    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, opt = make()
    train(model, opt, range(4))
    opt.train(shown == "train")
    parts = dict(zip(("model", "opt"), get_state_dict(model, opt, options=options)))
    dcp.save(parts, checkpoint_id=folder)
    opt.train()
    train(model, opt, range(4, 7))
    other, again = make()
    parts = dict(zip(("model", "opt"), get_state_dict(other, again, options=options)))
    dcp.load(parts, checkpoint_id=folder)
    set_state_dict(
        other,
        again,
        model_state_dict=parts["model"],
        optim_state_dict=parts["opt"],
        options=options,
    )
    again.train()
    train(other, again, range(4, 7))
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    found = [float((p.to_local() - q.to_local()).abs().sum()) for p, q in pairs]
    if shown == "eval":  # the training point, which a new optimizer does not ask for, is computed
        found = [difference if difference > 1e-5 else 0.0 for difference in found]
    found.append(abs(7 - float(again.state[other[1].bias]["step"])))
    dist.destroy_process_group()
    return found


@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pytest.mark.parametrize(
    ("name", "shown"), [("ademamix", "train"), ("schedule_free_adamw", "eval"), ("mars", "train")]
)
def test_distributed_checkpoints_of_shards(
    name: str, shown: str, flat: bool, tmp_path: Path
) -> None:
    for found in run_processes(2, checkpoint, str(tmp_path), name, shown, flat):
        assert not any(found)
