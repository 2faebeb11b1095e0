"""The weight of past gradients over many steps at once, in float64 arrays.

For sums, windows, figures and least squares, not for the table of coefficients, which is exact. A
weight is what a gradient contributes to -(w_{t+1} - w_t), so positive for descent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from optzoo.description.algebra import Atom, Ratio, value_of
from optzoo.description.closed import Closed
from optzoo.description.folding import CannotFold, Folding, scan
from optzoo.program.expressions import Name

if TYPE_CHECKING:
    from optzoo.description.form import Description

Array = Any
"""A numpy array of float64, one element per step or per lag."""

LONGEST = 1 << 16
BLOCK = 1 << 13
NEGLIGIBLE = 1e-14
"""Steps that a sum or a window looks at, at most."""


@dataclass(frozen=True)
class _Steps:
    """The steps from `low` to `high` as a field for formulas."""

    folding: Folding
    low: int
    high: int

    def number(self, value: Fraction) -> Array:
        return np.longdouble(value.numerator) / np.longdouble(value.denominator)

    def atom(self, atom: Atom) -> Array:
        name, offset = Name(atom.name), atom.offset
        if not atom.power:
            return self.folding.values(name, self.low + offset, self.high + offset)
        if name in self.folding.fixed:
            base = self.folding.fixed[name]
        elif atom.name.isidentifier():
            base = self.folding.values(name, self.low, self.high)
        else:
            base = self.number(Fraction(atom.name))
        return np.power(base, np.arange(self.low, self.high + 1, dtype=np.longdouble))


def series(description: Description, ratio: Ratio, low: int, high: int) -> Array:
    """Return the values of a formula at the steps from `low` to `high`; 0 where it is 0/0.

    Raises CannotFold for scalars that cannot be followed in arrays.
    """
    with np.errstate(all="ignore"):
        values = value_of(ratio, _Steps(description.scalars.folding(), low, high))
    array = np.broadcast_to(np.asarray(values, dtype=np.float64), (high - low + 1,))
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Level:
    """One level of momenta over a range of steps: rows of beta and eta, and alpha."""

    betas: Sequence[Array]
    etas: Sequence[Array]
    alpha: Array

    @classmethod
    def of(cls, description: Description, closed: Closed, low: int, high: int) -> Level:
        """Evaluate a closed form at every step of a range."""
        betas = [series(description, m.beta, low, high) for m in closed.momenta]
        etas = [series(description, m.eta, low, high) for m in closed.momenta]
        return cls(betas, etas, series(description, closed.alpha, low, high))

    def gathered(self, weights: Array) -> Array:
        """Return what each input of this level weighs in a sum of its outputs.

        `weights` is the weight of the output of each step.
        """
        total = self.alpha * weights
        for beta, eta in zip(self.betas, self.etas, strict=True):
            later = np.append(beta[1:], 0.0)  # y_s = w_s eta_s + beta_{s+1} y_{s+1}
            total = total + scan(later[::-1], (weights * eta)[::-1], 0.0)[::-1]
        return total


def levels(description: Description, low: int, high: int) -> list[Level]:
    """Return the levels of a description over a range of steps, the outer one first."""
    found = description.formulas
    return [Level.of(description, c, low, high) for c in found.levels] if found else []


def weights_in(description: Description, t: int, num_lags: int) -> Array:
    """Return the weight in step t of the gradients of steps t, t - 1, ..., t - num_lags."""
    weights = np.zeros(num_lags + 1)
    weights[-1] = 1.0
    for level in levels(description, t - num_lags, t):
        weights = level.gathered(weights)
    return weights[::-1]


def total_weight(description: Description, t: int, end: int) -> float | None:
    """Return the weight of gradient t in all steps from t to `end` together.

    Adding up stops where what is left of it is negligible. None when that is too far.
    """
    found = description.formulas
    if found is None:
        return None
    if found.inner is not None:
        if end - t >= LONGEST:
            return None
        weights = np.ones(end - t + 1)
        for level in levels(description, t, end):
            weights = level.gathered(weights)
        return float(weights[0])
    total, left = 0.0, np.ones(len(found.outer.momenta))
    for low in range(t, min(end, t + LONGEST) + 1, BLOCK):
        (level,) = levels(description, low, min(end, low + BLOCK - 1))
        if low == t:
            total += float(level.alpha[0])
        for i, (beta, eta) in enumerate(zip(level.betas, level.etas, strict=True)):
            decays = np.append(1.0, beta[1:]) if low == t else beta
            kept = left[i] * np.cumprod(decays)
            total += float(eta @ kept)
            left[i] = kept[-1]
        if not np.any(np.abs(left) > NEGLIGIBLE):
            return total
    return total if end < t + LONGEST else None


@dataclass(frozen=True)
class Nearest:
    """The Eq. (1) optimizer whose weights of past gradients in one step are nearest.

    `error` is the norm of the difference over the norm of the weights, both Euclidean over the
    lags 0 to `num_lags`.
    """

    t: int
    beta_a: float
    eta_a: float
    alpha_a: float
    error: float
    num_lags: int


def nearest_form(description: Description, t: int, num_lags: int) -> Nearest:
    """Fit eta_a beta_a**lag, plus alpha_a at lag 0, to the weights in step t by least squares.

    alpha_a takes up whatever is left at lag 0, so beta_a and eta_a are fitted to the lags from 1.
    """
    weights = weights_in(description, t, num_lags)
    past, lags = weights[1:], np.arange(1, num_lags + 1)

    def fitted(log_beta: float) -> tuple[float, float]:
        """Return the eta that fits best, and the square that remains."""
        powers = np.exp(log_beta * lags)
        eta = float(past @ powers) / float(powers @ powers)
        return eta, float(np.sum((past - eta * powers) ** 2))

    grid = -np.logspace(-7, 1, 49)
    best = int(np.argmin([fitted(x)[1] for x in grid]))
    log_beta = _least(
        lambda x: fitted(x)[1], grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    )
    eta, rest = fitted(log_beta)
    size = float(np.sum(weights**2))
    error = (rest / size) ** 0.5 if size else 0.0
    beta = float(np.exp(log_beta))
    return Nearest(t, beta, eta, float(weights[0]) - eta, error, num_lags)


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function with one valley between two points is least: golden section."""
    golden = (5**0.5 - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(40):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = function(b)
    return (low + high) / 2


__all__ = ["CannotFold", "Level", "Nearest", "nearest_form", "series", "total_weight", "weights_in"]
