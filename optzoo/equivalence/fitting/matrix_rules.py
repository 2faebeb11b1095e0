"""Operations on matrices of many settings at once: arrays whose last two axes are rows and columns.

Decompositions are left out: what has them is not fitted, but compared as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from optzoo.program.ops import OPS
from optzoo.program.tensors.elements import row_blocks

Rule = Callable[..., Any]

_AXES = {"whole": (-2, -1), "row": (-1,), "column": (-2,)}
_REDUCTIONS: dict[str, Callable[[Any, tuple[int, ...]], Any]] = {
    "sum": lambda x, axes: np.sum(x, axis=axes, keepdims=True),
    "mean": lambda x, axes: np.mean(x, axis=axes, keepdims=True),
    "norm": lambda x, axes: np.sqrt(np.sum(np.square(x), axis=axes, keepdims=True)),
    "largest": lambda x, axes: np.max(x, axis=axes, keepdims=True),
    "smallest": lambda x, axes: np.min(x, axis=axes, keepdims=True),
}


def _reduction(name: str, kept: str) -> Rule:
    rule = _REDUCTIONS[name]
    if kept != "block":
        return lambda x: rule(x, _AXES[kept])

    def of_blocks(x: Any, count: Any) -> Any:
        blocks = row_blocks(np.shape(x)[-2], float(np.max(count)))
        parts = [rule(x[..., a:b, :], (-2, -1)).repeat(b - a, axis=-2) for a, b in blocks]
        return np.concatenate(parts, axis=-2)

    return of_blocks


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _polar(x: Any, safety: Any, eps: Any, *numbers: Any) -> Any:
    x = x / (safety * _REDUCTIONS["norm"](x, (-2, -1)) + eps)
    for k in range(0, len(numbers), 3):
        first, third, fifth = numbers[k : k + 3]
        gram = x @ _turned(x)
        x = first * x + (third * gram + fifth * (gram @ gram)) @ x
    return x


def _block_polar(x: Any, count: Any, *numbers: Any) -> Any:
    blocks = row_blocks(np.shape(x)[-2], float(np.max(count)))
    return np.concatenate([_polar(x[..., a:b, :], *numbers) for a, b in blocks], axis=-2)


MATRIX_RULES: dict[str, Rule] = {
    "matmul": np.matmul,
    "transpose": _turned,
    "polar": _polar,
    "block_polar": _block_polar,
    "rows": lambda x: np.float64(np.shape(x)[-2]),
    "cols": lambda x: np.float64(np.shape(x)[-1]),
    "size": lambda x: np.float64(np.shape(x)[-2] * np.shape(x)[-1]),
    **{op.name: _reduction(op.reduces, op.kept) for op in OPS.values() if op.reduces is not None},
}
"""Rules by operation."""
