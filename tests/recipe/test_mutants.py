"""The attack on the comparison with the oracles: every mutant of every program must be caught.

A mutant is caught where its training or evaluation point leaves the oracle's by more than the
tolerance of test_recipes.py, or where it cannot run. One that is never caught must be the same
program in other words: it must follow the original on hyperparameters, learning rates and gradients
drawn at random, to rounding. Anything else is a survivor, and there are none.

`python -m pytest tests/recipe/test_mutants.py -s` prints the table.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from array_run import ArrayRun
from mutants import Mutant, mutants_of, swapped_order
from oracles.base import Oracle
from oracles.variants import VASWANI_SCHEDULES, NesterovVaswaniScheduled
from problems import (
    EXACT,
    RECIPES,
    STEPS,
    TOTAL_STEPS,
    WithLearningRate,
    lr_factor,
    make_oracle,
    oracle_class,
    settings_of,
    size_of,
)

import optzoo
from optzoo.program.expressions import Call, num, walk
from optzoo.program.ir import Program
from optzoo.recipe.schema import HERE

FAINT = 1e-9
"""Gradients so small that the eps of a route, which no hyperparameter is, shows."""

CRASHES = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Witness:
    """One run of an oracle: what it was given, and where it went."""

    program: Program
    start: np.ndarray
    grads: list[np.ndarray]
    lrs: list[float]
    points: list[tuple[np.ndarray, np.ndarray]]


def witness(
    program: Program,
    oracle: Callable[[np.ndarray], Oracle | WithLearningRate],
    shape: tuple[int, ...],
    settings: dict[str, float],
    schedule: str,
    drift: float = 0.0,
    strength: float = 1.0,
) -> Witness:
    rng = np.random.default_rng(11)
    start = rng.normal(size=shape)
    run = oracle(start)
    grads, lrs, points = [], [], []
    for step in range(STEPS):
        noise = rng.normal(size=shape) * 2 / math.sqrt(start.size)
        grads.append(strength * (size_of(step + 1) * noise + drift))
        lrs.append(settings.get("lr", 1.0) * lr_factor(schedule, step))
        run.step(grads[-1], lrs[-1])
        points.append((run.train_point(), run.eval_point()))
    return Witness(program, start, grads, lrs, points)


def shapes_for(program: Program, kind: str | None) -> list[tuple[int, ...]]:
    """Return the tensors to try: square, tall and wide where a program sees that.

    A sign hides a small fault except where its argument is nearly 0.
    """
    nodes = [node for line in program.step for node in walk(line.expr)]
    has_sign = any(isinstance(node, Call) and node.op == "sign" for node in nodes)
    if program.is_flat and kind in (None, "norm", "bias"):
        return [(4000 if has_sign else 6,)]
    if kind in ("norm", "bias"):
        return [(6,)]
    return [(50, 80), (64, 64)] if has_sign else [(6, 4), (4, 4), (4, 10)]


def is_caught(program: Program, seen: Witness) -> bool:
    """Whether a program leaves the oracle's path, or falls over."""
    try:
        run = ArrayRun(program, seen.start, total_steps=TOTAL_STEPS)
        for grad, lr, points in zip(seen.grads, seen.lrs, seen.points, strict=True):
            run.step(grad, lr=lr)
            for view, wanted in zip(("train", "eval"), points, strict=True):
                error = np.abs(np.reshape(run.view(view), wanted.shape) - wanted).max()
                if not error <= EXACT * max(1.0, np.abs(wanted).max()):
                    return True
    except CRASHES:
        return True
    return False


def draw(program: Program, rng: random.Random) -> Program:
    """Return the program with every hyperparameter somewhere in its interval."""
    values = {}
    for hyper in program.hypers:
        low, high = hyper.interval.low, hyper.interval.high
        if low >= 1 and not math.isfinite(high):  # a count
            values[hyper.name] = num(rng.randint(math.ceil(low), 9)).value
            continue
        high = high if math.isfinite(high) else low + rng.choice([0.5, 5.0, 60.0])
        values[hyper.name] = num(rng.uniform(low, high)).value
    return program.with_values(values)


