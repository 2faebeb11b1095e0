"""The weight of each gradient in each step of a black box whose preconditioner is held.

All gradients have size 1, so that a mean of squares is 1 whatever its decay; element s has the
sign of step s turned. What turning it changes in step t is twice the weight h(t, s).

Where only the sign of a sum of gradients moves the parameter, its weights are found by where that
sign turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 12
ALIKE = 1e-6
"""How far two weights may be apart, relative to the largest: an eps shows up to 1e-8."""

PAIRS = ((2, 1), (3, 1), (3, 2), (4, 1))
"""Steps and earlier gradients that are looked at under a sign."""
RANGE, POINTS, ROUNDS = 100.0, 65, 8

Step = Callable[[], None]
Make = Callable[[list[torch.nn.Parameter]], Step]
"""Makes an optimizer of some parameters; returns what takes its next step."""


@dataclass(frozen=True)
class Weights:
    """`rows[t-1][s-1]` is h(t, s), what gradient s adds to the parameter in step t.

    `linear` says that the steps are the sums of these weights.
    """

    rows: tuple[tuple[float, ...], ...]
    linear: bool

    def form(self, t: int) -> tuple[float, float, float] | None:
        """Return beta_a, eta_a and alpha_a of Eq. (1) at step t; None where they cannot be read."""
        if not 1 < t < len(self.rows):
            return None
        now, after = self.rows[t - 1], self.rows[t]
        fed = after[t - 1]
        if fed == 0:
            return (0.0, 0.0, -now[t - 1])
        beta = after[t - 2] / fed
        if beta == 0:
            return None
        eta = -now[t - 2] / beta
        return beta, eta, -now[t - 1] - eta


def probe(make: Make) -> Weights:
    """Return the weights of an optimizer."""
    start = torch.zeros(STEPS + 1)
    param = torch.nn.Parameter(start.clone())
    step, moves = make([param]), []
    for t in range(1, STEPS + 1):
        grad = torch.ones(STEPS + 1)
        grad[t] = -1
        before = param.detach().clone()
        param.grad = grad
        step()
        moves.append(param.detach() - before)
    rows = tuple(_row(move, t) for t, move in enumerate(moves, start=1))
    sums = torch.tensor([sum(row) for row in rows])
    plain = torch.stack([move[0] for move in moves])
    scale = float(plain.abs().max()) or 1.0
    return Weights(rows, float((sums - plain).abs().max()) <= ALIKE * scale)


def _row(move: Tensor, t: int) -> tuple[float, ...]:
    return tuple(float(move[0] - move[s]) / 2 for s in range(1, t + 1))


def first_apart(a: Weights, b: Weights) -> tuple[int, int] | None:
    """Return step t and gradient s of the first weight that differs."""
    for t, (left, right) in enumerate(zip(a.rows, b.rows, strict=True), start=1):
        scale = max(map(abs, (*left, *right)))
        for s in range(t, 0, -1):
            if abs(left[s - 1] - right[s - 1]) > ALIKE * scale:
                return t, s
    return None


def turning_point(make: Make, t: int, s: int) -> float | None:
    """Return h(t, s)/h(t, t) where step t has the sign of a sum of gradients.

    Gradient s is 1, that of step t is x, the others are 0; the sign turns at minus that. None where
    it turns nowhere, or more than once.
    """
    low, high = -RANGE, RANGE
    for _ in range(ROUNDS):
        x = torch.linspace(low, high, POINTS)
        param = torch.nn.Parameter(torch.zeros(POINTS))
        step, before = make([param]), param.detach().clone()
        for now in range(1, t + 1):
            before = param.detach().clone()
            param.grad = x.clone() if now == t else torch.full((POINTS,), float(now == s))
            step()
        signs = torch.sign(param.detach() - before)
        turns = [i for i in range(POINTS - 1) if signs[i] > signs[i + 1]]
        if signs[0] <= 0 or signs[-1] >= 0 or not 1 <= len(turns) <= 2:
            return None
        low, high = float(x[turns[0]]), float(x[turns[-1] + 1])
    return -(low + high) / 2


def first_turn_apart(ours: Make, theirs: Make) -> tuple[int, int, float, float] | None:
    """Return step t, gradient s and the two ratios that differ first."""
    for t, s in PAIRS:
        a, b = turning_point(ours, t, s), turning_point(theirs, t, s)
        if a is not None and b is not None and abs(a - b) > ALIKE * max(abs(a), abs(b)):
            return t, s, a, b
    return None
