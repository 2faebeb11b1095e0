"""The domain protocol, and the one place where a program is run.

A domain is an algebra of values: how to make a number and how to apply an operation. Running a
program in floats, exact rationals, torch tensors, linear forms, strings or counters is the same
walk with another domain; that is the extension point for every interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Protocol, SupportsFloat, TypeVar

from optzoo.program.arithmetic import NotRealError
from optzoo.program.expressions import Expr, Name, Num, names_in
from optzoo.program.ir import GRAD, MODEL_STEP, PARAM, Line, Program, lines_needed

V = TypeVar("V")


class Domain(Protocol[V]):
    """An algebra of values.

    One domain may hold numbers and tensors side by side: an operation of `OPS` receives whatever
    its arguments evaluated to.
    """

    def number(self, value: Fraction) -> V:
        """Return the value of a literal."""
        ...

    def apply(self, op: str, args: Sequence[V]) -> V:
        """Return the value of an operation of `OPS`."""
        ...


def evaluate(expr: Expr, domain: Domain[V], values: Mapping[Name, V]) -> V:
    """Return the value of an expression."""
    if isinstance(expr, Num):
        return domain.number(expr.value)
    if isinstance(expr, Name):
        return values[expr]
    if expr.op == "where":  # a condition that is a number decides which of the two is computed
        condition = evaluate(expr.args[0], domain, values)
        if isinstance(condition, float | Fraction | Decimal):
            return evaluate(expr.args[1 if condition != 0 else 2], domain, values)
        args = [condition, *(evaluate(arg, domain, values) for arg in expr.args[1:])]
        return domain.apply("where", args)
    return domain.apply(expr.op, [evaluate(arg, domain, values) for arg in expr.args])


def run_lines(lines: Sequence[Line], domain: Domain[V], values: dict[Name, V]) -> None:
    """Evaluate assignments in order, adding each target to `values`."""
    for line in lines:
        values[line.target] = evaluate(line.expr, domain, values)


def run_scalars(
    program: Program, domain: Domain[V], inputs: Mapping[str, V], memory: Mapping[str, V]
) -> dict[Name, V]:
    """Run the scalar block of one step.

    `inputs` holds the hyperparameters and `t`, `T`, `lr0`; `memory` the value of each scalar
    state at the end of the previous step. Sums over all parameters that `inputs` does not hold are
    0, as without gradients. A NotRealError of the domain gets its place.
    """
    values = {line.target: domain.number(Fraction(0)) for line in program.pooled}
    values |= {MODEL_STEP: inputs["t"]} | {Name(name): value for name, value in inputs.items()}
    values |= {Name(name, "prev"): value for name, value in memory.items()}
    for line in program.scalars:
        try:
            run_lines([line], domain, values)
        except NotRealError as error:
            t = inputs["t"]
            raise error.at(line, float(t) if isinstance(t, SupportsFloat) else None) from None
    return values


def run_known(
    program: Program, domain: Domain[V], inputs: Mapping[str, V], memory: Mapping[str, V]
) -> dict[Name, V]:
    """Run the scalars that `inputs` suffices for: no further sum over parameters is needed."""
    values = {MODEL_STEP: inputs["t"]} | {Name(name): value for name, value in inputs.items()}
    values |= {Name(name, "prev"): value for name, value in memory.items()}
    for line in program.scalars:
        if all(name in values for name in names_in(line.expr)):
            values[line.target] = evaluate(line.expr, domain, values)
    return values


def pooled_value(
    program: Program,
    line: Line,
    domain: Domain[V],
    scalars: Mapping[Name, V],
    param: V,
    grad: V,
    buffers: Mapping[str, V],
) -> V:
    """Return the tensor of one parameter that a line of `program.pooled` sums up."""
    values: dict[Name, V] = {**scalars, PARAM.prev: param, GRAD: grad}
    values |= {Name(name, "prev"): value for name, value in buffers.items()}
    run_lines(lines_needed(program.step, names_in(line.expr)), domain, values)
    return evaluate(line.expr, domain, values)


def initial_memory(program: Program, domain: Domain[V]) -> dict[str, V]:
    """Return what the scalar states hold before the first step."""
    memory: dict[str, V] = {}
    for state in program.scalar_states:
        assert isinstance(state.init, Fraction)
        memory[state.name] = domain.number(state.init)
    return memory


def kept_memory(program: Program, values: Mapping[Name, V]) -> dict[str, V]:
    """Return what the scalar states hold after a step whose scalars are `values`."""
    return {state.name: values[Name(state.name)] for state in program.scalar_states}


def run_step(
    program: Program,
    domain: Domain[V],
    scalars: Mapping[Name, V],
    param: V,
    grad: V,
    buffers: Mapping[str, V],
) -> tuple[V, dict[str, V]]:
    """Run the tensor block of one step; return the new parameter and the new buffers."""
    values: dict[Name, V] = dict(scalars)
    values[PARAM.prev], values[GRAD] = param, grad
    values |= {Name(name, "prev"): value for name, value in buffers.items()}
    run_lines(program.step, domain, values)
    kept = {state.name: values[Name(state.name)] for state in program.tensor_states}
    return values[PARAM], kept


def run_view(
    program: Program,
    view: str,
    domain: Domain[V],
    inputs: Mapping[str, V],
    memory: Mapping[str, V],
    param: V,
    buffers: Mapping[str, V],
) -> V:
    """Return a view between two steps, from the parameter and what the states hold."""
    values: dict[Name, V] = {Name(n): v for n, v in {**inputs, **memory, **buffers}.items()}
    values[PARAM] = param
    return evaluate(program.view(view).expr, domain, values)
