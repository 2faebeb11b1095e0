"""Where matrix methods may break: no gradient, gradients of low rank, one row, one column, none."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import LIVELY, ORACLES, make_oracle
from oracles.base import Array, Oracle
from oracles.two_sided import eigenbasis, inverse_root, orthonormal

MATRIX_RULES = [name for name, oracle in ORACLES.items() if len(oracle.shape) > 1]
SHAPES = ((4, 4), (6, 3), (3, 6), (1, 5), (5, 1), (1, 1), (2, 3, 2), (0, 3))
KINDS = ("matrix", "embedding", "head", "norm", "bias")


def follow(oracle: Oracle, grads: list[Array], lr: float) -> Array:
    for grad in grads:
        oracle.step_together([oracle], [grad], lr)
    assert np.all(np.isfinite(oracle.train_point()))
    assert np.all(np.isfinite(oracle.eval_point()))
    return oracle.train_point()


def gradients(shape: tuple[int, ...], steps: int, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for _ in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MATRIX_RULES)
def test_gradients_of_zero_move_nothing_but_decay(name: str, kind: str) -> None:
    settings = {**LIVELY[name], **({"weight_decay": 0.0} if "weight_decay" in LIVELY[name] else {})}
    for shape in SHAPES:
        start = np.ones(shape)
        zeros = [np.zeros(shape)] * 7
        end = follow(make_oracle(name, start, 20, kind, **settings), zeros, settings["lr"])
        pull = (1 - settings["lr"]) ** 7 if name == "scion" else 1.0  # into its ball
        np.testing.assert_allclose(end, pull * start, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", MATRIX_RULES)
def test_late_low_and_lost_gradients_stay_finite(name: str) -> None:
    for shape in SHAPES:
        grads = gradients(shape, 12)
        grads[0] = grads[7] = np.zeros(shape)
        for grad in grads[1:4]:
            grad[1:] = 0.0  # rank 1
        start = np.ones(shape)
        end = follow(make_oracle(name, start, 20, **LIVELY[name]), grads, 0.02)
        assert np.any(end != start) or not end.size


@pytest.mark.parametrize("name", MATRIX_RULES)
def test_a_learning_rate_of_zero_moves_nothing(name: str) -> None:
    for kind in KINDS:
        start = np.ones((4, 3))
        end = follow(make_oracle(name, start, 20, kind, **LIVELY[name]), gradients((4, 3), 7), 0.0)
        np.testing.assert_array_equal(end, start)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (1, 5), (5, 1)])
@pytest.mark.parametrize("name", MATRIX_RULES)
def test_a_gradient_moved_by_rounding_moves_the_result_by_rounding(
    name: str, shape: tuple[int, ...]
) -> None:
    """A basis of the null space that LAPACK chose would move SOAP by a tenth."""
    grads = gradients(shape, 15)
    nudged = [
        grad * (1 + 1e-15 * np.sign(noise)) for grad, noise in zip(grads, gradients(shape, 15, 1))
    ]
    start = np.ones(shape)
    ends = [
        follow(make_oracle(name, start, 20, **LIVELY[name]), each, LIVELY[name]["lr"])
        for each in (grads, nudged)
    ]
    assert np.abs(ends[0] - start).max() > 1e-3
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-11)


def test_muon_moves_every_direction_alike() -> None:
    """Singular values of a step are lr times the scale times what the polynomial makes of 1."""
    rng = np.random.default_rng(0)
    for shape in ((8, 5), (5, 8), (1, 6), (6, 1)):
        oracle = make_oracle("muon", np.zeros(shape), 5, lr=0.1, mu=0.9, weight_decay=0.0)
        values = np.linalg.svd(follow(oracle, [rng.normal(size=shape)], 0.1), compute_uv=False)
        scale = 0.1 * max(1.0, shape[0] / shape[1]) ** 0.5
        assert np.all((values > 0.6 * scale) & (values < 1.25 * scale))


def test_bases_are_orthonormal_and_the_same_for_what_they_do_not_determine() -> None:
    rng = np.random.default_rng(0)
    for rank, n in ((5, 5), (2, 5), (1, 4), (0, 3)):
        half = rng.normal(size=(n, rank))
        A = half @ half.T
        P = eigenbasis(A)
        np.testing.assert_allclose(P.T @ P, np.eye(n), atol=1e-13)
        D = P.T @ A @ P
        np.testing.assert_allclose(D, np.diag(np.diag(D)), atol=1e-12)
        assert np.all(np.diff(np.diag(D)) <= 1e-12)
        Q = orthonormal(A @ P)
        np.testing.assert_allclose(Q.T @ Q, np.eye(n), atol=1e-13)
        np.testing.assert_allclose(np.abs(Q), np.abs(P), atol=1e-11)  # A's vectors stay
    np.testing.assert_array_equal(eigenbasis(np.zeros((3, 3))), np.eye(3))


def test_the_inverse_fourth_root_is_one() -> None:
    half = np.random.default_rng(0).normal(size=(5, 5))
    A = half @ half.T + np.eye(5)
    root = inverse_root(A, 4)
    np.testing.assert_allclose(root @ root @ root @ root @ A, np.eye(5), atol=1e-12)


def test_prodigy_shares_one_estimate_among_all_tensors() -> None:
    """What one tensor has found speeds up the others; alone each would find its own."""
    rng = np.random.default_rng(0)
    grads = [[np.full(3, 2.0), 1e-3 * rng.normal(size=(2, 2))] for _ in range(30)]
    together = [make_oracle("prodigy", np.ones(g.shape), 30, **LIVELY["prodigy"]) for g in grads[0]]
    alone = make_oracle("prodigy", np.ones((2, 2)), 30, **LIVELY["prodigy"])
    for pair in grads:
        ORACLES["prodigy"].step_together(together, pair, 0.7)
        ORACLES["prodigy"].step_together([alone], pair[1:], 0.7)
    assert together[0].shared is together[1].shared
    assert together[0].shared.d > 1.3 * together[0].h.d0
    assert np.abs(together[1].train_point() - alone.train_point()).max() > 1e-3


def test_prodigy_finds_nothing_where_nothing_was_gathered() -> None:
    oracle = make_oracle("prodigy", np.ones(3), 30, **{**LIVELY["prodigy"], "weight_decay": 0.0})
    follow(oracle, [np.zeros(3)] * 3, 0.7)
    assert oracle.shared.d == oracle.h.d0
    np.testing.assert_array_equal(oracle.train_point(), np.ones(3))
