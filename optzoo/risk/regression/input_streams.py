"""What the inputs of a regression are like, beyond their second moments.

With H = E x x' = diag(lam) and a symmetric Q, (E x x' Q x x')_ii = (lam_i^2 + f_i) Q_ii
+ g lam_i tr(H Q). A stream is its f and g, and a way to draw inputs:

    gaussian          f = lam^2, g = 1
    independent:C     independent symmetric coordinates of kurtosis C: f = (C - 2) lam^2, g = 1
    elliptical:RHO    a Gaussian direction times a radius r, E r^2 = 1, E r^4 = RHO:
                      f = (2 RHO - 1) lam^2, g = RHO
    onehot            +-s e_i with probability lam_i/s^2, s^2 = tr H: f = s^2 lam - lam^2, g = 0
    onehot-scaled     +-s_i e_i, every i equally often, s_i^2 = d lam_i: f = (d - 1) lam^2, g = 0
    features:A,B,V    random features of a power law; the noise grows by what they cannot express
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.risk.regression.spectra import Rows, Vector

Draw = Callable[[np.random.Generator, int], Vector]
"""Draws inputs: an array of as many rows as asked for, and `dim` columns."""
KINDS = ("gaussian", "onehot", "onehot-scaled", "features", "independent", "elliptical")


@dataclass(frozen=True)
class Stream:
    """The fourth moments of a stream: `own` is f row by row, `shared` is g."""

    own: Vector
    shared: float
    draw: Draw


def split_stream(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the kind of a stream and its numbers. Raises InputError for what is none."""
    kind, colon, rest = text.partition(":")
    wanted = {"independent": 1, "elliptical": 1, "features": 3}.get(kind, 0)
    try:
        numbers = tuple(float(part) for part in rest.split(",")) if colon else ()
    except ValueError:
        numbers = (math.nan,)
    if kind not in KINDS:
        message = f"`{text[:100]}` is not a stream"
        raise InputError(Diagnostic("bad-value", message, hint=did_you_mean(kind, KINDS)))
    if len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        form = {"features": "features:A,B,V", "independent": "independent:C"}.get(kind, kind)
        form = "elliptical:RHO" if kind == "elliptical" else form
        message = f"`{text[:100]}`: write `{form}`"
        raise InputError(Diagnostic("bad-value", message))
    return kind, numbers


def make_stream(text: str, rows: Rows) -> Stream:
    """Return the stream that a text stands for. Raises InputError for what is none."""
    kind, numbers = split_stream(text)
    lam, sizes = rows.eigenvalues, np.sqrt(rows.eigenvalues)
    if kind in ("gaussian", "features"):
        return Stream(lam**2, 1.0, lambda rng, n: rng.standard_normal((n, len(lam))) * sizes)
    if kind == "independent":
        return _independent(numbers[0], lam)
    if kind == "elliptical":
        return _elliptical(numbers[0], lam)
    if kind == "onehot":
        scale = rows.trace
        return Stream(scale * lam - lam**2, 0.0, _one_hot(lam / scale, np.full(len(lam), scale)))
    dim = float(rows.counts.sum())
    if np.any(rows.counts != 1):
        message = "`onehot-scaled` shows every coordinate equally often: there are too many"
        raise InputError(Diagnostic("bad-value", message, hint="take a finite dimension"))
    return Stream((dim - 1) * lam**2, 0.0, _one_hot(np.full(len(lam), 1 / dim), dim * lam))


def _one_hot(chances: Vector, squares: Vector) -> Draw:
    sizes = np.sqrt(squares)

    def draw(rng: np.random.Generator, count: int) -> Vector:
        chosen = rng.choice(len(chances), size=count, p=chances / chances.sum())
        inputs = np.zeros((count, len(chances)))
        signs = rng.integers(0, 2, count) * 2 - 1
        inputs[np.arange(count), chosen] = sizes[chosen] * signs
        return inputs

    return draw


def _independent(kurtosis: float, lam: Vector) -> Stream:
    if kurtosis < 1:
        message = f"`independent:{kurtosis:g}`: no kurtosis is below 1"
        raise InputError(Diagnostic("bad-value", message))
    sizes = np.sqrt(lam)

    def draw(rng: np.random.Generator, count: int) -> Vector:  # 0, or +-sqrt(C), 1/C of the time
        shown: Vector = np.where(rng.random((count, len(lam))) * kurtosis < 1, 1.0, 0.0)
        signs = rng.integers(0, 2, shown.shape) * 2 - 1
        return shown * signs * math.sqrt(kurtosis) * sizes

    return Stream((kurtosis - 2) * lam**2, 1.0, draw)


def _elliptical(rho: float, lam: Vector) -> Stream:
    if rho < 1:
        message = f"`elliptical:{rho:g}`: E r^4 is at least (E r^2)^2 = 1"
        raise InputError(Diagnostic("bad-value", message))
    sizes = np.sqrt(lam)

    def draw(rng: np.random.Generator, count: int) -> Vector:  # r^2 is 0, or rho, 1/rho of the time
        radius = math.sqrt(rho) * (rng.random((count, 1)) * rho < 1)
        inputs: Vector = radius * rng.standard_normal((count, len(lam))) * sizes
        return inputs

    return Stream((2 * rho - 1) * lam**2, rho, draw)
