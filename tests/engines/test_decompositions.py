"""Bases in torch beside the definition, also where columns say nothing new, and buffers in line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import optzoo
from optzoo.engines.matrices.decompositions import eigenbasis, orthonormal, symmetric_power
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.tensors.elements import Matrix


def defined(op: str, a: np.ndarray) -> np.ndarray:
    found = ReferenceDomain().apply(op, [Matrix(a.ravel().tolist(), *a.shape)])
    assert isinstance(found, tuple)
    return np.array(found).reshape(a.shape)


def of_rank(rank: int, seed: int, size: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(size, rank)) @ np.diag(np.arange(rank, 0, -1.0)) @ np.linalg.qr(
        random.normal(size=(size, rank))
    )[0].T  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1, 3, 5, 6])
def test_bases_are_the_definitions(rank: int) -> None:
    a = of_rank(rank, seed=rank)
    gram = a @ a.T
    for op, torchs, given in (("orthonormal", orthonormal, gram), ("eigenbasis", eigenbasis, gram)):
        found = torchs(torch.from_numpy(given)[None])[0].numpy()
        assert np.abs(found.T @ found - np.eye(6)).max() < 1e-12
        assert np.abs(found - defined(op, given)).max() < 1e-9, op


def test_dependent_columns_give_way_to_unit_vectors_in_order() -> None:
    a = torch.tensor([[2.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    wanted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.equal(orthonormal(a[None])[0], wanted)
    assert torch.equal(orthonormal(torch.zeros(1, 3, 3))[0], torch.eye(3))
    assert torch.equal(eigenbasis(torch.zeros(1, 3, 3))[0], torch.eye(3))


def test_what_is_not_finite_is_no_number_and_no_error() -> None:
    good = torch.from_numpy(of_rank(6, seed=9))
    stack = torch.stack([good @ good.T, torch.full((6, 6), torch.nan, dtype=torch.float64)])
    for made in (orthonormal(stack), eigenbasis(stack), symmetric_power(stack, -0.5)):
        assert bool(made[0].isfinite().all())
        assert bool(made[1].isnan().all())


LINE = """
name: line
version: 2
summary: each buffer takes what the one before it held
reference: none
hyperparameters: {lr: {default: 1, in: "[0, inf)", doc: learning rate}}
buffers:
  a: {input: "grad - mean(grad, row)", decay: 0, gain: 1}
  b: {input: a.prev, decay: 0, gain: 1}
  c: {input: b.prev, decay: 0, gain: 1}
update: c
"""


@pytest.mark.parametrize("count", [1, 2])
def test_a_buffer_takes_what_another_held_before_the_step(count: int) -> None:
    """A matrix alone is worked on in place, several are stacked."""
    params = [torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64)) for _ in range(count)]
    optimizer = optzoo.parse_recipe(LINE).build(params, engine="foreach")
    random = np.random.default_rng(3)
    fed = []
    for _ in range(5):
        grad = random.normal(size=(2, 3))
        fed.append(grad - grad.mean(axis=1, keepdims=True))
        for param in params:
            param.grad = torch.from_numpy(grad)
        optimizer.step()
    for param in params:
        np.testing.assert_allclose(param.detach().numpy(), -sum(fed[:3]), rtol=0, atol=1e-14)


def test_a_state_of_other_sides_is_saved_and_loaded_in_mid_phase() -> None:
    recipe = optzoo.load_recipe("soap").with_overrides({"frequency": 3})
    ends = []
    for is_interrupted in (False, True):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.ones(4, 3, dtype=torch.float64))]
        optimizer = recipe.build(params)
        for step in range(9):
            if is_interrupted and step == 5:
                saved = optimizer.state_dict()
                optimizer = recipe.build(params)
                optimizer.load_state_dict(saved)
            params[0].grad = torch.randn(4, 3, dtype=torch.float64)
            optimizer.step()
        ends.append(params[0].detach())
    assert torch.equal(*ends)
    saved["state"][0]["A"] = torch.zeros(3, 3, dtype=torch.float64)
    with pytest.raises(optzoo.InputError) as error:
        recipe.build(params).load_state_dict(saved)
    assert (
        "`A` of parameter 0 has shape (3, 3); as rows x rows of its parameter it has (4, 4)"
        in str(error.value)
    )
