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


def one_step(
    recipe: Recipe, dtype: str, engine: str, kept: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """Take one step of an engine with buffers of a dtype; return the parameters and the buffers.

    It begins where a few steps with bfloat16 buffers have led, of parameters that are `kept` so;
    the step with float32 buffers is one of float32 parameters.
    """
    params = [
        torch.nn.Parameter(torch.randn(shape, generator=generator(i)).to(kept))
        for i, shape in enumerate(SHAPES)
    ]
    before = recipe.with_state_dtype("bfloat16")
    optimizer = before.build(params, engine="foreach", total_steps=9, param_rounding="stochastic")
    for step in range(STEPS_BEFORE + 1):
        if step == STEPS_BEFORE:
            saved = optimizer.state_dict()
            after = recipe.with_state_dtype(dtype)
            if dtype == "float32":
                params = [torch.nn.Parameter(p.detach().float()) for p in params]
            optimizer = after.build(
                params, engine=engine, total_steps=9, param_rounding="stochastic"
            )
            optimizer.load_state_dict(saved)
        for i, p in enumerate(params):
            grad = torch.randn(p.shape, generator=generator(10 * step + i + 5))
            p.grad = grad.to(kept).to(p.dtype)
        optimizer.step()
    names = [name for name in recipe.state_dtypes if name in optimizer.state[params[0]]]
    buffers = [optimizer.state[p][name] for p in params for name in names]
    assert all(buffer.dtype == getattr(torch, dtype) for buffer in buffers)
    return [p.detach() for p in params], buffers


def excess_of_one_step(
    recipe: Recipe, engine: str = "compiled", params: torch.dtype = torch.float32
) -> float:
    """Return the largest error of a narrow step over what it may be; more than 1 is wrong.

    What is float32 is the same but for `SLACK`; what is bfloat16 is off by less than a unit in the
    last place. `params` is the dtype of the parameters, rounded stochastically if bfloat16.
    """
    worst = 0.0
    (points, wide), (found, narrow) = (
        one_step(recipe, dtype, engine, params) for dtype in ("float32", "bfloat16")
    )
    pairs = zip([*points, *wide], [*found, *narrow], strict=True)
    for wanted, have in pairs:
        unit = 2.0**-7 if have.dtype == BF16 else 0.0
        wanted, have = wanted.double(), have.double()
        is_finite = wanted.isfinite() & have.isfinite()
        assert torch.equal(wanted.isfinite(), have.isfinite())
        below = torch.exp2(wanted.abs().clamp(min=2.0**-126).log2().floor())
        allowed = unit * below + SLACK * (1 + wanted.abs())
        excess = ((have - wanted).abs() / allowed)[is_finite]
        worst = max(worst, float(excess.max()) if excess.numel() else 0.0)
    return worst
