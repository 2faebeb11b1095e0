"""Closed-loop runs of the oracles on one noisy quadratic, and how two of them compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .base import ORACLES, Array, Oracle, make_oracle

STEPS = 50
EXACT = 1e-12
Triple = tuple[float, float, float]  # beta_a, eta_a, alpha_a of Eq. (1)


@dataclass(frozen=True)
class Trajectory:
    """What one run saw: entry t of `train` and `evaluated` is the point after t steps."""

    train: Array
    evaluated: Array
    grads: Array  # grads[t - 1] was taken at train[t - 1]
    lrs: Array


def problem(seed: int = 0, shape: int | tuple[int, ...] = 40) -> tuple[Array, Array, Array, Array]:
    """Return start, curvature per element, noise per step and size of the gradient per step."""
    rng = np.random.default_rng(seed)
    shape = (shape,) if isinstance(shape, int) else shape
    curvature = 10 ** rng.uniform(-1.5, 0.3, shape)
    sizes = np.repeat(rng.permutation([0.02, 1.0] * 5), STEPS // 10)  # MARS clips some steps only
    return rng.normal(size=shape), curvature, rng.normal(size=(STEPS, *shape)), sizes


def larger(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape of the same rank with some 2000 elements."""
    return (50, 40) if len(shape) == 2 else (2000,)


def schedule(settings: dict[str, float], varying: bool) -> Array:
    """Return the learning rate of each step: constant, or up and down again; 1 without an lr."""
    if "lr" not in settings:
        return np.ones(STEPS)
    t = np.arange(STEPS)
    return settings["lr"] * ((0.4 + np.sin(np.pi * t / STEPS)) if varying else np.ones(STEPS))


def run(
    name: str,
    *,
    varying: bool = False,
    lrs: Array | None = None,
    grad_scale: float = 1.0,
    shape: tuple[int, ...] | None = None,
    oracle: Oracle | None = None,
    **changes: float,
) -> Trajectory:
    """Run recipe `name` at its lively settings with `changes`; `oracle` replaces the one made."""
    settings = {**ORACLES[name].lively, **changes}
    w0, curvature, noise, sizes = problem(shape=ORACLES[name].shape if shape is None else shape)
    lrs = schedule(settings, varying) if lrs is None else lrs
    oracle = make_oracle(name, w0, STEPS, **settings) if oracle is None else oracle
    train, evaluated, grads = [w0], [oracle.eval_point()], []
    for t in range(STEPS):
        grads.append(grad_scale * sizes[t] * (curvature * oracle.train_point() + noise[t]))
        type(oracle).step_together([oracle], [grads[-1]], lrs[t])
        train.append(oracle.train_point())
        evaluated.append(oracle.eval_point())
    return Trajectory(np.array(train), np.array(evaluated), np.array(grads), np.array(lrs))


def assert_same(left: Array, right: Array) -> None:
    """Assert equality to 1e-12, absolute: the points and moves compared are of order one."""
    assert left.shape == right.shape
    np.testing.assert_allclose(left, right, rtol=0, atol=EXACT)


def distance(left: Trajectory, right: Trajectory) -> float:
    """Return by how much the trajectories differ at most, at either point."""
    return max(
        np.abs(left.train - right.train).max(), np.abs(left.evaluated - right.evaluated).max()
    )


def numerators(inputs: Array, triples: list[Triple]) -> Iterator[tuple[Array, Array]]:
    """Yield (m_t, eta_a m_t + alpha_a u_t) of Eq. (1) for the given inputs u_t."""
    m = np.zeros_like(inputs[0])
    for u, (beta_a, eta_a, alpha_a) in zip(inputs, triples, strict=True):
        m = beta_a * m + u
        yield m, eta_a * m + alpha_a * u


def eq1(trajectory: Trajectory, triples: list[Triple]) -> Array:
    """Return the points of Eq. (1) fed with the gradients the trajectory saw."""
    moves = [move for _, move in numerators(trajectory.grads, triples)]
    return trajectory.train[0] - np.cumsum([np.zeros_like(moves[0]), *moves], axis=0)
