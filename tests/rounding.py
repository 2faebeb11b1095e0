"""How far a step in floating point may be from the exact one: a running error analysis.

A number with a bound: `value` is computed in float64, and `bound` says how far, in units of the
rounding unit of the arithmetic that is judged, any evaluation of the same expression in that
arithmetic may be from it, to first order (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.3). Every operation adds half a unit of its own, so the bound is a few ulp of the largest
term that went into a value, and no tolerance is chosen by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from optzoo.program.arithmetic import FLOAT


@dataclass(frozen=True)
class Bounded:
    """A tensor of float64 values and what they may be off by, in rounding units."""

    value: Tensor
    bound: Tensor


Value = float | Bounded


class RoundingDomain:
    """Numbers on the host, exact here; tensors with bounds. `unit` is the rounding unit."""

    def __init__(self, unit: float) -> None:
        self.unit = unit

    def number(self, value: Fraction) -> Value:
        return float(value)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        if not any(isinstance(arg, Bounded) for arg in args):
            return FLOAT[op](*args)
        first, *rest = (self.bounded(arg) for arg in args)
        if op in ("min", "max"):
            for other in rest:
                function = torch.minimum if op == "min" else torch.maximum
                bound = torch.maximum(first.bound, other.bound)
                first = Bounded(function(first.value, other.value), bound)
            return first
        if op in ("less", "greater", "equal", "positive"):
            return self.compared(op, first, *rest)
        if op == "where":
            return self.chosen(first, *rest)
        return self.rounded(op, first, *rest)

    def compared(self, op: str, a: Bounded, b: Bounded | None = None) -> Bounded:
        """Return 1 or 0; what may round to either side may be either."""
        other = b.value if b is not None else torch.zeros_like(a.value)
        bound = a.bound + (b.bound if b is not None else 0)
        holds = {"less": torch.lt, "equal": torch.eq}.get(op, torch.gt)(a.value, other)
        is_close = (a.value - other).abs() <= bound * self.unit * 4
        return Bounded(holds.double(), is_close / self.unit)

    def chosen(self, condition: Bounded, yes: Bounded, no: Bounded) -> Bounded:
        value = torch.where(condition.value != 0, yes.value, no.value)
        bound = torch.where(condition.value != 0, yes.bound, no.bound)
        return Bounded(value, bound + condition.bound * (yes.value - no.value).abs())

    def bounded(self, arg: Value) -> Bounded:
        """Return a tensor; a number was rounded when it became one."""
        if isinstance(arg, Bounded):
            return arg
        value = torch.tensor(arg, dtype=torch.float64)
        return Bounded(value, value.abs())

    def rounded(self, op: str, a: Bounded, b: Bounded | None = None) -> Bounded:
        if op == "neg":
            return Bounded(-a.value, a.bound)
        if op == "abs":
            return Bounded(a.value.abs(), a.bound)
        if op == "sign":  # what may round to either side of 0 may have either sign
            flips = a.value.abs() <= a.bound * self.unit * 4
            return Bounded(a.value.sign(), flips * 2 / self.unit)
        if op == "square":
            value, error = a.value.square(), 2 * a.value.abs() * a.bound
        elif op == "sqrt":
            value = a.value.sqrt()
            error = torch.where(value > 0, a.bound / (2 * value), a.bound)
        elif op in ("exp", "log", "tanh"):
            value = getattr(a.value, op)()
            slope = {"exp": value, "log": 1 / a.value, "tanh": 1 - value.square()}[op]
            error = slope.abs() * a.bound
        elif op == "norm":
            value = a.value.norm()
            error = (a.value.abs() * a.bound).sum() / value.clamp_min(1e-300)
            error = error + value * a.value.numel() ** 0.5  # partial sums of any order
        else:
            assert b is not None
            value, error = self.binary(op, a, b)
        return Bounded(value, error + value.abs())

    def binary(self, op: str, a: Bounded, b: Bounded) -> tuple[Tensor, Tensor]:
        if op in ("add", "sub"):
            value = a.value + b.value if op == "add" else a.value - b.value
            return value, a.bound + b.bound
        if op == "atan2":
            squares = (a.value.square() + b.value.square()).clamp_min(1e-300)
            error = (b.value.abs() * a.bound + a.value.abs() * b.bound) / squares
            return torch.atan2(a.value, b.value), error
        if op == "pow":
            value = a.value.pow(b.value)
            by_base = torch.where(a.value > 0, (b.value * value / a.value).abs() * a.bound, a.bound)
            exponent = torch.where(a.value > 0, a.value, 1.0).log()
            return value, by_base + (value * exponent).abs() * b.bound
        across = a.value.abs() * b.bound + b.value.abs() * a.bound
        if op == "mul":
            return a.value * b.value, across
        assert op in ("div", "ratio")
        divisor = torch.where((b.value == 0) & (op == "ratio"), torch.inf, b.value)
        return a.value / divisor, across / divisor.square()
