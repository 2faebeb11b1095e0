"""Observers ride along: they equal the average they name and never touch the trajectory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import optzoo
from optzoo.catalog import shipped

NAMES = ["tail:0.1", "tail:0.5", "ema:0.9", "uniform"]
STEPS = 30


def weight(name: str, t: int) -> float:
    """The weight of the newest of t iterates, from what the observer's name promises."""
    kind, _, number = name.partition(":")
    if kind == "uniform":
        return 1 / t
    if kind == "tail":
        return min(1.0, 1 / (float(number) * t))
    decay = float(number)
    return (1 - decay) / sum((1 - decay) * decay**i for i in range(t))


@pytest.mark.parametrize("recipe", sorted(shipped()))
def test_on_every_recipe(recipe: str) -> None:
    loaded = optzoo.load_recipe(recipe)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    grads = torch.randn(STEPS, 3, 2, generator=generator, dtype=torch.float64)
    alone, watched = (start.clone().requires_grad_() for _ in range(2))
    plain = loaded.build([alone], total_steps=STEPS)
    opt = loaded.build([watched], total_steps=STEPS, observers=NAMES)
    assert opt.views == ("train", "eval", *NAMES)
    averages = {name: np.zeros((3, 2)) for name in NAMES}
    for t in range(1, STEPS + 1):
        alone.grad, watched.grad = grads[t - 1].clone(), grads[t - 1].clone()
        plain.step()
        opt.step()
        assert torch.equal(alone, watched)
        iterate = watched.detach().numpy().copy()
        if t == STEPS // 2:  # through a save and a load
            saved = opt.state_dict()
            opt = loaded.build([watched], total_steps=STEPS, observers=NAMES)
            opt.load_state_dict(saved)
        for name in NAMES:
            w = weight(name, t)
            averages[name] = (1 - w) * averages[name] + w * iterate
            with opt.evaluation(name):
                found = watched.detach().numpy().copy()
            scale = max(1.0, float(np.abs(iterate).max()))
            assert np.abs(found - averages[name]).max() <= 1e-12 * scale, (name, t)


@pytest.mark.parametrize(
    "name", ["tail:0", "tail:1.5", "ema:1", "ema", "mean", "uniform:2", "tail:x"]
)
def test_what_is_not_an_observer(name: str) -> None:
    with pytest.raises(optzoo.InputError, match="is not an observer"):
        optzoo.load_recipe("adamw").with_observers([name])


def test_twice_the_same() -> None:
    with pytest.raises(optzoo.InputError, match="appears twice"):
        optzoo.load_recipe("adamw").with_observers(["uniform", "uniform"])
