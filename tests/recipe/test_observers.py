"""Observers: averages that ride along with any recipe and never touch the trajectory.

Each is compared with an average of the iterates that this file computes by itself; it survives
saving and loading in the middle of a run, and a parameter that joins late.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles.base import Array
from problems import (
    EXACT,
    RECIPES,
    STEPS,
    TOTAL_STEPS,
    gradients,
    largest_error,
    lr_factor,
    settings_of,
    starts,
)

import optzoo
from optzoo.errors import InputError
from optzoo.optimizer import RecipeOptimizer

OBSERVERS = ("tail:0.1", "tail:0.3", "tail:1", "ema:0.9", "ema:0", "uniform")


def weight(observer: str, t: int) -> float:
    """Return the weight of the newest of t iterates."""
    kind, _, argument = observer.partition(":")
    if kind == "uniform":
        return 1 / t
    if kind == "tail":
        return min(1.0, 1 / (float(argument) * t))
    decay = float(argument)
    return (1 - decay) / (1 - decay**t)


class Run:
    """A recipe on the problem of problems.py, with observers, and its iterates averaged here."""

    def __init__(self, name: str, observers: tuple[str, ...]) -> None:
        self.name, self.observers = name, observers
        self.settings = settings_of(name, "lively")
        self.params = [torch.nn.Parameter(torch.from_numpy(p)) for p in starts()]
        self.opt = self.build()
        self.times = [0] * len(self.params)
        self.means = {o: [p.copy() for p in starts()] for o in observers}
        self.grads = list(gradients())

    def build(self) -> RecipeOptimizer:
        recipe = optzoo.load_recipe(self.name)
        return recipe.build(
            self.params, total_steps=TOTAL_STEPS, observers=self.observers, **self.settings
        )

    def step(self, step: int) -> None:
        for group in self.opt.param_groups:
            group["lr"] = self.settings.get("lr", 1.0) * lr_factor("cosine", step)
        for i, (p, g) in enumerate(zip(self.params, self.grads[step], strict=True)):
            p.grad = None if g is None else torch.from_numpy(g.copy())
            self.times[i] += g is not None
        self.opt.step()
        for i, p in enumerate(self.params):
            if p.grad is not None:
                for o in self.observers:
                    c = weight(o, self.times[i])
                    self.means[o][i] = (1 - c) * self.means[o][i] + c * p.detach().numpy()

    def shown(self, view: str) -> list[Array]:
        with self.opt.evaluation(view):
            return [p.detach().numpy().copy() for p in self.params]


@pytest.mark.parametrize("name", RECIPES)
def test_observers_watch_and_never_touch(name: str) -> None:
    bare, watched = Run(name, ()), Run(name, OBSERVERS)
    assert watched.opt.views == ("train", "eval", *OBSERVERS)
    for step in range(STEPS):
        bare.step(step)
        watched.step(step)
        for p, q in zip(bare.params, watched.params, strict=True):
            assert torch.equal(p, q)
        if step % 7 == 0 or step == STEPS - 1:
            for a, b in zip(bare.shown("eval"), watched.shown("eval"), strict=True):
                assert np.array_equal(a, b)
            for observer in OBSERVERS:
                error = largest_error(watched.shown(observer), watched.means[observer])
                assert error <= EXACT, f"{observer} after step {step}"


@pytest.mark.parametrize("name", ["sgd", "adamw", "schedule_free_adamw", "lion", "gpa_adamw"])
def test_observers_are_saved(name: str) -> None:
    """A run that is saved and loaded in the middle goes on bit for bit, averages included."""
    through, broken = Run(name, OBSERVERS), Run(name, OBSERVERS)
    for step in range(STEPS):
        if step == 20:
            saved = broken.opt.state_dict()
            broken.params = [torch.nn.Parameter(p.detach().clone()) for p in broken.params]
            broken.opt = broken.build()
            broken.opt.load_state_dict(saved)
        through.step(step)
        broken.step(step)
    for view in through.opt.views:
        for a, b in zip(through.shown(view), broken.shown(view), strict=True):
            assert np.array_equal(a, b)


def test_each_observer_costs_one_buffer() -> None:
    (param,) = params = [torch.nn.Parameter(torch.zeros(8))]
    sizes = []
    for count in range(4):
        opt = optzoo.load_recipe("adamw").build(params, observers=OBSERVERS[:count])
        sizes.append(sum(t.nbytes for t in opt.state[param].values() if t.dim() > 0) // 8)
    assert sizes == [8, 12, 16, 20]


def test_an_observer_is_an_average_too() -> None:
    """`adamw_averaged` with delta and `adamw` with the observer tail:delta evaluate one point."""
    left, right = Run("adamw_averaged", ()), Run("adamw", ("tail:0.2",))
    assert left.settings["delta"] == 0.2
    right.settings = {k: v for k, v in left.settings.items() if k != "delta"}
    right.opt = right.build()
    for step in range(STEPS):
        left.step(step)
        right.step(step)
        assert largest_error(left.shown("eval"), right.shown("tail:0.2")) <= EXACT


@pytest.mark.parametrize(
    "text", ["tail", "tail:0", "tail:2", "tail:-0.1", "ema:1", "ema:x", "mean", "uniform:2", ""]
)
def test_a_text_that_is_no_observer_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not an observer"):
        optzoo.load_recipe("adamw").with_observers([text])


def test_an_observer_appears_once() -> None:
    with pytest.raises(InputError, match="twice"):
        optzoo.load_recipe("adamw").with_observers(["tail:0.1", "tail:0.1"])
