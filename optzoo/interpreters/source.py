"""The source interpreter: a program's step as readable Python over torch tensors.

The text is one function that updates one parameter and its buffers in place. What needs no tensor
is lifted out of it: each largest subexpression of scalars is a *coefficient*, computed on the host
in float64 and handed over in one 1-D tensor, so that the text depends neither on t, nor on lr, nor
on any value of a hyperparameter. Nothing is computed here, and torch is not imported: the text is
for people to read and for the compiled engine to run.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, Num, format_expression, names_in
from optzoo.program.ir import GRAD, PARAM, Program

RESERVED = frozenset({"torch", "coefficients", *keyword.kwlist})
ATOM, SUM, PRODUCT, SIGN = 9, 1, 2, 3


@dataclass(frozen=True)
class StepSource:
    """A step as Python source.

    `text` defines the function `name`. Its arguments are the parameter, the gradient, a tensor for
    each of `buffers`, and the tensor of `coefficients`, which stand for these expressions over the
    program's scalars. Tensors are updated in place; nothing is returned.
    """

    name: str
    text: str
    buffers: tuple[str, ...]
    coefficients: tuple[Expr, ...]


@dataclass(frozen=True)
class Scalar:
    """A value that needs no tensor."""

    expr: Expr


@dataclass(frozen=True)
class Code:
    """A tensor: its text, and how tightly its outermost operation binds."""

    text: str
    level: int = ATOM


Value = Scalar | Code

_CALLS = {
    "square": "torch.square",
    "sqrt": "torch.sqrt",
    "abs": "torch.abs",
    "sign": "torch.sign",
    "norm": "torch.linalg.vector_norm",
}
_BINARY = {
    "add": (" + ", SUM),
    "sub": (" - ", SUM),
    "mul": (" * ", PRODUCT),
    "div": (" / ", PRODUCT),
}
_BOUNDS = {"min": ("torch.clamp_max", "torch.minimum"), "max": ("torch.clamp_min", "torch.maximum")}


class SourceDomain:
    """Values are scalars still to be computed, or the text of tensors.

    A scalar that meets a tensor becomes a literal if it is a number, else a coefficient; equal
    expressions share one.
    """

    def __init__(self, taken: Sequence[str]) -> None:
        self.coefficients: dict[Expr, str] = {}
        self._taken = {*taken, *RESERVED}

    def number(self, value: Fraction) -> Value:
        """Return a literal."""
        return Scalar(Num(value))

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation to scalars, or to tensors and scalars."""
        if not any(isinstance(arg, Code) for arg in args):
            return Scalar(Call(op, tuple(arg.expr for arg in args if isinstance(arg, Scalar))))
        if op in _CALLS:
            return Code(f"{_CALLS[op]}({self.code(args[0]).text})")
        if op == "neg":
            return Code(f"-{_within(self.code(args[0]), SIGN)}", SIGN)
        if op in _BOUNDS:
            return self._bound(op, args)
        symbol, level = _BINARY[op]
        left, right = map(self.code, args)
        return Code(f"{_within(left, level)}{symbol}{_within(right, level + 1)}", level)

    def _bound(self, op: str, args: Sequence[Value]) -> Value:
        scalars = tuple(arg.expr for arg in args if isinstance(arg, Scalar))
        first, *rest = (arg for arg in args if isinstance(arg, Code))
        with_number, with_tensor = _BOUNDS[op]
        if scalars:
            rest.append(self.code(Scalar(Call(op, scalars) if len(scalars) > 1 else scalars[0])))
        is_literal = len(scalars) == 1 and isinstance(scalars[0], Num)
        for i, other in enumerate(rest, 1):
            function = with_number if is_literal and i == len(rest) else with_tensor
            first = Code(f"{function}({first.text}, {other.text})")
        return first

    def code(self, value: Value) -> Code:
        """Return a value as text, lifting what is no literal out of the function."""
        if isinstance(value, Code):
            return value
        if isinstance(value.expr, Num):
            return Code(repr(float(value.expr.value)))
        if value.expr not in self.coefficients:
            unnamed = sum(not isinstance(expr, Name) for expr in self.coefficients)
            wish = _spelled(value.expr) if isinstance(value.expr, Name) else f"c{unnamed + 1}"
            self.coefficients[value.expr] = self.fresh(wish)
        return Code(self.coefficients[value.expr])

    def fresh(self, wish: str) -> str:
        """Return an identifier that is not in use, and take it."""
        while wish in self._taken:
            wish += "_"
        self._taken.add(wish)
        return wish


