"""State follows the dtype that a parameter has now, whatever it was when the state was made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optzoo

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
RECIPES = ("adamw", "lion", "mars", "schedule_free_adamw")
ROUNDINGS = ("master", "kahan", "nearest")


def build(name: str, params: Any, **options: Any) -> Any:
    return optzoo.load_recipe(name).build(params, total_steps=40, **{"lr": 1e-2} | options)


def run(opt: Any, params: list[Tensor], steps: range) -> None:
    for step in steps:
        for i, p in enumerate(params):
            generator = torch.Generator().manual_seed(100 * step + i)
            p.grad = (1 + torch.rand(p.shape, generator=generator)).to(p.dtype)
        opt.step()


def make(dtype: torch.dtype) -> list[Tensor]:
    return [nn.Parameter(torch.linspace(1, 2, n).to(dtype)) for n in (7, 3)]


def dtypes_of(opt: Any, param: Tensor) -> set[torch.dtype]:
    return {v.dtype for v in opt.state[param].values() if v.dim()}


@pytest.mark.parametrize("after", DTYPES, ids=str)
@pytest.mark.parametrize("before", DTYPES, ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_a_state_is_taken_up_in_another_dtype(
    name: str, before: torch.dtype, after: torch.dtype
) -> None:
    """The weights go on as those of an optimizer that was never broken off, to the precision."""
    params = make(before)
    first = build(name, params)
    run(first, params, range(5))
    others = [nn.Parameter(p.detach().to(after)) for p in params]
    second = build(name, others)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    start = [p.detach().clone() for p in others]
    run(first, params, range(5, 15))
    run(second, others, range(5, 15))
    coarse = max(torch.finfo(dtype).eps for dtype in (before, after))
    for p, q, s in zip(params, others, start, strict=True):
        assert not torch.equal(q, s)
        torch.testing.assert_close(q.double(), p.double(), rtol=4 * coarse + 1e-4, atol=0)
        wide = torch.float64 if after == torch.float64 else torch.float32
        assert dtypes_of(second, q) == {wide}


@pytest.mark.parametrize("after", DTYPES, ids=str)
@pytest.mark.parametrize("before", DTYPES, ids=str)
def test_a_model_is_cast_after_the_optimizer_was_built_and_in_the_middle(
    before: torch.dtype, after: torch.dtype
) -> None:
    model = nn.Linear(6, 4).to(before)
    opt = build("schedule_free_adamw", model.parameters())
    for dtype in (after, before, after):
        model.to(dtype)
        start = model.weight.detach().clone()
        run(opt, list(model.parameters()), range(3))
        assert model.weight.dtype == dtype
        assert not torch.equal(model.weight, start)
        opt.eval()
        opt.train()
        opt.state_dict()
    assert float(opt.state[model.weight]["step"]) == 9


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_what_rounding_kept_is_not_lost_when_a_model_is_cast_up(rounding: str) -> None:
    """Forty small steps in bfloat16, of which the parameter shows few, are there in float32."""
    narrow, wide = nn.Parameter(torch.ones(8, dtype=torch.bfloat16)), nn.Parameter(torch.ones(8))
    options = {"lr": 1e-4, "weight_decay": 0}
    opts = [
        build("lion", [narrow], param_rounding=rounding, **options),
        build("lion", [wide], **options),
    ]
    for _ in range(30):
        for p, opt in zip((narrow, wide), opts, strict=True):
            p.grad = torch.ones_like(p)
            opt.step()
    assert torch.equal(narrow, torch.ones_like(narrow)) or rounding != "nearest"
    narrow.data = narrow.data.float()
    for p, opt in zip((narrow, wide), opts, strict=True):
        p.grad = torch.ones_like(p)
        opt.step()
    assert not set(opts[0].state[narrow]) & {"master", "compensation"}
    atol = {"master": 0.0, "kahan": 30 * 2.0**-17, "nearest": 31.1e-4}[rounding]
    torch.testing.assert_close(narrow.detach(), wide.detach(), rtol=0, atol=atol)


def test_adapters_are_cast_beside_a_base_that_stays() -> None:
    base, adapter = nn.Linear(6, 6, dtype=torch.bfloat16), nn.Linear(6, 6, dtype=torch.bfloat16)
    base.requires_grad_(False)
    opt = build("adamw", [*base.parameters(), *adapter.parameters()])
    adapter.float()
    run(opt, list(adapter.parameters()), range(2))
    assert dtypes_of(opt, adapter.weight) == {torch.float32}
    adapter.bfloat16()
    run(opt, list(adapter.parameters()), range(2))
    assert "master" in opt.state[adapter.weight]


def test_narrow_state_stays_narrow_when_a_parameter_is_cast() -> None:
    param = nn.Parameter(torch.ones(5))
    opt = build("adamw", [param], state_dtype={"v": "bfloat16"})
    run(opt, [param], range(2))
    param.data = param.data.double()
    run(opt, [param], range(2))
    assert (opt.state[param]["m"].dtype, opt.state[param]["v"].dtype) == (
        torch.float64,
        torch.bfloat16,
    )


def test_a_float16_parameter_that_cannot_be_rounded_as_asked_is_refused_when_it_appears() -> None:
    param = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
    opt = build("adamw", [param], param_rounding="stochastic")
    run(opt, [param], range(1))
    param.data = param.data.half()
    with pytest.raises(optzoo.InputError, match="one is float16"):
        run(opt, [param], range(1))
