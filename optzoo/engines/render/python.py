"""A step as readable Python over torch tensors: one function, one parameter, in place.

What needs no tensor is an argument: each *coefficient* is computed on the host in float64 and
handed over in one 1-D tensor, so that the text depends neither on t, nor on lr, nor on any value
of a hyperparameter. Nothing is computed here, and torch is not imported: the text is for people,
and `tests` run it beside the engines.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from optzoo.engines.render.dialect import (
    COMPARED,
    INFIX,
    PRODUCT,
    SIGN,
    SUM,
    Dialect,
    Identifiers,
    Row,
    spell,
)
from optzoo.program.expressions import Expr, Name, Num, format_expression, names_in
from optzoo.program.ir import GRAD, PARAM, Line, Program
from optzoo.program.planning import Plan, plan_program


def _literal(value: Fraction) -> str:
    return repr(float(value)) if value >= 0 else f"({float(value)!r})"


PYTHON = Dialect(
    {
        **INFIX,
        "square": Row("torch.square({})", arguments=(0,)),
        "sqrt": Row("torch.sqrt({})", arguments=(0,)),
        "abs": Row("torch.abs({})", arguments=(0,)),
        "sign": Row("torch.sign({})", arguments=(0,)),
        "min": Row("torch.minimum({}, {})"),
        "max": Row("torch.maximum({}, {})"),
        "min literal": Row("torch.clamp_max({}, {})"),
        "max literal": Row("torch.clamp_min({}, {})"),
        "pow": Row("torch.pow({}, {})"),
        "exp": Row("torch.exp({})", arguments=(0,)),
        "log": Row("torch.log({})", arguments=(0,)),
        "tanh": Row("torch.tanh({})", arguments=(0,)),
        "atan2": Row("torch.atan2({}, {})"),
        "ratio": Row("torch.where({1} == 0, 0.0, {0} / {1})", arguments=(PRODUCT, SIGN)),
        "where": Row("torch.where({} != 0, {}, {})", arguments=(SUM, 0, 0)),
        "positive": Row("1.0 * ({} > 0)", PRODUCT, (SUM,)),
        **{
            op: Row(f"1.0 * ({{}} {sign} {{}})", PRODUCT, (SUM, SUM))
            for op, sign in COMPARED.items()
        },
    },
    _literal,
    frozenset({"torch", "coefficients", *keyword.kwlist}),
)


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


def step_source(program: Program) -> StepSource:
    """Return the step of a checked program as Python source."""
    plan = plan_program(program)
    identifiers = Identifiers(PYTHON)
    function = identifiers.fresh(program.name)
    spelling = spell(plan, identifiers)
    names = spelling.all
    olds = {spelling.olds[name] for name in plan.inputs if name != GRAD}
    body: list[str] = []
    written: set[Name] = set()

    def write(lines: Sequence[Line]) -> None:
        for line in lines:
            if line.target in written:
                continue
            written.add(line.target)
            text = PYTHON.text(line.expr, names)
            if text in olds:  # a delayed copy: what it holds is about to be overwritten
                text += ".clone()"
            if isinstance(line.expr, Num):
                text = f"torch.full_like({names[PARAM.prev]}, {text})"
            place = ".".join(map(str, line.source))
            body.append(f"# {place}: {line}" if place else f"# {line}")
            body.append(f"{names[line.target]} = {text}")

    for each in plan.passes:
        write(each.lines)
        for reduction in each.reductions:
            argument = PYTHON.text(reduction.argument, names)
            norm = spelling.norms[reduction.name]
            body.append(f"{norm} = torch.linalg.vector_norm({argument})")
        for name, expr in each.numbers:
            text = PYTHON.text(expr, {**names, **spelling.norms})
            body.append(f"{spelling.numbers[name]} = {text}")
    write(plan.lines)
    body.append("# one store each, in place")
    body += [f"{names[name.prev]}.copy_({names[name]})" for name in (*plan.stores[1:], PARAM)]
    head = [
        f"def {function}({', '.join(spelling.olds.values())}, coefficients):",
        *_indented(_opening(plan, spelling.coefficients, names)),
    ]
    text = "\n".join(["import torch", "", "", *head, *_indented(body), ""])
    return StepSource(function, text, plan.buffers, tuple(e for _, e in plan.coefficients))


def _opening(plan: Plan, coefficients: dict[Name, str], names: dict[Name, str]) -> list[str]:
    """Return what stands before the lines: docstring, coefficients, the gradient's dtype."""
    program = plan.program
    rows = [f'"""One step of {program.name} on one parameter tensor, in place."""']
    if program.scalars:
        rows.append("# on the host, in float64, once per step:")
        rows += [f"#   {line}" for line in program.scalars]
    if coefficients:
        rows.append("# the coefficients, each rounded once to the dtype of the parameter:")
        for _, expr in plan.coefficients:
            if isinstance(expr, Name) and names[expr] == str(expr):
                continue
            spelt = coefficients[next(n for n, e in plan.coefficients if e == expr)]
            rows.append(f"#   {spelt} := {format_expression(expr)}")
        listed = textwrap.wrap(", ".join(coefficients.values()) + ",", 80)
        rows += ["(", *_indented(listed), ") = coefficients.unbind()"]
    if any(GRAD in names_in(line.expr) for line in program.step):
        rows.append(f"{names[GRAD]} = {names[GRAD]}.to({names[PARAM.prev]}.dtype)")
    return rows


def _indented(rows: Sequence[str]) -> list[str]:
    return [f"    {row}" for row in rows]
