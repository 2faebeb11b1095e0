"""Recurrences of scalars: which are linear in their previous value, and which are a maximum."""

from __future__ import annotations

from collections.abc import Mapping

from optzoo.program.expressions import ONE, ZERO, Call, Expr, Name, add, div, mul, names_in


def running_max_of(expr: Expr, name: Name) -> Expr | None:
    """Return e when a line is `x := max(x.prev, e)`, else None."""
    if isinstance(expr, Call) and expr.op == "max" and len(expr.args) == 2:
        first, other = expr.args
        if first == name.prev and name.prev not in names_in(other):
            return other
    return None


def affine_parts(expr: Expr, x: Name) -> tuple[Expr, Expr] | None:
    """Return a and c, free of x, with expr = a*x + c; None when it is not of that form."""
    if expr == x:
        return ONE, ZERO
    if x not in names_in(expr):
        return ZERO, expr
    assert isinstance(expr, Call)
    parts = [affine_parts(arg, x) for arg in expr.args]
    if any(part is None for part in parts):
        return None
    (a, c), *rest = [part for part in parts if part is not None]
    if expr.op == "neg":
        return _negative(a), _negative(c)
    if len(rest) != 1:
        return None
    b, d = rest[0]
    match expr.op:
        case "add":
            return _sum(a, b), _sum(c, d)
        case "sub":
            return _sum(a, _negative(b)), _sum(c, _negative(d))
        case "mul" if a == ZERO:
            return _product(c, b), _product(c, d)
        case "mul" if b == ZERO:
            return _product(a, d), _product(c, d)
        case "div" if b == ZERO:
            return _quotient(a, d), _quotient(c, d)
    return None


def _negative(a: Expr) -> Expr:
    return ZERO if a == ZERO else Call("neg", (a,))


def _sum(a: Expr, b: Expr) -> Expr:
    return b if a == ZERO else a if b == ZERO else add(a, b)


def _product(a: Expr, b: Expr) -> Expr:
    return ZERO if ZERO in (a, b) else mul(a, b)


def _quotient(a: Expr, b: Expr) -> Expr:
    return ZERO if a == ZERO else div(a, b)


def reaches(lines: Mapping[Name, Expr], name: Name, goal: Name) -> bool:
    """Whether the value of a name depends on `goal`, through any number of steps."""
    seen, stack = set(), [name]
    while stack:
        now = stack.pop()
        line = lines.get(Name(now.id) if now.when == "prev" else now)
        if line is None or now in seen:
            continue
        seen.add(now)
        reads = set(names_in(line))
        if goal in reads:
            return True
        stack.extend(reads)
    return False
