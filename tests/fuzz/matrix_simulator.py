"""The simulator for recipes of version 2: each tensor a numpy array of rows x columns.

Written from what the words mean, not from optzoo's code: reductions are numpy's along an axis,
the polar factor is the printed iteration, a buffer has the sides of what is put into it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from simulator import Array, Simulation

LISTS = {
    "jordan": [(3.4445, -4.775, 2.0315)] * 5,
    "quintic": [
        (4.0848, -6.8946, 2.927),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ],
    "polar_express": [
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ],
}
SAFETY = {"polar_express": 1.02}
REDUCTIONS: dict[str, Any] = {
    "sum": np.sum,
    "mean": np.mean,
    "norm": lambda a, **axis: np.sqrt(np.sum(a * a, **axis)),
    "largest": np.max,
    "smallest": np.min,
}
FUNCTIONS: dict[str, Any] = {
    "sqrt": np.sqrt,
    "square": lambda a: a * a,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "atan2": np.arctan2,
    "mod": lambda a, b: a - b * math.floor(a / b) if b else a,
    "ratio": lambda a, b: np.where(b == 0, 0.0, np.divide(a, np.where(b == 0, 1.0, b))),
    "positive": lambda a: np.where(a > 0, 1.0, 0.0),
    "diagonal": lambda a: np.array([[a[i, i]] for i in range(len(a))]),
    "dot": lambda a, b: np.sum(a * b),
    "order": lambda a: np.array(sorted(range(len(a)), key=lambda i: -a[i, 0]))[:, None],
}
COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: lambda a, b: np.where(a < b, 1.0, 0.0),
    ast.Gt: lambda a, b: np.where(a > b, 1.0, 0.0),
    ast.Eq: lambda a, b: np.where(a == b, 1.0, 0.0),
}


def polar(a: Array, coefficients: Any, eps: float | None) -> Array:
    """Return a after the printed iteration, begun at a over its norm."""
    if a.shape[0] > a.shape[1]:
        return polar(a.T, coefficients, eps).T
    safety = SAFETY.get(coefficients, 1.0) if isinstance(coefficients, str) else 1.0
    steps = LISTS[coefficients] if isinstance(coefficients, str) else coefficients
    if eps is None:
        eps = 1e-6 if coefficients == "polar_express" else 1e-7
    x = a / (safety * math.sqrt(float(np.sum(a * a))) + eps)
    for first, third, fifth in steps:
        square = x @ x.T
        x = first * x + (third * square + fifth * square @ square) @ x
    return x


class MatrixSimulation(Simulation):
    """One parameter of any shape, as a matrix: its first axis, and all others together."""

    def __init__(self, recipe: Any, param: Array, **options: Any) -> None:
        self.shape = np.shape(param)
        super().__init__(recipe, self.matrix(param), **options)

    def matrix(self, numbers: Array) -> Array:
        rows = self.shape[0] if self.shape else 1
        return np.reshape(numbers, (rows, math.prod(self.shape[1:])))

    def step(self, grad: Array, lr: float | None = None) -> None:
        if self.y.size:  # what is empty has no means and no largest element, and does not move
            super().step(self.matrix(grad), lr)

    def view(self, name: str) -> Array:
        shown = super().view(name) if self.y.size else self.y
        return np.reshape(np.broadcast_to(shown, self.y.shape), self.shape)

    # ---------------------------------------------------------------- expressions

    def _walk(self, node: ast.expr, shift: int) -> Any:
        match node:
            case ast.Attribute(value=inner, attr="T"):
                return np.transpose(self._walk(inner, shift))
            case ast.BinOp(op=ast.MatMult()):
                product = self._walk(node.left, shift) @ self._walk(node.right, shift)
                return product if self.noise is None else self._off(product)
            case ast.BinOp(op=ast.Pow()):
                return np.power(self._walk(node.left, shift), self._walk(node.right, shift))
            case ast.Compare(ops=[op], comparators=[right]):
                return COMPARISONS[type(op)](self._walk(node.left, shift), self._walk(right, shift))
            case ast.Call(func=ast.Name(id="where"), args=[condition, yes, no]):
                holds = self._walk(condition, shift)
                if np.ndim(holds) == 0:
                    return self._walk(yes if holds else no, shift)
                return np.where(holds != 0, self._walk(yes, shift), self._walk(no, shift))
            case ast.Call(func=ast.Name(id="polar"), args=[a, ast.Name(id=name), *eps]):
                return polar(self._walk(a, shift), name, float(ast.literal_eval(eps[0])))
            case ast.Call(func=ast.Name(id="take"), args=[a, places, ast.Name(id=side)]):
                index = self._walk(places, shift)[:, 0].astype(int)
                taken = self._walk(a, shift)
                return taken[index] if side == "row" else taken[:, index]
            case ast.Call(func=ast.Name(id=name), args=[a, *side]) if name in REDUCTIONS:
                return self._reduced(REDUCTIONS[name], self._walk(a, shift), *side)
            case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
                return FUNCTIONS[name](*(self._walk(arg, shift) for arg in args))
        return super()._walk(node, shift)

    def _reduced(self, reduce: Any, a: Array, side: ast.expr | None = None) -> Any:
        match side:
            case None:
                return reduce(a)
            case ast.Name(id="row"):
                return reduce(a, axis=1, keepdims=True)
            case ast.Name(id="column"):
                return reduce(a, axis=0, keepdims=True)
            case ast.Call(args=[ast.Constant(value=count)]):
                parts = min(count, len(a))
                cuts = [k * len(a) // parts for k in range(parts + 1)]
                found = np.zeros((len(a), 1))
                for i in range(parts):
                    found[cuts[i] : cuts[i + 1]] = reduce(a[cuts[i] : cuts[i + 1]])
                return found
        raise AssertionError(ast.dump(side))

    def name(self, name: str, shift: int = 0) -> Any:
        rows, cols = self.y.shape
        sizes = {"rows": rows, "cols": cols, "size": rows * cols}
        if name in sizes:
            return float(sizes[name])
        return np.eye(rows) if name == "identity" else super().name(name, shift)

    # ---------------------------------------------------------------- sections

    def _tensor(self, text: Any) -> Any:
        return self.value(text)

    def previous(self, name: str) -> Any:
        is_new = name not in self.old and name in self.recipe.get("buffers", {})
        value = super().previous(name)
        return np.broadcast_to(value, self._sides(name)) if is_new else value

    def _sides(self, buffer: str) -> tuple[int, int]:
        """Return the sides of a buffer, which its name tells."""
        rows, cols = self.y.shape
        known = {"row": (rows, 1), "column": (1, cols), "gram": (rows, rows)}
        return known.get(buffer.rstrip("0123456789"), (rows, cols))

    def _first(self, init: Any) -> Any:
        if init in ("grad", "param"):
            return super()._first(init)
        return 0.0 if init == "zeros" else self.value(init)

    def _compute(self, name: str) -> Any:
        buffer = self.recipe.get("buffers", {}).get(name)
        if buffer is None:
            return super()._compute(name)
        if self.t == 1 and "first" in buffer:
            return self.value(buffer["first"])
        if "refresh" in buffer:
            every = self.value(buffer["refresh"]["every"])
            if (self.t - self.value(buffer["refresh"].get("offset", 0))) % every == 0:
                return self.value(buffer["refresh"]["input"])
        return super()._compute(name) if "input" in buffer else self.previous(name)

    def _precondition(self, x: Array) -> Array:
        if "polar" not in self.pre:
            return super()._precondition(x)
        spec: Mapping[str, Any] = self.pre["polar"]
        eps = self.value(spec["eps"]) if "eps" in spec else None
        scale = self.value(spec["scale"]) if "scale" in spec else 1.0
        return scale * polar(x, spec["coefficients"], eps)
