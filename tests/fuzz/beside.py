"""A drawn recipe on an engine beside the simulator: some steps on tensors of every kind.

What they may differ by is not chosen: the simulator runs twice, the second time with starts and
gradients changed by a part in 10**13 and every operation by one in 10**15, which is more than
rounding does. Where that moves a point by d, an engine may be off by 10 d and 1e-12.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from matrix_simulator import MatrixSimulation, Pool
from simulator import Array, Simulation

import optzoo

STEPS = 9
TOTAL_STEPS = 6
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (2, 3, 2, 2), (0,))
MATRICES: tuple[tuple[int, ...], ...] = ((3,), (4, 5), (4, 5), (2, 3, 2, 2), ())
"""For what looks at rows and columns: two of one shape, of which one comes late."""
ONE_SIDED = ((5, 1), (1, 4), (1, 1))
OTHERS = ((4, 4), (6, 2), (2, 6), (0, 3), (0,))
LARGE = (130, 131)
"""More elements than foreach packs, and not a multiple of a vector."""
LATE = 1
ABSENT = (1, 2, 5)
"""The steps at which the parameter `LATE` has no gradient."""
EXACT = 1e-12
NUDGE = 1e-13
TOO_SENSITIVE = 1e-5


def shapes_for(text: str, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return the tensors that a drawn recipe is tried on."""
    if "version: 2" not in text:
        return SHAPES
    return *MATRICES, ONE_SIDED[seed % 3], OTHERS[seed % 5]


def rates(step: int) -> float:
    """Return the learning rate of a step, relative to the one at construction."""
    return (0.25, 0.5, 1.0, 1.0, 0.0, 1.0, 0.5, 0.75, 0.1)[(step - 1) % 9]


@dataclass(frozen=True)
class Problem:
    """Starts, and the gradients of each step; None where a parameter has none."""

    starts: list[Array]
    gradients: list[list[Array | None]]

    @classmethod
    def drawn(cls, seed: int, shapes: tuple[tuple[int, ...], ...]) -> Problem:
        random = np.random.default_rng(seed)
        starts = [np.asarray(random.normal(size=shape)) for shape in shapes]
        gradients: list[list[Array | None]] = []
        for step in range(1, STEPS + 1):
            size = (0.3, 1.0, 3.0)[step % 3]
            grads = [np.asarray(size * random.normal(size=shape)) for shape in shapes]
            gradients.append(
                [None if i == LATE and step in ABSENT else g for i, g in enumerate(grads)]
            )
        return cls(starts, gradients)

    def nudged(self) -> Problem:
        random = np.random.default_rng(1)

        def nudge(x: Array | None) -> Array | None:
            return None if x is None else x * (1 + NUDGE * random.choice((-1, 1), size=x.shape))

        return Problem(
            [nudge(x) for x in self.starts],
            [[nudge(g) for g in grads] for grads in self.gradients],
        )


def simulate(
    text: str, problem: Problem, views: tuple[str, ...], *, noisy: bool = False
) -> list[dict[str, list[Array]]]:
    """Return every view of every parameter after each step."""
    recipe = yaml.safe_load(text)
    noise = np.random.default_rng(2) if noisy else None
    if noisy:
        problem = problem.nudged()
    pool = Pool(recipe)
    options: dict[str, Any] = {"total_steps": TOTAL_STEPS, "noise": noise}
    runs = [
        MatrixSimulation(recipe, w, pool, **options)
        if recipe["version"] == 2
        else Simulation(recipe, w, **options)
        for w in problem.starts
    ]
    points = []
    with np.errstate(all="ignore"):
        for step, grads in enumerate(problem.gradients, 1):
            active = [
                (run, grad) for run, grad in zip(runs, grads, strict=True) if grad is not None
            ]
            for run, grad in active:
                run.begin(grad, run.lr0 * rates(step))
            pool.gather()
            for run, _ in active:
                run.finish()
            pool.end()
            points.append({view: [_shown(run, view) for run in runs] for view in views})
    return points


