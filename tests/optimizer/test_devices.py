"""Devices: models that get their memory late, other default devices, fake tensors, capture."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from loops import RECIPES, assert_same, build, copies, parameters, run
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import optzoo
from optzoo.files.shipped import shipped

WITH_NORMS = [n for n in shipped() if "norm" in optzoo.load_recipe(n).program().text()]


@pytest.fixture
def _swapping() -> Iterator[None]:
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


def materialise(model: nn.Module) -> None:
    model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.ones_(p)


@pytest.mark.usefixtures("_swapping")
@pytest.mark.parametrize("steps_first", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_a_model_is_materialised_after_the_optimizer_was_built(
    name: str, steps_first: bool
) -> None:
    with torch.device("meta"):
        model = nn.Linear(6, 3)
        opt = build(name, model.parameters())
        if steps_first:  # a dry run, for shapes
            model(torch.ones(2, 6)).sum().backward()
            opt.step()
            opt.zero_grad()
            opt.state.clear()
    materialise(model)
    plain = nn.Linear(6, 3)
    for p in plain.parameters():
        nn.init.ones_(p)
    other = build(name, plain.parameters())
    run(opt, model.parameters(), range(3))
    run(other, plain.parameters(), range(3))
    assert_same(model.parameters(), plain.parameters())


@pytest.mark.usefixtures("_swapping")
def test_a_state_is_loaded_before_the_model_has_its_memory() -> None:
    params = parameters()
    opt = build("schedule_free_adamw", params)
    run(opt, params, range(3))
    with torch.device("meta"):
        model = nn.ParameterList([nn.Parameter(torch.ones_like(p, device="meta")) for p in params])
    other = build("schedule_free_adamw", model.parameters())
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    model.to_empty(device="cpu")
    model.load_state_dict(dict(enumerate(params)) and {str(i): p for i, p in enumerate(params)})
    run(opt, params, range(3, 6))
    run(other, model.parameters(), range(3, 6))
    assert_same(params, model.parameters())


@pytest.mark.parametrize("engine", ["foreach", "compiled", "reference"])
@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw", "mars"])
def test_another_default_device(name: str, engine: str) -> None:
    """Everything an optimizer does, while new tensors go elsewhere by default."""
    params = parameters(torch.float32, (5, 2100))
    with torch.device("meta"):
        opt = build(name, params, engine=engine, state_dtype="bfloat16")
    for step in range(3):
        run_gradients(params, step)
        with torch.device("meta"):
            opt.step()
            opt.eval()
            opt.train()
            saved = opt.state_dict()
            opt.load_state_dict(saved)
    others = parameters(torch.float32, (5, 2100))
    other = build(name, others, engine=engine, state_dtype="bfloat16")
    for step in range(3):
        run_gradients(others, step)
        other.step()
    assert_same(params, others)


def run_gradients(params: list[Any], step: int) -> None:
    for i, p in enumerate(params):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(5 * step + i))


def test_a_closure_keeps_the_callers_default_device() -> None:
    params = parameters()
    opt = build("adamw", params)
    seen = []
    with torch.device("meta"):
        opt.step(lambda: seen.append(torch.ones(1).device.type) or 1.0)
    assert seen == ["meta"]


def test_another_default_dtype() -> None:
    params = parameters()
    torch.set_default_dtype(torch.float64)
    try:
        opt = build("schedule_free_adamw", params)
        run(opt, params, range(2))
        opt.eval()
        opt.train()
    finally:
        torch.set_default_dtype(torch.float32)
    others = parameters()
    run(build("schedule_free_adamw", others), others, range(2))
    assert [v.dtype for v in opt.state[params[0]].values() if v.dim()] == [torch.float32] * 2
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=0)  # the gradients were drawn otherwise


@pytest.mark.parametrize("engine", ["foreach", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [*RECIPES, *WITH_NORMS])
def test_fake_tensors(name: str, dtype: torch.dtype, engine: str) -> None:
    with FakeTensorMode():
        model = nn.Sequential(nn.Linear(6, 8, dtype=dtype), nn.Linear(8, 3, dtype=dtype))
        opt = build(name, model.parameters(), engine=engine)
        for _ in range(2):
            model(torch.randn(4, 6, dtype=dtype)).sum().backward()
            opt.step()
        opt.eval()
        opt.train()
        opt.load_state_dict(opt.state_dict())
        opt.step()
        held = sum(v.nbytes for s in opt.state.values() for v in s.values())
    assert {float(s["step"]) for s in opt.state.values()} == {3.0}
    assert held > 0


def test_graph_capture_is_checked_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def is_capturing(self) -> bool:
            return True

    params = parameters()
    opt = build("adamw", params)
    run(opt, params, range(1))
    kept = copies(params)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "current_stream", Stream)
    with pytest.raises(RuntimeError, match="graph capture"):
        opt.step()
    assert_same(params, kept)


def test_capturable_is_refused() -> None:
    with pytest.raises(optzoo.InputError, match="capturable"):
        build("adamw", [{"params": parameters(), "capturable": True}])