@functools.lru_cache(maxsize=32)  # six of the original, whatever mutants come between
def path(program: Program, seed: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return all points of a run on drawn gradients and learning rates."""
    rng = np.random.default_rng(seed)
    run = ArrayRun(program, rng.normal(size=shape), total_steps=TOTAL_STEPS)
    points = []
    for _ in range(STEPS):
        size = rng.choice([0.05, 1, 3]) * 2 / math.sqrt(math.prod(shape))
        run.step(size * rng.normal(size=shape), lr=float(rng.choice([0.0, 0.01, 0.07])))
        points += [np.array(run.view("train")), np.array(run.view("eval"))]
    return points


def is_same(program: Program, mutant: Program, shapes: list[tuple[int, ...]]) -> bool:
    """Whether two programs agree to rounding wherever they are tried."""
    for seed in range(6):
        original = draw(program, random.Random(seed))
        values = {h.name: h.value for h in original.hypers}
        shape = shapes[seed % len(shapes)]
        try:
            left = path(original, seed, shape)
            right = path(mutant.with_values(values), seed, shape)
        except CRASHES:
            return False
        for a, b in zip(left, right, strict=True):
            if not np.abs(a - b).max() <= EXACT * max(1.0, np.abs(a).max()):
                return False
    return True


@dataclass(frozen=True)
class Rule:
    """A rule of a shipped recipe, and a kind of parameter that takes it."""

    name: str
    label: str
    kind: str | None

    def __str__(self) -> str:
        return self.name if self.label == HERE else f"{self.name}-{self.label}"


def rules_of(name: str) -> list[Rule]:
    """Return every rule of a recipe, each with the first kind that leads to it."""
    recipe = optzoo.load_recipe(name)
    if not recipe.is_routed:
        return [Rule(name, HERE, None)]
    found: dict[str, Rule] = {}
    for route in recipe.routing.routes:
        kind = route.kinds[0] if route.kinds else ("query" if route.names else "norm")
        found.setdefault(route.rule, Rule(name, route.rule, kind))
    return list(found.values())


POOLED = {"prodigy"}
"""Whose oracle steps all parameters together: test_pooled_mutants.py attacks them."""
RULES = [rule for name in RECIPES if name not in POOLED for rule in rules_of(name)]


def attack(rule: Rule) -> tuple[int, list[Mutant], list[Mutant]]:
    """Return the number of mutants of a rule, those that change nothing, and the survivors."""
    oracle = oracle_class(rule.name)
    lively, recipe = settings_of(rule.name, "lively"), optzoo.load_recipe(rule.name)
    program = recipe.at(rule.label).program(**lively)
    shapes = shapes_for(program, rule.kind)

    def see(
        settings: dict[str, float], shape: tuple[int, ...], schedule: str, strength: float = 1.0
    ) -> Witness:
        def make(start: np.ndarray) -> Oracle | WithLearningRate:
            return make_oracle(rule.name, start, settings, kind=rule.kind)

        program = recipe.at(rule.label).program(**settings)
        return witness(program, make, shape, settings, schedule, oracle.drift, strength)

    seen = [see(lively, shapes[0], "from_zero")]
    seen += [see(lively, shape, "cosine") for shape in shapes]
    if oracle.further:
        seen.append(see({**lively, **oracle.further}, shapes[0], "cosine"))
    if rule.kind is not None:  # what a route sets to 1e-10 and the like
        seen.append(see(lively, shapes[0], "cosine", FAINT))
    for one in seen:
        assert not is_caught(one.program, one), f"the program itself, on {one.start.shape}"
    mutants = list(mutants_of(program))
    if rule.label == HERE:
        swapped = swapped_order(recipe.spec, lively)
        mutants += [swapped] if swapped is not None else []
    return judge(program, mutants, seen)


def judge(
    program: Program, mutants: list[Mutant], seen: list[Witness]
) -> tuple[int, list[Mutant], list[Mutant]]:
    def is_missed(mutant: Mutant) -> bool:
        runs = (
            (mutant.program.with_values({h.name: h.value for h in one.program.hypers}), one)
            for one in seen
        )
        return not any(is_caught(candidate, one) for candidate, one in runs)

    missed = [mutant for mutant in mutants if is_missed(mutant)]
    shapes = list(dict.fromkeys(one.start.shape for one in seen))
    same = [mutant for mutant in missed if is_same(program, mutant.program, shapes)]
    return len(mutants), same, [mutant for mutant in missed if mutant not in same]


def report(name: str, count: int, same: list[Mutant], survivors: list[Mutant]) -> None:
    print(f"\n{name:36} mutants {count:4}   same {len(same):2}   survivors {len(survivors):2}")
    for kind, mutants in (("same", same), ("SURVIVOR", survivors)):
        for mutant in mutants:
            print(f"    {kind}: {mutant.fault}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mutants divide by 0
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_no_mutant_survives(rule: Rule) -> None:
    count, same, survivors = attack(rule)
    report(str(rule), count, same, survivors)
    assert count >= 10
    assert len(same) <= count / 7
    assert not survivors


def test_no_mutant_of_a_scheduled_recipe_survives() -> None:
    settings = {"eta": 0.03}
    program = optzoo.load_recipe("nesterov_vaswani").program(**settings, **VASWANI_SCHEDULES)

    def make(start: np.ndarray) -> Oracle | WithLearningRate:
        return make_oracle("nesterov_vaswani", start, settings, NesterovVaswaniScheduled)

    seen = witness(program, make, (6,), settings, "cosine")
    assert not is_caught(seen.program, seen)
    count, same, survivors = judge(seen.program, list(mutants_of(seen.program)), [seen])
    report("nesterov_vaswani, scheduled", count, same, survivors)
    assert count >= 60
    assert not survivors
