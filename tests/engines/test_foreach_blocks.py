"""The eager engine and memory: blocks, packs, layouts, and what it holds beside the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lockstep import largest_excess
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import optzoo
from optzoo.engines import blocks as foreach_blocks
from optzoo.engines.engine import Batch
from optzoo.engines.foreach import ForeachEngine

RECIPES = ("adamw", "mars", "lion", "adan", "schedule_free_adamw", "nesterov_vaswani")


class Calls(TorchDispatchMode):
    """Counts operations, and the elements of the largest new tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.count += 1
        is_new = not func.is_view and "out" not in kwargs and not func._schema.is_mutable
        if is_new and isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def steps(recipe: str, params: list[Tensor], count: int = 3) -> list[Tensor]:
    optimizer = optzoo.load_recipe(recipe).build(params, total_steps=9, engine="foreach", lr=0.1)
    random = torch.Generator().manual_seed(5)
    for _ in range(count):
        for p in params:
            noise = torch.randn(p.shape, generator=random, dtype=torch.float64)
            p.grad = torch.empty_like(p).copy_(noise)
        optimizer.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("recipe", RECIPES)
def test_many_blocks_of_one_tensor(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into blocks of 700, the largest tensor is as right as in one, norms included."""
    monkeypatch.setattr(foreach_blocks, "BLOCK", 700)
    monkeypatch.setattr(foreach_blocks, "SMALL", 16)
    program = optzoo.load_recipe(recipe).program()
    assert largest_excess("foreach", program, torch.float32) <= 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_layouts_change_nothing(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transposed, channels-last and strided parameters take the steps of contiguous ones."""
    monkeypatch.setattr(foreach_blocks, "SMALL", 16)
    start = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)).double()
    plain = steps(recipe, [torch.nn.Parameter(start.clone()) for _ in range(3)])
    wide = torch.empty(2, 3, 4, 10).double()[..., ::2].copy_(start)
    others = [
        torch.nn.Parameter(start.clone(memory_format=torch.channels_last)),
        torch.nn.Parameter(start.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)),
        wide.requires_grad_(),
    ]
    assert not any(p.is_contiguous() for p in others)
    for found, wanted in zip(steps(recipe, others), plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def batch_of(program: Any, sizes: list[int]) -> tuple[Batch, dict[Any, float]]:
    from optzoo.program.arithmetic import FloatDomain
    from optzoo.program.domain import initial_memory, run_scalars

    inputs = {h.name: float(h.value) for h in program.hypers}
    inputs |= {"t": 1.0, "T": 10.0, "lr0": inputs.get("lr", 1.0)}
    memory = initial_memory(program, FloatDomain())
    scalars = run_scalars(program, FloatDomain(), inputs, memory)
    params, grads = ([torch.rand(n) for n in sizes] for _ in range(2))
    buffers = {s.name: [torch.rand(n) for n in sizes] for s in program.tensor_states}
    return Batch(params, grads, buffers), scalars


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_grows_with_the_model(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new tensor is larger than a block, neither in the first step nor in the second."""
    monkeypatch.setattr(foreach_blocks, "BLOCK", 1000)
    monkeypatch.setattr(foreach_blocks, "SMALL", 64)
    program = optzoo.load_recipe(recipe).program()
    batch, scalars = batch_of(program, [50_000, 1200, 30, 30])
    engine = ForeachEngine(program)
    with Calls() as calls:
        for _ in range(2):
            engine.step(batch, scalars)
    assert 0 < calls.largest <= 1000


def test_a_thousand_small_tensors_take_few_calls() -> None:
    """Packed side by side, their arithmetic is that of one tensor; copies are multi-tensor."""
    program = optzoo.load_recipe("adamw").program()
    counts = []
    for number in (10, 1000):
        batch, scalars = batch_of(program, [64] * number)
        engine = ForeachEngine(program)
        engine.step(batch, scalars)
        with Calls() as calls:
            engine.step(batch, scalars)
        counts.append(calls.count)
    few, many = counts
    assert many - few <= 2 * 990, "more than the two views of each gradient"


@pytest.mark.parametrize("recipe", RECIPES)
def test_lists_agree_with_blocks(recipe: str) -> None:
    """What runs on other devices takes the same step, in rounds that cut large tensors."""
    program = optzoo.load_recipe(recipe).program()
    results = []
    for by_lists in (False, True):
        torch.manual_seed(3)
        batch, scalars = batch_of(program, [5000, 3, 700, 1])
        engine = ForeachEngine(program)
        if by_lists:
            engine.step_lists(batch, scalars, elements=600)
        else:
            engine.step(batch, scalars)
        results.append([*batch.params, *(t for ts in batch.buffers.values() for t in ts)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-6, atol=1e-6)
