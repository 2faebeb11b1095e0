"""Scalars over many steps at once: numpy arrays, one element per step.

Arrays cannot branch, so the rules are numpy's own and not those of `optzoo.program.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from optzoo.program.arithmetic import PI

Array = Any
"""A numpy array, one element per step of a chunk; or one number."""


def long(value: Decimal) -> Array:
    """Return the nearest long double."""
    return np.longdouble(str(value))


def _half_life(start: Array, end: Array, fraction: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(start > 0, (1 - fraction) / np.log(start), 0)
        inverse = inverse + np.where(end > 0, fraction / np.log(end), 0)
        value = np.where(inverse != 0, np.exp(1 / inverse), 0)
    return np.where(fraction <= 0, start, np.where(fraction >= 1, end, value))


def _ratio(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0, a / b, 0)


def _pow(base: Array, exponent: Array) -> Array:
    if np.ndim(exponent) == 0 and exponent in (1, 2):
        return base if exponent == 1 else base * base
    if np.ndim(base) == 0 and base > 0:
        return np.exp(exponent * np.log(base))
    return np.power(base, exponent)


def _as_number(holds: Array, like: Array) -> Array:
    """Return 1 where something holds, else 0, in the kind of number that `like` is."""
    return np.where(holds, np.ones_like(like), np.zeros_like(like))


def _least(*args: Array) -> Array:
    return args[0] if len(args) == 1 else np.minimum(args[0], _least(*args[1:]))


def _largest(*args: Array) -> Array:
    return args[0] if len(args) == 1 else np.maximum(args[0], _largest(*args[1:]))


RULES: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "pow": _pow,
    "square": np.square,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "min": _least,
    "max": _largest,
    "exp": np.exp,
    "log": np.log,
    "cospi": lambda a: np.cos(np.asarray(long(PI), np.asarray(a).dtype)[()] * a),
    "ratio": _ratio,
    "positive": lambda a: np.where(a > 0, np.ones_like(a), np.zeros_like(a)),
    "half_life": _half_life,
    "tanh": np.tanh,
    "atan2": np.arctan2,
    "mod": lambda a, b: np.where(b != 0, np.mod(a, np.where(b != 0, b, 1)), a),
    "less": lambda a, b: _as_number(a < b, a),
    "greater": lambda a, b: _as_number(a > b, a),
    "equal": lambda a, b: _as_number(a == b, a),
    "where": lambda condition, a, b: np.where(condition != 0, a, b),
}


class ArrayDomain:
    """Scalars as arrays over steps: of long doubles, or of `kind`, which is faster."""

    def __init__(self, kind: type[np.floating[Any]] = np.longdouble) -> None:
        self.kind = kind

    def number(self, value: Fraction) -> Array:
        """Return a number, rounded once from the quotient."""
        if self.kind is not np.longdouble:
            return self.kind(float(value))
        return np.longdouble(str(value.numerator)) / np.longdouble(str(value.denominator))

    def apply(self, op: str, args: Sequence[Array]) -> Array:
        """Apply a scalar operation element by element."""
        return RULES[op](*args)