def _within(code: Code, level: int) -> str:
    return code.text if code.level >= level else f"({code.text})"


def _spelled(name: Name) -> str:
    return name.id if name.when == "now" else f"{name.id}_{name.when}"


def step_source(program: Program) -> StepSource:
    """Return the step of a checked program as Python source."""
    buffers = tuple(state.name for state in program.tensor_states)
    entries = (PARAM.prev, GRAD, *(Name(name, "prev") for name in buffers))
    domain = SourceDomain(())
    function = domain.fresh(program.name)
    values: dict[Name, Value] = {name: Code(domain.fresh(_spelled(name))) for name in entries}
    assigned = {line.target for line in program.step}
    for line in program.step:
        for name in names_in(line.expr):
            if name not in values and name not in assigned:
                values[name] = Scalar(name)
    olds = {domain.code(values[name]).text for name in entries if name != GRAD}
    body: list[str] = []
    for line in program.step:
        value = evaluate(line.expr, domain, values)
        if isinstance(value, Code):
            target = domain.fresh(_spelled(line.target))
            place = ".".join(map(str, line.source))
            if value.text in olds:  # a delayed copy: what it holds is about to be overwritten
                value = Code(f"{value.text}.clone()")
            body += [f"# {place}: {line}" if place else f"# {line}", f"{target} = {value.text}"]
            value = Code(target)
        values[line.target] = value
    body.append("# one store each, in place")
    for name in (*map(Name, buffers), PARAM):
        body.append(f"{domain.code(values[name.prev]).text}.{_store(domain, values[name])}")
    arguments = ", ".join(domain.code(values[name]).text for name in entries)
    head = [f"def {function}({arguments}, coefficients):", *_indented(_opening(program, domain))]
    text = "\n".join(["import torch", "", "", *head, *_indented(body), ""])
    return StepSource(function, text, buffers, tuple(domain.coefficients))


def _store(domain: SourceDomain, value: Value) -> str:
    text = domain.code(value).text
    is_literal = isinstance(value, Scalar) and isinstance(value.expr, Num)
    return f"fill_({text})" if is_literal else f"copy_({text})"


def _opening(program: Program, domain: SourceDomain) -> list[str]:
    """Return what stands before the lines: docstring, coefficients, the gradient's dtype."""
    rows = [f'"""One step of {program.name} on one parameter tensor, in place."""']
    if program.scalars:
        rows.append("# on the host, in float64, once per step:")
        rows += [f"#   {line}" for line in program.scalars]
    if domain.coefficients:
        rows.append("# the coefficients, each rounded once to the dtype of the parameter:")
        for expr, name in domain.coefficients.items():
            if format_expression(expr) != name:
                rows.append(f"#   {name} := {format_expression(expr)}")
        rows += ["(", *_indented(_rows_of_names(domain)), ") = coefficients.unbind()"]
    if any(GRAD in names_in(line.expr) for line in program.step):
        grad, param = _spelled(GRAD), _spelled(PARAM.prev)
        rows.append(f"{grad} = {grad}.to({param}.dtype)")
    return rows


def _rows_of_names(domain: SourceDomain) -> list[str]:
    return textwrap.wrap(", ".join(domain.coefficients.values()) + ",", 80)


def _indented(rows: Sequence[str]) -> list[str]:
    return [f"    {row}" for row in rows]
