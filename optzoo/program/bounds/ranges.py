"""What expressions may be, given what names may be; and what the condition of a `where` settles.

A condition made of numbers of the host is known before the step, so the way that is not taken needs
no value: `where(t > 1, x/(t - 1), x)` never divides by 0. One with a tensor in it chooses element
by element, after both ways have been computed, and settles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from optzoo.program.expressions import ONE, ZERO, Call, Expr, Name, Num, call, names_in, walk
from optzoo.program.intervals import EVERYTHING, Interval, apply_interval, never_real, point

Never = list[tuple[Call, str]]
"""Operations without a value anywhere, and why."""


def interval_of(
    expr: Expr,
    values: Mapping[Name, Interval],
    never: Never | None = None,
    tensors: frozenset[Name] = frozenset(),
) -> Interval:
    """Return an interval that holds every value of an expression.

    Operations that have no finite real value anywhere are added to `never`, innermost first.
    """
    if isinstance(expr, Num):
        return point(float(expr.value))
    if isinstance(expr, Name):
        return values[expr]
    if expr.op == "where":
        condition = interval_of(expr.args[0], values, never, tensors)
        ways = _ways(expr, condition, values, tensors)
        found = [interval_of(way, known, never, tensors) for way, known in ways]
        return found[0].hull(found[-1])
    op, args = expr.op, [interval_of(arg, values, never, tensors) for arg in expr.args]
    if op == "mul" and expr.args[0] == expr.args[1]:
        op, args = "square", args[:1]
    interval = apply_interval(op, args)
    reason = never_real(op, args, interval)
    if reason is None:
        return interval
    if never is not None:
        never.append((expr, reason))
    return EVERYTHING


def _ways(
    choice: Call, held: Interval, values: Mapping[Name, Interval], tensors: frozenset[Name]
) -> Iterator[tuple[Expr, Mapping[Name, Interval]]]:
    """Yield the ways of a `where` that may be gone, each with what names may be on it.

    `held` is what the condition may be. One with a tensor in it chooses between elements of both
    ways, and rules out neither.
    """
    condition, *ways = choice.args
    is_known = tensors.isdisjoint(names_in(condition))
    for way, holds in zip(ways, (True, False), strict=True):
        if not is_known:
            yield way, values
        elif held != point(0.0) if holds else 0 in held:
            yield way, narrowed(condition, holds=holds, values=values)


def divisions(
    expr: Expr, values: Mapping[Name, Interval], tensors: frozenset[Name]
) -> Iterator[tuple[Call, Interval]]:
    """Yield every division that may be computed, with what the divisor may be there."""
    if not isinstance(expr, Call):
        return
    parts = [(arg, values) for arg in expr.args]
    if expr.op == "where":
        held = interval_of(expr.args[0], values, tensors=tensors)
        parts = [parts[0], *_ways(expr, held, values, tensors)]
    for part, known in parts:
        yield from divisions(part, known, tensors)
    if expr.op == "div":
        yield expr, interval_of(expr.args[1], values, tensors=tensors)


# ------------------------------------------------------------------ conditions

TOTAL = frozenset(["add", "sub", "mul", "neg", "square", "abs", "sign", "min", "max"])
"""Operations that have a value everywhere, finite on bounded intervals."""


def guarded(expr: Expr, conditions: Sequence[Expr]) -> Expr:
    """Return a number that is computed only where all conditions hold, and is 0 elsewhere.

    What has a value everywhere stays as it is.
    """
    if all(node.op in TOTAL for node in walk(expr) if isinstance(node, Call)):
        return expr
    for condition in reversed(conditions):
        expr = call("where", condition, expr, ZERO)
    return expr


def does_not_hold(condition: Expr) -> Expr:
    """Return the condition that holds where another one does not."""
    return call("equal", condition, ZERO)


def narrowed(
    condition: Expr, *, holds: bool, values: Mapping[Name, Interval]
) -> Mapping[Name, Interval]:
    """Return what names may be where a condition holds, or does not: a part of what they may be."""
    found = dict(values)
    for name, allowed in _limits(condition, holds, values):
        found[name] = found[name].meet(allowed) or found[name]
    return found


Limits = Iterator[tuple[Name, Interval]]
"""Names and where they must lie."""


def _limits(condition: Expr, holds: bool, values: Mapping[Name, Interval]) -> Limits:
    match condition:
        case Call("mul", (a, b)) if holds:
            yield from (*_limits(a, True, values), *_limits(b, True, values))
        case Call("max", args) if not holds:
            for arg in args:
                yield from _limits(arg, False, values)
        case Call("sub", (a, b)) if a == ONE and _is_logical(b):
            yield from _limits(b, not holds, values)
        case Call("equal", (a, b)) if b == ZERO and _is_logical(a):
            yield from _limits(a, not holds, values)
        case Call("greater", (a, b)):
            yield from _of_order(b, a, holds, values)
        case Call("less", (a, b)):
            yield from _of_order(a, b, holds, values)
        case Call("equal", (a, b)):
            yield from (*_of_equality(a, b, holds, values), *_of_equality(b, a, holds, values))


def _is_logical(expr: Expr) -> bool:
    """Whether an expression is 0 or 1 by what it is made of."""
    match expr:
        case Call("less" | "greater" | "equal"):
            return True
        case Call("mul" | "max", args):
            return all(map(_is_logical, args))
        case Call("sub", (a, b)):
            return a == ONE and _is_logical(b)
    return False


def _plain(expr: Expr, values: Mapping[Name, Interval]) -> Interval:
    """Return the interval of one side of a comparison, unless that has conditions in it itself."""
    nested = any(isinstance(node, Call) and node.op == "where" for node in walk(expr))
    return EVERYTHING if nested else interval_of(expr, values)


def _of_order(small: Expr, large: Expr, holds: bool, values: Mapping[Name, Interval]) -> Limits:
    """Yield limits where `small < large` holds, or does not."""
    if not holds:
        small, large = large, small
    if isinstance(small, Name):
        yield small, Interval(-math.inf, _plain(large, values).high, True, holds)
    if isinstance(large, Name):
        yield large, Interval(_plain(small, values).low, math.inf, holds, True)


def _of_equality(name: Expr, other: Expr, holds: bool, values: Mapping[Name, Interval]) -> Limits:
    """Yield limits of a name that is equal to another value, or is not."""
    if not isinstance(name, Name):
        return
    own, there = values[name], _plain(other, values)
    if holds:
        yield name, there
    elif there.low == there.high == own.low:
        yield name, Interval(own.low, own.high, True, own.high_open)
    elif there.low == there.high == own.high:
        yield name, Interval(own.low, own.high, own.low_open, True)
