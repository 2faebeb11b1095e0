"""Expressions: immutable nodes, a bounded parser, a printer, and walks over them.

The text form is a small part of Python's, read with `ast` and a whitelist; nothing is ever
evaluated by Python. Numbers are exact decimals (`Fraction`). Printing and parsing are inverse.

    expr ::= NUMBER | NAME | NAME.prev | NAME.next
           | expr (+ - * / ** @) expr | expr (< > ==) expr | -expr | expr.T | FUNCTION(expr, ...)
           | REDUCTION(expr [, row | column | block(expr)]) | take(expr, expr, row | column)
           | polar(expr, LIST [, expr] [, block(expr)])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from optzoo.program.ops import OPS
from optzoo.program.tensors.polar_lists import POLAR_LISTS, list_named

When = Literal["now", "prev", "next"]


@dataclass(frozen=True)
class Num:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True)
class Name:
    """A name at one moment: `m` (now), `m.prev` (on entry to the step), `mu.next` (at t + 1)."""

    id: str
    when: When = "now"
    span: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)

    def __str__(self) -> str:
        return self.id if self.when == "now" else f"{self.id}.{self.when}"

    @property
    def prev(self) -> Name:
        """The same name on entry to the step."""
        return Name(self.id, "prev")


@dataclass(frozen=True)
class NameAt(Name):
    """A name `offset` steps after step t, as formulas have it; a recipe cannot write it.

    A trailing `_t`, the mark of what moves, is dropped in print: `beta3_t` is `beta3(t-1)`.
    """

    offset: int = 0

    def __str__(self) -> str:
        return f"{self.id.removesuffix('_t') or self.id}({step_text(self.offset)})"


def step_text(offset: int) -> str:
    """Return `t`, `t-1`, `t+1`."""
    return f"t{offset:+d}" if offset else "t"


@dataclass(frozen=True)
class Call:
    """An operation of `OPS` applied to arguments."""

    op: str
    args: tuple[Expr, ...]
    span: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)


Expr = Num | Name | Call


def num(value: int | float | Fraction | str) -> Num:
    """Return an exact number; a float stands for its shortest decimal, 0.1 for 1/10."""
    return Num(Fraction(repr(value)) if isinstance(value, float) else Fraction(value))


def number_expression(value: int | float | Fraction) -> Expr:
    """Return a number of either sign as it is written: a literal, with a minus if need be."""
    return call("neg", num(-value)) if value < 0 else num(value)


def call(op: str, *args: Expr) -> Call:
    """Apply an operation."""
    assert op in OPS, op
    return Call(op, args)


def add(a: Expr, b: Expr) -> Expr:
    """Return a + b."""
    return call("add", a, b)


def sub(a: Expr, b: Expr) -> Expr:
    """Return a - b."""
    return call("sub", a, b)


def mul(a: Expr, b: Expr) -> Expr:
    """Return a * b, without a factor that is literally 1."""
    if a == ONE:
        return b
    return a if b == ONE else call("mul", a, b)


def div(a: Expr, b: Expr) -> Expr:
    """Return a / b, without a divisor that is literally 1."""
    return a if b == ONE else call("div", a, b)


ZERO, ONE = num(0), num(1)


def one_minus(a: Expr) -> Expr:
    """Return 1 - a."""
    return sub(ONE, a)


POLAR_EPS = {"polar": 2, "block_polar": 3}
"""Which argument of a polar factor is the eps added to its norm."""


def polar(
    value: Expr,
    numbers: Sequence[Fraction],
    eps: Expr,
    safety: Expr,
    span: tuple[int, int] = (0, 0),
    blocks: Expr | None = None,
) -> Call:
    """Return the polar factor of a value by Newton-Schulz steps with these coefficients.

    With `blocks` it is that of each of so many blocks of rows.
    """
    how = (safety, eps, *map(number_expression, numbers))
    if blocks is None:
        return Call("polar", (value, *how), span)
    return Call("block_polar", (value, blocks, *how), span)


# ------------------------------------------------------------------ printing

_PRECEDENCE = {"less": 1, "greater": 1, "equal": 1, "add": 2, "sub": 2}
_PRECEDENCE |= {"mul": 3, "div": 3, "matmul": 3, "neg": 4, "pow": 5, "transpose": 6}
_SPACED = ("less", "greater", "equal", "add", "sub", "matmul")


def format_number(value: Fraction) -> str:
    """Return the shortest decimal text of an exact decimal; a quotient where there is none."""
    if value.denominator == 1 and abs(value.numerator) < 10**16:
        return str(value.numerator)
    try:
        text = repr(float(value))
    except OverflowError:  # beyond float64: no literal either
        text = "0.0"
    return text if Fraction(text) == value else f"({value.numerator}/{value.denominator})"


def format_expression(expr: Expr, *, parent: int = 0, right: bool = False) -> str:
    """Return the text of an expression, with the fewest parentheses that parse back to it."""
    if isinstance(expr, Num):
        return format_number(expr.value)
    if isinstance(expr, Name):
        return str(expr)
    if OPS[expr.op].symbol is None:
        return _format_function(expr)
    level = _PRECEDENCE[expr.op]
    if expr.op == "neg":
        # Python reads -a**b as -(a**b), so only a power or an atom follows the sign bare.
        text = f"-{format_expression(expr.args[0], parent=level)}"
    elif expr.op == "transpose":
        inner = expr.args[0]
        text = format_expression(inner, parent=level)
        text = f"({text}).T" if isinstance(inner, Num) else f"{text}.T"
    else:
        left, last = expr.args
        symbol = OPS[expr.op].symbol
        gap = " " if expr.op in _SPACED else ""
        is_power = expr.op == "pow" or level == 1  # neither stands on the left of itself bare
        text = (
            format_expression(left, parent=level + is_power)
            + f"{gap}{symbol}{gap}"
            + format_expression(last, parent=level, right=expr.op != "pow")
        )
    needs = level < parent or (level == parent and right)
    return f"({text})" if needs else text


def _format_function(expr: Call) -> str:
    """Return the text of a function with its arguments."""
    op, args = OPS[expr.op], [format_expression(arg) for arg in expr.args]
    name = op.reduces or op.name
    match op.kept:
        case "row" | "column":
            args.append(op.kept)
        case "block":
            args[1] = f"block({args[1]})"
    if expr.op == "model_sum":
        name, args = "sum", [*args, "model"]
    elif expr.op.endswith("_take"):
        name, side = "take", expr.op.removesuffix("_take")
        args.append(side)
    elif expr.op == "polar":
        args = [args[0], *format_polar(expr.args[1:])]
    elif expr.op == "block_polar":
        name, args = "polar", [args[0], *format_polar(expr.args[2:]), f"block({args[1]})"]
    elif expr.op in SIZES:
        return expr.op
    return f"{name}({', '.join(args)})"


SIZES = ("rows", "cols", "size")
"""Names of numbers that follow from the shape of a parameter; operations on it in a program."""


def format_polar(numbers_of: Sequence[Expr]) -> list[str]:
    """Return how the safety, the eps and the coefficients of a polar factor are written."""
    safety, eps, *coefficients = numbers_of
    numbers = tuple(value for value in map(constant_value, coefficients) if value is not None)
    name = list_named(numbers)
    texts = [format_expression(each) for each in coefficients]
    if name is None or safety != num(POLAR_LISTS[name].safety):
        steps = [f"[{', '.join(texts[i : i + 3])}]" for i in range(0, len(texts), 3)]
        written = [f"[{', '.join(steps)}]", format_expression(eps)]
        return written if safety == ONE else [*written, format_expression(safety)]
    known = POLAR_LISTS[name]
    return [name] if eps == num(known.eps) else [name, format_expression(eps)]


def constant_value(expr: Expr) -> Fraction | None:
    """Return the number that a literal expression is, or None."""
    if isinstance(expr, Num):
        return expr.value
    if isinstance(expr, Call) and expr.op == "neg":
        inner = constant_value(expr.args[0])
        return None if inner is None else -inner
    return None


# ------------------------------------------------------------------ walks


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield every node, parents before children."""
    yield expr
    if isinstance(expr, Call):
        for arg in expr.args:
            yield from walk(arg)


def names_in(expr: Expr) -> Iterator[Name]:
    """Yield every occurrence of a name."""
    for node in walk(expr):
        if isinstance(node, Name):
            yield node


def substitute(expr: Expr, replace: Callable[[Name], Expr | None]) -> Expr:
    """Replace names: `replace` returns the new expression, or None to keep the name."""
    if isinstance(expr, Name):
        new = replace(expr)
        return expr if new is None else new
    if isinstance(expr, Call):
        args = tuple(substitute(arg, replace) for arg in expr.args)
        return expr if args == expr.args else Call(expr.op, args, expr.span)
    return expr
