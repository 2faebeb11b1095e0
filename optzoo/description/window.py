"""How many iterates an average covers, from its weights w_1, ..., w_t of the newest iterate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optzoo.description.algebra import Ratio
from optzoo.description.folding import CannotFold
from optzoo.description.formulas import value_at
from optzoo.description.impulse import series

if TYPE_CHECKING:
    from optzoo.description.form import Description

LONGEST = 1 << 17
"""The last step for which the sum of squared weights is formed."""


@dataclass(frozen=True)
class Window:
    """An average after step t.

    `newest` is the weight of the newest iterate; `steps` = 1/newest, as many as a plain mean with
    that weight covers; `effective` = 1/sum of squared weights, None beyond `LONGEST` steps
    and where the weights cannot be followed in arrays.
    """

    t: int
    newest: float
    steps: float
    effective: float | None


def window_at(description: Description, weight: Ratio, t: int) -> Window:
    """Return how far an average reaches back after step t."""
    try:
        newest = float(series(description, weight, t, t)[0])
        weights = None if t > LONGEST else iterate_weights(description, weight, t)
    except CannotFold:  # a weight of a step that is not followed over many at once
        newest, weights = float(value_at(weight, description.scalars, t)), None
    steps = 1 / newest if newest else float("inf")
    with np.errstate(over="ignore"):
        effective = None if weights is None else float(1 / np.sum(weights**2))
    return Window(t, newest, steps, effective)


def iterate_weights(description: Description, weight: Ratio, t: int) -> Any:
    """Return what the start and the iterates after steps 1, ..., t weigh, a numpy array.

    They sum to 1; the start counts for nothing when w_1 is 1.
    """
    w = np.append(1.0, series(description, weight, 1, t))
    kept = np.append(1 - w[1:], 1.0)
    return w * np.cumprod(kept[::-1])[::-1]
