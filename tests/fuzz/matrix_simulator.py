"""The simulator for recipes of version 2: each tensor a numpy array of rows x columns.

Written from what the words mean, not from optzoo's code: reductions are numpy's along an axis,
the polar factor is the printed iteration, a buffer has the sides of what is put into it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from draw_matrices import SIDES
from simulator import Array, Simulation, _clip, _spelled_out

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
ROUNDING = 64 * np.finfo(np.float64).eps
"""What is less than this beside the largest says nothing new."""


def orthonormal(a: Array) -> Array:
    """Gram and Schmidt's basis; the place of a column that says nothing new gets a unit vector."""
    rows, cols = a.shape
    found: dict[int, Array] = {}

    def rest(column: Array) -> Array:
        for _ in range(3):
            for other in found.values():
                column = column - (column @ other) * other
        return column

    least = ROUNDING * max(float(np.linalg.norm(column)) for column in a.T)
    for j in range(cols):
        left = rest(a[:, j])
        if np.linalg.norm(left) > least:
            found[j] = left / np.linalg.norm(left)
    units = iter(np.eye(rows))
    for j in range(cols):
        if j not in found and len(found) < rows:
            left = next(u for u in map(rest, units) if np.linalg.norm(u) > 1e-3)
            found[j] = left / np.linalg.norm(left)
    return np.stack([found.get(j, np.zeros(rows)) for j in range(cols)], axis=1)


def eigenbasis(a: Array) -> Array:
    """Eigenvectors, the largest value first, each with its first element above 0."""
    values, vectors = (each[..., ::-1] for each in np.linalg.eigh(a))
    firsts = [next(x for x in vector if abs(x) > 1e-3) for vector in vectors.T]
    said = values > ROUNDING * max(0.0, float(values[0]))
    return orthonormal(vectors * np.sign(firsts) * said)


def power(a: Array, exponent: float) -> Array:
    """Return a power of a symmetric matrix; values at or below 0 are left out."""
    values, vectors = np.linalg.eigh(a)
    raised = [value**exponent if value > 0 else 0.0 for value in values]
    return (vectors * raised) @ vectors.T


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
    "identity": lambda a: np.eye(len(a)),
    "orthonormal": orthonormal,
    "eigenbasis": eigenbasis,
    "power": power,
    "order": lambda a: np.array(sorted(range(len(a)), key=lambda i: -a[i, 0]))[:, None],
}
COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: lambda a, b: np.where(a < b, 1.0, 0.0),
    ast.Gt: lambda a, b: np.where(a > b, 1.0, 0.0),
    ast.Eq: lambda a, b: np.where(a == b, 1.0, 0.0),
}


def polar(
    a: Array, coefficients: Any, eps: float | None = None, safety: float | None = None
) -> Array:
    """Return a after the printed iteration, begun at a over its norm."""
    if a.shape[0] > a.shape[1]:
        return polar(a.T, coefficients, eps, safety).T
    if safety is None:
        safety = SAFETY.get(coefficients, 1.0) if isinstance(coefficients, str) else 1.0
    steps = LISTS[coefficients] if isinstance(coefficients, str) else coefficients
    if eps is None:
        eps = 1e-6 if coefficients == "polar_express" else 1e-7
    x = a / (safety * math.sqrt(float(np.sum(a * a))) + eps)
    for first, third, fifth in steps:
        square = x @ x.T
        x = first * x + (third * square + fifth * square @ square) @ x
    return x


