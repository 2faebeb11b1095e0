"""The arithmetic of scalars: one table of float64 rules, shared by all numeric interpreters.

Scalars are computed on the host in float64. `FloatDomain` is that arithmetic as a domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction


def ratio(a: float, b: float) -> float:
    """Return a / b, and 0 where b is 0."""
    return a / b if b != 0 else 0.0


def half_life(start: float, end: float, fraction: float) -> float:
    """Return the decay whose half-life lies `fraction` of the way from that of start to end.

    1/log(decay) is linear in the half-life. A decay of 0 has half-life 0, its limit.
    AdEMAMix paper (arXiv 2409.03137), section 3; the official code adds 1e-8 inside the logarithm.
    """
    if fraction <= 0:
        return start
    if fraction >= 1:
        return end
    inverse = sum(
        weight / math.log(decay)
        for weight, decay in ((1 - fraction, start), (fraction, end))
        if decay > 0
    )
    return math.exp(1 / inverse) if inverse != 0 else 0.0


def _sign(a: float) -> float:
    return float((a > 0) - (a < 0))


SCALAR_RULES: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: float(a**b),
    "square": lambda a: a * a,
    "sqrt": math.sqrt,
    "abs": abs,
    "sign": _sign,
    "min": min,
    "max": max,
    "exp": math.exp,
    "log": math.log,
    "cospi": lambda a: math.cos(math.pi * a),
    "ratio": ratio,
    "positive": lambda a: 1.0 if a > 0 else 0.0,
    "half_life": half_life,
}


class FloatDomain:
    """Scalars as Python floats (float64)."""

    def number(self, value: Fraction) -> float:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[float]) -> float:
        """Apply a scalar operation in float64."""
        return SCALAR_RULES[op](*args)
