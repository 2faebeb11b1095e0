"""The expected risk by the whole covariance of all coordinates, nothing closed, nothing diagonal.

Methods are written here by hand, in the variables of their papers: step t maps the states of a
coordinate by A_t, takes the gradient at c.s and adds -b_t g. The fourth moments of the inputs are
sums over a distribution on few points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
from enumeration import inputs_of
from oracles.base import Array

Maps = Callable[[int], tuple[Array, Array, Array, Array]]
"""A_t, b_t, c_t and the readout r_t of step t."""


@dataclass(frozen=True)
class Method:
    """A method by hand: its maps, and its states before the first step, times w_0 - w*."""

    start: Array
    maps: Maps


def covariance_risk(
    method: Method,
    lam: Array,
    target: Array,
    stream: str,
    *,
    noise: float,
    batch: float,
    steps: int,
) -> float:
    inputs, chances = inputs_of(stream, lam)
    d = len(lam)
    states = np.einsum("k,i->ki", method.start, -target)
    whole = np.einsum("ki,lj->kilj", states, states)
    H = np.diag(lam)
    r = method.start
    for t in range(1, steps + 1):
        A, b, c, r = method.maps(t)
        errors = np.einsum("k,kilj,l->ij", c, whole, c)
        single = np.einsum("n,ni,nh,hl,nl,nj->ij", chances, inputs, inputs, errors, inputs, inputs)
        squares = single / batch + (1 - 1 / batch) * H @ errors @ H + noise / batch * H
        means = np.einsum("kilj,l,jm->kim", whole, c, H)  # E s g'
        moved = np.einsum("ab,bicj,dc->aidj", A, whole, A)
        cross = np.einsum("ab,bij,d->aidj", A, means, b)
        whole = moved - cross - cross.transpose(2, 3, 0, 1)
        whole = whole + np.einsum("a,ij,d->aidj", b, squares, b)
    assert d == len(target)
    return float(np.einsum("k,kili,l,i->", r, whole, r, lam)) / 2


def heavy_ball(lr: float, momentum: float, decay: float = 0.0) -> Method:
    """w, m and w* as one that stays: the decay pulls w to 0."""
    # g + decay (w - 0) with w counted from w*: decay (e + w*), and w* = -(w_0 - w*)
    grow = np.array([[0.0, 0, 0], [decay, momentum, decay], [0, 0, 1.0]])
    grow[0] = np.array([1.0, 0, 0]) - lr * grow[1]
    gains, at = np.array([lr, -1.0, 0.0]), np.array([1.0, 0, 0])
    return Method(np.array([1.0, 0.0, -1.0]), lambda t: (grow, gains, at, at))


def averaged_heavy_ball(lr: float, momentum: float, weight: Callable[[int], float]) -> Method:
    """w, m and the average x of the iterates."""

    def maps(t: int) -> tuple[Array, Array, Array, Array]:
        c = weight(t)
        w = np.array([1.0, -lr * momentum, 0])
        A = np.array([w, [0, momentum, 0], c * w + np.array([0, 0, 1 - c])])
        return A, np.array([lr, -1.0, c * lr]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])

    return Method(np.array([1.0, 0, 1.0]), maps)


def schedule_free(lr: float, beta: float, power: float) -> Method:
    """z and x, the gradient at y = (1 - beta) z + beta x, read at x."""
    total = [0.0]

    def maps(t: int) -> tuple[Array, Array, Array, Array]:
        total.append(total[-1] + t**power) if len(total) == t else None
        c = t**power / total[t]
        A = np.array([[1.0, 0], [c, 1 - c]])
        return A, np.array([lr, c * lr]), np.array([1 - beta, beta]), np.array([0.0, 1])

    return Method(np.array([1.0, 1.0]), maps)


def ademamix(lr: float, beta1: float, beta3: float, alpha: float, total: int) -> Method:
    """w, m1 and m2 with the schedules of the paper; the preconditioner is 1."""

    def maps(t: int) -> tuple[Array, Array, Array, Array]:
        a = min(1.0, t / total)
        slow = np.exp(1 / ((1 - a) / log(beta1) + a / log(beta3)))
        fast, mix = 1 / (1 - beta1**t), alpha * a
        A = np.array([[1.0, -lr * fast * beta1, -lr * mix * slow], [0, beta1, 0], [0, 0, slow]])
        g = np.array([lr * (fast * (1 - beta1) + mix * (1 - slow)), -(1 - beta1), -(1 - slow)])
        at = np.array([1.0, 0, 0])
        return A, g, at, at

    return Method(np.array([1.0, 0, 0]), maps)


def nesterov_pair(lr: float, momentum: float) -> Method:
    """x_t = y_{t-1} - lr g, y_t = x_t + momentum (x_t - x_{t-1}); torch's parameter is y."""
    A = np.array([[0, 1.0], [-momentum, 1 + momentum]])
    b = np.array([lr, (1 + momentum) * lr])
    return Method(np.ones(2), lambda t: (A, b, np.array([0.0, 1]), np.array([0.0, 1])))
