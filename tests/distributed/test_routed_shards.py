"""Routes on parameters that are spread over processes: two give what one gives, and save it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from processes import run_processes
from torch import Tensor, nn
from torch import distributed as dist

import optzoo

pytestmark = pytest.mark.xdist_group("processes")
STEPS = 4
TEXT = """\
name: mixed
version: 2
summary: a norm for matrices, averages for the head, AdamW for the rest
reference: none
extends: sgd_momentum
update: m/(norm(m) + 1e-3)
routes:
  - {kind: matrix, use: here}
  - {kind: head, use: averaged}
  - {use: adamw, set: {lr: lr/4}}
parts:
  averaged: {averaging: {weight: 1/t}}
"""


def held(tensor: Tensor) -> Tensor:
    """Return the whole tensor, wherever its parts are."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()


def make(mesh: Any) -> tuple[nn.Module, Any]:
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in (
        ("embed", nn.Embedding(5, 3)),
        ("up", nn.Linear(3, 3)),
        ("head", nn.Linear(3, 2)),
    ):
        model.add_module(name, fully_shard(layer, mesh=mesh) if mesh is not None else layer)
    if mesh is not None:
        fully_shard(model, mesh=mesh)
    return model, optzoo.parse_recipe(TEXT).build(model, lr=0.1)


def learn(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        random = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, 5, (4,), generator=random)
        optimizer.zero_grad()
        model(tokens).square().sum().backward()
        optimizer.step()


def points(model: nn.Module, optimizer: Any) -> list[Tensor]:
    found = [held(p) for p in model.parameters()]
    with optimizer.evaluation():
        return found + [held(p) for p in model.parameters()]


def compare(rank: int, world: int) -> tuple[float, list[str]]:
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo")
    spread, plain = make(init_device_mesh("cpu", (world,))), make(None)
    for model, optimizer in (spread, plain):
        learn(model, optimizer, range(STEPS))
    pairs = zip(points(*spread), points(*plain), strict=True)
    worst = max(float((a - b).abs().max()) for a, b in pairs)
    dist.barrier()
    dist.destroy_process_group()
    return worst, spread[1].param_groups[0]["rules"]


def test_two_processes_equal_one() -> None:
    for worst, rules in run_processes(2, compare):
        assert worst <= 1e-6
        assert rules == ["adamw", "here", "adamw", "averaged", "adamw"]


def carry(rank: int, world: int) -> None:
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    model, optimizer = make(mesh)
    learn(model, optimizer, range(2))
    options = StateDictOptions(flatten_optimizer_state_dict=False)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    weights = [held(p) for p in model.parameters()]
    learn(model, optimizer, range(2, 4))
    other, another = make(mesh)
    with torch.no_grad():
        for p, w in zip(other.parameters(), weights, strict=True):
            local = torch.distributed.tensor.distribute_tensor(w, mesh, p.placements)
            p.copy_(local)
    set_optimizer_state_dict(other, another, saved, options=options)
    learn(other, another, range(2, 4))
    for a, b in zip(points(model, optimizer), points(other, another), strict=True):
        assert torch.equal(a, b)
    dist.destroy_process_group()


def test_torchs_checkpoint_helpers_carry_the_state() -> None:
    run_processes(2, carry)
