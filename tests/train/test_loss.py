"""The loss: slices of the logits give what all of them give, z-loss and clipping as stated."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from optzoo.train.model.loss import linear_objective
from optzoo.train.trainer import clip_gradients

N, D, V = 37, 24, 101


def problem(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(N, D, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator, dtype=dtype).requires_grad_()
    return h, weight, torch.randint(0, V, (N,), generator=generator)


def by_hand(h: Tensor, weight: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The definition: log of the sum of exponentials, minus the target's logit."""
    logits = (h @ weight.T).double()
    lse = logits.exp().sum(-1).log()
    nats = lse - logits[torch.arange(N), targets]
    return nats.sum() + z_loss * (lse**2).sum(), nats


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("rows", [1, 8, N, 100])
def test_slices_give_the_loss_and_the_gradients_of_the_definition(rows: int, z_loss: float) -> None:
    h, weight, targets = problem(torch.float32)
    objective, nats = linear_objective(h, weight, targets, z_loss=z_loss, limit=rows * V)
    (3.0 * objective / N).backward()
    exact = [t.detach().double().requires_grad_() for t in (h, weight)]
    expected, each = by_hand(*exact, targets, z_loss)
    (3.0 * expected / N).backward()
    torch.testing.assert_close(objective.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(nats.double(), each, rtol=1e-5, atol=1e-5)
    assert not nats.requires_grad
    torch.testing.assert_close(h.grad, exact[0].grad.float(), rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]
    torch.testing.assert_close(weight.grad, exact[1].grad.float(), rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]


def test_under_autocast_both_ways_are_as_near_to_the_definition() -> None:
    errors = []
    for rows in (8, N):
        h, weight, targets = problem(torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            objective, nats = linear_objective(h, weight, targets, z_loss=1e-2, limit=rows * V)
        objective.backward()
        assert (objective.dtype, nats.dtype) == (torch.float32, torch.float32)
        exact = [t.detach().double().requires_grad_() for t in (h, weight)]
        expected, _ = by_hand(*exact, targets, 1e-2)
        expected.backward()
        for tensor, truth in zip((h, weight), exact, strict=True):
            assert tensor.grad is not None
            assert truth.grad is not None
            errors.append(float((tensor.grad - truth.grad).norm() / truth.grad.norm()))
    assert max(errors) < 0.01  # bfloat16 has 8 bits
    assert errors[0] < 1.5 * errors[2]
    assert errors[1] < 1.5 * errors[3]


# torch.compile instantiates the function itself while it traces (torch 2.13)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_slices_are_one_graph_for_torch_compile() -> None:
    h, weight, targets = problem(torch.float32)
    objective, _ = linear_objective(h, weight, targets, z_loss=1e-2, limit=8 * V)
    expected = torch.autograd.grad(objective, (h, weight))
    traced = torch.compile(linear_objective, backend="aot_eager", fullgraph=True)
    objective, _ = traced(h, weight, targets, z_loss=1e-2, limit=8 * V)
    for found, known in zip(torch.autograd.grad(objective, (h, weight)), expected, strict=True):
        torch.testing.assert_close(found, known)


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    h, weight, targets = problem(torch.float32)
    with torch.no_grad():
        objective, nats = linear_objective(h, weight, targets, z_loss=0.0, limit=8 * V)
    assert not objective.requires_grad
    assert float(nats.sum()) == pytest.approx(float(objective), rel=1e-6)


def test_clipping_scales_the_joint_norm() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, None) == 5.0
    assert clip_gradients(parameters, 10.0) == 5.0
    assert parameters[1].grad.item() == 4.0
    assert clip_gradients(parameters, 1.0) == 5.0
    assert parameters[0].grad[0].item() == pytest.approx(0.6, rel=1e-5)
    parameters[0].grad[0] = float("nan")
    assert not clip_gradients(parameters, 1.0) < float("inf")
    assert parameters[1].grad.item() == pytest.approx(0.8, rel=1e-5)
