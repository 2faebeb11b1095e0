"""Engines in lock step with the definition: one step from the same state.

What an engine may be off by is derived, not chosen (`rounding`): twice the first-order bound of a
plain evaluation, since an engine may group sums its own way, use fused multiply-adds and read
coefficients rounded to its dtype.
"""

from __future__ import annotations

import torch
from rounding import Bounded, RoundingDomain
from torch import Tensor

from optzoo.engines.engine import Batch, engine_class
from optzoo.interpreters.reference import ReferenceRun
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import run_scalars, run_step
from optzoo.program.ir import Program

STEPS_BEFORE = 3
SIZES = (3, 20, 1, 2500, 0)
SLACK = 2


def lively_state(
    program: Program, size: int, dtype: torch.dtype, seed: int
) -> tuple[ReferenceRun, list[Tensor]]:
    """Return the reference after a few steps, and its parameter, gradient and buffers as tensors.

    Numbers repeat every twenty elements: the reference is slow.
    """
    random = torch.Generator().manual_seed(seed)
    short = min(size, 20)
    start = torch.randn(short, generator=random, dtype=torch.float64)
    run = ReferenceRun(program, start.tolist(), total_steps=10)
    for _ in range(STEPS_BEFORE):
        run.step(torch.randn(short, generator=random, dtype=torch.float64).tolist())
    grad = torch.randn(short, generator=random, dtype=torch.float64)
    kept = [run.param, grad.tolist(), *run.buffers.values()]
    columns = [torch.tensor(column, dtype=torch.float64) for column in kept]
    repeats = -(-size // short) if short else 1
    return run, [column.repeat(repeats)[:size].to(dtype) for column in columns]


def largest_excess(
    engine: str, program: Program, dtype: torch.dtype, judged_by: Program | None = None
) -> float:
    """Return the largest error of one step over what it may be; `judged_by` is the exact program.

    More than 1 is wrong.
    """
    judged_by = judged_by or program
    states = [lively_state(judged_by, size, dtype, seed) for seed, size in enumerate(SIZES)]
    run = states[0][0]
    run.inputs["t"] = float(STEPS_BEFORE + 1)
    scalars = run_scalars(judged_by, FloatDomain(), run.inputs, run.memory)
    names = [state.name for state in program.tensor_states]
    params, grads, *buffers = map(list, zip(*(s[1] for s in states), strict=True))
    domain = RoundingDomain(torch.finfo(dtype).eps / 2)
    expected = []
    for _, tensors in states:
        p, g, *b = (Bounded(t.double(), torch.zeros(t.shape).double()) for t in tensors)
        new, kept = run_step(
            judged_by, domain, dict(scalars), p, g, dict(zip(names, b, strict=True))
        )
        expected.append([new, *(kept[name] for name in names)])
    batch = Batch(params, grads, dict(zip(names, buffers, strict=True)))
    own = run_scalars(program, FloatDomain(), run.inputs, run.memory)
    engine_class(engine)(program).step(batch, own)
    worst = 0.0
    for i, wanted in enumerate(expected):
        for found, want in zip(
            [params[i], *(batch.buffers[n][i] for n in names)], wanted, strict=True
        ):
            want = domain.bounded(want)
            allowed = SLACK * domain.unit * want.bound + torch.finfo(dtype).tiny
            excess = (found.double() - want.value).abs() / allowed
            assert bool(excess.isfinite().all())
            worst = max(worst, float(excess.max()) if excess.numel() else 0.0)
    return worst
