"""`torch.compile` around `step` or the training function: the same numbers, nothing compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.optim import lr_scheduler

import optzoo

pytestmark = pytest.mark.filterwarnings("default")  # the compiler's own
BACKEND = "eager"  # what is traced is the question, not what becomes of it


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def frames() -> int:
    return int(counters["frames"]["total"])


def train(
    name: str, wrap: Callable[[Any], Any], dtype: torch.dtype, schedule: bool, **options: Any
) -> tuple[Tensor, list[int]]:
    param = nn.Parameter(torch.ones(8, dtype=dtype))
    opt = optzoo.load_recipe(name).build([param], total_steps=60, lr=1e-3, **options)
    scheduler = lr_scheduler.LinearLR(opt, 0.1, total_iters=50) if schedule else None
    step = wrap(opt.step)
    seen = []
    for s in range(40):
        param.grad = torch.randn(8, generator=torch.Generator().manual_seed(s)).abs().to(dtype)
        step()
        if scheduler is not None:
            scheduler.step()
        seen.append(frames())
    return param.detach(), seen


@pytest.mark.parametrize("schedule", [False, True], ids=["constant", "scheduled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rounding", ["master", "kahan", "stochastic"])
@pytest.mark.parametrize("name", ["lion", "mars", "schedule_free_adamw"])
def test_a_compiled_step_is_the_eager_one(
    name: str, rounding: str, dtype: torch.dtype, schedule: bool
) -> None:
    wanted, _ = train(name, lambda f: f, dtype, schedule, param_rounding=rounding)
    found, seen = train(
        name,
        lambda f: torch.compile(f, backend=BACKEND),
        dtype,
        schedule,
        param_rounding=rounding,
    )
    assert torch.equal(found, wanted)
    assert seen[2:] == seen[2:3] * len(seen[2:]), "a step was traced"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_compiled_training_function(dtype: torch.dtype) -> None:
    def run(wrap: Callable[[Any], Any]) -> tuple[Tensor, list[int]]:
        torch.manual_seed(0)
        model = nn.Linear(6, 3).to(dtype)
        opt = optzoo.load_recipe("schedule_free_adamw").build(model.parameters(), lr=1e-3)

        def one(x: Tensor) -> Tensor:
            opt.zero_grad()
            loss = model(x).float().square().mean()
            loss.backward()
            opt.step()
            return loss.detach()

        function, seen = wrap(one), []
        for s in range(25):
            function(torch.randn(4, 6, generator=torch.Generator().manual_seed(s)).to(dtype))
            seen.append(frames())
        return model.weight.detach(), seen

    (wanted, _), (found, seen) = run(lambda f: f), run(lambda f: torch.compile(f, backend=BACKEND))
    assert torch.equal(found, wanted)
    assert seen[3:] == seen[3:4] * len(seen[3:])


def test_views_and_closures_inside_compiled_functions() -> None:
    def run(wrap: Callable[[Any], Any]) -> list[float]:
        param = nn.Parameter(torch.ones(4))
        opt = optzoo.load_recipe("schedule_free_adamw").build([param], lr=0.1)

        def closure() -> Tensor:
            opt.zero_grad()
            loss = param.square().sum()
            loss.backward()
            return loss.detach()

        def one() -> Tensor:
            loss = opt.step(closure)
            opt.eval()
            shown = param.detach().clone()
            opt.train()
            return loss + shown.sum()

        function = wrap(one)
        return [float(function()) for _ in range(8)]

    assert run(lambda f: torch.compile(f, backend=BACKEND)) == run(lambda f: f)


def test_a_compiled_model_beside_a_plain_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    opt = optzoo.load_recipe("ademamix").build(model.parameters(), total_steps=30)
    forward = torch.compile(model, backend=BACKEND)
    seen = []
    for _ in range(6):
        opt.zero_grad()
        forward(torch.ones(2, 6)).square().sum().backward()
        opt.step()
        seen.append(frames())
    assert seen[1:] == seen[1:2] * 5
