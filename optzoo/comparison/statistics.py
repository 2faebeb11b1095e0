"""Means over seeds and differences between methods: Student's tests, two-sided.

Where both have been run with the same seeds the test is paired by seed, which takes out what the
order of the data and the initial weights do to both; else it is Welch's, for unequal variances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

LEVEL = 0.05
"""A difference with a smaller p is not put down to chance."""
Test = Literal["paired", "welch"]


@dataclass(frozen=True)
class Summary:
    """The mean of a sample, its standard deviation (n - 1) and the standard error of the mean.

    Both are None for a single value.
    """

    count: int
    mean: float
    std: float | None
    error: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Return the summary of one value or more."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Summary(count, mean, None, None)
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (count - 1))
    return Summary(count, mean, std, std / math.sqrt(count))


@dataclass(frozen=True)
class MeanDifference:
    """A difference of means, its standard error, and the test of it.

    `error`, `freedom` (degrees of) and `p` are None where a single value leaves nothing to test; p
    is 0 where every pair differs by the very same amount, and 1 where nothing differs.
    """

    mean: float
    error: float | None
    test: Test
    count: int
    freedom: float | None
    p: float | None

    @property
    def is_within_noise(self) -> bool:
        """Whether chance may be all there is to it: also where nothing can be tested."""
        return self.p is None or self.p >= LEVEL


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> MeanDifference:
    """Return ours less theirs; both are values by seed, one or more."""
    shared = sorted(set(ours) & set(theirs))
    if len(shared) == len(ours) == len(theirs):
        return _paired([ours[seed] - theirs[seed] for seed in shared])
    return _welch(summarise(list(ours.values())), summarise(list(theirs.values())))


def _paired(differences: Sequence[float]) -> MeanDifference:
    found = summarise(differences)
    if found.error is None:
        return MeanDifference(found.mean, None, "paired", found.count, None, None)
    freedom = float(found.count - 1)
    p = two_sided_p(found.mean, found.error, freedom)
    return MeanDifference(found.mean, found.error, "paired", found.count, freedom, p)


def _welch(ours: Summary, theirs: Summary) -> MeanDifference:
    mean, count = ours.mean - theirs.mean, min(ours.count, theirs.count)
    if ours.error is None or theirs.error is None:
        return MeanDifference(mean, None, "welch", count, None, None)
    squares = [ours.error**2, theirs.error**2]
    error = math.sqrt(sum(squares))
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
        return MeanDifference(mean, 0.0, "welch", count, None, p)
    spread = squares[0] ** 2 / (ours.count - 1) + squares[1] ** 2 / (theirs.count - 1)
    freedom = sum(squares) ** 2 / spread
    return MeanDifference(mean, error, "welch", count, freedom, two_sided_p(mean, error, freedom))


def two_sided_p(mean: float, error: float, freedom: float) -> float:
    """Return the chance of a mean as far from 0, by Student's t with so many degrees of freedom."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    from mpmath import betainc  # here: a table without seeds does not wait for it

    t = mean / error
    return float(betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True))
