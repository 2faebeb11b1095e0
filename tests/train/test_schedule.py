"""The learning-rate schedule and the objective, point by point."""

from __future__ import annotations

import math

import pytest
import torch

from optzoo.train.model.loss import plain_objective
from optzoo.train.schedule import Kind, Schedule
from optzoo.train.trainer import clip_gradients


@pytest.mark.parametrize(
    ("kind", "step", "value"),
    [
        ("cosine", 0, 0.1),
        ("cosine", 5, 0.55),
        ("cosine", 10, 1.0),
        ("cosine", 60, 0.6),
        ("cosine", 110, 0.2),
        ("cosine", 500, 0.2),
        ("linear", 60, 0.6),
        ("linear", 85, 0.4),
        ("constant", 10, 1.0),
        ("constant", 109, 1.0),
    ],
)
def test_points(kind: Kind, step: int, value: float) -> None:
    schedule = Schedule(kind, 110, 10, 0.1, 0.2)
    assert schedule.multiplier(step) == pytest.approx(value, rel=1e-12)
    doubled = Schedule(kind, 110, 10, 0.1, 0.2, scale=2.0)
    assert doubled.multiplier(step) == 2 * schedule.multiplier(step)


def test_without_warmup_the_first_step_is_full() -> None:
    assert Schedule("cosine", 100, 0, 0.1, 0.0).multiplier(0) == 1.0


def test_objective_is_cross_entropy_plus_z_loss() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    targets = torch.tensor([2, 1])
    normaliser = torch.logsumexp(logits.double(), -1)
    nats = normaliser - torch.tensor([2.0, 0.0])
    objective, found = plain_objective(logits, targets, 0.5)
    assert found.tolist() == pytest.approx(nats.tolist(), rel=1e-6)
    expected = float(nats.sum() + 0.5 * (normaliser**2).sum())
    assert float(objective) == pytest.approx(expected, rel=1e-6)
    assert float(plain_objective(logits, targets, 0.0)[0]) == pytest.approx(float(nats.sum()), 1e-6)


def test_gradients_are_clipped_together() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, 1.0) == pytest.approx(5.0)
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
    parameters[1].grad.fill_(math.inf)
    assert math.isinf(clip_gradients(parameters, 1.0))
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-5)
