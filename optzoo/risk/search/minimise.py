"""Minimising a function of few variables in a box, without derivatives and without chance.

Values may be infinite. Halton's points, the simplex of Nelder and Mead, and differential evolution
from a fixed seed: the same question has the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from optzoo.risk.regression.spectra import Vector

Function = Callable[[Vector], float]
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
"""Bases of the Halton sequence: no more variables than that."""


@dataclass(frozen=True)
class Minimum:
    """A point and the value there."""

    point: Vector
    value: float


@dataclass(frozen=True)
class Box:
    """Least and greatest values of the variables."""

    low: Vector
    high: Vector

    @property
    def size(self) -> int:
        """The number of variables."""
        return len(self.low)

    def inside(self, point: Vector) -> Vector:
        """Return the nearest point in the box."""
        return np.clip(point, self.low, self.high)

    def halton(self, count: int) -> Vector:
        """Return points that fill the box evenly, one a row."""
        rows = [
            [_radical_inverse(i, base) for base in PRIMES[: self.size]] for i in range(1, count + 1)
        ]
        return self.low + np.array(rows).reshape(count, self.size) * (self.high - self.low)


def _radical_inverse(number: int, base: int) -> float:
    value, digit = 0.0, 1.0
    while number:
        digit /= base
        value += digit * (number % base)
        number //= base
    return value


def best_of(function: Function, points: Sequence[Vector] | Vector, count: int) -> list[Minimum]:
    """Return the best `count` of the points, the best first, without those that have no value."""
    found = [Minimum(np.array(point), function(point)) for point in points]
    finite = [each for each in found if math.isfinite(each.value)]
    return sorted(finite, key=lambda each: each.value)[:count]


def nelder_mead(
    function: Function, box: Box, start: Vector, width: Vector, evaluations: int, tolerance: float
) -> Minimum:
    """Return where the simplex around `start` contracts to, its sides first `width`.

    It ends when its values differ by less than `tolerance` and again does so from a fresh simplex,
    or after so many evaluations. Coefficients adapted to the dimension: Gao and Han 2012.
    """
    best = Minimum(box.inside(start), function(box.inside(start)))
    left = evaluations - 1
    while left > 0:
        found, used = _contract(function, box, best, width, left, tolerance)
        left -= used
        gained = best.value - found.value
        best = min(best, found, key=lambda each: each.value)
        if not gained > tolerance:
            break
        width = width / 4
    return best


def _contract(
    function: Function, box: Box, start: Minimum, width: Vector, evaluations: int, tolerance: float
) -> tuple[Minimum, int]:
    n = box.size
    used = 0

    def at(point: Vector) -> Minimum:
        nonlocal used
        used += 1
        inside = box.inside(point)
        return Minimum(inside, function(inside))

    simplex = [start]
    for i in range(n):
        side = np.zeros(n)
        side[i] = width[i] if start.point[i] + width[i] <= box.high[i] else -width[i]
        simplex.append(at(start.point + side))
    expansion, contraction, shrink = 1 + 2 / n, 0.75 - 1 / (2 * n), 1 - 1 / n if n > 1 else 0.5
    while used < evaluations:
        simplex.sort(key=lambda each: each.value)
        best, second, worst = simplex[0], simplex[-2], simplex[-1]
        span = np.ptp([each.point for each in simplex], axis=0)
        if worst.value - best.value < tolerance and np.all(span < 1e-3 * (box.high - box.low)):
            break
        if np.all(span < 1e-9 * (1 + np.abs(best.point))):
            break
        middle = np.mean([each.point for each in simplex[:-1]], axis=0)
        there = at(middle + (middle - worst.point))
        if there.value < best.value:
            further = at(middle + expansion * (middle - worst.point))
            simplex[-1] = min(there, further, key=lambda each: each.value)
        elif there.value < second.value:
            simplex[-1] = there
        else:
            outside = there.value < worst.value
            towards = there.point if outside else worst.point
            nearer = at(middle + contraction * (towards - middle))
            if nearer.value < min(there.value, worst.value):
                simplex[-1] = nearer
            else:
                simplex = [best] + [
                    at(best.point + shrink * (each.point - best.point)) for each in simplex[1:]
                ]
    return min(simplex, key=lambda each: each.value), used


def differential_evolution(
    function: Function, box: Box, generations: int, *, members: int, seed: int = 0
) -> Minimum:
    """Return the best of a population after some generations: best/1/bin, Storn and Price 1997."""
    rng = np.random.default_rng(seed)
    points = box.halton(members)
    values = np.array([function(point) for point in points])
    for _ in range(generations):
        for i in range(members):
            one, two = points[rng.choice(members, 2, replace=False)]
            wild = points[np.argmin(values)] + rng.uniform(0.5, 1.0) * (one - two)
            crossed = rng.random(box.size) < 0.7
            crossed[rng.integers(box.size)] = True
            trial = box.inside(np.where(crossed, wild, points[i]))
            value = function(trial)
            if value <= values[i]:
                points[i], values[i] = trial, value
    best = int(np.argmin(values))
    return Minimum(points[best], float(values[best]))
