"""Narrow parameters beside wide copies walk as float32 ones and are shown rounded."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from narrow_steps import BF16, generator
from torch import Tensor

import optzoo
from optzoo.engines import engine as engines
from optzoo.engines.engine import has_cc, has_triton
from optzoo.engines.render.c import render_c
from optzoo.engines.render.c_functions import NAMES
from optzoo.optimizer import precision
from optzoo.program.planning import plan_program

ENGINES = [
    "foreach",
    pytest.param("compiled", marks=pytest.mark.skipif(not has_cc(), reason="no C compiler")),
    pytest.param(
        "triton", marks=pytest.mark.skipif(not has_triton(), reason="triton is not installed")
    ),
]
every_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `triton` be Triton kernels on CPU tensors, in Triton's interpreter (see conftest)."""
    devices = {**engines.ENGINES, "triton": "drawn_engines:DeviceEngine"}
    monkeypatch.setattr(engines, "ENGINES", devices)


def starts(dtype: torch.dtype, large: int = 5_000) -> list[torch.nn.Parameter]:
    """Parameters of every layout, at numbers that `dtype` represents."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator(sum(shape))).half().bfloat16().to(dtype)

    tensors = [drawn(7, 30).t(), drawn(8, 12)[:, ::2], drawn(large), drawn(), drawn(0)]
    return [torch.nn.Parameter(tensor) for tensor in tensors]


def give(params: list[torch.nn.Parameter], step: int, dtype: torch.dtype) -> None:
    """Give gradients that the step and the place alone decide, rounded to a dtype."""
    for i, p in enumerate(params):
        grad = torch.randn(p.shape, generator=generator(100 * step + i)).to(dtype)
        p.grad = torch.empty_like(p).copy_(grad)


def build(name: str, params: list[torch.nn.Parameter], engine: str) -> Any:
    return optzoo.load_recipe(name).build(params, engine=engine, total_steps=20)


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(
        one.nan_to_num(), other.nan_to_num()
    )


@every_engine
@pytest.mark.parametrize("dtype", [BF16, torch.float16])
@pytest.mark.parametrize("name", ["adamw", "mars", "lion", "schedule_free_adamw"])
def test_copies_walk_as_float32_and_are_shown_rounded(
    name: str, dtype: torch.dtype, engine: str
) -> None:
    wide, narrow = starts(torch.float32), starts(dtype)
    one, other = build(name, wide, engine), build(name, narrow, engine)
    for step in range(4):
        give(wide, step, dtype)
        give(narrow, step, dtype)
        one.step()
        other.step()
        for p, q in zip(wide, narrow, strict=True):
            assert torch.equal(other.state[q]["master"], p)
            assert torch.equal(q, p.to(dtype))


def by_copy(param: Tensor, new: Tensor) -> None:
    param.detach().copy_(new)


def behind_the_back(param: Tensor, new: Tensor) -> None:
    """Change the memory, as other libraries do, so that no version of the tensor tells."""
    param.data.copy_(new)


def by_exchange(param: Tensor, new: Tensor) -> None:
    param.data = new


@every_engine
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, for infinities
@pytest.mark.parametrize("dtype", [BF16, torch.float16])
@pytest.mark.parametrize("load", [by_copy, behind_the_back, by_exchange])
def test_loaded_weights_are_taken_up(load: Any, dtype: torch.dtype, engine: str) -> None:
    """All, one number alone in the middle of many, infinite ones and NaN; the rest is kept."""
    wide, narrow = starts(torch.float32, 300_000), starts(dtype, 300_000)
    one, other = build("adamw", wide, engine), build("adamw", narrow, engine)
    for step in range(4):
        for i, (p, q) in enumerate(zip(wide, narrow, strict=True)):
            new = q.detach().clone()
            if step == 1 and i in (0, 1, 3):
                new += 1
            if step == 2 and i == 2:
                new[140_000] = 3.0
                new[[5, 6, 7]] = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=dtype)
            changed = ~((new == q) | (new.isnan() & q.isnan()))
            with torch.no_grad():
                p.copy_(torch.where(changed, new.float(), p))
            load(q, new)
        give(wide, step, dtype)
        give(narrow, step, dtype)
        one.step()
        other.step()
        for p, q in zip(wide, narrow, strict=True):
            assert same(other.state[q]["master"], p.detach())
            assert same(q.detach(), p.detach().to(dtype))


@every_engine
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_ties_and_numbers_beyond_the_largest(engine: str) -> None:
    """SGD moves copies by hand: to ties, by less than is shown, over the edge and back."""
    largest = float(torch.finfo(BF16).max)
    moves = [2.0**-8, 2.0**-8, 3 * 2.0**-8, 2.0**-16, largest, 2.0**119.5, -largest]
    params = [torch.nn.Parameter(torch.tensor([1.0, -1.0, 0.0]).bfloat16())]
    start = params[0].detach().float()
    optimizer = optzoo.load_recipe("sgd").build(params, engine=engine, lr=1.0, weight_decay=0)
    for move in moves:
        params[0].grad = torch.full((3,), -move).bfloat16()
        start -= params[0].grad.float()
        optimizer.step()
        assert torch.equal(optimizer.state[params[0]]["master"], start)
        assert torch.equal(params[0].detach(), start.bfloat16())
        assert bool(start.isfinite().all())


@pytest.mark.skipif(not has_cc(), reason="no C compiler")
def test_a_kernel_keeps_copies_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("parameters are compared outside of the kernel")

    monkeypatch.setattr(precision, "refresh_masters", refuse)
    params = starts(BF16)
    optimizer = build("adamw", params, "compiled")
    versions = [p._version for p in params]
    for step in range(2):
        give(params, step, BF16)
        optimizer.step()
    assert all(p._version > before for p, before in zip(params, versions, strict=True))


@pytest.mark.parametrize("state", ["float32", "bfloat16"])
@every_engine
def test_resumed_bit_for_bit(state: str, engine: str) -> None:
    ends = []
    for is_interrupted in (False, True):
        params = starts(BF16)
        recipe = optzoo.load_recipe("adamw").with_state_dtype(state)
        optimizer = recipe.build(params, engine=engine)
        for step in range(4):
            if step == 2 and is_interrupted:
                file = io.BytesIO()
                torch.save(optimizer.state_dict(), file)
                file.seek(0)
                optimizer = recipe.build(params, engine=engine)
                optimizer.load_state_dict(torch.load(file, weights_only=False))
            give(params, step, BF16)
            optimizer.step()
        ends.append([p.detach() for p in params] + [optimizer.state[p]["master"] for p in params])
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_names_of_the_kernel_may_be_the_recipes(engine: str) -> None:
    """Buffers are called like the functions and variables of a kernel, all of which it needs."""
    names = [*NAMES.split(), "begin", "end", "first", "keys", "shown", "shown_at"]
    lines = [f"  {name}: {{input: grad, decay: 0.5, gain: 1}}" for name in names]
    text = f"""
name: odd
version: 1
summary: names that mean something in a kernel
reference: none
hyperparameters: {{lr: {{default: 0.125, in: "[0, inf)", doc: learning rate}}}}
buffers:
{chr(10).join(lines)}
update: {{mix: {{{", ".join(f"{name}: 1" for name in names)}}}}}
"""
    recipe = optzoo.parse_recipe(text).with_state_dtype("bfloat16")
    param = torch.nn.Parameter(torch.ones(100, dtype=BF16))
    optimizer = recipe.build([param], engine=engine)
    param.grad = torch.full((100,), 0.25, dtype=BF16)
    optimizer.step()
    wanted = 1 - 0.125 * 0.25 * len(names)
    assert torch.equal(optimizer.state[param]["master"], torch.full((100,), wanted))


def test_the_c_says_what_is_shown() -> None:
    plan = plan_program(optzoo.load_recipe("adamw").program())
    assert "shown_at[i] = nearest(param);" in render_c(plan, shown=True).text
    assert "shown" not in render_c(plan).text
