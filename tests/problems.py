"""The problem of the exactness tests: random gradients on tensors of every kind, and the oracles.

Gradients do not depend on the parameters, so that one list of them serves a recipe, its oracle and
every mutant. Nothing here compares: see test_recipes.py and test_mutants.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from oracles import ORACLES
from oracles.base import Array, Oracle

import optzoo
from optzoo.files.shipped import recipes_dir
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.parsing import parse_expression

STEPS = 50
TOTAL_STEPS = 40
"""T: schedules over the whole run end before the last step, so that their end is seen too."""

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (2, 3, 2, 2), (0,))
MATRICES = ((4, 4), (5, 2), (1, 6), (6, 1), (0, 3))
"""Beside those, for what looks at rows and columns: square, tall, one row, one column, none."""

LATE = 1
"""This parameter has no gradient at the steps of `ABSENT`: its clock starts late and pauses."""
ABSENT = frozenset({*range(1, 8), 20, 21, 33})

EXACT = 1e-12


def recipe_paths() -> list[Path]:
    """Return every shipped recipe, wherever it lies under recipes/."""
    root = recipes_dir()
    other = {"reproduce", "setups", "studies", "sweeps"}
    paths = root.rglob("*.yaml")
    return sorted(p for p in paths if not other & set(p.relative_to(root).parts[:-1]))


RECIPES = [path.stem for path in recipe_paths()]


def oracle_class(name: str) -> type[Oracle]:
    """Return the oracle of a shipped recipe. Raises LookupError that says how to write one."""
    if name not in ORACLES:
        raise LookupError(
            f'recipes/{name}.yaml has no oracle: write a class with `recipe = "{name}"` in a '
            "module of tests/oracles/ (docs/extending.md)"
        )
    return ORACLES[name]


def settings_of(name: str, kind: str, total_steps: int = TOTAL_STEPS) -> dict[str, float]:
    """Return all hyperparameters of a recipe: its `default` ones, or the oracle's `lively` ones."""
    if kind == "lively":
        return dict(oracle_class(name).lively)
    recipe, length = optzoo.load_recipe(name), {Name("T"): float(total_steps)}
    defaults = {key: recipe.hyperparameters[key].default for key in recipe.spec.hyperparameters}
    return {
        key: evaluate(parse_expression(value), FloatDomain(), length)
        for key, value in defaults.items()
    }


class WithLearningRate:
    """An oracle whose method has no learning rate, given one: it multiplies the displacement.

    The gradients here do not depend on the parameters, so each move is lr times the oracle's own,
    and the point that is evaluated lies lr times as far from the point that is trained.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.train = self.evaluated = oracle.train_point()

    def step(self, grad: Array, lr: float) -> None:
        before = self.oracle.train_point()
        self.oracle.step(grad, 1.0)
        self.train = self.train + lr * (self.oracle.train_point() - before)
        ahead = self.oracle.eval_point() - self.oracle.train_point()
        self.evaluated = self.train + lr * ahead

    def train_point(self) -> Array:
        return self.train

    def eval_point(self) -> Array:
        return self.evaluated


def make_oracle(
    name: str,
    w0: Array,
    settings: dict[str, float],
    oracle: type[Oracle] | None = None,
    kind: str | None = None,
) -> Oracle | WithLearningRate:
    """Make the oracle of a recipe at its first gradient."""
    oracle = oracle_class(name) if oracle is None else oracle
    own = {key: value for key, value in settings.items() if key != "lr"}
    if "lr0" in oracle.defaults:
        own["lr0"] = settings["lr"]
    made = oracle(w0, TOTAL_STEPS, kind, **own)
    return made if oracle.default_lr is not None else WithLearningRate(made)


def shapes_of(name: str) -> tuple[tuple[int, ...], ...]:
    """Return the tensors that a recipe is tried on."""
    return SHAPES + MATRICES if len(oracle_class(name).shape) > 1 else SHAPES


def starts(seed: int = 0, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Array]:
    """Return the parameters before the first step."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)) for shape in shapes]


def size_of(step: int) -> float:
    """Return the size of the gradients at a step, counted from 1: small at first."""
    return (0.05, 1.0, 3.0)[step // 4 % 3]


def gradients(
    seed: int = 1,
    steps: int = STEPS,
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    drift: float = 0.0,
) -> Iterator[list[Array | None]]:
    """Yield the gradients of each step, None where a parameter has none.

    Sizes come and go, so that a clip by the norm acts at some steps and not at others.
    """
    rng = np.random.default_rng(seed)
    for step in range(1, steps + 1):
        size = size_of(step)
        grads = [np.asarray(size * rng.normal(size=shape) + drift) for shape in shapes]
        yield [None if i == LATE and step in ABSENT else g for i, g in enumerate(grads)]


def lr_factor(schedule: str, step: int) -> float:
    """Return the factor on lr at a step, counted from 0 as torch's LambdaLR counts."""
    ramp = 0.5 + 0.5 * math.cos(math.pi * step / STEPS)
    if schedule == "from_zero":  # warmup from lr = 0, and one step of 0 in the middle
        return 0.0 if step == 30 else min(1.0, step / 5) * ramp
    assert schedule == "cosine"
    return ramp


def expected(
    name: str, settings: dict[str, float], schedule: str
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yield the oracle's training and evaluation points after each step."""
    shapes = shapes_of(name)
    points = starts(shapes=shapes)
    oracles: list[Oracle | WithLearningRate | None] = [None] * len(points)
    for step, grads in enumerate(gradients(shapes=shapes, drift=oracle_class(name).drift)):
        lr = settings.get("lr", 1.0) * lr_factor(schedule, step)
        present = [i for i, grad in enumerate(grads) if grad is not None]
        for i in present:
            if oracles[i] is None:
                oracles[i] = make_oracle(name, points[i], settings)
        oracle_class(name).step_together(
            [oracles[i] for i in present], [grads[i] for i in present], lr
        )
        train = [p if o is None else o.train_point() for p, o in zip(points, oracles, strict=True)]
        evaluated = [
            p if o is None else o.eval_point() for p, o in zip(points, oracles, strict=True)
        ]
        yield train, evaluated


def largest_error(found: list[Array], wanted: list[Array]) -> float:
    """Return the largest difference, relative to the size of the wanted tensor or to 1."""
    worst = 0.0
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        if a.size:
            error = np.abs(a - b).max() / max(1.0, np.abs(b).max())
            worst = max(worst, math.inf if np.isnan(error) else float(error))
    return worst
