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
        return self.rounded(op, first, *rest)

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
        across = a.value.abs() * b.bound + b.value.abs() * a.bound
        if op == "mul":
            return a.value * b.value, across
        assert op == "div"
        return a.value / b.value, across / b.value.square()
