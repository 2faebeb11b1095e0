"""One step of a program on matrices in lock step with the definition.

How far rounding may lead is measured, not chosen (Monte Carlo arithmetic, Parker 1997): the step is
taken in float64 with the result of every operation moved at random by the rounding unit of the
dtype that is judged, several times over. What an engine may be off by is a few times the widest
spread of those runs. Products add up in any order, so they are moved by the size of their terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from array_run import ArrayDomain, ArrayRun

from optzoo.engines.engine import Batch, engine_class
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import run_scalars, run_step
from optzoo.program.ir import Program
from optzoo.program.tensors.elements import row_blocks

Array = np.ndarray
STEPS_BEFORE = 5
DRAWS = 12
SLACK = 6
SIDES = ((4, 4), (3, 7), (6, 2), (5, 1), (1, 5))


class PerturbedDomain(ArrayDomain):
    """Arrays on which every operation rounds, at random, to the unit `unit`."""

    def __init__(self, unit: float, seed: int) -> None:
        self.unit, self.random = unit, np.random.default_rng(seed)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        if not any(isinstance(arg, Array) for arg in args):
            return super().apply(op, args)
        if op == "polar":
            return self.polar(*args)
        if op == "block_polar":
            whole, count, *numbers = args
            blocks = row_blocks(len(whole), count)
            return np.concatenate([self.polar(whole[a:b], *numbers) for a, b in blocks])
        if op in ("orthonormal", "eigenbasis", "power"):
            args = [self.moved(args[0], np.full(args[0].shape, np.abs(args[0]).max())), *args[1:]]
        value = super().apply(op, args)
        if op == "matmul":
            return self.moved(value, np.abs(args[0]) @ np.abs(args[1]))
        return value if op in ("transpose", "order") else self.moved(value, np.abs(value))

    def moved(self, value: Any, size: Any) -> Any:
        return value + self.unit * size * self.random.uniform(-1, 1, np.shape(value))

    def polar(self, a: Array, safety: float, eps: float, *numbers: float) -> Array:
        if a.shape[0] > a.shape[1]:
            return self.polar(a.T, safety, eps, *numbers).T
        x = self.moved(a / (safety * np.sqrt(np.sum(a * a)) + eps), np.abs(a))
        for k in range(0, len(numbers), 3):
            first, third, fifth = numbers[k : k + 3]
            gram = self.apply("matmul", [x, x.T])
            mixed = third * gram + fifth * self.apply("matmul", [gram, gram])
            x = first * x + self.apply("matmul", [self.moved(mixed, np.abs(mixed)), x])
        return self.moved(x, np.abs(x))


def lively(program: Program, rows: int, cols: int, seed: int) -> tuple[ArrayRun, Array]:
    """Return a run after a few steps, rounded to float32 as everything in it, and a gradient."""
    random = np.random.default_rng(seed)
    run = ArrayRun(program, random.normal(size=(rows, cols)), total_steps=20)
    for _ in range(STEPS_BEFORE):
        run.step(random.normal(size=(rows, cols)))
    narrow = {name: np.float64(np.float32(value)) for name, value in run.buffers.items()}
    run.param, run.buffers = np.float64(np.float32(run.param)), narrow
    return run, np.float64(np.float32(random.normal(size=(rows, cols))))


def largest_excess_on_matrices(
    engine: str, program: Program, judged_by: Program | None = None
) -> float:
    """Return the largest error of one step in float32 over what it may be; more than 1 is wrong.

    `judged_by` is the exact program.
    """
    exactly = judged_by or program
    dtype = torch.float32
    unit = torch.finfo(dtype).eps / 2
    runs = [lively(exactly, *sides, seed=i) for i, sides in enumerate(SIDES)]
    names = [state.name for state in program.tensor_states]
    first = runs[0][0]
    scalars = run_scalars(
        program, FloatDomain(), {**first.inputs, "t": float(STEPS_BEFORE + 1)}, first.memory
    )

    def tensors(arrays: Sequence[Any]) -> list[torch.Tensor]:
        return [torch.tensor(np.array(array)).to(dtype) for array in arrays]

    buffers = {name: tensors([run.buffers[name] for run, _ in runs]) for name in names}
    batch = Batch(tensors([run.param for run, _ in runs]), tensors([g for _, g in runs]), buffers)
    engine_class(engine)(program).step(batch, scalars)
    worst = 0.0
    for i, (run, grad) in enumerate(runs):

        def step(domain: ArrayDomain, run: ArrayRun = run, grad: Array = grad) -> list[Array]:
            new, kept = run_step(exactly, domain, dict(scalars), run.param, grad, run.buffers)
            shapes = {state.name: state.shape for state in exactly.tensor_states}
            return [
                np.broadcast_to(new, grad.shape),
                *(run.kept(kept[n], shapes[n]) for n in names),
            ]

        exact = step(ArrayDomain())
        moved = [step(PerturbedDomain(unit, seed)) for seed in range(DRAWS)]
        for k, found in enumerate([batch.params[i], *(batch.buffers[n][i] for n in names)]):
            spread = np.max([np.abs(each[k] - exact[k]) for each in moved])
            allowed = SLACK * spread + unit * np.abs(exact[k]) + torch.finfo(dtype).tiny
            worst = max(worst, float((np.abs(found.double().numpy() - exact[k]) / allowed).max()))
    return worst