class Pool:
    """The numbers of the whole model, and who steps now."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self.specs: Mapping[str, Any] = recipe.get("model", {})
        self.members: list[MatrixSimulation] = []
        self.now: dict[str, float] = {}
        self.old: dict[str, float] = {}

    def gather(self) -> None:
        """Compute the numbers of a step that all members have begun."""
        self.now = {}
        for name, spec in self.specs.items() if self.members else ():
            self.now[name] = self._number(name, spec)

    def end(self) -> None:
        """Let a step be over."""
        if self.members:
            self.old, self.members = self.now, []

    def _number(self, name: str, spec: Any) -> float:
        leader = max(self.members, key=lambda member: member.t)
        for key, joined in (("max", max), ("sum", math.fsum), ("product", math.prod)):
            if isinstance(spec, dict) and key in spec:
                both = (self.previous(name), float(leader.value(spec[key])))
                return float(joined(both))
        return float(leader.value(_spelled_out(spec)))

    def previous(self, name: str) -> float:
        """Return a number as the last step left it."""
        if name in self.old:
            return self.old[name]
        spec = self.specs[name]
        start = spec.get("start", int("product" in spec)) if isinstance(spec, dict) else 0
        return float(self.members[0].value(start))

    def total(self, factors: Sequence[ast.expr]) -> float:
        """Return a sum over the elements of all members."""
        return math.fsum(
            float(np.sum(math.prod(member._walk(factor, 0) for factor in factors)))
            for member in self.members
        )


class MatrixSimulation(Simulation):
    """One parameter of any shape, as a matrix: its first axis, and all others together."""

    def __init__(self, recipe: Any, param: Array, pool: Pool, **options: Any) -> None:
        self.shape, self.pool, self.starting = np.shape(param), pool, ""
        super().__init__(recipe, self.matrix(param), **options)

    def matrix(self, numbers: Array) -> Array:
        rows = self.shape[0] if self.shape else 1
        return np.reshape(numbers, (rows, math.prod(self.shape[1:])))

    def begin(self, grad: Array, lr: float | None = None) -> None:
        super().begin(self.matrix(grad), lr)
        if self.y.size:
            self.pool.members.append(self)

    def finish(self) -> None:
        if self.y.size:  # what is empty has no means and no largest element, and does not move
            super().finish()

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
                    taken, other = (yes, no) if holds else (no, yes)
                    return self._as_wide(self._walk(taken, shift), other, shift)
                return np.where(holds != 0, self._walk(yes, shift), self._walk(no, shift))
            case ast.Call(func=ast.Name(id="polar"), args=[a, ast.Name(id=name), eps, ast.Call()]):
                whole, eps_ = self._walk(a, shift), ast.literal_eval(eps)
                parts = [p for p in (whole[: len(whole) // 2], whole[len(whole) // 2 :]) if len(p)]
                return np.concatenate([polar(part, name, eps_) for part in parts])
            case ast.Call(func=ast.Name(id="polar"), args=[a, ast.Name(id=name), *eps]):
                return polar(self._walk(a, shift), name, *map(ast.literal_eval, eps))
            case ast.Call(func=ast.Name(id="polar"), args=[a, *numbers]):
                return polar(self._walk(a, shift), *map(ast.literal_eval, numbers))
            case ast.Call(func=ast.Name(id="sum" | "dot" as name), args=[*x, ast.Name(id="model")]):
                return self.pool.total(x)
            case ast.Call(func=ast.Name(id="dot"), args=[a, b, *side]):
                product = self._walk(a, shift) * self._walk(b, shift)
                return self._reduced(np.sum, product, *side)
            case ast.Call(func=ast.Name(id="take"), args=[a, places, ast.Name(id=side)]):
                index = self._walk(places, shift)[:, 0].astype(int)
                taken = self._walk(a, shift)
                return taken[index] if side == "row" else taken[:, index]
            case ast.Call(func=ast.Name(id=name), args=[a, *side]) if name in REDUCTIONS:
                return self._reduced(REDUCTIONS[name], self._walk(a, shift), *side)
            case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
                return FUNCTIONS[name](*(self._walk(arg, shift) for arg in args))
        return super()._walk(node, shift)

    def _as_wide(self, value: Any, other: ast.expr, shift: int) -> Any:
        """Repeat what a condition chose as far as the other way goes, which may have no value."""
        try:
            return np.broadcast_arrays(value, self._walk(other, shift))[0]
        except (ZeroDivisionError, ValueError):
            return value

    def _reduced(self, reduce: Any, a: Array, side: ast.expr | None = None) -> Any:
        match side:
            case None:
                return reduce(a)
            case ast.Name(id="row"):
                return reduce(a, axis=1, keepdims=True)
            case ast.Name(id="column"):
                return reduce(a, axis=0, keepdims=True)
            case ast.Call(args=[count]):
                parts = min(int(self._walk(count, 0)), len(a))
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
        if name in self.recipe.get("model", {}):
            return self.pool.now[name]
        if name == "identity":
            return np.eye(self._sides(self.starting)[0])
        return super().name(name, shift)

    # ---------------------------------------------------------------- sections

    def _tensor(self, text: Any) -> Any:
        return self.value(text)

    def previous(self, name: str) -> Any:
        if name in self.recipe.get("model", {}):
            return self.pool.previous(name)
        is_new = name not in self.old and name in self.recipe.get("buffers", {})
        self.starting = name
        value = super().previous(name)
        return np.broadcast_to(value, self._sides(name)) if is_new else value

    def _sides(self, buffer: str) -> tuple[int, int]:
        """Return the sides of a buffer, which its name tells."""
        rows, cols = self.y.shape
        known = {"1": 1, "rows": rows, "cols": cols}
        first, second = SIDES.get(buffer.rstrip("0123456789"), ("rows", "cols"))
        return known[first], known[second]

    def _first(self, init: Any) -> Any:
        if init in ("grad", "param"):
            return super()._first(init)
        return 0.0 if init == "zeros" else self.value(init)

    def _compute(self, name: str) -> Any:
        if name == "direction":
            return self._mixed(self.recipe["direction"])
        if name == "moved":
            return self.y - self._decayed_step(self._direction())
        buffer = self.recipe.get("buffers", {}).get(name)
        if buffer is None:
            return super()._compute(name)
        return np.broadcast_to(self._kept(name, buffer), self._sides(name))

    def _kept(self, name: str, buffer: Mapping[str, Any]) -> Any:
        if self.t == 1 and "first" in buffer:
            return self.value(buffer["first"])
        if "refresh" in buffer and self._is_due(buffer["refresh"]):
            return self.value(buffer["refresh"]["input"])
        return super()._compute(name) if "input" in buffer else self.previous(name)

    def _is_due(self, refresh: Mapping[str, Any]) -> bool:
        every = self.value(refresh["every"])
        since = self.t - self.value(refresh.get("offset", 0))
        return bool(since == 0 if every == 0 else since % every == 0)

    def point_after(self, step: Array) -> Array:
        point = self.recipe.get("point")
        if point is None:
            return super().point_after(step)
        spec = point if isinstance(point, dict) else {"input": point}
        due = "refresh" in spec and self._is_due(spec["refresh"])
        return np.asarray(self.value(spec["refresh"]["input"] if due else spec["input"]))

    def _precondition(self, x: Array) -> Array:
        if "polar" not in self.pre:
            return super()._precondition(x)
        spec: Mapping[str, Any] = self.pre["polar"]
        eps = self.value(spec["eps"]) if "eps" in spec else None
        scale = self.value(spec["scale"]) if "scale" in spec else 1.0
        factor = scale * polar(x, spec["coefficients"], eps)
        return _clip(factor, None, self._optional(self.pre, "clip_value"))
