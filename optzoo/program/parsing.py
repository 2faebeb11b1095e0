"""Reading expressions: a bounded parser of a small part of Python's syntax.

The text is read with `ast` and a whitelist; nothing is ever evaluated by Python.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable
from fractions import Fraction

from optzoo.errors import did_you_mean, nearest, printable
from optzoo.program.expressions import ONE, Call, Expr, Name, Num, num, number_expression, polar
from optzoo.program.ops import FUNCTIONS, REDUCTIONS, Kept
from optzoo.program.tensors.polar_lists import POLAR_LISTS

MAX_CHARACTERS = 1_000
MAX_NODES = 300
MAX_DEPTH = 40
LARGEST = 1e308
"""The largest literal; what float64 holds goes a little further."""


class ExpressionError(ValueError):
    """A text that is not an expression. `offset` and `width` select the characters at fault."""

    def __init__(self, message: str, offset: int = 0, width: int = 0, hint: str | None = None):
        super().__init__(message)
        self.message, self.offset, self.width, self.hint = message, offset, width, hint


_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
}
_COMPARED: dict[type[ast.cmpop], str] = {ast.Lt: "less", ast.Gt: "greater", ast.Eq: "equal"}
_KEPT: dict[str, Kept] = {"row": "row", "column": "column"}


_ELSEWHERE = {
    "matmul": "`a @ b`",
    "mm": "`a @ b`",
    "transpose": "`a.T`",
    "trace": "`sum(diagonal(a))`",
    "diag": "`diagonal(a)`",
    "inv": "`power(a, -1)`, of a symmetric matrix",
    "qr": "`orthonormal(a)`",
    "eigh": "`eigenbasis(a)`",
    "svd": "`polar(a, jordan)`, or `eigenbasis(a @ a.T)`",
    "rms": "`norm(a)/sqrt(size)`",
    "clip": "`max(low, min(high, a))`",
    "clamp": "`max(low, min(high, a))`",
    "maximum": "`max(a, b)`",
    "minimum": "`min(a, b)`",
    "argsort": "`order(a)`",
    "eye": "`identity(a)`, of the sides of a square a",
}
"""What other languages call things, and what they are here."""


_TURNED = ("T", "mT", "H", "mH", "t", "transpose")


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
            case ast.Compare(ops=[compared]) if type(compared) in _COMPARED:
                args = (
                    self.parse(node.left, depth + 1),
                    self.parse(node.comparators[0], depth + 1),
                )
                return Call(_COMPARED[type(compared)], args, self.span(node))
            case ast.Compare():
                raise self.fail(
                    node,
                    "comparisons are `a < b`, `a > b` and `a == b`, one at a time",
                    "`a <= b` is `1 - (a > b)`, `0 < a < 1` is `(0 < a)*(a < 1)`, and `a != b` is "
                    "`1 - (a == b)`",
                )
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise self.fail(
                    node,
                    "conditions are numbers, 1 or 0: there is no `and`, `or` and `not`",
                    "both: `a*b`; either: `max(a, b)`; not: `1 - a`",
                )
            case ast.BinOp(op=ast.BitXor() | ast.BitAnd() | ast.BitOr()):
                text = ast.unparse(node)[:40]
                hint = "a power is `a**b`; of conditions, both are `a*b`, either is `max(a, b)`"
                raise self.fail(node, f"`{text}` is no operation here", hint)
            case ast.Attribute(attr="T"):
                return Call("transpose", (self.parse(node.value, depth + 1),), self.span(node))
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name, depth)
            case ast.Attribute():
                turned = f"`{ast.unparse(node.value)[:40]}.T`" if node.attr in _TURNED else ""
                raise self.fail(
                    node,
                    "only `.prev`, `.next` and `.T` may follow a name",
                    f"write {turned or '`m.prev` or `m`'}",
                )
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _TURNED:
                message = f"`{ast.unparse(node)[:40]}` is not allowed in an expression"
                raise self.fail(node, message, f"write `{ast.unparse(value)[:40]}.T`")
        raise self.fail(
            node,
            f"`{ast.unparse(node)[:40]}` is not allowed in an expression",
            "numbers, names, `.prev`, `.next`, + - * / ** @ < > == and the functions "
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
            other = _ELSEWHERE.get(name)
            hint = f"write {other}" if other else did_you_mean(name, FUNCTIONS, what="functions")
            raise self.fail(node.func, f"`{name}` is not a function", hint)
        if node.keywords:
            by_row = f"`{name}(x, row)` is one for each row" if name in REDUCTIONS else None
            raise self.fail(node, f"`{name}` takes plain arguments, without `name=`", by_row)
        if name in _SPECIAL:
            return _SPECIAL[name](self, node, depth + 1)
        if name in (*REDUCTIONS, "dot") and len(node.args) == FUNCTIONS[name].min_args + 1:
            return self._reduction(node, name, depth + 1)
        op = FUNCTIONS[name]
        count = len(node.args)
        if count < op.min_args or (op.max_args is not None and count > op.max_args):
            wanted = str(op.min_args) if op.min_args == op.max_args else f"{op.min_args} or more"
            raise self.fail(node, f"`{name}` takes {wanted} arguments, not {count}", op.doc)
        args = tuple(self.parse(arg, depth + 1) for arg in node.args)
        return self._reduced(node, name, args)

    def _reduced(self, node: ast.Call, name: str, args: tuple[Expr, ...], kept: str = "") -> Call:
        if name == "dot":  # an operation of its own in the language alone
            return Call(f"{kept}sum", (Call("mul", args[:2]), *args[2:]), self.span(node))
        return Call(f"{kept}{name}", args, self.span(node))

    def _reduction(self, node: ast.Call, name: str, depth: int) -> Call:
        """Parse a reduction that says what keeps a number of its own."""
        *given, last = node.args
        args = tuple(self.parse(arg, depth) for arg in given)
        match last:
            case ast.Name(id=("row" | "column") as kept):
                return self._reduced(node, name, args, f"{kept}_")
            case ast.Name(id="model") if name in ("sum", "dot"):
                whole = self._reduced(node, name, args)
                return Call("model_sum", whole.args, self.span(node))
            case ast.Call(func=ast.Name(id="block"), args=[count], keywords=[]):
                return self._reduced(node, name, (*args, self.parse(count, depth)), "block_")
        text = ast.unparse(last)[:40]
        if text == "model":
            message = f"there is no `{name}` over all parameters"
            raise self.fail(last, message, "`sum(x, model)` and `dot(x, y, model)` are there")
        if text == "block":
            message = "`block` needs the number of blocks"
            raise self.fail(last, message, f"write `{name}(x, block(heads))`")
        meant = nearest(text, ("row", "column"))
        raise self.fail(
            last,
            f"`{text}` does not say what keeps a number of its own",
            (f"did you mean `{meant}`? " if meant else "")
            + f"`{name}(x)` is one number, `{name}(x, row)` one for each row, "
            f"`{name}(x, column)` one for each column, `{name}(x, block(n))` one for each of n "
            "blocks of rows; `sum(x, model)` and `dot(x, y, model)` go over all parameters",
        )

    def _take(self, node: ast.Call, depth: int) -> Call:
        match node.args:
            case [values, places, ast.Name(id=("row" | "column") as side)]:
                args = (self.parse(values, depth), self.parse(places, depth))
                return Call(f"{side}_take", args, self.span(node))
        raise self.fail(
            node, "`take` is written `take(x, places, row)` or `take(x, places, column)`"
        )

    def _polar(self, node: ast.Call, depth: int) -> Call:
        given = node.args
        blocks: Expr | None = None
        match given:
            case [*before, ast.Call(func=ast.Name(id="block"), args=[count], keywords=[])]:
                given, blocks = before, self.parse(count, depth)
        match given:
            case [value, ast.Name(id=name), *rest] if name in POLAR_LISTS and len(rest) < 2:
                known = POLAR_LISTS[name]
                numbers = known.numbers
                eps: Expr = self.parse(rest[0], depth) if rest else num(known.eps)
                safety: Expr = num(known.safety)
                of = self.parse(value, depth)
                return polar(of, numbers, eps, safety, self.span(node), blocks)
            case [value, ast.List(elts=rows), eps_node, *rest] if rows and len(rest) < 2:
                numbers = tuple(self._literal(each) for row in rows for each in self._triple(row))
                safety = self.parse(rest[0], depth) if rest else ONE
                eps = self.parse(eps_node, depth)
                of = self.parse(value, depth)
                return polar(of, numbers, eps, safety, self.span(node), blocks)
            case [ast.Name(id=name), value, *_] if name in POLAR_LISTS:
                hint = f"write `polar({ast.unparse(value)[:40]}, {name})`"
                raise self.fail(node.args[0], "the list of `polar` comes after the matrix", hint)
            case [_, ast.Name(id=name) as wish, *_] if name not in POLAR_LISTS:
                hint = did_you_mean(name, POLAR_LISTS, what="lists")
                raise self.fail(wish, f"`{name}` is not a list of coefficients", hint)
        raise self.fail(
            node,
            "`polar` is written `polar(x, LIST)` or `polar(x, LIST, eps)`",
            f"lists: {', '.join(POLAR_LISTS)}; or `polar(x, [[a, b, c], ...], eps)`; `block(n)` at "
            "the end makes one of each of n blocks of rows",
        )

    def _triple(self, row: ast.expr) -> list[ast.expr]:
        if isinstance(row, ast.List) and len(row.elts) == 3:
            return row.elts
        raise self.fail(row, "a step of `polar` is three coefficients: `[a, b, c]`")

    def _literal(self, node: ast.expr) -> Fraction:
        match node:
            case ast.Constant():
                return self._constant(node).value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as inner):
                return -self._constant(inner).value
        raise self.fail(node, "the coefficients of `polar` are numbers")


_SPECIAL: dict[str, Callable[[_Parser, ast.Call, int], Call]] = {
    "take": _Parser._take,
    "polar": _Parser._polar,
}
