"""The program: checked straight-line, single-assignment code. The heart of the house.

A program has three blocks. `scalars` are numbers, computed once per clock and step on the host.
`step` works on tensors and assigns `param` exactly once; the sides of a value are rows and columns
of the parameter, or 1 (`optzoo.program.tensors.named_sides`). `views` say
which point is trained, which is evaluated and which are observed.

Every name has at most two values in a step: `m.prev` on entry and `m` once assigned. There are no
branches and no loops. Programs are made by `optzoo.recipe.lower`, checked by `check_program`, and
given meaning by the interpreters; nothing here computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

from optzoo.program.expressions import (
    Call,
    Expr,
    Name,
    format_expression,
    format_number,
    names_in,
    walk,
)
from optzoo.program.intervals import Interval
from optzoo.program.ops import OPS, Scope
from optzoo.program.tensors.named_sides import FULL, Shape

Loc = tuple[str | int, ...]

PARAM = Name("param")
GRAD = Name("grad")

MODEL_STEP = Name("model_t")
"""The step of the whole model: t of the parameters that have had most updates."""

CLOCK_INPUTS = ("t", "T", "lr0")
"""Scalars that are given, not computed: the parameter's own step (from 1), the total number of
steps, and the learning rate at construction. `lr` is a hyperparameter that the user may move."""


@dataclass(frozen=True)
class Hyper:
    """A hyperparameter: its value here, the interval it must lie in, one line of doc."""

    name: str
    value: Fraction
    interval: Interval
    doc: str = ""


Init = Fraction | Literal["grad", "param"]


@dataclass(frozen=True)
class State:
    """What a step leaves for the next: the value of the name `name` at the end of the step.

    `init` is the value of `name.prev` at a parameter's first update: a number, or for tensors
    `grad` (that first gradient) or `param` (the parameter before it). `shape` is what a buffer is
    shaped like; a value with a side of 1 where this has another is repeated along it.
    """

    name: str
    sort: Literal["scalar", "tensor"]
    init: Init = Fraction(0)
    shape: Shape = FULL

    @property
    def kind(self) -> str:
        """What it is, for people: `scalar`, `tensor`, `rows x 1`."""
        return str(self.shape) if self.sort == "tensor" and self.shape != FULL else self.sort


@dataclass(frozen=True)
class Line:
    """One assignment. `source` is the place in the recipe it came from.

    `within` is the interval that the value must lie in: that of a hyperparameter which is an
    expression.
    """

    target: Name
    expr: Expr
    source: Loc = ()
    within: Interval | None = None

    def __str__(self) -> str:
        return f"{self.target} := {format_expression(self.expr)}"


@dataclass(frozen=True)
class View:
    """A point that can be read at the end of a step. Linear in `param` and the buffers."""

    name: str
    expr: Expr
    source: Loc = ()


@dataclass(frozen=True)
class Program:
    """See the module docstring. `views[0]` is `train`, `views[1]` is `eval`.

    `polar_dtype` is what the products inside `polar` are rounded to for parameters of float32 and
    narrower. It is a matter of engines and no part of the program's text: what it means is exact.
    `pooled` are the numbers of a step that are sums over all parameters: each line names a tensor
    that is summed up, in an order in which each needs those before it alone, and scalars read it.
    """

    name: str
    hypers: tuple[Hyper, ...]
    states: tuple[State, ...]
    scalars: tuple[Line, ...]
    step: tuple[Line, ...]
    views: tuple[View, ...]
    polar_dtype: Literal["float32", "bfloat16"] = "float32"
    pooled: tuple[Line, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """All assignments, scalars first."""
        return self.scalars + self.step

    @cached_property
    def tensor_states(self) -> tuple[State, ...]:
        """The buffers, in order."""
        return tuple(s for s in self.states if s.sort == "tensor")

    @cached_property
    def scalar_states(self) -> tuple[State, ...]:
        """The scalars with memory, in order; one whose next value is read too is listed once."""
        return tuple({s.name: s for s in self.states if s.sort == "scalar"}.values())

    @cached_property
    def uses_total_steps(self) -> bool:
        """Whether any line mentions `T`."""
        return any(name.id == "T" for name in self.names())

    @cached_property
    def is_flat(self) -> bool:
        """Whether a step may see its tensors as rows of elements: nothing asks for their sides."""
        calls = (n for line in self.step for n in walk(line.expr) if isinstance(n, Call))
        flat = all(call.op == "norm" or OPS[call.op].scope is Scope.ELEMENTWISE for call in calls)
        return flat and all(state.shape == FULL for state in self.tensor_states)

    @cached_property
    def scope(self) -> Scope:
        """The widest scope of any line."""
        return max((line_scope(line.expr) for line in self.step), default=Scope.ELEMENTWISE)

    def names(self) -> Iterator[Name]:
        """Every name read anywhere."""
        for line in (*self.lines, *self.pooled):
            yield from names_in(line.expr)
        for view in self.views:
            yield from names_in(view.expr)

    def view(self, name: str) -> View:
        """Return the view called `name`; KeyError when there is none."""
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(name)

    def with_values(self, values: dict[str, Fraction]) -> Program:
        """Return the same program with other hyperparameter values."""
        hypers = tuple(replace(h, value=values.get(h.name, h.value)) for h in self.hypers)
        return replace(self, hypers=hypers)

    def text(self, *, values: bool = True) -> str:
        """Return the program as text: a stable, readable form. `values` shows hyperparameters."""
        return format_program(self, values=values)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the program without the values of its hyperparameters."""
        return hashlib.sha256(self.text(values=False).encode()).hexdigest()


