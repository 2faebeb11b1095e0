"""What is said of a drawn recipe, held against what the reference does with it in float64.

Each check returns nothing and fails by an assertion, or by whatever is not an InputError.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

from draw import (
    Draft,
    _draw_decay_and_averaging,
    _draw_hyperparameters,
    _draw_scalars,
    _draw_tensors,
    _draw_update,
    _drop_unused,
)
from twins import perturbed, rewritten

import optzoo
