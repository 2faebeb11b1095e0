"""What every oracle has in common: names checked, a clock of its own, two readable points.

An oracle is one optimizer on one parameter tensor, in numpy float64, written from the optimizer's
paper or from the recurrence its authors' code computes. It imports nothing from optzoo and keeps
the textbook's own variables, so that agreement with a recipe is evidence. It is not fast and
stores whatever the source stores.
"""

from __future__ import annotations

from math import exp, log
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

Array = np.ndarray


class Oracle:
    """Run one optimizer on one tensor; make the instance at the tensor's first gradient.

    `defaults` names every hyperparameter except `lr`, with the value its authors ship. They are a
    record, never used to fill in: a missing or unknown name raises TypeError. `default_lr` is None
    where the recipe has no `lr`; then `lr` multiplies the whole displacement and must be 1.0 here.
    """

    defaults: ClassVar[dict[str, float]] = {}
    default_lr: ClassVar[float | None] = None

    def __init__(self, w0: Array, total_steps: int, **hyperparameters: float) -> None:
        if set(hyperparameters) != set(self.defaults):
            wrong = sorted(set(hyperparameters) ^ set(self.defaults))
            raise TypeError(f"{type(self).__name__}: missing or unknown hyperparameters {wrong}")
        self.w0 = np.array(w0, dtype=np.float64)
        self.total_steps = total_steps
        self.t = 0  # 1 during the first call of step
        self.h = SimpleNamespace(**hyperparameters)
        self.begin(self.w0)

    def step(self, grad: Array, lr: float) -> None:
        """Take the gradient at `train_point()` and move."""
        if self.default_lr is None:
            assert lr == 1.0, f"{type(self).__name__} has no learning rate: hold lr at 1.0"
        self.t += 1
        self.update(np.array(grad, dtype=np.float64), float(lr))

    def begin(self, w0: Array) -> None:
        """Set the variables before the first gradient."""
        raise NotImplementedError

    def update(self, g: Array, lr: float) -> None:
        """Do step number `self.t`."""
        raise NotImplementedError

    def train_point(self) -> Array:
        """Return where the next gradient is taken: what the parameter tensor holds."""
        return self.w

    def eval_point(self) -> Array:
        """Return the point that is evaluated."""
        return self.train_point()


def half_life_linear(t: int, start: float, end: float, warmup: float) -> float:
    """Return the decay whose half-life moves linearly from that of `start` to that of `end`.

    apple/ml-ademamix @c3d73c0 `linear_hl_warmup_scheduler`, t counted from 1, without the 1e-8 it
    adds inside the logarithm: the half-life is ln(1/2)/ln(beta), so 1/ln(beta) is linear in t. A
    decay of 0 has half-life 0 (the limit), hence 1/ln(0) reads as 0.
    """
    if t >= warmup:
        return end
    a = t / warmup
    from_start = (1 - a) / log(start) if start > 0 else 0.0
    to_end = a / log(end) if end > 0 else 0.0
    inverse = from_start + to_end
    return exp(1 / inverse) if inverse < 0 else 0.0


def tail_weight(t: int, delta: float) -> float:
    """Return the weight of the newest iterate when the last `delta * t` iterates are averaged.

    Connections paper, Algorithm 3 line 7, read as c = max(0, 1 - 1/(delta t)): as printed delta
    would have no effect (optimizers.md, P2).
    """
    return min(1.0, 1.0 / (delta * t))
