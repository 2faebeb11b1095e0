"""FSDP2 checkpoints of state of every shape: saved by two or by one, taken up by two and by one.

In float64, so that what differs in more than rounding shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from processes import run_processes
from torch import Tensor, nn
from torch import distributed as dist

import optzoo

pytestmark = pytest.mark.xdist_group("processes")

RECIPES = ("muon", "soap", "shampoo", "adafactor", "adam_mini", "schedule_free_muon", "prodigy")
"""State like the parameter, square, of a row's or a column's sides, and one number."""
SAVED, END = 3, 6
Array = npt.NDArray[np.float64]
Points = dict[str, list[Array]]


class Model(nn.Module):
    """Sides that two processes cut unevenly, a bias of one element, and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.up = nn.Linear(3, 7)
        self.down = nn.Linear(7, 3)
        self.gate = nn.Linear(3, 1)
        self.norm = nn.LayerNorm(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = self.norm(x + self.down(self.up(x).tanh()) * self.gate(x))
        logits: Tensor = self.head(x)
        return logits


def make(name: str, mesh: Any) -> tuple[Model, Any]:
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = Model().double()
    if mesh is not None:
        for layer in (model.up, model.down, model.gate, model):
            fully_shard(layer, mesh=mesh)
    recipe = optzoo.load_recipe(name)
    every = {n: 2 for n in ("frequency", "every") if n in recipe.hyperparameters}
    return model, recipe.build(model, total_steps=END, **every)


def learn(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        random = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, 5, (8,), generator=random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), (tokens + 1) % 5).backward()
        optimizer.step()


def whole(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).numpy().copy()


def points(model: nn.Module, optimizer: Any) -> list[Array]:
    """Return the parameters in training and evaluation, and the state, whole."""
    found = [whole(p) for p in model.parameters()]
    with optimizer.evaluation():
        found += [whole(p) for p in model.parameters()]
    for p in model.parameters():
        state = optimizer.state[p]
        found += [whole(state[key]) for key in sorted(state) if torch.is_tensor(state[key])]
    return found


def run(rank: int, world: int, folder: str, source: str | None) -> Points:
    """Train every recipe to its end, from a checkpoint of `source` or from scratch, saving one."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_state_dict,
        set_state_dict,
    )
    from torch.distributed.device_mesh import init_device_mesh

    mesh = None
    if world > 1:
        dist.init_process_group("gloo")
        mesh = init_device_mesh("cpu", (world,))
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    found = {}
    for name in RECIPES:
        model, optimizer = make(name, mesh)
        if source is None:
            learn(model, optimizer, range(SAVED))
        state = dict(zip(("model", "opt"), get_state_dict(model, optimizer, options=options)))
        place = f"{folder}/{name}-by-{source or world}"
        if source is None:
            dcp.save(state, checkpoint_id=place, no_dist=mesh is None)
        else:
            dcp.load(state, checkpoint_id=place, no_dist=mesh is None)
            set_state_dict(
                model,
                optimizer,
                model_state_dict=state["model"],
                optim_state_dict=state["opt"],
                options=options,
            )
        learn(model, optimizer, range(SAVED, END))
        found[name] = points(model, optimizer)
    if mesh is not None:
        dist.barrier()
        dist.destroy_process_group()
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str | None], Points]:
    """Return what a number of processes ended at, from a checkpoint or from scratch."""
    folder = tmp_path_factory.mktemp("shards")
    known: dict[tuple[int, str | None], Points] = {}

    def find(world: int, source: str | None) -> Points:
        if (world, source) not in known:
            everyone = run_processes(world, run, str(folder), source)
            known[world, source] = everyone[0]
            for other in everyone:
                for name, tensors in other.items():
                    assert all(map(np.array_equal, tensors, everyone[0][name])), f"{name}: ranks"
        return known[world, source]

    return find


def assert_close(found: Points, wanted: Points) -> None:
    for name in RECIPES:
        for a, b in zip(found[name], wanted[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=name)


def test_two_processes_equal_one(trained: Callable[[int, str | None], Points]) -> None:
    assert_close(trained(2, None), trained(1, None))


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("source", ["1", "2"])
def test_a_checkpoint_is_taken_up_by_any_number(
    world: int, source: str, trained: Callable[[int, str | None], Points]
) -> None:
    undisturbed = trained(int(source), None)
    resumed = trained(world, source)
    assert_close(resumed, trained(1, None))
    if int(source) == world:
        for name in RECIPES:
            assert all(map(np.array_equal, resumed[name], undisturbed[name])), name


def test_the_state_has_every_shape(trained: Callable[[int, str | None], Points]) -> None:
    """What is compared above is what it is meant to be."""
    shapes = {tuple(t.shape) for tensors in trained(1, None).values() for t in tensors}
    assert {(7, 3), (7, 7), (3, 3), (7, 1), (1, 3), ()} <= shapes
