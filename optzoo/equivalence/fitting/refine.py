"""A root in as many digits as decimals have, where no simple number and no formula is behind it.

Newton's method on the same least squares, its slopes by differences of 25 digits: a root of float64
has 12 good digits, then 24, then more than a comparison asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from optzoo.equivalence.trajectory import Course, follow, start_walk
from optzoo.interpreters.reference import ReferenceDomain, in_digits
from optzoo.program.ir import Program

ROUNDS = 6
STEP = Decimal("1e-25")
DIGITS = 60
"""Digits that are kept of a number."""
ENOUGH = Decimal("1e-55")
"""A step, relative to the number, after which no other is taken."""
IDLE = Decimal("1e-20")
"""A slope that is none: what makes no difference is left alone."""


class _Refining:
    """Residuals in decimals."""

    def __init__(self, left: Program, right: Program, courses: Sequence[Course]) -> None:
        self.right, self.courses = right, courses
        self.domain = ReferenceDomain("decimal")
        self.targets = [self._points(left, c, {}) for c in courses]

    def _points(
        self, program: Program, course: Course, values: Mapping[str, Fraction]
    ) -> list[Any]:
        walk = start_walk(program.with_values(dict(values)), course, self.domain)
        found = follow(walk, course)
        return [x for points in (found.train, found.eval) for point in points for x in point]

    def residual(self, values: Mapping[str, Decimal]) -> list[Decimal]:
        """Return the distances of all points, in units of the largest point."""
        exact = {n: Fraction(v) for n, v in values.items()}
        rows = []
        for course, target in zip(self.courses, self.targets, strict=True):
            points = self._points(self.right, course, exact)
            scale = max(map(abs, target)) or Decimal(1)
            rows += [(p - q) / scale for p, q in zip(points, target, strict=True)]
        return rows


def refined(
    left: Program, right: Program, courses: Sequence[Course], values: Mapping[str, float]
) -> dict[str, Fraction] | None:
    """Return a root to `DIGITS` digits, from one in float64; None where there is none near."""
    work = _Refining(left, right, courses)
    with in_digits():
        x = {n: Decimal(v) for n, v in values.items()}
        for _ in range(ROUNDS):
            r = work.residual(x)
            slopes = {}
            for name, value in x.items():
                h = STEP * max(abs(value), Decimal("1e-4"))
                moved = work.residual({**x, name: value + h})
                slopes[name] = [(b - a) / h for a, b in zip(r, moved, strict=True)]
            names = [n for n, column in slopes.items() if max(map(abs, column)) > IDLE]
            step = _least_squares([slopes[n] for n in names], [-a for a in r])
            if step is None:
                return None
            x |= {n: x[n] + s for n, s in zip(names, step, strict=True)}
            if all(abs(s) <= ENOUGH * abs(x[n]) for n, s in zip(names, step, strict=True)):
                break
        return {n: Fraction(f"{v:.{DIGITS}g}") for n, v in x.items()}


def _least_squares(columns: Sequence[list[Decimal]], aim: list[Decimal]) -> list[Decimal] | None:
    """Solve the normal equations by elimination; None where they are singular."""
    scales = [max(map(abs, column)) for column in columns]
    steep = [[a / s for a in c] for c, s in zip(columns, scales, strict=True)]
    rows = [
        [*(_dot(p, q) for q in steep), _dot(p, aim)]
        for p in steep
    ]  # fmt: skip
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        if abs(rows[i][i]) < IDLE:
            return None
        for k in range(size):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] / scales[i] for i in range(size)]


def _dot(a: Sequence[Decimal], b: Sequence[Decimal]) -> Decimal:
    return sum((p * q for p, q in zip(a, b, strict=True)), Decimal(0))
