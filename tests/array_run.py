"""The reference on numpy arrays of rows x columns: a fault in a sign shows on one of thousands."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from reference_run import ReferenceRun

from optzoo.engines.matrices.matrix_values import MatrixDomain
from optzoo.program.arithmetic import FLOAT
from optzoo.program.tensors.named_sides import Shape

Array = np.ndarray
_ENGINE = MatrixDomain(torch.float64)


def _ratio(a: Any, b: Any) -> Any:
    return np.where(b == 0, 0.0, np.divide(a, b))


RULES: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "pow": np.power,
    "square": np.square,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "min": lambda *args: functools.reduce(np.minimum, args),
    "max": lambda *args: functools.reduce(np.maximum, args),
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "atan2": np.arctan2,
    "ratio": _ratio,
    "positive": lambda a: np.where(a > 0, 1.0, 0.0),
    "less": lambda a, b: np.where(np.less(a, b), 1.0, 0.0),
    "greater": lambda a, b: np.where(np.greater(a, b), 1.0, 0.0),
    "equal": lambda a, b: np.where(np.equal(a, b), 1.0, 0.0),
    "where": lambda condition, a, b: np.where(np.not_equal(condition, 0), a, b),
    "norm": lambda a: np.full((1, 1), math.sqrt(np.sum(a * a))),
    "sum": lambda a: np.full((1, 1), np.sum(a)),
    "mean": lambda a: np.full((1, 1), np.mean(a)),
    "row_sum": lambda a: np.sum(a, axis=1, keepdims=True),
    "row_mean": lambda a: np.mean(a, axis=1, keepdims=True),
    "column_sum": lambda a: np.sum(a, axis=0, keepdims=True),
    "column_mean": lambda a: np.mean(a, axis=0, keepdims=True),
    "rows": lambda a: float(a.shape[0]),
    "cols": lambda a: float(a.shape[1]),
    "size": lambda a: float(a.size),
    "matmul": lambda a, b: a @ b,
    "transpose": lambda a: a.T,
}
"""What numpy does faster than torch on small arrays; the rest is an engine's, in float64."""


class ArrayDomain:
    """Floats, and float64 arrays of two axes."""

    def number(self, value: Fraction) -> float:
        return float(value)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        if not any(isinstance(arg, Array) for arg in args):
            return FLOAT[op](*args)
        if op in RULES:
            return RULES[op](*args)
        tensors = [torch.tensor(a)[None] if isinstance(a, Array) else a for a in args]
        found: torch.Tensor = _ENGINE.apply(op, tensors)
        return found[0].numpy()


class ArrayRun(ReferenceRun):
    """A run whose tensors are arrays of rows x columns; a vector is one column."""

    def __init__(self, program: Any, param: Array, *, total_steps: int) -> None:
        super().__init__(program, param, total_steps=total_steps)
        self.domain = ArrayDomain()

    def tensor(self, numbers: Array) -> Any:
        return np.reshape(numbers, (numbers.shape[0], -1) if numbers.ndim > 1 else (-1, 1))

    def kept(self, value: Any, shape: Shape) -> Any:
        rows, cols = self.param.shape
        known = {"rows": rows, "cols": cols, "1": 1}
        sides = known[shape.rows], known[shape.cols]
        return value if np.shape(value) == sides else np.broadcast_to(value, sides)
