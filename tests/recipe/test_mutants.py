"""The attack on the comparison with the oracles: every mutant of every program must be caught.

A mutant is caught where its training or evaluation point leaves the oracle's by more than the
tolerance of test_recipes.py, or where it cannot run. One that is never caught must be the same
program in other words: it must follow the original on hyperparameters, learning rates and gradients
drawn at random, to rounding. Anything else is a survivor, and there are none.

`python -m pytest tests/recipe/test_mutants.py -s` prints the table.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from mutants import Mutant, mutants_of, swapped_order
from oracles.base import Oracle
from oracles.variants import VASWANI_SCHEDULES, NesterovVaswaniScheduled
from problems import (
    EXACT,
    RECIPES,
    STEPS,
    TOTAL_STEPS,
    lr_factor,
    make_oracle,
    oracle_class,
    settings_of,
    size_of,
)
from reference_run import ReferenceRun

import optzoo
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.expressions import Call, num, walk
from optzoo.program.ir import Program

CRASHES = (ArithmeticError, ValueError, TypeError, KeyError)


class ArrayDomain(ReferenceDomain):
    """The reference on numpy arrays: a fault in a sign shows on one element of thousands."""

    RULES = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "neg": np.negative,
        "square": np.square,
        "sqrt": np.sqrt,
        "abs": np.abs,
        "sign": np.sign,
        "min": lambda *args: functools.reduce(np.minimum, args),
        "max": lambda *args: functools.reduce(np.maximum, args),
        "norm": lambda a: np.full_like(a, math.sqrt(np.sum(a * a))),
    }

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        if not any(isinstance(arg, tuple | np.ndarray) for arg in args):
            return super().apply(op, args)
        return self.RULES[op](*(np.array(a) if isinstance(a, tuple) else a for a in args))


def start_run(program: Program, start: np.ndarray) -> ReferenceRun:
    run = ReferenceRun(program, start.tolist(), total_steps=TOTAL_STEPS)
    run.domain = ArrayDomain()
    return run


@dataclass(frozen=True)
class Witness:
    """One run of an oracle: what it was given, and where it went."""

    program: Program
    start: np.ndarray
    grads: list[np.ndarray]
    lrs: list[float]
    points: list[tuple[np.ndarray, np.ndarray]]


def witness(
    name: str,
    settings: dict[str, float],
    schedule: str,
    oracle: type[Oracle] | None = None,
    texts: dict[str, str] | None = None,
) -> Witness:
    program = optzoo.load_recipe(name).program(**settings, **(texts or {}))
    elements = elements_for(program)
    rng = np.random.default_rng(11)
    start = rng.normal(size=elements)
    run = make_oracle(name, start, settings, oracle)
    grads, lrs, points = [], [], []
    for step in range(STEPS):
        grads.append(size_of(step + 1) * rng.normal(size=elements) * 2 / math.sqrt(elements))
        lrs.append(settings.get("lr", 1.0) * lr_factor(schedule, step))
        run.step(grads[-1], lrs[-1])
        points.append((run.train_point(), run.eval_point()))
    return Witness(program, start, grads, lrs, points)


def elements_for(program: Program) -> int:
    """A sign hides a small fault except where its argument is nearly 0."""
    nodes = itertools.chain.from_iterable(walk(line.expr) for line in program.step)
    return 4000 if any(isinstance(node, Call) and node.op == "sign" for node in nodes) else 6


def is_caught(program: Program, seen: Witness) -> bool:
    """Whether a program leaves the oracle's path, or falls over."""
    run = start_run(program, seen.start)
    try:
        for grad, lr, points in zip(seen.grads, seen.lrs, seen.points, strict=True):
            run.step(grad, lr=lr)
            for view, wanted in zip(("train", "eval"), points, strict=True):
                error = np.abs(np.array(run.view(view)) - wanted).max()
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
        high = high if math.isfinite(high) else low + rng.choice([0.5, 5.0, 60.0])
        values[hyper.name] = num(rng.uniform(low, high)).value
    return program.with_values(values)


def path(program: Program, seed: int, elements: int) -> list[np.ndarray]:
    """Return all points of a run on drawn gradients and learning rates."""
    rng = np.random.default_rng(seed)
    run = start_run(program, rng.normal(size=elements))
    points = []
    for _ in range(STEPS):
        size = rng.choice([0.05, 1, 3]) * 2 / math.sqrt(elements)
        run.step(size * rng.normal(size=elements), lr=float(rng.choice([0.0, 0.01, 0.07])))
        points += [np.array(run.view("train")), np.array(run.view("eval"))]
    return points


def is_same(program: Program, mutant: Program, draws: int = 6) -> bool:
    """Whether two programs agree to rounding wherever they are tried."""
    elements = elements_for(program)
    for seed in range(draws):
        original = draw(program, random.Random(seed))
        values = {h.name: h.value for h in original.hypers}
        try:
            left, right = (path(p.with_values(values), seed, elements) for p in (original, mutant))
        except CRASHES:
            return False
        for a, b in zip(left, right, strict=True):
            if not np.abs(a - b).max() <= EXACT * max(1.0, np.abs(a).max()):
                return False
    return True


def attack(name: str) -> tuple[int, list[Mutant], list[Mutant]]:
    """Return the number of mutants of a recipe, those that change nothing, and the survivors."""
    settings = settings_of(name, "lively")
    seen = [witness(name, settings, schedule) for schedule in ("from_zero", "cosine")]
    further = oracle_class(name).further
    if further:
        seen.append(witness(name, {**settings, **further}, "cosine"))
    for one in seen:
        assert not is_caught(one.program, one), "the program itself"
    program = seen[0].program
    mutants = list(mutants_of(program))
    swapped = swapped_order(optzoo.load_recipe(name).spec, settings)
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
    same = [mutant for mutant in missed if is_same(program, mutant.program)]
    return len(mutants), same, [mutant for mutant in missed if mutant not in same]


def report(name: str, count: int, same: list[Mutant], survivors: list[Mutant]) -> None:
    print(f"\n{name:36} mutants {count:4}   same {len(same):2}   survivors {len(survivors):2}")
    for kind, mutants in (("same", same), ("SURVIVOR", survivors)):
        for mutant in mutants:
            print(f"    {kind}: {mutant.fault}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mutants divide by 0
@pytest.mark.parametrize("name", RECIPES)
def test_no_mutant_survives(name: str) -> None:
    count, same, survivors = attack(name)
    report(name, count, same, survivors)
    assert count >= 10
    assert len(same) <= count / 7
    assert not survivors


def test_no_mutant_of_a_scheduled_recipe_survives() -> None:
    seen = witness(
        "nesterov_vaswani", {"eta": 0.03}, "cosine", NesterovVaswaniScheduled, VASWANI_SCHEDULES
    )
    assert not is_caught(seen.program, seen)
    count, same, survivors = judge(seen.program, list(mutants_of(seen.program)), [seen])
    report("nesterov_vaswani, scheduled", count, same, survivors)
    assert count >= 60
    assert not survivors
