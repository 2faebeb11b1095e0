"""A recipe and a class of someone else on the same drawn gradients, in float64."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from optzoo.recipe.recipe import Recipe
from optzoo.verification.foreign import Arguments, Foreign

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3), (5, 4))
SIZES = (1.0, 1.0, 1.0, 1.0)
"""Sizes of the gradients of each tensor."""
SMALL_SIZES = (1.0, 1e-3, 1.0, 1e-6)
"""On small ones constants show that a class adds of its own."""
LEAST, MOST = 0.2, 3.0
"""Between what elements lie, in units of the size: to none of them a constant is large."""
EVERY = 5
"""Steps between two looks at the evaluation points."""


@dataclass(frozen=True)
class Trial:
    """The conditions of one run.

    `settings` are hyperparameters of the recipe, given to both. `late` is a step before which the
    last tensor gets no gradient. `lr_starts_at_zero` has the first learning rate be 0.
    """

    settings: Mapping[str, float]
    steps: int
    seed: int = 0
    constant_lr: bool = False
    shapes: Sequence[tuple[int, ...]] = SHAPES
    sizes: Sequence[float] = SIZES
    zero_grads: bool = False
    late: int = 0
    lr_starts_at_zero: bool = False

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, from 1: it rises and falls."""
        base = float(self.settings["lr"])
        if self.lr_starts_at_zero and step == 1:
            return 0.0
        return base if self.constant_lr else base * (0.4 + math.sin(math.pi * step / self.steps))


@dataclass(frozen=True)
class Gap:
    """Where two runs part: the step, the point, the tensor's shape; how far, relative to the move.

    Without `step` they do not, and `size` is the largest relative difference.
    """

    size: float
    step: int | None = None
    point: Literal["training", "evaluation"] = "training"
    shape: tuple[int, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the runs agree."""
        return self.step is None


@dataclass
class Pair:
    """A recipe and a class, ready to be tried under any conditions."""

    recipe: Recipe
    cls: type[Any]
    arguments: Arguments
    total_steps: int
    tolerance: float
    overwrites_gradients: bool = field(default=False, init=False)
    has_views: bool = field(default=False, init=False)

    def build(self, params: list[torch.nn.Parameter], settings: Mapping[str, float]) -> Any:
        """Return the recipe's optimizer."""
        options: dict[str, Any] = {**settings, "total_steps": self.total_steps}
        return self.recipe.build(params, engine="foreach", **options)

    def gap(self, trial: Trial) -> Gap:
        """Run both; return where they part, or how near they stay."""
        with float64():
            return self._gap(trial)

    def _gap(self, trial: Trial) -> Gap:
        rng = torch.Generator().manual_seed(trial.seed)
        starts = [torch.randn(shape, generator=rng) for shape in trial.shapes]
        ours, theirs = ([torch.nn.Parameter(s.clone()) for s in starts] for _ in range(2))
        settings = dict(trial.settings)
        own = self.build(ours, settings)
        foreign = Foreign(self.cls, theirs, self.arguments.values(settings))
        self.has_views = foreign.switches
        worst = 0.0
        for t in range(1, trial.steps + 1):
            grads = _draw_grads(trial, t, rng)
            for p, q, grad in zip(ours, theirs, grads, strict=True):
                p.grad = None if grad is None else grad.clone()
                q.grad = None if grad is None else grad.clone()
            own.param_groups[0]["lr"] = trial.lr(t)
            own.step()
            foreign.step(trial.lr(t))
            self._look_at_gradients(theirs, grads)
            gap = self._compare(ours, theirs, starts, t, "training")
            if gap.equal and foreign.switches and t % EVERY == 0:
                points = foreign.shown(lambda: [q.detach().clone() for q in theirs])
                with own.evaluation():
                    gap = self._compare(ours, points, starts, t, "evaluation")
            if not gap.equal:
                return gap
            worst = max(worst, gap.size)
        return Gap(worst)

    def _look_at_gradients(self, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        for p, grad in zip(params, grads, strict=True):
            if grad is not None and (p.grad is None or not torch.equal(p.grad, grad)):
                self.overwrites_gradients = True

    def _compare(
        self,
        ours: Sequence[Tensor],
        theirs: Sequence[Tensor],
        starts: Sequence[Tensor],
        step: int,
        point: Literal["training", "evaluation"],
    ) -> Gap:
        worst = 0.0
        for p, q, start in zip(ours, theirs, starts, strict=True):
            a, b = p.detach(), q.detach()
            moved = float((a - start).abs().max())
            apart = float((a - b).abs().max())
            noise = 64 * torch.finfo(torch.float64).eps * float(start.abs().max())
            size = apart / max(moved, 1e-300) if not math.isnan(apart) else math.inf
            if not apart <= max(self.tolerance * moved, noise):
                return Gap(size, step, point, tuple(start.shape))
            worst = max(worst, size if noise < self.tolerance * moved else 0.0)
        return Gap(worst)


def _draw_grads(trial: Trial, t: int, rng: torch.Generator) -> list[Tensor | None]:
    found: list[Tensor | None] = []
    for i, (shape, size) in enumerate(zip(trial.shapes, trial.sizes, strict=True)):
        sign = torch.sign(torch.rand(shape, generator=rng) - 0.5)
        grad = size * sign * (LEAST + (MOST - LEAST) * torch.rand(shape, generator=rng))
        is_late = i == len(trial.shapes) - 1 and t < trial.late
        found.append(None if is_late else torch.zeros(shape) if trial.zero_grads else grad)
    return found


@contextmanager
def float64() -> Iterator[None]:
    """Have torch keep numbers that it makes itself in float64 too; leave generators alone."""
    before, state, python = torch.get_default_dtype(), torch.get_rng_state(), random.getstate()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_rng_state(state)
        random.setstate(python)
