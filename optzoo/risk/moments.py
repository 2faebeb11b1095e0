"""The recursion on second moments: docs/quadratic.md has its proof.

Kept for each eigenvalue is M = E s s', the second moment of the states of a coordinate:

    M <- D M D' + (b b'/B) [f q + lam (g sum_j lam_j q_j + sigma2)]

with D = A - lam b e_0' and q = M_00, the second moment of the parameter.

Written like this nothing positive is subtracted, and M stays positive semidefinite.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optzoo.engines.build import CompilationError
from optzoo.risk.moments_kernel import WIDTH, moments_kernel
from optzoo.risk.problem import Problem
from optzoo.risk.transition import Coefficients, Table

Moments = npt.NDArray[np.float64]
"""Second moments: a row for each pair of states i <= j, a column for each coordinate."""


class Recursion:
    """The moments of one run under way; `t` steps have been taken.

    `start` are the states of a coordinate before the first step: times w_0 - w*, and what does not
    depend on it.
    """

    def __init__(self, problem: Problem, start: tuple[Table, Table]) -> None:
        rows, stream = problem.rows, problem.fourth_moments
        padding = -len(rows.eigenvalues) % WIDTH
        lam = rows.eigenvalues
        along = [lam, rows.counts * lam, stream.own / problem.batch, lam / problem.batch]
        self.along = np.ascontiguousarray([np.pad(each, (0, padding)) for each in along])
        self.shared, self.noise = stream.shared, problem.label_noise
        slopes, offsets = start
        size = len(slopes)
        states = np.outer(slopes, np.pad(-rows.target, (0, padding)))
        states[:, : len(lam)] += offsets[:, None]
        self.pairs = [(i, j) for i in range(size) for j in range(i, size)]
        self.moments: Moments = np.array([states[i] * states[j] for i, j in self.pairs])
        self.size, self.t, self.is_finite = size, 0, True

    def risk(self, view: Table) -> float:
        """Return the risk of a view, whose row of coefficients is given."""
        if not self.is_finite:
            return math.inf
        weights = [(1 if i == j else 2) * view[i] * view[j] for i, j in self.pairs]
        return float(self.along[1] @ (np.array(weights) @ self.moments)) / 2

    def advance(self, steps: Coefficients, limit: float) -> None:
        """Take the steps, until sum lam q is above `limit` or no number."""
        self._take(steps, limit, None)

    def risks(self, steps: Coefficients, limit: float) -> Table:
        """Take the steps; return the risk of the view after each, infinite above `limit`."""
        risks = np.full(steps.count, math.inf)
        self._take(steps, limit, risks)
        risks[~np.isfinite(risks)] = math.inf
        return risks

    def _take(self, steps: Coefficients, limit: float, risks: Table | None) -> None:
        taken = self._run(steps, limit, risks)
        if taken < steps.count or not math.isfinite(float(self.along[1] @ self.moments[0])):
            self.is_finite = False
        self.t += steps.count

    def _run(self, steps: Coefficients, limit: float, risks: Table | None) -> int:
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
        """Do what the kernel does where nothing can be compiled: slower, some ten times."""
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
