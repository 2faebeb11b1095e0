"""Spectra and targets of a regression problem, as rows: equal eigenvalues share one.

    --spectrum power:A          eigenvalue j is j**-A, j = 1 .. dim; nothing is normalised
               1,0.5,0.1        these, dim of them
    --target   ones             the coordinates of w* along the eigenvectors: all 1
               power:B          j**-B
               3,2,1            these

Of an infinite spectrum the first eigenvalues have rows of their own. What follows is summed octave
by octave with the weights of Gauss for a sum over consecutive whole numbers, which is exact for
polynomials in j of degree 11; the last row holds what is left, both its trace and its part of the
risk at the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optzoo.errors import Diagnostic, InputError

Vector = npt.NDArray[np.float64]
ALONE = 64
"""Eigenvalues of an infinite spectrum with rows of their own."""
NODES = 6
"""Rows of each octave beyond them."""
SMALLEST = 1e-18
"""Eigenvalues below this share of the first one are one row: no step count reaches them."""
LARGEST_DIM = 1_000_000


@dataclass(frozen=True)
class Rows:
    """Eigenvalues with their multiplicities (`counts`) and w* in their direction.

    Multiplicities are not whole numbers where a row stands for many different eigenvalues.
    """

    eigenvalues: Vector
    counts: Vector
    target: Vector

    @property
    def trace(self) -> float:
        """The sum of all eigenvalues."""
        return float(self.counts @ self.eigenvalues)


def make_rows(spectrum: str | Sequence[float], target: str | Sequence[float], dim: float) -> Rows:
    """Return the rows of a spectrum and a target in `dim` dimensions.

    Raises InputError for what is none.
    """
    if dim != math.inf and not (1 <= dim <= LARGEST_DIM and dim == int(dim)):
        message = f"`dim`: {dim:g} must be a whole number from 1 to {LARGEST_DIM:,}, or inf"
        raise InputError(Diagnostic("bad-value", message))
    falls = _exponent("spectrum", spectrum, "power:1.5")
    rises = 0.0 if target == "ones" else _exponent("target", target, "ones, power:0.5")
    if dim == math.inf:
        if falls is None or rises is None:
            message = "a list of numbers has no infinite dimension"
            raise InputError(Diagnostic("bad-value", message, hint="use `power:`"))
        return _infinite_rows(falls, rises)
    j = np.arange(1, int(dim) + 1, dtype=np.float64)
    eigenvalues = _listed("spectrum", spectrum, len(j)) if falls is None else j**-falls
    points = _listed("target", target, len(j)) if rises is None else j**-rises
    if not (np.all(eigenvalues > 0) and np.all(np.isfinite(eigenvalues))):
        message = "`spectrum`: eigenvalues are finite and above 0"
        raise InputError(Diagnostic("bad-value", message))
    return Rows(eigenvalues, np.ones(len(j)), points)


def _exponent(what: str, wish: str | Sequence[float], example: str) -> float | None:
    """Return A of `power:A`, None for a list of numbers."""
    if not isinstance(wish, str):
        return None
    kind, _, argument = wish.partition(":")
    try:
        if kind == "power":
            value = float(argument)
            if math.isfinite(value):
                return value
        else:
            [float(part) for part in wish.split(",")]
            return None
    except ValueError:
        pass
    message = f"`{wish[:100]}` is not a {what}"
    raise InputError(
        Diagnostic("bad-value", message, hint=f"write {example}, or numbers such as 1,0.5,0.1")
    )


def _listed(what: str, wish: str | Sequence[float], dim: int) -> Vector:
    numbers = [float(part) for part in wish.split(",")] if isinstance(wish, str) else list(wish)
    if len(numbers) != dim:
        message = f"`{what}`: {len(numbers)} numbers, where the dimension is {dim:,}"
        raise InputError(
            Diagnostic("bad-value", message, hint=f"set the dimension: {len(numbers)}")
        )
    vector = np.array(numbers, dtype=np.float64)
    if not np.all(np.isfinite(vector)):
        raise InputError(Diagnostic("bad-value", f"`{what}`: numbers are finite"))
    return vector


def _infinite_rows(falls: float, rises: float) -> Rows:
    if falls <= 1:
        message = f"`power:{falls:g}` has no finite trace in infinite dimension"
        raise InputError(Diagnostic("bad-value", message, hint="its exponent must be above 1"))
    if falls + 2 * rises <= 1:
        message = "the risk at the start is infinite: this target does not decay fast enough"
        raise InputError(
            Diagnostic("bad-value", message, hint="take a larger exponent of `power:`")
        )
    places, counts = [np.arange(1.0, ALONE + 1)], [np.ones(ALONE)]
    first, last = ALONE + 1.0, SMALLEST ** (-1 / falls)
    while first < last:
        nodes, weights = _sum_rule(first, first)  # an octave: from `first` to twice that, less one
        places.append(nodes)
        counts.append(weights)
        first *= 2
    j = np.concatenate(places)
    rest_trace, rest_risk = (_tail(first, exponent) for exponent in (falls, falls + 2 * rises))
    eigenvalue = _tail(first, 2 * falls + 2 * rises) / rest_risk  # as the start weighs it
    count = rest_trace / eigenvalue
    return Rows(
        np.append(j**-falls, eigenvalue),
        np.append(np.concatenate(counts), count),
        np.append(j**-rises, math.sqrt(rest_risk / rest_trace)),
    )


def _sum_rule(first: float, count: float) -> tuple[Vector, Vector]:
    """Return nodes and weights of a sum over `count` consecutive numbers, `first` the least.

    The Gauss rule of the discrete Chebyshev polynomials, by Golub and Welsch: the eigenvalues of
    their Jacobi matrix.
    """
    n = np.arange(1.0, NODES)
    off = np.sqrt((n / 2) ** 2 * (count**2 - n**2) / (4 * n**2 - 1))
    middle = np.full(NODES, (count - 1) / 2)
    nodes, vectors = np.linalg.eigh(np.diag(middle) + np.diag(off, 1) + np.diag(off, -1))
    return first + nodes, count * vectors[0] ** 2


def _tail(first: float, exponent: float) -> float:
    """Return the sum of j**-exponent over j from `first` on, by Euler and Maclaurin."""
    s = exponent
    bulk = first ** (1 - s) / (s - 1) + first**-s / 2
    return float(
        bulk + s * first ** (-s - 1) / 12 - s * (s + 1) * (s + 2) * first ** (-s - 3) / 720
    )
