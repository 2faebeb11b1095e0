"""Refreshments go by a parameter's own clock: one that is late, pauses, is saved and resumed."""

from __future__ import annotations

import io

import pytest
import torch

import optzoo

ENGINES = ("reference", "foreach", "compiled")
STEPS = 11
LATE = 3
"""The step at which the second parameter has its first gradient."""
PAUSED = (7, 8)
TEXT = """
name: mine
version: 2
summary: what happens at some steps only
reference: none
hyperparameters:
  lr:    {default: 0.1, in: "[0, inf)", doc: learning rate}
  every: {default: 3,   in: "[1, inf)", doc: steps between two bases}
buffers:
  A: {input: grad @ grad.T, decay: 0.9, gain: 0.1, init: identity}
  W: {refresh: {every: every, offset: 1, input: "power(A, -1/2)"}}
  o: {refresh: {every: 2, input: "polar(grad, jordan)"}, init: grad}
  slow: {init: param, refresh: {every: 4, offset: 2, input: slow.prev + 0.5*(moved - slow.prev)}}
update: W @ grad + 0.5*o
point: {input: moved, refresh: {every: 4, offset: 2, input: slow}}
"""


def gradients() -> list[torch.Tensor]:
    torch.manual_seed(3)
    return list(torch.randn(STEPS, 4, 3, dtype=torch.float64).unbind())


def has_gradient(i: int, step: int) -> bool:
    return i == 0 or (step >= LATE and step not in PAUSED)


def parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(2)
    return [torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64)) for _ in range(2)]


def take(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], step: int) -> None:
    """Take a step of the problem; the late parameter starts at the first of the gradients."""
    taken = [sum(has_gradient(i, t) for t in range(1, step)) for i in (0, 1)]
    for i, param in enumerate(params):
        param.grad = gradients()[taken[i]].clone() if has_gradient(i, step) else None
    optimizer.step()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_late_parameter_has_its_own_turns(engine: str) -> None:
    """It goes as one that has begun at once and never paused, as far as its own clock has come."""
    params = parameters()
    optimizer = optzoo.parse_recipe(TEXT).build(params, engine=engine)
    for step in range(1, STEPS + 1):
        take(optimizer, params, step)
    alone = parameters()[1]
    other = optzoo.parse_recipe(TEXT).build([alone], engine=engine)
    own = sum(has_gradient(1, step) for step in range(1, STEPS + 1))
    assert own < STEPS - 2
    for grad in gradients()[:own]:
        alone.grad = grad.clone()
        other.step()
    assert optimizer.state[params[1]]["step"] == own
    assert torch.allclose(params[1], alone, rtol=0, atol=1e-14)
    for name in ("A", "W", "o", "slow"):
        kept, wanted = optimizer.state[params[1]][name], other.state[alone][name]
        assert torch.allclose(kept, wanted, rtol=0, atol=1e-14), name


@pytest.mark.parametrize("engine", ENGINES)
def test_every_buffer_changes_at_its_steps_alone(engine: str) -> None:
    params = parameters()[:1]
    optimizer = optzoo.parse_recipe(TEXT).build(params, engine=engine)
    changed: dict[str, list[int]] = {"W": [], "o": [], "slow": []}
    for step in range(1, STEPS + 1):
        before = {name: optimizer.state[params[0]][name].clone() for name in changed}
        take(optimizer, params, step)
        for name, steps in changed.items():
            if step > 1 and not torch.equal(before[name], optimizer.state[params[0]][name]):
                steps.append(step)
    assert changed == {"W": [4, 7, 10], "o": [2, 4, 6, 8, 10], "slow": [2, 6, 10]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", range(1, STEPS))
def test_the_phase_survives_resuming(at: int, engine: str) -> None:
    """Saved after any step: between two refreshments, at one, before the late parameter began."""
    ends = []
    for is_interrupted in (False, True):
        params = parameters()
        optimizer = optzoo.parse_recipe(TEXT).build(params, engine=engine)
        for step in range(1, STEPS + 1):
            take(optimizer, params, step)
            if is_interrupted and step == at:
                file = io.BytesIO()
                torch.save(optimizer.state_dict(), file)
                params = [torch.nn.Parameter(p.detach().clone()) for p in params]
                optimizer = optzoo.parse_recipe(TEXT).build(params, engine=engine)
                file.seek(0)
                optimizer.load_state_dict(torch.load(file))
        ends.append([p.detach() for p in params])
    assert all(map(torch.equal, *ends))
