"""Noisy linear regression: y = <x, w*> + xi, fresh batches, runs from w_0 = 0.

Everything is said in the eigenbasis of H = E x x'. The risk is the excess risk with the factor 1/2,
(w - w*)' H (w - w*) / 2 in expectation; the noise is the variance of xi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.risk.regression.input_streams import Stream, make_stream, split_stream
from optzoo.risk.regression.spectra import Rows, Vector, make_rows


@dataclass(frozen=True)
class Problem:
    """A regression problem. Raises InputError for a value that is none.

    `spectrum` and `target` are numbers, or texts of `optzoo.risk.regression.spectra`; `stream` is
    one of `optzoo.risk.regression.input_streams`, of which `features` brings a spectrum and a
    target of its own. `dim` may be infinite, and so may `batch`: then gradients are exact. `noise`
    is the variance E xi^2. `seed` draws random features.
    """

    spectrum: str | Sequence[float] = "power:1.5"
    dim: float = 100
    target: str | Sequence[float] = "ones"
    stream: str = "gaussian"
    noise: float = 0.0
    batch: float = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("spectrum", "target"):  # what is the same problem is equal
            given = getattr(self, name)
            if not isinstance(given, str):
                object.__setattr__(self, name, tuple(map(float, given)))
        if not (0 <= self.noise < math.inf):
            message = f"`noise`: {self.noise:g} is no variance: it must be 0 or more"
            raise InputError(Diagnostic("bad-value", message))
        if not self.batch >= 1 or (self.batch != math.inf and self.batch != int(self.batch)):
            message = f"`batch`: {self.batch:g} must be a whole number from 1 on, or inf"
            raise InputError(Diagnostic("bad-value", message))
        self._rows_and_noise  # noqa: B018  # errors come here, not later
        self.fourth_moments  # noqa: B018

    @classmethod
    def of(cls, given: Problem | Mapping[str, Any] | None, **changes: Any) -> Problem:
        """Return a problem, from one or from a mapping of its fields, with changes."""
        if isinstance(given, Problem):
            return replace(given, **changes) if changes else given
        known = [field.name for field in fields(cls)]
        wish = {**(given or {}), **changes}
        for name in wish:
            if name not in known:
                message = f"`{name}` is nothing that a problem has"
                raise InputError(
                    Diagnostic("unknown-name", message, hint=did_you_mean(name, known))
                )
        return cls(**wish)

    @cached_property
    def _rows_and_noise(self) -> tuple[Rows, float]:
        kind, numbers = split_stream(self.stream)
        if kind == "features":
            rows, unexpressed = random_features(*numbers, dim=self.dim, seed=self.seed)
            return rows, self.noise + unexpressed
        return make_rows(self.spectrum, self.target, self.dim), self.noise

    @property
    def rows(self) -> Rows:
        """The eigenvalues, their multiplicities and the target."""
        return self._rows_and_noise[0]

    @property
    def label_noise(self) -> float:
        """The variance of what no parameter explains: noise, and what features cannot express."""
        return self._rows_and_noise[1]

    @cached_property
    def fourth_moments(self) -> Stream:
        """The stream of inputs."""
        return make_stream(self.stream, self.rows)

    @property
    def start_risk(self) -> float:
        """The risk at w_0 = 0."""
        rows = self.rows
        return float(rows.counts @ (rows.eigenvalues * rows.target**2)) / 2

    @cached_property
    def critical_rate(self) -> float:
        """The largest learning rate at which SGD is stable: the unit of learning rates.

        The root of 1 = g (lr/B) sum lam/(2 - lr (lam + f/(B lam))), or where a summand first has
        none. A problem whose batch is infinite has 2/lam_1.
        """
        rows, stream = self.rows, self.fourth_moments
        lam, batch = rows.eigenvalues, self.batch
        curvature = lam + (stream.own / lam) / batch
        high = 2 / float(curvature.max())
        if stream.shared == 0 or batch == math.inf:
            return high
        low = 0.0
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            gathered = float(rows.counts @ (lam / (2 - middle * curvature)))
            low, high = (
                (middle, high) if stream.shared * middle * gathered < batch else (low, middle)
            )
        return low


def random_features(
    alpha: float, beta: float, ambient: float, *, dim: float, seed: int
) -> tuple[Rows, float]:
    """Return the spectrum and target of `dim` random features, and the noise they add.

    Inputs are Gaussian with variances j**-2 alpha, j = 1 .. `ambient`; the label is their product
    with j**-beta; seen are `dim` features, a Gaussian matrix of variance 1/dim times the input
    (Paquette et al. 2024, arXiv 2405.15074). What they cannot express is independent of them.
    Raises InputError for sizes that are none.
    """
    if dim == math.inf or not (1 <= dim <= ambient) or dim != int(dim) or ambient != int(ambient):
        message = f"`features`: from 1 to V = {ambient:g} features, `dim` of them, not {dim:g}"
        raise InputError(Diagnostic("bad-value", message))
    if ambient > LARGEST_AMBIENT:
        message = f"`features`: V is at most {LARGEST_AMBIENT:,}"
        raise InputError(Diagnostic("bad-value", message))
    j = np.arange(1, int(ambient) + 1, dtype=np.float64)
    mixing = np.random.default_rng(seed).standard_normal((len(j), int(dim))) / math.sqrt(dim)
    label: Vector = j ** -(alpha + beta)  # in units in which inputs are white
    left, sizes, _ = np.linalg.svd(j[:, None] ** -alpha * mixing, full_matrices=False)
    seen = left.T @ label
    unexpressed = float(np.sum((label - left @ seen) ** 2))
    return Rows(sizes**2, np.ones(len(sizes)), seen / sizes), unexpressed


LARGEST_AMBIENT = 20_000
