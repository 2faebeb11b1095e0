"""The weight of past gradients over many steps at once, in float64 arrays.

For sums, windows, figures and least squares, not for the table of coefficients, which is exact. A
weight is what a gradient contributes to -(w_{t+1} - w_t), so positive for descent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from optzoo.description.folding import CannotFoldError, Folding, scan
from optzoo.description.forms.closed_forms import Closed
from optzoo.description.forms.formulas import value_at
from optzoo.program.expressions import Name
from optzoo.program.ratios import Atom, Ratio, value_of

if TYPE_CHECKING:
    from optzoo.description.derivation import Derivation


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


def series(found: Derivation, ratio: Ratio, low: int, high: int) -> Array:
    """Return the values of a formula at the steps from `low` to `high`; 0 where it is 0/0.

    Raises CannotFoldError for scalars that cannot be followed in arrays.
    """
    with np.errstate(all="ignore"):
        values = value_of(ratio, _Steps(found.scalars.folding(), low, high))
    array = np.broadcast_to(np.asarray(values, dtype=np.float64), (high - low + 1,))
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Level:
    """One level of momenta over a range of steps: rows of beta and eta, and alpha."""

    betas: Sequence[Array]
    etas: Sequence[Array]
    alpha: Array

    @classmethod
    def of(cls, found: Derivation, closed: Closed, low: int, high: int) -> Level:
        """Evaluate a closed form at every step of a range."""
        betas = [series(found, m.beta, low, high) for m in closed.momenta]
        etas = [series(found, m.eta, low, high) for m in closed.momenta]
        return cls(betas, etas, series(found, closed.alpha, low, high))

    def gathered(self, weights: Array) -> Array:
        """Return what each input of this level weighs in a sum of its outputs.

        `weights` is the weight of the output of each step.
        """
        total = self.alpha * weights
        for beta, eta in zip(self.betas, self.etas, strict=True):
            later = np.append(beta[1:], 0.0)  # y_s = w_s eta_s + beta_{s+1} y_{s+1}
            total = total + scan(later[::-1], (weights * eta)[::-1], 0.0)[::-1]
        return total

    def moved(self, inputs: Array) -> Array:
        """Return the outputs of this level, step by step, when its momenta start empty."""
        total = self.alpha * inputs
        for beta, eta in zip(self.betas, self.etas, strict=True):
            total = total + eta * scan(beta, inputs, 0.0)
        return total


def levels(found: Derivation, low: int, high: int) -> list[Level]:
    """Return the levels of a derivation over a range of steps, the outer one first."""
    formulas = found.formulas
    return [Level.of(found, c, low, high) for c in formulas.levels] if formulas else []


def weights_in(found: Derivation, t: int, num_lags: int) -> Array:
    """Return the weight in step t of the gradients of steps t, t - 1, ..., t - num_lags."""
    weights = np.zeros(num_lags + 1)
    weights[-1] = 1.0
    for level in levels(found, t - num_lags, t):
        weights = level.gathered(weights)
    return weights[::-1]


def impulse_response(found: Derivation, s: int, num_steps: int) -> Array:
    """Return the weight of gradient s in the steps s, s + 1, ..., s + num_steps.

    Raises CannotFoldError for scalars that cannot be followed in arrays.
    """
    weights = np.zeros(num_steps + 1)
    weights[0] = 1.0
    for level in reversed(levels(found, s, s + num_steps)):
        weights = level.moved(weights)
    return weights


def total_weight(found: Derivation, t: int, end: int) -> float | None:
    """Return the weight of gradient t in all steps from t to `end` together.

    Adding up stops where what is left of it is negligible. None when that is too far.
    """
    formulas = found.formulas
    if formulas is None:
        return None
    if formulas.inner is not None:
        if end - t >= LONGEST:
            return None
        weights = np.ones(end - t + 1)
        for level in levels(found, t, end):
            weights = level.gathered(weights)
        return float(weights[0])
    total, left = 0.0, np.ones(len(formulas.outer.momenta))
    for low in range(t, min(end, t + LONGEST) + 1, BLOCK):
        (level,) = levels(found, low, min(end, low + BLOCK - 1))
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


def weight_from(found: Derivation, t: int) -> float | None:
    """Return the weight of gradient t in the steps from t to T together.

    None without a closed form, or where it is too many steps or too far out to add up.
    """
    try:
        return total_weight(found, t, max(t, found.total_steps))
    except CannotFoldError:
        return None


def nearest_at(found: Derivation, t: int) -> Nearest | None:
    """Return the Eq. (1) optimizer nearest to the weights of past gradients in step t.

    The lags reach eight times as far back as the longest memory. None without a closed form.
    """
    formulas = found.formulas
    if formulas is None or t < formulas.outer.first + 2:
        return None
    memories = [1 / (1 - beta) for beta, _ in found.momentum_values(t) if beta < 1]
    reach = math.ceil(8 * max(memories, default=1.0))
    first = max(level.first for level in formulas.levels)
    try:
        return nearest_form(found, t, min(t - first, max(reach, 32), LONGEST // 2))
    except CannotFoldError:
        return None


def nearest_form(found: Derivation, t: int, num_lags: int) -> Nearest:
    """Fit eta_a beta_a**lag, plus alpha_a at lag 0, to the weights in step t by least squares.

    alpha_a takes up whatever is left at lag 0, so beta_a and eta_a are fitted to the lags from 1.
    """
    weights = weights_in(found, t, num_lags)
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


MOST_SQUARES = 1 << 17
"""The last step for which the sum of squared weights is formed."""


@dataclass(frozen=True)
class Window:
    """An average after step t.

    `newest` is the weight of the newest iterate; `steps` = 1/newest, as many as a plain mean with
    that weight covers; `effective` = 1/sum of squared weights, None beyond `MOST_SQUARES` steps
    and where the weights cannot be followed in arrays.
    """

    t: int
    newest: float
    steps: float
    effective: float | None


def window_at(found: Derivation, weight: Ratio, t: int) -> Window:
    """Return how far an average reaches back after step t."""
    try:
        newest = float(series(found, weight, t, t)[0])
        weights = None if t > MOST_SQUARES else iterate_weights(found, weight, t)
    except CannotFoldError:  # a weight of a step that is not followed over many at once
        newest, weights = float(value_at(weight, found.scalars, t)), None
    steps = 1 / newest if newest else float("inf")
    with np.errstate(over="ignore"):
        effective = None if weights is None else float(1 / np.sum(weights**2))
    return Window(t, newest, steps, effective)


def iterate_weights(found: Derivation, weight: Ratio, t: int) -> Any:
    """Return what the start and the iterates after steps 1, ..., t weigh, a numpy array.

    They sum to 1; the start counts for nothing when w_1 is 1.
    """
    w = np.append(1.0, series(found, weight, 1, t))
    kept = np.append(1 - w[1:], 1.0)
    return w * np.cumprod(kept[::-1])[::-1]
