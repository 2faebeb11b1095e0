"""Levenberg-Marquardt from many starts side by side, with bounds.

One call of the residual serves all starts: their slopes, then several dampings of each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optzoo.equivalence.fitting.batch import Array
from optzoo.program.intervals import Interval

ITERATIONS = 80
STALLED = 6
"""Steps without a gain of one part in a hundred after which a start is given up."""
ENOUGH = 1e-11
DAMPINGS = np.asarray([0.03, 1.0, 30.0, 1e3, 1e5])
"""What the damping of the last step is multiplied by, all tried at once."""

SMALLEST = 1e-30
"""What a number above 0 is at least."""

Residual = Callable[[Array], Array]


@dataclass(frozen=True)
class Unknown:
    """A number that is looked for, within an interval, and what it is if nothing is said."""

    name: str
    interval: Interval
    default: float

    @classmethod
    def gain(cls) -> Unknown:
        """Return a gain on the learning rate of one step."""
        return cls("", Interval(-math.inf, math.inf, True, True), 1.0)

    @property
    def is_decay(self) -> bool:
        """Whether the distance from 1 is what matters."""
        return self.interval.high == 1

    def allows(self, value: float) -> bool:
        """Whether a value is legal."""
        return math.isfinite(value) and value in self.interval

    def inside(self, values: Array) -> Array:
        """Return the nearest legal values."""
        low, high = self.interval.low, self.interval.high
        if self.interval.low_open and math.isfinite(low):
            low = max(float(np.nextafter(low, math.inf)), SMALLEST)
        if self.interval.high_open and math.isfinite(high):
            high = float(np.nextafter(high, -math.inf))
        return np.clip(values, low, high)


def descend(
    residual: Residual,
    unknowns: Sequence[Unknown],
    starts: Array,
    free: Array,
    iterations: int = ITERATIONS,
    enough: float = ENOUGH,
    patience: int = STALLED,
) -> tuple[Array, float]:
    """Return the best point reached and its root mean square residual.

    Every start descends in two ways: in the unknowns, and in the logarithms of what is positive and
    of the distance of a decay from 1. Unknowns that are not `free` keep their value.
    """
    x = np.concatenate([starts, starts])
    relative = np.arange(len(x)) >= len(starts)
    r = residual(x)
    error = rms(r)
    damping, stalled = np.full(len(x), 1e-3), np.zeros(len(x), int)
    best = int(np.argmin(error))
    found: tuple[Array, float] = (x[best].copy(), float(error[best]))
    for _ in range(iterations if free.any() else 0):
        if found[1] <= enough or not len(x):
            break
        moved, new, damping = _one_step(residual, unknowns, x, r, relative, damping, free)
        error_now = rms(new)
        better = error_now < error
        stalled = np.where(error_now < 0.99 * error, 0, stalled + 1)
        x, r = np.where(better[:, None], moved, x), np.where(better[:, None], new, r)
        error = np.where(better, error_now, error)
        damping = np.where(better, damping, damping * 30)
        best = int(np.argmin(error))
        if error[best] < found[1]:
            found = (x[best].copy(), float(error[best]))
        keep = (stalled < patience) & (damping < 1e12)
        x, r, error, relative = x[keep], r[keep], error[keep], relative[keep]
        damping, stalled = damping[keep], stalled[keep]
    return found


def _one_step(
    residual: Residual,
    unknowns: Sequence[Unknown],
    x: Array,
    r: Array,
    relative: Any,
    damping: Array,
    free: Array,
) -> tuple[Array, Array, Array]:
    """Return the best of several damped steps for every point, its residual and its damping."""
    slopes = np.where(relative[:, None], _slopes(unknowns, x), 1.0) * free
    jacobian = _jacobian(residual, unknowns, x, r) * slopes[:, None, :]
    scale = np.sqrt((jacobian**2).sum(1)) + 1e-300
    left, sizes, right = np.linalg.svd(jacobian / scale[:, None, :], full_matrices=False)
    aim = -np.einsum("srk,sr->sk", left, r)
    tried, dampings = [], []
    for factor in DAMPINGS:
        weight = damping * factor
        damped = aim * sizes / (sizes**2 + weight[:, None])
        step = np.einsum("skn,sk->sn", right, damped) / scale
        tried.append(_inside(unknowns, x, _moved(unknowns, x, step, slopes, relative), free))
        dampings.append(weight)
    everywhere = residual(np.concatenate(tried)).reshape(len(tried), len(x), -1)
    errors = np.sqrt(np.mean(np.square(everywhere), axis=-1))
    chosen = np.argmin(errors, axis=0)
    rows = np.arange(len(x))
    return np.stack(tried)[chosen, rows], everywhere[chosen, rows], np.stack(dampings)[chosen, rows]


def _jacobian(residual: Residual, unknowns: Sequence[Unknown], x: Array, r: Array) -> Array:
    """Return the slopes of the residual, of shape (points, residuals, unknowns)."""
    width = 1e-7 * np.maximum(np.abs(x), 1e-4)
    moved = []
    for i, unknown in enumerate(unknowns):
        other = x.copy()
        ahead = unknown.inside(other[:, i] + width[:, i])
        short = ahead - other[:, i] < 0.5 * width[:, i]
        other[:, i] = np.where(short, other[:, i] - width[:, i], ahead)
        moved.append(other)
    found = residual(np.concatenate(moved)).reshape(len(unknowns), *r.shape)
    steps = np.stack([other[:, i] - x[:, i] for i, other in enumerate(moved)])
    return np.moveaxis((found - r) / steps[:, :, None], 0, 2)


def _slopes(unknowns: Sequence[Unknown], x: Array) -> Array:
    """Return dx/du, where x = exp(u), or x = 1 - exp(u) for a decay; 1 for the rest."""
    columns = []
    for i, unknown in enumerate(unknowns):
        if unknown.is_decay:
            columns.append(np.maximum(1 - x[:, i], 1e-6))
        else:
            columns.append(np.where(x[:, i] > 0, x[:, i], 1.0))
    return np.stack(columns, axis=1)


def _moved(
    unknowns: Sequence[Unknown], x: Array, step: Array, slopes: Array, relative: Any
) -> Array:
    """Return where a step in u, or for the other points in x, leads."""
    grown = x + slopes * np.clip(step, -1e6, 1e6)
    bounded = np.clip(step, -5, 5)
    for i, unknown in enumerate(unknowns):
        if unknown.is_decay:
            other = x[:, i] - slopes[:, i] * np.expm1(-bounded[:, i])
        else:
            other = np.where(
                x[:, i] > 0, x[:, i] + slopes[:, i] * np.expm1(bounded[:, i]), grown[:, i]
            )
        grown[:, i] = np.where(relative, other, grown[:, i])
    return grown


def _inside(unknowns: Sequence[Unknown], x: Array, moved: Array, free: Array) -> Array:
    moved = moved.copy()
    for i, unknown in enumerate(unknowns):
        moved[:, i] = unknown.inside(moved[:, i]) if free[i] else x[:, i]
    return moved


def rms(r: Array) -> Array:
    """Return the root mean square of every row."""
    found: Array = np.sqrt(np.mean(np.square(r), axis=-1))
    return found
