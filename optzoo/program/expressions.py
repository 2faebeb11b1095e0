"""Expressions: immutable nodes, a bounded parser, a printer, and walks over them.

The text form is a small part of Python's, read with `ast` and a whitelist; nothing is ever
evaluated by Python. Numbers are exact decimals (`Fraction`). Printing and parsing are inverse.

    expr ::= NUMBER | NAME | NAME.prev | NAME.next
           | expr (+ - * / **) expr | -expr | FUNCTION(expr, ...)
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from optzoo.errors import did_you_mean, printable
from optzoo.program.ops import FUNCTIONS, OPS

MAX_CHARACTERS = 1_000
MAX_NODES = 300
MAX_DEPTH = 40
LARGEST = 1e308
"""The largest literal; what float64 holds goes a little further."""

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


class ExpressionError(ValueError):
    """A text that is not an expression. `offset` and `width` select the characters at fault."""

    def __init__(self, message: str, offset: int = 0, width: int = 0, hint: str | None = None):
        super().__init__(message)
        self.message, self.offset, self.width, self.hint = message, offset, width, hint


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


# ------------------------------------------------------------------ parsing

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
}


def parse_expression(source: str | int | float) -> Expr:
    """Parse an expression from its text, or from a number that YAML already read.

    Raises ExpressionError with the position of what is not allowed.
    """
    if isinstance(source, bool):
        raise ExpressionError("expected a number or an expression, not true or false")
    if isinstance(source, int | float):
        if abs(source) > LARGEST:
            raise ExpressionError(f"the number is too large: at most {LARGEST:g}")
        if math.isnan(source):
            raise ExpressionError("`nan` is not a number")
        return number_expression(source)
    if not isinstance(source, str):
        kind = type(source).__name__
        raise ExpressionError(f"expected a number or an expression, not a {kind}")
    if len(source) > MAX_CHARACTERS:
        raise ExpressionError(f"an expression has at most {MAX_CHARACTERS:,} characters")
    try:
        with warnings.catch_warnings():  # Python's advice on what it reads is about other languages
            warnings.simplefilter("ignore")
            tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        offset = getattr(error, "offset", None) or 1
        reason = error.msg if isinstance(error, SyntaxError) else "not an expression"
        raise ExpressionError(
            f"not an expression: {reason}", max(0, min(offset, len(source)) - 1)
        ) from None
    lead = len(source) - len(source.lstrip())
    return _Parser(source.strip(), lead).parse(tree.body, 0)


class _Parser:
    def __init__(self, source: str, lead: int) -> None:
        self.source, self.lead = source, lead
        self.nodes = 0

    def fail(self, node: ast.expr, message: str, hint: str | None = None) -> ExpressionError:
        start, width = self.span(node)
        return ExpressionError(message, start, width, hint)

    def span(self, node: ast.expr) -> tuple[int, int]:
        return self.lead + node.col_offset, (node.end_col_offset or 0) - node.col_offset

    def parse(self, node: ast.expr, depth: int) -> Expr:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self.fail(
                node,
                f"an expression has at most {MAX_NODES} parts, {MAX_DEPTH} deep",
                hint="name parts of it under `scalars` or `signals`",
            )
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return Name(node.id, "now", self.span(node))
            case ast.Attribute(value=ast.Name(id=base), attr=("prev" | "next") as when):
                return Name(base, "prev" if when == "prev" else "next", self.span(node))
            case ast.UnaryOp(op=ast.USub()):
                return Call("neg", (self.parse(node.operand, depth + 1),), self.span(node))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.parse(node.operand, depth + 1)
            case ast.BinOp() if type(node.op) in _BINARY:
                args = (self.parse(node.left, depth + 1), self.parse(node.right, depth + 1))
                return Call(_BINARY[type(node.op)], args, self.span(node))
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name, depth)
            case ast.Attribute():
                raise self.fail(
                    node, "only `.prev` and `.next` may follow a name", "write `m.prev` or `m`"
                )
        raise self.fail(
            node,
            f"`{ast.unparse(node)[:40]}` is not allowed in an expression",
            "numbers, names, `.prev`, `.next`, + - * / ** and the functions "
            + ", ".join(sorted(FUNCTIONS)),
        )

    def _constant(self, node: ast.Constant) -> Num:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(node, f"`{printable(str(value)[:40])}` is not a number")
        if value > LARGEST:
            raise self.fail(node, f"the number is too large: at most {LARGEST:g}")
        if value == 0 and self.is_written_otherwise(node):
            raise self.fail(node, "the number is too small: float64 rounds it to 0")
        return num(value)

    def is_written_otherwise(self, zero: ast.Constant) -> bool:
        """Whether a literal that was read as 0 has another digit before its exponent."""
        text = self.source.encode()[zero.col_offset : zero.end_col_offset].lower()
        return not text.startswith((b"0x", b"0o", b"0b")) and any(
            digit in text.partition(b"e")[0] for digit in b"123456789"
        )

    def _call(self, node: ast.Call, name: str, depth: int) -> Call:
        if name not in FUNCTIONS:
            hint = did_you_mean(name, FUNCTIONS, what="functions")
            raise self.fail(node.func, f"`{name}` is not a function", hint)
        if node.keywords:
            raise self.fail(node, f"`{name}` takes plain arguments, without `name=`")
        op = FUNCTIONS[name]
        count = len(node.args)
        if count < op.min_args or (op.max_args is not None and count > op.max_args):
            wanted = str(op.min_args) if op.min_args == op.max_args else f"{op.min_args} or more"
            raise self.fail(node, f"`{name}` takes {wanted} arguments, not {count}", op.doc)
        args = tuple(self.parse(arg, depth + 1) for arg in node.args)
        return Call(name, args, self.span(node))


# ------------------------------------------------------------------ printing

_PRECEDENCE = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}


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
        return f"{expr.op}({', '.join(format_expression(a) for a in expr.args)})"
    level = _PRECEDENCE[expr.op]
    if expr.op == "neg":
        # Python reads -a**b as -(a**b), so only a power or an atom follows the sign bare.
        text = f"-{format_expression(expr.args[0], parent=level)}"
    else:
        left, last = expr.args
        symbol = OPS[expr.op].symbol
        gap = " " if level == 1 else ""
        is_power = expr.op == "pow"
        text = (
            format_expression(left, parent=level + is_power)
            + f"{gap}{symbol}{gap}"
            + format_expression(last, parent=level, right=not is_power)
        )
    needs = level < parent or (level == parent and right)
    return f"({text})" if needs else text


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
