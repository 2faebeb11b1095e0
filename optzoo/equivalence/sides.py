"""Do two recipes move alike? Decided on drawn gradients, exactly where the programs are rational.

Points that agree as rationals, or to `AGREEMENT` decimal digits, at random gradients, learning
rates and lengths of the run agree identically, but for a draw that hits a root by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

from optzoo.equivalence.switches import LOOKAHEAD, MOST_STEPS, switching_walks
from optzoo.equivalence.trajectory import (
    Course,
    Trajectory,
    columns_for,
    draw_course,
    follow,
    lr_rule,
    start_walk,
)
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import Form, LinearDomain, NotLinearError, run_linear
from optzoo.interpreters.reference import DIGITS, ReferenceDomain
from optzoo.program.arithmetic import NotRationalError
from optzoo.program.expressions import Expr
from optzoo.program.ir import Program
from optzoo.program.simplify import without_polar_eps
from optzoo.program.walk import Point, Walk
from optzoo.recipe.recipe import Recipe

STEPS = 10
DRAWS = 2
LONG_STEPS = 250
"""Steps of the one long course, in decimals: what sets in late is seen there."""
AGREEMENT = 40
"""Decimal digits of a move that must agree where rationals do not suffice."""
ROUNDED = DIGITS - 8
"""Decimal digits of a point that rounding leaves alone."""

Which = Literal["train", "eval"]


@dataclass(frozen=True)
class Conditions:
    """For which runs two recipes are compared.

    `constant_lr` holds the learning rate still; otherwise it is another at every step. `steps` are
    compared exactly where that is possible, `long_steps` in decimals. `zero_grads` leaves the
    decay alone. `grad_size` bounds the drawn gradients: small ones never meet a clip. With `spread`
    gradients of other sizes are drawn as well.
    """

    constant_lr: bool = False
    total_steps: int | None = None
    steps: int = STEPS
    grad_size: Fraction = Fraction(1)
    long_steps: int = LONG_STEPS
    zero_grads: bool = False
    spread: bool = True

    def long_course(self, *programs: Program) -> Course:
        """Draw the long course for these programs."""
        return draw_course(
            DRAWS,
            self.long_steps,
            constant_lr=self.constant_lr,
            total_steps=self.total_steps,
            grad_size=self.grad_size,
            zero_grads=self.zero_grads,
            columns=columns_for(programs),
        )

    def courses(self, *programs: Program) -> list[Course]:
        """Draw the courses of these conditions for these programs, always the same ones."""
        return [
            draw_course(
                seed,
                self.steps,
                constant_lr=self.constant_lr,
                total_steps=self.total_steps,
                grad_size=self.grad_size,
                zero_grads=self.zero_grads,
                spread=self.spread and seed % 2 == 1,
                columns=columns_for(programs),
            )
            for seed in range(DRAWS)
        ]


@dataclass(frozen=True)
class Side:
    """A recipe as one side of a comparison.

    On the right side `lr` may say its learning rate at each step: an expression in `lr`, the
    learning rate of the left side, and `t`. Without `decays` the weight decay is left out, and
    without `guards` the eps inside `polar`.
    """

    recipe: Recipe
    lr: Expr | None = None
    decays: bool = True
    guards: bool = True

    @cached_property
    def program(self) -> Program:
        """The program as it trains at these hyperparameters."""
        program = self.recipe.trained_program(decays=self.decays)
        return program if self.guards else without_polar_eps(program)

    @property
    def is_guarded(self) -> bool:
        """Whether there is a `polar` whose eps sees the size of a matrix."""
        return self.program != without_polar_eps(self.program)

    @property
    def undecayed(self) -> Side:
        """The same without its weight decay."""
        return replace(self, decays=False)


@dataclass(frozen=True)
class Difference:
    """The first step at which a point differs, and by how much, relative to the move so far."""

    point: Which
    step: int
    size: float


@dataclass(frozen=True)
class Comparison:
    """What a comparison found. `exact` says that rationals sufficed.

    `switches` says that a sign, a clip or a maximum was met, and looked for where it switches.
    """

    train: Difference | None
    eval: Difference | None
    exact: bool
    switches: bool = False

    @property
    def same(self) -> bool:
        """Whether both points agree at every step."""
        return self.train is None and self.eval is None


def compare(left: Side, right: Side, conditions: Conditions) -> Comparison:
    """Compare the training and evaluation points of two recipes."""
    found: dict[Which, Difference | None] = {"train": None, "eval": None}
    exact = True
    for course in conditions.courses(left.program, right.program):
        a, b, was_exact = both(left, right, course)
        exact = exact and was_exact
        for point in found:
            difference = first_difference(a, b, course, point, exact=was_exact)
            found[point] = _earlier(found[point], difference)
    switches = False
    if not (conditions.zero_grads or all(found.values())):
        switches = _compare_at_switches(left, right, conditions, found)
    if conditions.long_steps > conditions.steps and not all(found.values()):
        course = conditions.long_course(left.program, right.program)
        a, b, _ = both(left, right, course, try_exact=False)
        for point in found:
            found[point] = found[point] or first_difference(a, b, course, point, exact=False)
    return Comparison(found["train"], found["eval"], exact, switches)


def _earlier(a: Difference | None, b: Difference | None) -> Difference | None:
    return min((d for d in (a, b) if d is not None), key=lambda d: d.step, default=None)


def _compare_at_switches(
    left: Side,
    right: Side,
    conditions: Conditions,
    found: dict[Which, Difference | None],
) -> bool:
    """Compare where a sign turns or a clip begins; return whether there is such a place."""
    longer = replace(conditions, steps=MOST_STEPS + LOOKAHEAD)
    course = longer.courses(left.program, right.program)[-1]
    domain = ReferenceDomain("decimal")
    walks = (_started(left, None, course, domain), _started(right, left, course, domain))
    limit = conditions.grad_size if conditions.grad_size < 1 else None
    switches = False
    for a, b, is_edge in switching_walks(walks, course, limit):
        switches = switches or is_edge
        points: dict[Which, tuple[Point, Point]] = {
            "train": (a.param, b.param),
            "eval": (a.evaluated, b.evaluated),
        }
        for point, (x, y) in points.items():
            difference = _difference(point, a.t, x, y, course.start, exact=False)
            found[point] = _earlier(found[point], difference)
        if all(found.values()):
            break
    return switches


def both(
    left: Side, right: Side, course: Course, *, try_exact: bool = True
) -> tuple[Trajectory, Trajectory, bool]:
    """Follow a course with both recipes, in rationals if both can."""
    for exact in (True, False) if try_exact else (False,):
        domain = ReferenceDomain("rational" if exact else "decimal")
        try:
            walks = _started(left, None, course, domain), _started(right, left, course, domain)
            return follow(walks[0], course), follow(walks[1], course), exact
        except NotRationalError:
            continue
        except ArithmeticError:
            names = " or ".join({left.recipe.name: 0, right.recipe.name: 0})
            message = f"{names} divides by zero or has no value at these hyperparameters"
            raise InputError(Diagnostic("not-finite", message)) from None
    raise AssertionError("decimals have every operation")


def _started(side: Side, other: Side | None, course: Course, domain: ReferenceDomain) -> Walk:
    if side.lr is None or other is None:
        return start_walk(side.program, course, domain)
    rule = lr_rule(side.lr, domain)
    return start_walk(side.program, course, domain, base_lr=own_lr(other.program), rule=rule)


def own_lr(program: Program) -> Fraction:
    """Return the learning rate that a program is set to."""
    return next((h.value for h in program.hypers if h.name == "lr"), Fraction(1))


@dataclass(frozen=True)
class LinearPart:
    """The weight of each gradient in each step, and the kinds of what was held fixed for it.

    `moves` is None for a step that is not linear even so.
    """

    moves: tuple[Form[Any], ...] | None
    held: tuple[str, ...]


def response(side: Side, other: Side | None, course: Course) -> LinearPart:
    """Return the linear part of a side along a course, weight decay left out."""
    side = side.undecayed
    program = side.program
    digits = ReferenceDomain("decimal")
    domain: LinearDomain[Any] = LinearDomain(digits)
    base = digits.number(own_lr(program if other is None or side.lr is None else other.program))
    rule = None if side.lr is None else lr_rule(side.lr, digits)

    def lr(t: int) -> Any:
        value = digits.apply("mul", [base, digits.number(course.lr_factors[t - 1])])
        return value if rule is None else rule(value, t)

    def inputs(t: int) -> Mapping[str, Any]:
        given: dict[str, Any] = {h.name: digits.number(h.value) for h in program.hypers}
        clock = {"t": Fraction(t), "T": Fraction(course.total_steps)}
        return {
            **given,
            **{k: digits.number(v) for k, v in clock.items()},
            "lr0": base if rule is None else rule(base, 1),
            "lr": lr(t),
        }

    moves = None
    with suppress(NotLinearError):
        moves = run_linear(program, domain, range(1, len(course) + 1), inputs).moves
    return LinearPart(moves, tuple(sorted({gain.kind for gain in domain.gains})))


def first_difference(
    a: Trajectory, b: Trajectory, course: Course, point: Which, *, exact: bool
) -> Difference | None:
    """Return where two trajectories part, if they do."""
    pairs = zip(getattr(a, point), getattr(b, point), strict=True)
    for step, (x, y) in enumerate(pairs, start=1):
        difference = _difference(point, step, x, y, course.start, exact=exact)
        if difference is not None:
            return difference
    return None


def _difference(
    point: Which, step: int, x: Point, y: Point, start: Point, *, exact: bool
) -> Difference | None:
    """Return how far two points are apart, where that is more than rounding."""
    apart = _apart(x, y)
    moved = max(_apart(x, start), Fraction(1, 10**30))
    size = max(abs(Fraction(value)) for value in (*x, *y, *start))
    limit = Fraction(0) if exact else max(moved / 10**AGREEMENT, size / 10**ROUNDED)
    return Difference(point, step, float(apart / moved)) if apart > limit else None


def _apart(x: Sequence[Any], y: Sequence[Any]) -> Fraction:
    """Return the largest difference of elements; raises InputError where a value is not finite."""
    for value in (*x, *y):
        if isinstance(value, Decimal) and not value.is_finite():
            message = "a point is not finite at these hyperparameters"
            raise InputError(Diagnostic("not-finite", message))
    return max(abs(Fraction(p) - Fraction(q)) for p, q in zip(x, y, strict=True))
