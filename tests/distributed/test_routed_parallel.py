"""Routed recipes under DistributedDataParallel and FSDP2, half of the batch each: as one process.

All of it in one pair of processes. In float64, so that what differs in more than rounding shows.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from processes import run_processes
from torch import Tensor, nn
from torch import distributed as dist

import optzoo

pytestmark = pytest.mark.xdist_group("processes")
STEPS = 4
BY_NAME = """
name: by_name
version: 2
summary: a norm for what is called gate, numbers of the whole model for two layers, signs elsewhere
reference: none
extends: signum
routes:
  - {name: "blocks.*.gate.*", use: normed}
  - {name: "blocks.0.*", use: prodigy, set: {lr: 100*lr}}
  - {name: ["blocks.1.*", "norm.*"], use: prodigy}
  - {use: here, set: {weight_decay: 0}}
parts:
  normed: {update: m/(norm(m) + 1e-3)}
"""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(3, 1)
        self.up = nn.Linear(3, 5)
        self.down = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.gate(x) * self.down(self.up(x).tanh())
        return found


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(3)
        self.head = nn.Linear(3, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def recipe_of(name: str) -> optzoo.Recipe:
    return optzoo.parse_recipe(BY_NAME) if name == "by_name" else optzoo.load_recipe(name)


def make(way: str, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    model = Model().double()
    if way == "ddp":
        return DistributedDataParallel(model)
    if way == "compiled ddp":  # names have both prefixes
        return torch.compile(DistributedDataParallel(model), backend="eager")  # type: ignore[return-value]
    if way == "fsdp":
        for layer in (*model.blocks, model):
            fully_shard(layer, mesh=mesh)
    return model


def learn(model: nn.Module, optimizer: Any, rank: int, world: int) -> None:
    for step in range(STEPS):
        random = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, 5, (8,), generator=random)[rank::world]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), (tokens + 1) % 5).backward()
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()


def compare(rank: int, world: int) -> dict[str, tuple[float, list[str], list[str]]]:
    """Return by recipe and way the largest difference, and where the parameters went."""
    from torch.distributed.device_mesh import init_device_mesh

    torch.compiler.set_stance("force_eager")  # the wrapper is what matters
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    found = {}
    for name in ("muon", "by_name"):
        recipe = recipe_of(name)
        alone = make("alone", mesh)
        optimizer = recipe.build(alone, total_steps=STEPS)
        learn(alone, optimizer, 0, 1)
        wanted = optimizer.param_groups[0]["rules"]
        for way in ("ddp", "ddp by names", "compiled ddp", "fsdp"):
            model = make(way.removesuffix(" by names"), mesh)
            given = model.named_parameters() if way == "ddp by names" else model
            optimizer = recipe.build(given, total_steps=STEPS)
            learn(model, optimizer, rank, world)
            pairs = zip(model.parameters(), alone.parameters(), strict=True)
            worst = max(float((whole(a) - whole(b)).abs().max()) for a, b in pairs)
            found[f"{name} {way}"] = worst, optimizer.param_groups[0]["rules"], wanted
    dist.barrier()
    dist.destroy_process_group()
    return found


def test_two_processes_with_half_the_batch_equal_one() -> None:
    for found in run_processes(2, compare):
        assert len(found) == 8
        for what, (worst, rules, wanted) in found.items():
            assert rules == wanted, what
            assert worst <= 1e-11, what
        assert set(found["by_name ddp"][1]) == {"normed", "prodigy", "prodigy_2", "here_2"}
        assert set(found["muon ddp"][1]) == {"here", "adamw"}
