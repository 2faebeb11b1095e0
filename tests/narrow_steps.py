"""One step with bfloat16 buffers beside the same step with float32 ones, from one state."""

from __future__ import annotations

import torch
from torch import Tensor

from optzoo.recipe.recipe import Recipe

BF16 = torch.bfloat16
SHAPES = ((3,), (40, 7), ())
STEPS_BEFORE = 3
SLACK = 1e-6
"""What the operations of a step may differ by where they are fused otherwise, relative."""


def generator(seed: int) -> torch.Generator:
    """Return a generator of its own."""
    return torch.Generator().manual_seed(seed)


def one_step(recipe: Recipe, dtype: str, engine: str) -> tuple[list[Tensor], list[Tensor]]:
    """Take one step of an engine with buffers of a dtype; return the parameters and the buffers.

    It begins where a few steps with bfloat16 buffers have led.
    """
    params = [
        torch.nn.Parameter(torch.randn(shape, generator=generator(i)))
        for i, shape in enumerate(SHAPES)
    ]
    before = recipe.with_state_dtype("bfloat16")
    optimizer = before.build(params, engine="foreach", total_steps=9)
    for step in range(STEPS_BEFORE + 1):
        if step == STEPS_BEFORE:
            saved = optimizer.state_dict()
            after = recipe.with_state_dtype(dtype)
            optimizer = after.build(params, engine=engine, total_steps=9)
            optimizer.load_state_dict(saved)
        for i, p in enumerate(params):
            p.grad = torch.randn(p.shape, generator=generator(10 * step + i + 5))
        optimizer.step()
    names = [name for name in recipe.state_dtypes if name in optimizer.state[params[0]]]
    buffers = [optimizer.state[p][name] for p in params for name in names]
    assert all(buffer.dtype == getattr(torch, dtype) for buffer in buffers)
    return [p.detach() for p in params], buffers


def excess_of_one_step(recipe: Recipe, engine: str = "compiled") -> float:
    """Return the largest error of a narrow step over what it may be; more than 1 is wrong.

    Parameters are the same but for `SLACK`; buffers are off by less than a unit in the last place.
    """
    worst = 0.0
    (params, wide), (found, narrow) = (
        one_step(recipe, dtype, engine) for dtype in ("float32", "bfloat16")
    )
    pairs = [(p, q, 0.0) for p, q in zip(params, found, strict=True)]
    pairs += [(p, q, 2.0**-7) for p, q in zip(wide, narrow, strict=True)]
    for wanted, have, unit in pairs:
        wanted, have = wanted.double(), have.double()
        is_finite = wanted.isfinite() & have.isfinite()
        assert torch.equal(wanted.isfinite(), have.isfinite())
        below = torch.exp2(wanted.abs().clamp(min=2.0**-126).log2().floor())
        allowed = unit * below + SLACK * (1 + wanted.abs())
        excess = ((have - wanted).abs() / allowed)[is_finite]
        worst = max(worst, float(excess.max()) if excess.numel() else 0.0)
    return worst
