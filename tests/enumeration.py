"""The expected risk by brute force: every sequence of samples, through an oracle of the zoo.

A run of few steps is polynomial in its inputs, of degree 4 in each: a distribution on few points
with the moments of the true one gives the same expected risk. All sequences run side by side as
one tensor, each with its own gradients. Nothing here knows of second moments of states.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from oracles.base import Array, make_oracle

Outcomes = tuple[Array, Array]
"""Inputs, one a row, and their probabilities."""


def three_points(kurtosis: float) -> tuple[list[float], list[float]]:
    """Return a symmetric distribution of variance 1; that of kurtosis 3 is Gaussian to degree 5."""
    far = 1 / (2 * kurtosis)
    return [-(kurtosis**0.5), 0.0, kurtosis**0.5], [far, 1 - 2 * far, far]


def product_inputs(lam: Array, kurtosis: float) -> Outcomes:
    points, chances = three_points(kurtosis)
    inputs = np.array(list(itertools.product(points, repeat=len(lam)))) * np.sqrt(lam)
    return inputs, np.prod(list(itertools.product(chances, repeat=len(lam))), axis=1)


def inputs_of(stream: str, lam: Array) -> Outcomes:
    kind, _, number = stream.partition(":")
    d = len(lam)
    if kind == "gaussian":
        return product_inputs(lam, 3.0)
    if kind == "independent":
        return product_inputs(lam, float(number))
    if kind == "elliptical":  # the square of the radius is 0 or rho
        rho = float(number)
        inputs, chances = product_inputs(lam, 3.0)
        radii = np.concatenate([np.full(len(inputs), rho**0.5), np.zeros(len(inputs))])
        both = np.concatenate([chances / rho, chances * (1 - 1 / rho)])
        return radii[:, None] * np.concatenate([inputs, inputs]), both
    chances = lam / lam.sum() if kind == "onehot" else np.full(d, 1 / d)
    rows = np.sqrt(lam / chances)[:, None] * np.eye(d)
    return np.concatenate([rows, -rows]), np.concatenate([chances, chances]) / 2


def sample_gradients(outcomes: Outcomes, noise: float, batch: int) -> tuple[Array, Array, Array]:
    """Return what a batch may show: inputs (n, batch, d), label noise (n, batch), probabilities."""
    inputs, chances = outcomes
    signs = [1.0, -1.0] if noise else [0.0]
    singles = [
        (x, sign * noise**0.5, p / len(signs))
        for x, p in zip(inputs, chances, strict=True)
        for sign in signs
    ]
    batches = list(itertools.product(singles, repeat=batch))
    xs = np.array([[single[0] for single in each] for each in batches])
    xis = np.array([[single[1] for single in each] for each in batches])
    return xs, xis, np.array([np.prod([single[2] for single in each]) for each in batches])


def enumerated_risk(
    name: str,
    lam: Sequence[float],
    target: Sequence[float],
    stream: str,
    *,
    noise: float,
    batch: int,
    steps: int,
    view: str,
    total_steps: int | None = None,
    lrs: Sequence[float] | None = None,
    gradient_scale: float = 1.0,
    **settings: float,
) -> float:
    """Return the expected excess risk, with the factor 1/2, after `steps` steps from 0."""
    eigenvalues, point = np.array(lam), np.array(target)
    xs, xis, chances = sample_gradients(inputs_of(stream, eigenvalues), noise, batch)
    each = np.array(list(itertools.product(range(len(xs)), repeat=steps)))
    oracle = make_oracle(name, np.zeros((len(each), len(lam))), total_steps or steps, **settings)
    weight = np.ones(len(each))
    for t in range(steps):
        x, xi = xs[each[:, t]], xis[each[:, t]]
        residual = np.einsum("nbd,nd->nb", x, oracle.train_point() - point) - xi
        gradient = np.einsum("nbd,nb->nd", x, residual) / batch
        oracle.step(gradient_scale * gradient, settings.get("lr", 1.0) if lrs is None else lrs[t])
        weight = weight * chances[each[:, t]]
    seen = oracle.eval_point() if view == "eval" else oracle.train_point()
    return float(weight @ ((seen - point) ** 2 @ eigenvalues)) / 2
