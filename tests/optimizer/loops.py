"""Small parameters and gradients that the tests of the optimizer share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

import optzoo

RECIPES = ("adamw", "sgd_momentum", "ademamix", "schedule_free_adamw", "mars", "lion")
SIZES = (5, 3)


def parameters(dtype: torch.dtype = torch.float32, sizes: Iterable[int] = SIZES) -> list[Any]:
    return [nn.Parameter(torch.linspace(1, 2, n).to(dtype)) for n in sizes]


def build(name: str, params: Any, **options: Any) -> Any:
    return optzoo.load_recipe(name).build(params, total_steps=40, **{"lr": 1e-2} | options)


def set_grads(params: Iterable[Tensor], step: int) -> None:
    for i, p in enumerate(params):
        generator = torch.Generator().manual_seed(9 * step + i)
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def run(opt: Any, params: Iterable[Tensor], steps: Iterable[int]) -> None:
    params = list(params)
    for step in steps:
        set_grads(params, step)
        opt.step()


def copies(params: Iterable[Tensor]) -> list[Any]:
    return [nn.Parameter(p.detach().clone()) for p in params]


def assert_same(a: Iterable[Tensor], b: Iterable[Tensor]) -> None:
    for p, q in zip(a, b, strict=True):
        assert p.dtype == q.dtype
        assert torch.equal(p, q)
