"""What a method keeps and what it does not, whatever its hyperparameters: a cheap screen.

A method whose step doubles with its gradients is no special case of one that never does so. Each
trait is how far a relation between two runs is from holding; a recipe is run at many settings, its
defaults and the ends of its intervals among them, where what it can switch off is off.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from optzoo.equivalence.fitting.batch import Array, Courses, ProgramBatch
from optzoo.equivalence.fitting.starts import near_first
from optzoo.equivalence.trajectory import Course, columns_for, draw_course
from optzoo.program.ir import Program
from optzoo.recipe.recipe import Recipe

STEPS = 10
HOLDS, FAILS = 1e-9, 1e-6
MOST_SETTINGS = 80
SIZES = (Fraction(1), Fraction(1, 1000))
"""Sizes of gradients: on the small one an eps shows, on the large one a clip."""


@dataclass(frozen=True)
class Traits:
    """For each trait the least and the largest distance from it over the settings run."""

    least: Array
    most: Array

    @property
    def evaluates_elsewhere(self) -> bool:
        """Whether the evaluation point was seen apart from the training point."""
        return bool((self.most.reshape(len(SIZES), -1)[:, -1] > FAILS).any())

    def can_be(self, other: Traits, iterates_only: bool = False) -> bool:
        """Whether nothing that `other` does or does not is beyond what is run here.

        With `iterates_only` the evaluation points say nothing.
        """
        keeps = (other.most < HOLDS) & (self.least > FAILS)
        lacks = (other.least > FAILS) & (self.most < HOLDS)
        apart = (keeps | lacks).reshape(len(SIZES), -1)
        return not bool(apart[:, : -1 if iterates_only else None].any())


def traits_of(program: Program) -> Traits:
    """Return the traits of a program at its own hyperparameters."""
    values = {h.name: np.asarray([float(h.value)]) for h in program.hypers}
    found = _distances(program, values)
    return Traits(found.min(1), found.max(1))


def possible_traits(recipe: Recipe) -> Traits:
    """Return the traits that a recipe has at one of its hyperparameters or another."""
    names, rows = _settings(recipe)
    grid = np.asarray(rows, dtype=np.float64).T
    found = _distances(recipe.program(), dict(zip(names, grid, strict=True)))
    return Traits(np.nan_to_num(found, nan=np.inf).min(1), np.nan_to_num(found, nan=0.0).max(1))


def _settings(recipe: Recipe) -> tuple[list[str], list[tuple[float, ...]]]:
    """Return the defaults, and with one or two of them at another value."""
    knobs = {n: h for n, h in recipe.hyperparameters.items() if isinstance(h.default, float)}
    options = []
    for name, knob in knobs.items():
        ends = (0.0, 1.0, 0.5, 3.0) if name != "lr" else (0.5,)
        values = [v for v in ends if v in knob.interval and v != knob.default]
        options.append([float(knob.default), *values])
    return list(knobs), list(itertools.islice(near_first(options), MOST_SETTINGS))


def _courses(size: Fraction, columns: int) -> list[Course]:
    """Return a course and its variations: see `_distances`."""
    base = draw_course(
        5,
        STEPS,
        constant_lr=False,
        grad_size=Fraction(1),
        total_steps=STEPS // 2,
        columns=columns,
    )
    grads = tuple(tuple(size * g for g in grad) for grad in base.grads)
    base = replace(base, grads=grads)
    others = tuple((g[0], 3 * g[2], -g[1], *(2 * x for x in g[3:])) for g in grads)
    start = tuple(2 * x + 1 for x in base.start)
    return [
        base,
        replace(base, grads=tuple(tuple(2 * x for x in g) for g in grads)),
        replace(base, grads=tuple(tuple(-x for x in g) for g in grads)),
        replace(base, grads=others),
        replace(base, start=start),
        replace(base, total_steps=STEPS + 3),
        replace(base, lr_factors=tuple(2 * f for f in base.lr_factors)),
    ]


def _distances(program: Program, settings: dict[str, Array]) -> Array:
    """Return how far each trait is from holding, of shape (traits, settings), for both sizes."""
    run = ProgramBatch(program)
    return np.concatenate([_of_size(run, settings, size) for size in SIZES])


def _of_size(run: ProgramBatch, settings: dict[str, Array], size: Fraction) -> Array:
    courses = Courses(_courses(size, columns_for([run.program])))
    train, shown = run(courses, settings)
    moves = train - courses.start[:, :, None, :]
    move, doubled, negated, others, elsewhere, longer, faster = moves
    length: Array
    with np.errstate(all="ignore"):
        length = np.abs(move).max((1, 2))
        length = np.where(length > 0, length, 1.0)

        def apart(a: Array, b: Array) -> Array:
            far: Array = np.abs(a - b).max((1, 2)) / length
            return far

        return np.stack(
            [
                apart(doubled, 2 * move),  # linear in the size of the gradients
                apart(doubled, move),  # blind to it
                apart(negated, -move),
                apart(others[..., :1], move[..., :1]),  # element by element
                apart(elsewhere, move),  # blind to where the parameters are
                apart(longer, move),  # blind to the length of the run
                apart(faster, 2 * move),
                apart(shown[0], train[0]),  # evaluated where it trains
            ]
        )