def _shown(run: Simulation, view: str) -> Array:
    """Return a view; before the first step every view is the parameter."""
    return run.view(view if run.t else "train")


def train(
    text: str, problem: Problem, engine: str, **build: Any
) -> Iterator[dict[str, list[Array]]]:
    """Yield the same from the optimizer that the recipe becomes."""
    params = [torch.nn.Parameter(_laid_out(i, w)) for i, w in enumerate(problem.starts)]
    optimizer = optzoo.parse_recipe(text).build(
        params, engine=engine, total_steps=TOTAL_STEPS, **build
    )
    (group,) = optimizer.param_groups
    first = group["lr"]
    for step, grads in enumerate(problem.gradients, 1):
        group["lr"] = first * rates(step)
        for param, grad in zip(params, grads, strict=True):
            param.grad = None if grad is None else torch.from_numpy(grad.copy())
        optimizer.step()
        shown = {}
        for view in optimizer.views:
            with optimizer.evaluation(view):
                shown[view] = [p.detach().numpy().copy() for p in params]
        yield shown


def _laid_out(i: int, start: Array) -> torch.Tensor:
    """Return a start as a tensor, some of them not contiguous."""
    tensor = torch.from_numpy(start.copy())
    if i == 2:
        return tensor.t().contiguous().t()
    if tensor.dim() == 4:
        return torch.empty(*tensor.shape[:-1], 4, dtype=tensor.dtype)[..., ::2].copy_(tensor)
    return tensor


@dataclass(frozen=True)
class Outcome:
    """What came of one recipe: `excess` is the error over what it may be, more than 1 is wrong.

    `is_sensitive` says that the points depend on the gradients' last digits so much, or grow so
    large, that nothing could be told.
    """

    excess: float = 0.0
    where: str = ""
    is_sensitive: bool = False


@dataclass(frozen=True)
class Expected:
    """A problem, and every view of every parameter after each step: as it is, and nudged."""

    problem: Problem
    views: tuple[str, ...]
    wanted: list[dict[str, list[Array]]]
    nudged: list[dict[str, list[Array]]]


@functools.lru_cache(maxsize=2)
def expected(text: str, seed: int, large: bool) -> Expected:
    """Run a recipe in the simulator; engines that are tried one after the other share it."""
    shapes = shapes_for(text, seed)
    problem = Problem.drawn(seed, (*shapes, LARGE) if large else shapes)
    views = tuple(view.name for view in optzoo.parse_recipe(text).program().views)
    wanted, nudged = (simulate(text, problem, views, noisy=noisy) for noisy in (False, True))
    return Expected(problem, views, wanted, nudged)


def compare(text: str, seed: int, engine: str, *, large: bool = True, **build: Any) -> Outcome:
    """Run a recipe on an engine and in the simulator."""
    right = expected(text, seed, large)
    views, wanted, nudged = right.views, right.wanted, right.nudged
    worst = Outcome()
    largest: dict[int, float] = {}
    for step, found in enumerate(train(text, right.problem, engine, **build)):
        for view in views:
            rows = zip(found[view], wanted[step][view], nudged[step][view], strict=True)
            for i, (a, b, c) in enumerate(rows):
                if not b.size:
                    continue
                # points are differences of each other, and what was rounded once stays rounded
                scale = max(
                    largest.get(i, 1.0), *(float(abs(w[i]).max()) for w in wanted[step].values())
                )
                largest[i] = scale
                moved = float(np.abs(b - c).max()) / scale
                if not (math.isfinite(scale) and scale < 1e8 and moved < TOO_SENSITIVE):
                    return Outcome(is_sensitive=worst.excess <= 1, excess=worst.excess)
                error = float(np.abs(a - b).max()) / scale
                excess = error / (EXACT + 10 * moved) if math.isfinite(error) else math.inf
                if excess > worst.excess:
                    where = f"step {step + 1}, {view}, parameter {i}, off by {error:.1e}"
                    worst = Outcome(excess, where)
    return worst
