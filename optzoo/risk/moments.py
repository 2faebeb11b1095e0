"""The recursion on second moments: docs/quadratic.md has its proof.

Kept for each eigenvalue is M = E s s', the second moment of the states of a coordinate:

    M <- D M D' + (b b'/B) [f q + lam (g sum_j lam_j q_j + sigma2)]

with D = A - lam b e_0' and q = M_00, the second moment of the parameter.

Written like this nothing positive is subtracted, and M stays positive semidefinite.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from optzoo.engines.build import CompilationError
from optzoo.risk.moments_kernel import WIDTH, moments_kernel
from optzoo.risk.regression.problem import Problem
from optzoo.risk.transition import StepTable, Table

Moments = npt.NDArray[np.float64]
"""Second moments: a row for each pair of states i <= j, a column for each coordinate."""


@functools.lru_cache(maxsize=64)
def _along(problem: Problem) -> Table:
    """Return what the kernel reads of each coordinate: lam, lam times multiplicity, f/B, lam/B."""
    rows, batch = problem.rows, problem.batch
    lam = rows.eigenvalues
    along = np.zeros((4, len(lam) + -len(lam) % WIDTH))
    own = problem.fourth_moments.own
    along[:, : len(lam)] = [lam, rows.counts * lam, own / batch, lam / batch]
    return along


@functools.cache
def _pairs(size: int) -> tuple[tuple[int, int], ...]:
    return tuple((i, j) for i in range(size) for j in range(i, size))


class Recursion:
    """The moments of one run under way; `t` steps have been taken.

    `start` are the states of a coordinate before the first step: times w_0 - w*, and what does not
    depend on it.
    """

    def __init__(self, problem: Problem, start: tuple[Table, Table]) -> None:
        self.along = _along(problem)
        self.shared, self.noise = problem.fourth_moments.shared, problem.label_noise
        slopes, offsets = start
        size, target = len(slopes), problem.rows.target
        states = np.zeros((size, self.along.shape[1]))
        states[:, : len(target)] = np.outer(slopes, -target) + offsets[:, None]
        self.pairs = _pairs(size)
        first, second = np.transpose(self.pairs)
        self.moments: Moments = states[first] * states[second]
        self.size, self.t, self.is_finite = size, 0, True

    def risk(self, view: Table) -> float:
        """Return the risk of a view, whose row of coefficients is given."""
        if not self.is_finite:
            return math.inf
        weights = [(1 if i == j else 2) * view[i] * view[j] for i, j in self.pairs]
        with np.errstate(all="ignore"):
            risk = float(self.along[1] @ (np.array(weights) @ self.moments)) / 2
        return risk if math.isfinite(risk) else math.inf

    def advance(self, steps: StepTable, limit: float) -> None:
        """Take the steps, until sum lam q is above `limit` or no number."""
        self._take(steps, limit, None)

    def risks(self, steps: StepTable, limit: float) -> Table:
        """Take the steps; return the risk of the view after each, infinite above `limit`."""
        risks = np.full(steps.count, math.inf)
        self._take(steps, limit, risks)
        risks[~np.isfinite(risks)] = math.inf
        return risks

    def _take(self, steps: StepTable, limit: float, risks: Table | None) -> None:
        with np.errstate(all="ignore"):  # a run that diverges says so below
            taken = self._run(steps, limit, risks)
            total = float(self.along[1] @ self.moments[0])
        self.is_finite = self.is_finite and taken == steps.count and math.isfinite(total)
        self.t += steps.count

    def _run(self, steps: StepTable, limit: float, risks: Table | None) -> int:
        table, view = np.ascontiguousarray(steps.step), np.ascontiguousarray(steps.view)
        try:
            kernel = moments_kernel(self.size)
        except CompilationError:
            return self._run_in_numpy(table, view, steps.count, limit, risks)
        strides = [0 if len(each) == 1 else each.shape[1] for each in (table, view)]
        return kernel(
            steps.count,
            self.moments.shape[1] // WIDTH,
            self.moments.ctypes.data,
            self.along.ctypes.data,
            self.shared,
            self.noise,
            limit,
            table.ctypes.data,
            strides[0],
            view.ctypes.data,
            strides[1],
            None if risks is None else risks.ctypes.data,
        )

    def _run_in_numpy(
        self, table: Table, views: Table, count: int, limit: float, risks: Table | None
    ) -> int:
        """Do what the kernel does where nothing can be compiled: slower, up to 200 times."""
        size = self.size
        lam, weight, own, shared = self.along
        first, second = np.array(self.pairs).T
        whole = np.empty((size, size, len(lam)))
        for t in range(count):
            total = float(weight @ self.moments[0])
            if not total <= limit:
                return t
            row = table[t if len(table) > 1 else 0]
            gain = row[size * size :]
            whole[first, second] = whole[second, first] = self.moments
            kept = np.repeat(row[: size * size].reshape(size, size, 1), len(lam), axis=2)
            kept[:, 0] -= np.outer(gain, lam)
            half = np.einsum("ihn,hjn->ijn", kept, whole)
            force = own * self.moments[0] + shared * (self.shared * total + self.noise)
            new = np.einsum("phn,phn->pn", half[first], kept[second])
            self.moments = new + (gain[first] * gain[second])[:, None] * force
            if risks is not None:
                risks[t] = self.risk(views[t if len(views) > 1 else 0])
        return count
