"""The same risk by sampling: a cross-check of the recursion, never its result.

Many runs go side by side, each with its own batches. The linear map of a step is the one that the
recursion takes; the samples are drawn as the stream says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from optzoo.errors import Diagnostic, InputError
from optzoo.risk.expected import LinearRecipe
from optzoo.risk.regression.problem import Problem

AT_ONCE = 4_000_000
"""Numbers drawn at a time."""


@dataclass(frozen=True)
class Sampled:
    """The mean risk of `runs` runs, its standard error, and how far the exact one is from it."""

    runs: int
    mean: float
    error: float
    exact: float

    @property
    def z(self) -> float:
        """The difference in standard errors: within 3 but for three times in a thousand."""
        return (self.mean - self.exact) / self.error

    def to_json(self) -> dict[str, float]:
        """Return plain values."""
        return {"runs": self.runs, "mean": self.mean, "error": self.error, "z": self.z}


def simulate(
    seen: LinearRecipe, problem: Problem, steps: int, total_steps: int, runs: int, seed: int = 0
) -> Sampled:
    """Return the mean risk after `steps` steps of `runs` runs.

    Raises InputError where nothing can be sampled: an infinite batch or dimension, or one run.
    """
    rows = problem.rows
    if problem.batch == math.inf or np.any(rows.counts != 1) or runs < 2 or steps < 1:
        message = "a check samples batches: it takes a step, two runs, a finite batch and dimension"
        raise InputError(Diagnostic("bad-value", message))
    rng = np.random.default_rng(seed)
    slopes, offsets = seen.transition.start
    states = np.einsum("k,d->kd", slopes, -rows.target) + offsets[:, None]
    states = np.repeat(states[:, None], runs, axis=1)
    size = len(slopes)
    view = np.zeros(size)
    for chunk in seen.coefficients(steps, total_steps):
        for t in range(chunk.count):
            row, view = (table[t if len(table) > 1 else 0] for table in (chunk.step, chunk.view))
            gradient = _gradients(problem, states[0], rng)
            matrix, gain = row[: size * size].reshape(size, size), row[size * size :]
            states = np.einsum("kh,hnd->knd", matrix, states) - gain[:, None, None] * gradient
    risks = np.einsum("k,knd->nd", view, states) ** 2 @ rows.eigenvalues / 2
    (exact,) = seen.risks(problem, [steps], total_steps)
    error = float(np.std(risks, ddof=1)) / math.sqrt(runs)
    if not (math.isfinite(error) and error > 0):
        raise InputError(
            Diagnostic("bad-value", "a check needs runs that differ and do not diverge")
        )
    return Sampled(runs, float(np.mean(risks)), error, exact)


def _gradients(problem: Problem, errors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a batch gradient for each run, whose parameters are `errors` away from the target."""
    runs, dim = errors.shape
    batch, total = int(problem.batch), np.zeros_like(errors)
    share = max(1, min(batch, AT_ONCE // (runs * dim)))
    for done in range(0, batch, share):
        count = min(share, batch - done)
        inputs = problem.fourth_moments.draw(rng, runs * count).reshape(runs, count, dim)
        noise = math.sqrt(problem.label_noise) * rng.standard_normal((runs, count))
        residuals = np.einsum("ncd,nd->nc", inputs, errors) - noise
        total += np.einsum("ncd,nc->nd", inputs, residuals)
    return total / batch
