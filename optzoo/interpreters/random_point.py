"""Random rational points: hyperparameters, schedules and learning rates drawn exactly.

A decision that holds at such a point holds identically, unless the draw hit a root of a fixed
polynomial. What is not rational (a root, a cosine, a half-life) is drawn too, once per operation
and arguments, so that a schedule at t + 1 and the same schedule one step later agree.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

from optzoo.program.arithmetic import NotRationalError, rational
from optzoo.program.intervals import Interval
from optzoo.program.ir import Program

DENOMINATOR = 10_007
MAX_EXPONENT = 64
MAX_BITS = 1 << 14
"""Size of the integers of a rational; what is longer is drawn, as what is not rational."""


class DrawnDomain:
    """Rational scalars; what is not rational is drawn and remembered."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.drawn: dict[tuple[str, tuple[Fraction, ...]], Fraction] = {}

    def number(self, value: Fraction) -> Fraction:
        """Return the number itself."""
        return value

    def apply(self, op: str, args: Sequence[Fraction]) -> Fraction:
        """Apply a scalar operation, exactly where its value is rational."""
        known = _known(op, args)
        if known is not None:
            return known
        key = (op, tuple(args))
        if key not in self.drawn:
            self.drawn[key] = self._draw(op, args)
        return self.drawn[key]

    def _draw(self, op: str, args: Sequence[Fraction]) -> Fraction:
        unit = Fraction(self.rng.randrange(1, DENOMINATOR), DENOMINATOR)
        match op:
            case "half_life":
                low, high = sorted(args[:2])
                return low + (high - low) * unit
            case "cospi":
                return 2 * unit - 1
            case "log":
                return unit if args[0] > 1 else -unit
            case "pow" if 0 < args[0] < 1 and args[1] > 0:
                return unit
            case "pow" if args[0] > 1 and args[1] > 0:
                return 1 + unit
        return unit + Fraction(1, 7)


def _known(op: str, args: Sequence[Fraction]) -> Fraction | None:
    """Return the value of an operation where it is rational and not too long, else None."""
    if op == "pow" and abs(args[1]) > MAX_EXPONENT:
        return None
    try:
        return rational(op, args, MAX_BITS)
    except (NotRationalError, ValueError):
        return None


_ABOVE = Interval(0.0, math.inf, True, True)


def draw_from(interval: Interval, rng: random.Random) -> Fraction:
    """Return a random rational strictly inside an interval."""
    unit = Fraction(rng.randrange(1, DENOMINATOR), DENOMINATOR)
    low = Fraction(interval.low) if math.isfinite(interval.low) else None
    high = Fraction(interval.high) if math.isfinite(interval.high) else None
    if low is not None and high is not None:
        return low + (high - low) * unit
    if low is not None:
        return low + 3 * unit
    return high - 3 * unit if high is not None else 6 * unit - 3


class DrawnInputs:
    """Inputs of a program at a random point: `inputs(t)` is what step t is given.

    The learning rate is another number at every step, as a schedule may make it, and `lr0` the one
    that the schedule started from. `values` fixes
    hyperparameters (at what the user set); the others are drawn. `total` is T, half the steps if
    left out: then schedules end on the way. A sum over all parameters is another at every step.
    """

    def __init__(
        self,
        program: Program,
        rng: random.Random,
        num_steps: int,
        values: Mapping[str, Fraction] | None = None,
        *,
        constant_lr: bool = False,
        total: int | None = None,
    ) -> None:
        fixed = values or {}
        self.rng = rng
        self.hypers = {
            h.name: fixed[h.name] if h.name in fixed else draw_from(h.interval, rng)
            for h in program.hypers
        }
        base = self.hypers.get("lr", Fraction(1))
        self.base_lr = base
        shape = [Fraction(rng.randrange(1, DENOMINATOR), DENOMINATOR) for _ in range(num_steps + 2)]
        self.lr = [base if constant_lr else base * s for s in shape]
        self.total = Fraction(num_steps // 2 if total is None else total)
        self.sums = {
            line.target.id: [draw_from(_ABOVE, rng) for _ in range(num_steps + 2)]
            for line in program.pooled
        }

    def __call__(self, t: int) -> dict[str, Fraction]:
        """Return the inputs of step t."""
        given = {**self.hypers, "t": Fraction(t), "T": self.total, "lr0": self.base_lr}
        given |= {name: drawn[t] for name, drawn in self.sums.items()}
        if "lr" in self.hypers:
            given["lr"] = self.lr[t]
        return given
