"""What the words of the language say together: windows, rates of one's own, norms that are 0."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from oracles import make_oracle

import optzoo

ENGINES = ("reference", "foreach", "compiled")
HEAD = """
name: mine
version: 1
summary: an idiom
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
  eps: {default: 0.01, in: "(0, inf)", doc: added to a size}
"""


def run(recipe: optzoo.Recipe, start: np.ndarray, grads: list[np.ndarray], engine: str) -> list:
    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = recipe.build([param], engine=engine)
    points = []
    for grad in grads:
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        points.append(param.detach().numpy().copy())
    return points


@pytest.mark.parametrize("engine", ENGINES)
def test_a_buffer_may_read_itself_and_a_window_is_a_chain(engine: str) -> None:
    text = """
buffers:
  largest: {input: "max(largest.prev, abs(grad))", decay: 0, gain: 1}
  g1: {input: grad.prev, decay: 0, gain: 1}
  g2: {input: g1.prev, decay: 0, gain: 1}
  g3: {input: g2.prev, decay: 0, gain: 1}
update: g3/(largest + eps)
"""
    rng = np.random.default_rng(5)
    start, grads = rng.normal(size=4), [rng.normal(size=4) for _ in range(12)]
    w, largest, window = start, np.zeros(4), deque([np.zeros(4)] * 4, maxlen=4)
    for point, grad in zip(
        run(optzoo.parse_recipe(HEAD + text), start, grads, engine), grads, strict=True
    ):
        window.append(grad)
        largest = np.maximum(largest, np.abs(grad))
        w = w - 0.1 * window[0] / (largest + 0.01)
        assert np.abs(point - w).max() <= 1e-14


@pytest.mark.parametrize("engine", ENGINES)
def test_scale_1_is_how_a_recipe_names_its_own_rate(engine: str) -> None:
    ones = [np.ones(2)]
    own = optzoo.parse_recipe(HEAD + "update: {mix: lr*grad/(1 + eps), scale: 1}")
    twice = optzoo.parse_recipe(HEAD + "update: {mix: lr*grad/(1 + eps)}")
    assert run(own, np.zeros(2), ones, engine)[0] == pytest.approx(-0.1 / 1.01, rel=1e-14)
    assert run(twice, np.zeros(2), ones, engine)[0] == pytest.approx(-0.01 / 1.01, rel=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_k_steps_is_a_scalar_with_memory(engine: str) -> None:
    text = """
scalars:
  phase: {expr: 1 + phase.prev*positive(3 - phase.prev), start: 0}
  now: 1 - positive(3 - phase)
update: now*grad
"""
    points = run(optzoo.parse_recipe(HEAD + text), np.zeros(1), [np.ones(1)] * 7, engine)
    assert [float(p[0]) for p in points] == pytest.approx([0, 0, -0.1, -0.1, -0.1, -0.2, -0.2])


ZERO_SOMEWHERE = ["lamb", "lars", "novograd", "stableadamw", "cautious_adamw", "cautious_lion"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ZERO_SOMEWHERE)
def test_norms_and_masks_that_are_0_are_the_oracles(name: str, engine: str) -> None:
    """A parameter of zeros, a gradient of zeros first, and one of zeros later; decay on and off."""
    rng = np.random.default_rng(2)
    zeros = np.zeros((2, 3))
    some = [rng.normal(size=(2, 3)) for _ in range(4)]
    for decay in (0.0, 0.3):
        knobs = optzoo.load_recipe(name).hyperparameters
        numbers = {key: float(knob.default) for key, knob in knobs.items()}
        numbers |= {"weight_decay": decay, "lr": 0.05}
        recipe = optzoo.load_recipe(name).with_overrides(numbers)
        for start in (zeros, rng.normal(size=(2, 3))):
            grads = [zeros, some[0], -some[0], zeros, *some[1:]]
            oracle = make_oracle(name, start, len(grads), **numbers)
            for point, grad in zip(run(recipe, start, grads, engine), grads, strict=True):
                oracle.step(grad, 0.05)
                wanted = oracle.train_point()
                assert np.isfinite(point).all()
                assert np.abs(point - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["lamb", "lars", "stableadamw", "cautious_adamw"])
def test_norms_are_right_in_float32_where_their_squares_are_small(name: str) -> None:
    """1e-30 is what 0/0 is told by: parameters and gradients of 1e-15 are far above it."""
    recipe = optzoo.load_recipe(name)
    start, grad = np.full(5, 1e-15), np.full(5, 2e-15)
    double = run(recipe, start, [grad] * 3, "foreach")[-1]
    single = run(recipe, start.astype(np.float32), [grad.astype(np.float32)] * 3, "foreach")[-1]
    rounding = 3e-7 * np.abs(double).max()  # of the parameter itself
    moved = np.abs(double - start).max()
    assert moved > 10 * rounding
    assert np.abs(single - double).max() <= rounding + 1e-5 * moved


HINTS = [
    ("update: grad/norm(param)", "a/max(b, eps)", "update: grad/max(norm(param), eps)"),
    ("update: grad/param", "a/(abs(b) + eps)", "update: grad/(abs(param) + eps)"),
    ("update: grad/lr", "a*ratio(1, b)", "update: grad*ratio(1, lr)"),
    (
        "scalars: {k: t/lr}\nupdate: k*grad",
        "use `ratio(a, b)`",
        "scalars: {k: 'ratio(t, lr)'}\nupdate: k*grad",
    ),
]


@pytest.mark.parametrize(("wrong", "hint", "right"), HINTS)
def test_the_hint_of_a_division_by_zero_can_be_followed(wrong: str, hint: str, right: str) -> None:
    with pytest.raises(optzoo.InputError, match="which can be 0") as caught:
        optzoo.parse_recipe(HEAD + wrong)
    assert hint in (caught.value.diagnostics[0].hint or "")
    assert optzoo.parse_recipe(HEAD + right).name == "mine"
