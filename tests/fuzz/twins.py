"""Twins of a drawn recipe: the same method written otherwise, and nearly the same one.

`rewritten` renames, reorders products and sums and changes the units of a buffer, which alters no
trajectory. `perturbed` moves one number, which nearly always does.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import yaml

from optzoo.program.expressions import (
    Call,
    Expr,
    Name,
    Num,
    call,
    format_expression,
    mul,
    num,
    substitute,
)
from optzoo.program.parsing import parse_expression

KEPT = frozenset({"in", "doc", "kind", "at", "schedule", "eps_place", "read", "buffer", "init"})
KEPT_SECTIONS = frozenset({"name", "version", "summary", "reference", "order", "grad_prev_init"})
WORDS = frozenset({"zeros", "grad", "param", "average", "none", "sign"})


def expressions(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Expr]]:
    """Yield every expression of a recipe's data that may be written otherwise, and its place."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in KEPT or (not path and key in KEPT_SECTIONS):
                continue
            if path[:1] == ("hyperparameters",) and key == "default":
                continue
            if path[:1] == ("scalars",) and key == "start" and "schedule" not in data:
                continue
            yield from expressions(value, (*path, key))
    elif isinstance(data, str) and data not in WORDS:
        yield path, parse_expression(data)


def put(data: Any, path: tuple[Any, ...], expr: Expr) -> None:
    """Write an expression at a place."""
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = format_expression(expr)


def reordered(expr: Expr, random: Random) -> Expr:
    """Return the same number otherwise: a*b as b*a, (a*b)*c as a*(b*c), a - b as a + -b."""
    if not isinstance(expr, Call):
        return expr
    args = [reordered(arg, random) for arg in expr.args]
    a, b = args[0], args[-1]
    if expr.op in ("add", "mul", "min", "max") and random.random() < 0.5:
        args.reverse()
    elif expr.op == "mul" and isinstance(a, Call) and a.op == "mul":
        return mul(a.args[0], mul(a.args[1], b))
    elif expr.op == "sub" and random.random() < 0.5:
        return call("add", call("neg", b), a)
    elif expr.op == "div" and random.random() < 0.3 and isinstance(b, Num):
        return call("mul", call("div", num(1), b), a)
    return Call(expr.op, tuple(args))


def rewritten(text: str, random: Random) -> str:
    """Return a recipe that trains as the one given does."""
    data = copy.deepcopy(yaml.safe_load(text))
    _as_one_sum(data)
    if random.random() < 0.5:
        _rescale(data, random)
    for path, expr in list(expressions(data)):
        put(data, path, reordered(expr, random))
    names = [n for key in ("scalars", "signals", "buffers") for n in data.get(key, {})]
    text = yaml.safe_dump(data, sort_keys=False, width=1000)
    for name in names:
        text = re.sub(rf"\b{name}\b(?!\()", f"{name}q", text)
    return text


def _as_one_sum(data: Any) -> None:
    update = data["update"]
    if isinstance(update, dict) and isinstance(update["mix"], dict):
        update["mix"] = " + ".join(f"({weight})*{key}" for key, weight in update["mix"].items())


def _rescale(data: Any, random: Random) -> None:
    """Keep twice a buffer in its place."""
    chosen = [n for n, b in data.get("buffers", {}).items() if b.get("init", "zeros") == "zeros"]
    if not chosen:
        return
    name = random.choice(chosen)
    half: Callable[[Name], Expr | None] = lambda n: mul(num(0.5), n) if n.id == name else None  # noqa: E731
    for path, expr in list(expressions(data)):
        put(data, path, substitute(expr, half))
    buffer = data["buffers"][name]
    buffer["gain"] = f"2*({buffer['gain']})"
    evaluate = data.get("evaluate")
    if evaluate is not None and evaluate not in WORDS:
        data["evaluate"] = str(evaluate)


def perturbed(text: str, random: Random) -> str | None:
    """Return the recipe with one number moved; None where it has none to move."""
    data = copy.deepcopy(yaml.safe_load(text))
    places = []
    for path, expr in expressions(data):
        count = sum(isinstance(n, Num) and n.value not in (0, 1) for n in _nodes(expr))
        places += [(path, expr, i) for i in range(count)]
    if not places:
        return None
    path, expr, chosen = random.choice(places)
    put(data, path, _moved(expr, [chosen]))
    return yaml.safe_dump(data, sort_keys=False, width=1000)


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    for arg in expr.args if isinstance(expr, Call) else ():
        yield from _nodes(arg)


def _moved(expr: Expr, left: list[int]) -> Expr:
    if isinstance(expr, Num) and expr.value not in (0, 1):
        left[0] -= 1
        return Num(expr.value * num(0.97).value) if left[0] == -1 else expr
    if isinstance(expr, Call):
        return Call(expr.op, tuple(_moved(arg, left) for arg in expr.args))
    return expr
