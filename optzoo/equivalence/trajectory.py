"""Trajectories on drawn gradients: what two programs are compared by.

Gradients are drawn, not computed, so that they do not depend on the parameters: two methods that
move alike on such gradients move alike on all. Everything drawn is rational.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optzoo.program.domain import Domain, evaluate, initial_memory
from optzoo.program.expressions import Expr, Name
from optzoo.program.ir import Program
from optzoo.program.tensors.elements import Matrix
from optzoo.program.walk import Point, Walk

ELEMENTS = 3
COLUMNS = 2
"""Columns of points where a program tells rows from columns."""


@dataclass(frozen=True)
class Course:
    """One drawn course: where to start, the gradients, the factor on lr at each step, and T.

    Points are columns, or matrices of `columns` where the programs ask for sides.
    """

    start: tuple[Fraction, ...]
    grads: tuple[tuple[Fraction, ...], ...]
    lr_factors: tuple[Fraction, ...]
    total_steps: int
    columns: int = 1

    def __len__(self) -> int:
        return len(self.grads)


def draw_course(
    seed: int,
    steps: int,
    *,
    constant_lr: bool,
    total_steps: int | None = None,
    grad_size: Fraction = Fraction(1),
    zero_grads: bool = False,
    spread: bool = False,
    columns: int = 1,
) -> Course:
    """Draw a course. `total_steps` left out, T lies before the last step: its end is seen.

    With `spread` the gradients of one element are a thousandth of those of another, and those of
    the third a thousand times as large, if `grad_size` is not below 1: an eps or a clip may matter
    on one of these scales only.
    """
    rng = random.Random(seed)

    def numbers(sizes: Sequence[Fraction]) -> tuple[Fraction, ...]:
        return tuple(size * Fraction(rng.randint(-999, 999), 1000) for size in sizes)

    start = numbers((Fraction(1),) * ELEMENTS * columns)
    factors = [Fraction(rng.randint(30, 170), 100) for _ in range(steps)]
    size = Fraction(0) if zero_grads else grad_size
    other = size * (1000 if grad_size >= 1 else Fraction(1, 10**6))
    sizes = (size, size / 1000, other) if spread else (size,) * ELEMENTS
    grads = [numbers(sizes * columns) for _ in range(steps)]
    drawn_total = rng.randint(steps // 2, steps - 2)
    return Course(
        start,
        tuple(grads),
        tuple(Fraction(1) if constant_lr else f for f in factors),
        drawn_total if total_steps is None else total_steps,
        columns,
    )


def columns_for(programs: Sequence[Program]) -> int:
    """Return how many columns points need: one, unless a program asks for rows or columns."""
    return 1 if all(program.is_flat for program in programs) else COLUMNS


@dataclass(frozen=True)
class Trajectory:
    """The training and evaluation points after each step."""

    train: tuple[Point, ...]
    eval: tuple[Point, ...]


LrRule = Callable[[Any, int], Any]
"""The learning rate of a step, from that of the course and the step number."""


def lr_rule(expr: Expr, domain: Domain[Any]) -> LrRule:
    """Return the rule that an expression in `lr` and `t` stands for."""

    def rule(lr: Any, t: int) -> Any:
        return evaluate(expr, domain, {Name("lr"): lr, Name("t"): domain.number(Fraction(t))})

    return rule


def start_walk(
    program: Program,
    course: Course,
    domain: Domain[Any],
    *,
    base_lr: Fraction | None = None,
    rule: LrRule | None = None,
    step_lrs: Sequence[Any] | None = None,
) -> Walk:
    """Return a program at the start of a course.

    The learning rate of step t is `base_lr` (the program's own if left out) times the course's
    factor, then `rule` of that; or `step_lrs` says it outright. The one at construction, `lr0`, has
    the factor 1: under a warmup it is not that of step 1.
    """
    number = domain.number
    inputs = {h.name: number(h.value) for h in program.hypers}
    base = inputs.get("lr", number(Fraction(1))) if base_lr is None else number(base_lr)
    inputs["T"] = number(Fraction(course.total_steps))
    inputs["lr0"] = base if rule is None else rule(base, 1)

    def lr_at(t: int) -> Any:
        if step_lrs is not None:
            return step_lrs[t - 1]
        lr = domain.apply("mul", [base, number(course.lr_factors[t - 1])])
        return lr if rule is None else rule(lr, t)

    numbers = [number(x) for x in course.start]
    columns = course.columns
    param = Matrix(numbers, ELEMENTS, columns) if columns > 1 else tuple(numbers)
    return Walk(program, domain, inputs, lr_at, param, initial_memory(program, domain), {})


def follow(walk: Walk, course: Course) -> Trajectory:
    """Take all steps of a course."""
    train, shown = [], []
    for grad in course.grads:
        walk = walk.after(grad)
        train.append(walk.param)
        shown.append(walk.evaluated)
    return Trajectory(tuple(train), tuple(shown))