def lines_needed(lines: Sequence[Line], wanted: Iterable[Name]) -> tuple[Line, ...]:
    """Return the lines that the wanted names depend on, in order."""
    by_target = {line.target: line for line in lines}
    needed: set[Name] = set()
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name in by_target and name not in needed:
            needed.add(name)
            stack.extend(names_in(by_target[name].expr))
    return tuple(line for line in lines if line.target in needed)


def line_scope(expr: Expr) -> Scope:
    """Return the widest scope of the operations in an expression."""
    scopes = [OPS[node.op].scope for node in walk(expr) if isinstance(node, Call)]
    return max(scopes, default=Scope.ELEMENTWISE)


def format_program(
    program: Program, *, values: bool = True, starts: Mapping[str, Expr] | None = None
) -> str:
    """Return the text form of a program, one line per assignment, blocks labelled at the left.

    `starts` are what states start at, where that is not their `init`.
    """
    hypers = [f"{h.name}={format_number(h.value)}" if values else h.name for h in program.hypers]
    rows = [f"program {program.name} ({', '.join(hypers)})"]
    for state in program.states:
        told = (starts or {}).get(state.name)
        init = state.init if isinstance(state.init, str) else format_number(state.init)
        init = init if told is None else format_expression(told)
        rows.append(f"  {'state':<8} {state.name}.prev : {state.kind}, starts at {init}")
    for line in program.pooled:
        rows.append(f"  {'model':<8} {line.target} := sum({format_expression(line.expr)}, model)")
    for label, lines in (("scalars", program.scalars), ("step", program.step)):
        width = max((len(str(line.target)) for line in lines), default=0)
        for i, line in enumerate(lines):
            head = label if i == 0 else ""
            scope = line_scope(line.expr)
            note = "" if scope is Scope.ELEMENTWISE else f"    [{scope}]"
            target = str(line.target)
            rows.append(f"  {head:<8} {target:<{width}} := {format_expression(line.expr)}{note}")
    width = max(len(view.name) for view in program.views)
    for i, view in enumerate(program.views):
        head = "views" if i == 0 else ""
        rows.append(f"  {head:<8} {view.name:<{width}} := {format_expression(view.expr)}")
    return "\n".join(rows)
