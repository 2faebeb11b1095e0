"""Runs of recipes in exact rationals or float64, on fixed gradients, for the reduction tests.

Gradients do not depend on the parameters: two methods that move alike on all gradients are the
same method.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from optzoo.interpreters.reference import ReferenceRun
from optzoo.program.arithmetic import NotRationalError
from optzoo.program.ir import Program

STEPS = 12
F = Fraction
UNIT, LR = F(1), F("0.02")
Point = tuple[Any, ...]
Schedule = Callable[[int], Fraction]


def constant(t: int) -> Fraction:
    return LR


def moving(t: int) -> Fraction:
    return LR * F(1 + t % 4, 3)


def one(t: int) -> Fraction:
    return F(1)


def rationals(seed: int, count: int, size: Fraction = UNIT) -> list[Fraction]:
    rng = random.Random(seed)
    return [size * F(rng.randint(-99, 99), 100) for _ in range(count)]


def points(
    program: Program,
    lr: Schedule,
    views: Sequence[str],
    *,
    exact: bool,
    size: Fraction = UNIT,
) -> list[list[Point]]:
    """Return the views after each step, from a fixed start on fixed gradients."""
    number: Callable[[Fraction], Any] = F if exact else float
    start = [number(x) for x in rationals(0, 3)]
    run = ReferenceRun(program, start, total_steps=STEPS, exact=exact)
    run.inputs["lr0"] = number(lr(1))
    seen = []
    for t in range(1, STEPS + 1):
        run.step([number(x) for x in rationals(t, 3, size)], lr=number(lr(t)))
        seen.append([run.view(view) for view in views])
    return seen


def is_rational(program: Program) -> bool:
    try:
        points(program, constant, ("train", "eval"), exact=True)
    except NotRationalError:
        return False
    return True


def assert_equal(left: list[list[Point]], right: list[list[Point]], *, exact: bool) -> None:
    assert len(left) == len(right) == STEPS
    for t, (a, b) in enumerate(zip(left, right, strict=True), 1):
        for view, other in zip(a, b, strict=True):
            for x, y in zip(view, other, strict=True):
                if exact:
                    assert x == y, f"step {t}"
                else:
                    assert abs(x - y) <= 1e-12 * max(1, abs(y)), f"step {t}"
