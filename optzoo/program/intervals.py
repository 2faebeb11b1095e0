"""Interval arithmetic with open and closed ends: can this expression be zero, or have no value?

Every rule returns an interval that contains all values of the operation, never less; the checker
uses it to refuse a division by something that may be zero, and what is no finite real number
anywhere.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optzoo.program.ops import OPS

_INF = math.inf
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`; an open end is not included."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low or (value == self.low and not self.low_open)
        below = value < self.high or (value == self.high and not self.high_open)
        return above and below

    def __str__(self) -> str:
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{left}{_text(self.low)}, {_text(self.high)}{right}"

    def includes(self, other: Interval) -> bool:
        """Whether every number of `other` is in this one."""
        low = self.low < other.low or (
            self.low == other.low and (other.low_open or not self.low_open)
        )
        high = self.high > other.high or (
            self.high == other.high and (other.high_open or not self.high_open)
        )
        return low and high

    def meet(self, other: Interval) -> Interval | None:
        """The numbers that lie in both; None where there are none."""
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        if low > high or (low == high and (low_open or not closed)):
            return None
        return Interval(low, high, low_open, not closed)

    def hull(self, other: Interval) -> Interval:
        """The smallest interval around both."""
        low, low_open = min((self.low, self.low_open), (other.low, other.low_open))
        high, closed = max((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low, high, low_open, not closed)


def _text(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


EVERYTHING = Interval(-_INF, _INF, True, True)
_PATTERN = re.compile(r"\s*([\[(])\s*([^,\s]{1,40})\s*,\s*([^,\s]{1,40})\s*([\])])\s*")


def parse_interval(text: str) -> Interval:
    """Parse `[0, 1)`, `(0, inf)`. Raises ValueError with what is wrong."""
    match = _PATTERN.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        raise ValueError(f"`{text[:100]}` is not an interval")
    left, low_text, high_text, right = match.groups()
    try:
        low, high = float(low_text), float(high_text)
    except ValueError:
        raise ValueError(f"`{text}`: the ends of an interval are numbers or inf") from None
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ValueError(f"`{text}`: the first end must not be above the second")
    ends = Interval(low, high, left == "(", right == ")")
    numbers = ends.meet(EVERYTHING)
    if numbers is None:
        raise ValueError(f"`{text}` holds no number")
    return numbers


def point(value: float) -> Interval:
    """The interval that holds one number."""
    return Interval(value, value)


def apply_interval(op: str, args: Sequence[Interval]) -> Interval:
    """Return an interval that contains every value of `op` on `args`."""
    return _RULES[op](*args)


def never_real(op: str, args: Sequence[Interval], value: Interval) -> str | None:
    """Return why an operation has no finite real value anywhere on `args`; None if it may have one.

    `args` hold finite numbers, and `value` is what `apply_interval` made of them. Division by 0 is
    the checker's: it refuses a divisor that may be 0.
    """
    match op, args:
        case "log", (a,) if a.high <= 0:
            return f"the logarithm of what is never above 0: it lies in {a}"
        case "sqrt", (a,) if _below_zero(a):
            return f"the square root of what is always below 0: it lies in {a}"
        case "pow", (a, b) if _below_zero(a) and b.low == b.high and b.low % 1 != 0:
            return f"a power that is not whole, of what is always below 0: it lies in {a}"
        case "pow", (a, b) if a == point(0.0) and _below_zero(b):
            return "a power of 0 below 0"
        case "half_life", (*decays, _):
            for decay in decays:
                if _below_zero(decay) or decay.low > 1 or (decay.low == 1 and decay.low_open):
                    return f"a decay lies in [0, 1], and this one in {decay}"
    if value.low > _LARGEST or value.high < -_LARGEST:
        return "more than float64 holds"
    return None


def _below_zero(a: Interval) -> bool:
    return a.high < 0 or (a.high == 0 and a.high_open)


def _ends(a: Interval) -> tuple[tuple[float, bool], tuple[float, bool]]:
    return (a.low, a.low_open), (a.high, a.high_open)


def _add(a: Interval, b: Interval) -> Interval:
    return Interval(
        a.low + b.low, a.high + b.high, a.low_open or b.low_open, a.high_open or b.high_open
    )


def _neg(a: Interval) -> Interval:
    return Interval(-a.high, -a.low, a.high_open, a.low_open)


def _sub(a: Interval, b: Interval) -> Interval:
    return _add(a, _neg(b))


def _mul(a: Interval, b: Interval) -> Interval:
    products: list[tuple[float, bool]] = []
    for x, x_open in _ends(a):
        for y, y_open in _ends(b):
            if x == 0 or y == 0:
                # zero is reached as soon as one factor reaches it
                closed = (x == 0 and not x_open) or (y == 0 and not y_open)
                products.append((0.0, not closed))
            else:
                products.append((x * y, x_open or y_open))
    low = min(products)
    high = max(products, key=lambda p: (p[0], not p[1]))
    return Interval(low[0], high[0], low[1], high[1])


def _reciprocal(b: Interval) -> Interval:
    if b.low >= 0 and b.high > 0 and 0 not in b:
        high = _INF if b.low == 0 else 1 / b.low
        low = 0.0 if b.high == _INF else 1 / b.high
        return Interval(low, high, b.high_open, b.low_open or b.low == 0)
    if b.high <= 0 and b.low < 0 and 0 not in b:
        return _neg(_reciprocal(_neg(b)))
    return EVERYTHING


def _div(a: Interval, b: Interval) -> Interval:
    if 0 in b:
        return EVERYTHING
    return _mul(a, _reciprocal(b))


def _ratio(a: Interval, b: Interval) -> Interval:
    nonzero = b
    if b.low == 0:
        nonzero = Interval(0.0, b.high, True, b.high_open)
    return point(0.0).hull(_div(a, nonzero))


def _square(a: Interval) -> Interval:
    magnitude = _abs(a)
    low, high = magnitude.low * magnitude.low, magnitude.high * magnitude.high
    return Interval(low, high, magnitude.low_open, magnitude.high_open)


def _abs(a: Interval) -> Interval:
    if a.low >= 0:
        return a
    if a.high <= 0:
        return _neg(a)
    high, closed = max((-a.low, not a.low_open), (a.high, not a.high_open))
    return Interval(0.0, high, False, not closed)


def _sqrt(a: Interval) -> Interval:
    low = math.sqrt(max(0.0, a.low))
    high = math.sqrt(max(0.0, a.high)) if math.isfinite(a.high) else a.high
    return Interval(low, high, a.low_open and a.low >= 0, a.high_open)


def _min(*args: Interval) -> Interval:
    low, low_open = min(_ends(a)[0] for a in args)
    high, high_open = min((a.high, not a.high_open) for a in args)
    return Interval(low, high, low_open, not high_open)


def _max(*args: Interval) -> Interval:
    return _neg(_min(*(_neg(a) for a in args)))


def _monotone(function: Callable[[float], float], a: Interval) -> Interval:
    return Interval(function(a.low), function(a.high), a.low_open, a.high_open)


def _exp(a: Interval) -> Interval:
    def exp(x: float) -> float:
        try:
            return math.exp(x)
        except OverflowError:
            return _INF

    low_open = a.low_open or a.low == -_INF
    return Interval(exp(a.low), exp(a.high), low_open, a.high_open)


def _log(a: Interval) -> Interval:
    def log(x: float) -> float:
        return math.log(x) if x > 0 else -_INF

    return _monotone(lambda x: x if x == _INF else log(x), a)


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except (OverflowError, ZeroDivisionError):
        return _INF


def _pow(a: Interval, b: Interval) -> Interval:
    if a.low < 0:
        return _square(a) if b == point(2.0) else EVERYTHING
    # x**y is monotone in x and in y, so its extremes are at the corners; a corner is reached only
    # if both ends are, except that 1**y, x**0 and 0**y are reached wherever they can be formed.
    corners = [(_power(x, y), x_open or y_open) for x, x_open in _ends(a) for y, y_open in _ends(b)]
    low = min(corners)
    high = max(corners, key=lambda corner: (corner[0], not corner[1]))
    result = Interval(low[0], high[0], low[1], high[1])
    if 0 in b or 1 in a:
        result = result.hull(point(1.0))
    if 0 in a and b.high > 0:
        result = result.hull(point(0.0))
    return result


def _half_life(a: Interval, b: Interval, _: Interval) -> Interval:
    return a.hull(b)


def _sign(a: Interval) -> Interval:
    return Interval(-1.0 if a.low < 0 else 0.0, 1.0 if a.high > 0 else 0.0)


def _positive(a: Interval) -> Interval:
    return Interval(1.0 if a.low > 0 or (a.low == 0 and a.low_open) else 0.0, 1.0)


def _tanh(a: Interval) -> Interval:
    return _monotone(math.tanh, a).meet(Interval(-1.0, 1.0)) or a


def _mod(a: Interval, b: Interval) -> Interval:
    if b.low > 0 or (b.low == 0 and b.low_open):
        return Interval(0.0, b.high, False, True) if b.high < _INF or a.low < 0 else _above(a)
    return EVERYTHING


def _above(a: Interval) -> Interval:
    return Interval(0.0, a.high, False, a.high_open)


def _less(a: Interval, b: Interval) -> Interval:
    if a.high < b.low or (a.high == b.low and (a.high_open or b.low_open)):
        return point(1.0)
    return point(0.0) if a.low >= b.high else Interval(0.0, 1.0)


def _equal(a: Interval, b: Interval) -> Interval:
    if a.meet(b) is None:
        return point(0.0)
    return point(1.0) if a == b and a.low == a.high else Interval(0.0, 1.0)


def _where(condition: Interval, a: Interval, b: Interval) -> Interval:
    if condition == point(0.0):
        return b
    return a if 0 not in condition else a.hull(b)


def _sum_over_model(a: Interval) -> Interval:
    """Any number of elements, or none: the sign of the sum is theirs."""
    low = 0.0 if a.low >= 0 else -_INF
    high = 0.0 if a.high <= 0 else _INF
    return Interval(low, high, low != 0, high != 0)


def _sum(a: Interval, _: Interval | None = None) -> Interval:
    """One element or more: what is at or above 0 adds up to no less than one of them."""
    over = _sum_over_model(a)
    low = (a.low, a.low_open) if a.low >= 0 else (over.low, over.low_open)
    high = (a.high, a.high_open) if a.high <= 0 else (over.high, over.high_open)
    return Interval(low[0], high[0], low[1], high[1])


def _norm(a: Interval, _: Interval | None = None) -> Interval:
    least = _abs(a)
    return Interval(least.low, _INF, least.low_open, True)


def _element(a: Interval, _: Interval | None = None) -> Interval:
    return a


def _anything(*_: Interval) -> Interval:
    return EVERYTHING


_COUNT = Interval(1.0, _INF, False, True)
_OF_REDUCTIONS: dict[str, Callable[..., Interval]] = {
    "sum": _sum,
    "mean": _element,
    "norm": _norm,
    "largest": _element,
    "smallest": _element,
}

_SIMPLE: dict[str, Callable[..., Interval]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "pow": _pow,
    "square": _square,
    "sqrt": _sqrt,
    "abs": _abs,
    "sign": _sign,
    "min": _min,
    "max": _max,
    "exp": _exp,
    "log": _log,
    "cospi": lambda a: Interval(-1.0, 1.0),
    "ratio": _ratio,
    "positive": _positive,
    "half_life": _half_life,
    "tanh": _tanh,
    "atan2": lambda a, b: Interval(-math.pi, math.pi),
    "mod": _mod,
    "less": _less,
    "greater": lambda a, b: _less(b, a),
    "equal": _equal,
    "where": _where,
    "model_sum": _sum_over_model,
    "rows": lambda a: _COUNT,
    "cols": lambda a: _COUNT,
    "size": lambda a: _COUNT,
    "matmul": _anything,
    "transpose": _element,
    "identity": lambda a: Interval(0.0, 1.0),
    "diagonal": _element,
    "polar": _anything,
    "block_polar": _anything,
    "orthonormal": lambda a: Interval(-1.0, 1.0),
    "eigenbasis": lambda a: Interval(-1.0, 1.0),
    "power": _anything,
    "order": lambda a: Interval(0.0, _INF, False, True),
    "row_take": _element,
    "column_take": _element,
}
_RULES = _SIMPLE | {
    name: _OF_REDUCTIONS[op.reduces] for name, op in OPS.items() if op.reduces is not None
}
