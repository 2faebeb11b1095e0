"""Parameters spread over processes: every recipe gives what it gives on one process.

Shapes are uneven on purpose: with two processes the first axis of 5 is cut into 3 and 2, of 3 into
2 and 1, and one of them has nothing of an axis of 1.
"""

from __future__ import annotations

import copy
import functools
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from processes import run_processes
from torch import Tensor, nn
from torch import distributed as dist

import optzoo
from optzoo.distributed.sharding import Shards
from optzoo.engines.engine import Batch, check_scope
from optzoo.engines.reference import ReferenceEngine
from optzoo.files.shipped import shipped
from optzoo.program.ops import Scope
from optzoo.program.tensors.named_sides import FULL

pytestmark = pytest.mark.xdist_group("processes")
SHAPES = [(5, 3), (1, 4), (3,), (1,)]
NARROW = ("ademamix", "mars", "schedule_free_adamw")  # tried in bfloat16 too
STEPS = 3
FEW_ULP = 8 * torch.finfo(torch.float32).eps


@functools.cache
def place(shape: tuple[int, ...], seed: int, dtype: torch.dtype, mesh: Any) -> Tensor:
    """Return random values, whole or spread over the mesh."""
    from torch.distributed.tensor import Shard, distribute_tensor

    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    if mesh is None:
        return tensor
    return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)


def held(tensor: Tensor) -> Tensor:
    """Return a copy of what this process holds."""
    tensor = tensor.detach()
    return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).clone()


def train(recipe: optzoo.Recipe, mesh: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """Take a few steps on whole parameters, or on shards of them; return all that is held here."""
    params = [nn.Parameter(place(s, i, dtype, mesh).clone()) for i, s in enumerate(SHAPES)]
    knobs = {"lr": 0.05} if "lr" in recipe.hyperparameters else {}
    opt = recipe.build(params, total_steps=STEPS, **knobs)
    for step in range(STEPS):
        for i, (p, s) in enumerate(zip(params, SHAPES, strict=True)):
            p.grad = place(s, 100 * step + i + 10, dtype, mesh)
        opt.step()
    found = {f"param {i}": held(p) for i, p in enumerate(params)}
    for view in opt.views:
        with opt.evaluation(view):
            found |= {f"{view} {i}": held(p) for i, p in enumerate(params)}
    for i, state in opt.state_dict()["state"].items():
        for key, value in state.items():
            assert mesh is None or value.dim() == 0 or hasattr(value, "placements"), (
                recipe.name,
                key,
            )
            found[f"{key} {i}"] = held(value)
    return found


def shard(tensor: Tensor, rank: int, world: int) -> Tensor:
    """Return the rows that a rank holds: ceil(rows / world) each, as far as they go."""
    if tensor.dim() == 0:
        return tensor
    parts = torch.chunk(tensor, world)
    return parts[rank] if rank < len(parts) else tensor[:0]


def sided(recipe: optzoo.Recipe) -> set[str]:
    """Return the buffers that have other sides than their parameter in some rule."""
    states = [s for rule in recipe.rules for s in rule.program().tensor_states]
    return {state.name for state in states if state.shape != FULL}


def compare_all_recipes(rank: int, world: int) -> dict[str, float]:
    """Return by recipe and dtype the largest difference, relative to the largest entry."""
    from torch.distributed.device_mesh import init_device_mesh

    warnings.simplefilter("error")
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    worst = {}
    for name in shipped():
        recipe = optzoo.load_recipe(name).with_observers(["ema:0.5"])
        for dtype in (torch.float32, torch.bfloat16) if name in NARROW else (torch.float32,):
            sharded, plain = train(recipe, mesh, dtype), train(recipe, None, dtype)
            assert sharded.keys() == plain.keys()
            differences, others = [0.0], sided(recipe)
            for key, value in plain.items():
                mine = shard(value, rank, world)
                if key.rsplit(" ", 1)[0] in others and sharded[key].shape == value.shape:
                    mine = value
                assert (sharded[key].dtype, sharded[key].shape) == (mine.dtype, mine.shape)
                if mine.numel():
                    # an average is kept as its distance from the parameter, whose rounding it has
                    scale = plain[f"param {key[-1]}"] if key.startswith("ema_") else value
                    size = scale.abs().max().clamp(min=1e-30)
                    differences.append(float((sharded[key] - mine).abs().max() / size))
            worst[f"{name} {dtype}"] = max(differences)
    dist.barrier()
    dist.destroy_process_group()
    return worst


def test_every_recipe_on_two_processes_equals_one() -> None:
    first, second = run_processes(2, compare_all_recipes)
    assert len(first) == len(shipped()) + len(NARROW) >= 49
    for name, difference in [*first.items(), *second.items()]:
        scope = optzoo.load_recipe(name.split()[0]).program().scope
        limit = FEW_ULP if scope is not Scope.ELEMENTWISE else 0.0
        assert difference <= limit, (name, difference)


def save_and_load_with_torch(rank: int, world: int, recipe: str) -> None:
    """Let torch's own checkpoint helpers carry the state of one optimizer to another."""
    from torch.distributed.checkpoint.state_dict import (
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def make() -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 1))
        for layer in model:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        opt = optzoo.load_recipe(recipe).build(model.parameters(), total_steps=10, lr=0.1)
        return model, opt

    def step(model: nn.Module, opt: Any) -> None:
        opt.zero_grad()
        model(torch.ones(2, 5) * (rank + 1)).square().sum().backward()
        opt.step()

    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (world,))
    model, opt = make()
    fresh = get_optimizer_state_dict(model, opt)
    assert all(state["step"] == 0 for state in fresh["state"].values()), "a phantom step"
    step(model, opt)
    saved = copy.deepcopy(get_optimizer_state_dict(model, opt))
    weights = {name: held(p) for name, p in model.named_parameters()}
    step(model, opt)
    other, another = make()
    for name, p in other.named_parameters():
        p.data.to_local().copy_(weights[name])
    set_optimizer_state_dict(other, another, saved)
    step(other, another)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(held(p), held(q))
    for p, q in zip(opt.state.values(), another.state.values(), strict=True):
        for name, value in p.items():
            assert torch.equal(held(value), held(q[name])), name
    dist.destroy_process_group()


@pytest.mark.parametrize("recipe", ["mars", "schedule_free_adamw"])
def test_torch_checkpoints_carry_the_state_without_a_phantom_step(recipe: str) -> None:
    run_processes(2, save_and_load_with_torch, recipe)


@pytest.mark.parametrize(("recipe", "refused"), [("mars", True), ("adamw", False)])
def test_an_engine_that_sees_only_shards_refuses_norms(recipe: str, refused: bool) -> None:
    program = optzoo.load_recipe(recipe).program()
    engine = ReferenceEngine(program)
    check_scope(engine, program, Batch([], [], {}))
    expected = pytest.raises(optzoo.InputError, match="norm") if refused else nullcontext()
    with expected:
        check_scope(engine, program, Batch([], [], {}, Shards(None, ())))
