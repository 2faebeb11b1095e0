"""The attack of test_mutants.py on recipes with numbers of the whole model.

Tensors of several shapes step together, their sums are added up before any moves, and a mutant is
caught where one of them leaves its oracle.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

import numpy as np
import pytest
from array_run import ArrayRun
from mutants import mutants_of
from oracles.base import Oracle
from problems import EXACT, TOTAL_STEPS, lr_factor, make_oracle, oracle_class, settings_of
from test_mutants import CRASHES, POOLED, draw, report

import optzoo
from optzoo.program.ir import Program

Array = np.ndarray
SHAPES = ((3, 2), (4,), ())
STEPS = 25


class Together:
    """Tensors that share the numbers of the model."""

    def __init__(self, program: Program, starts: list[Array]) -> None:
        self.program = program
        self.runs = [ArrayRun(program, start, total_steps=TOTAL_STEPS) for start in starts]

    def step(self, grads: list[Array], lr: float) -> None:
        sums: dict[str, float] = {"lr": lr}
        for line in self.program.pooled:
            parts = [
                run.summed_up(line, grad, **sums)
                for run, grad in zip(self.runs, grads, strict=True)
            ]
            sums[line.target.id] = sum(float(np.sum(part)) for part in parts)
        for run, grad in zip(self.runs, grads, strict=True):
            run.step(grad, **sums)

    @property
    def points(self) -> list[Array]:
        return [np.array(run.view(view)) for run in self.runs for view in ("train", "eval")]


@dataclass(frozen=True)
class Witness:
    """One run of the oracles: what they were given, and where they went."""

    starts: list[Array]
    grads: list[list[Array]]
    lrs: list[float]
    points: list[list[Array]]


def witness(name: str, settings: dict[str, float], schedule: str) -> Witness:
    rng = np.random.default_rng(11)
    starts = [np.atleast_1d(rng.normal(size=shape)) for shape in SHAPES]
    oracles = [make_oracle(name, start, settings) for start in starts]
    assert all(isinstance(oracle, Oracle) for oracle in oracles)
    kind, grads, lrs, points = oracle_class(name), [], [], []
    for step in range(STEPS):
        grads.append([rng.normal(size=start.shape) + kind.drift for start in starts])
        lrs.append(settings.get("lr", 1.0) * lr_factor(schedule, step))
        kind.step_together(oracles, grads[-1], lrs[-1])  # type: ignore[arg-type]
        points.append([p for o in oracles for p in (o.train_point(), o.eval_point())])
    return Witness(starts, grads, lrs, points)


def is_caught(program: Program, seen: Witness) -> bool:
    try:
        run = Together(program, seen.starts)
        for grads, lr, points in zip(seen.grads, seen.lrs, seen.points, strict=True):
            run.step(grads, lr)
            for found, wanted in zip(run.points, points, strict=True):
                error = np.abs(np.reshape(found, wanted.shape) - wanted).max()
                if not error <= EXACT * max(1.0, np.abs(wanted).max()):
                    return True
    except CRASHES:
        return True
    return False


@functools.lru_cache(maxsize=8)
def path(program: Program, seed: int) -> list[Array]:
    """Return all points of a run on drawn gradients, which lead away from the start or back."""
    rng = np.random.default_rng(seed)
    run = Together(program, [np.atleast_1d(rng.normal(size=shape)) for shape in SHAPES])
    points = []
    for _ in range(STEPS):
        size, drift = rng.choice([0.05, 1, 3]), rng.choice([0.0, 0.5])
        grads = [size * (rng.normal(size=np.shape(one.param)) + drift) for one in run.runs]
        run.step(grads, float(rng.choice([0.0, 0.01, 0.7])))
        points += run.points
    return points


def is_same(program: Program, mutant: Program) -> bool:
    for seed in range(6):
        original = draw(program, random.Random(seed))
        values = {h.name: h.value for h in original.hypers}
        try:
            left, right = path(original, seed), path(mutant.with_values(values), seed)
        except CRASHES:
            return False
        for a, b in zip(left, right, strict=True):
            if not np.isfinite(a).all():
                break  # what was drawn has run away
            if not np.abs(a - b).max() <= EXACT * max(1.0, np.abs(a).max()):
                return False
    return True


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mutants divide by 0
@pytest.mark.parametrize("name", sorted(POOLED))
def test_no_mutant_of_pooled_numbers_survives(name: str) -> None:
    lively, recipe = settings_of(name, "lively"), optzoo.load_recipe(name)
    program = recipe.program(**lively)
    further = {**lively, **oracle_class(name).further}
    seen = [witness(name, lively, schedule) for schedule in ("from_zero", "cosine")]
    seen.append(witness(name, {**further, "growth": 1e300}, "cosine"))
    for one in seen[:2]:
        assert not is_caught(program, one)
    assert not is_caught(recipe.program(**{**further, "growth": 1e300}), seen[2])
    mutants = list(mutants_of(program))
    assert any(mutant.fault.startswith("found_sum") for mutant in mutants)
    free = recipe.program(**{**further, "growth": 1e300})
    values = {h.name: h.value for h in free.hypers}
    missed = [
        mutant
        for mutant in mutants
        if not any(is_caught(mutant.program, one) for one in seen[:2])
        and not is_caught(mutant.program.with_values(values), seen[2])
    ]
    same = [mutant for mutant in missed if is_same(program, mutant.program)]
    survivors = [mutant for mutant in missed if mutant not in same]
    report(name, len(mutants), same, survivors)
    assert len(mutants) >= 60
    assert len(same) <= len(mutants) / 7
    assert not survivors
