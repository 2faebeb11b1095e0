"""Next values: `x.next` is the expression of x with t + 1 for t, and has a line of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from optzoo.program.check import Fault
from optzoo.program.expressions import ONE, Expr, Name, add, names_in, sub, substitute
from optzoo.program.ir import Line, Program, View
from optzoo.recipe.ordering import LoweringError, ordered

T = Name("t")


def expand_next(scalars: dict[Name, Line], readers: Iterable[Line | View]) -> None:
    """Add a line to `scalars` for every `x.next` that they or the readers mention.

    A plain hyperparameter is the same at every step. Raises LoweringError for a scalar that is not
    a pure function of `t`.
    """
    pending = [
        name
        for reader in (*scalars.values(), *readers)
        for name in names_in(reader.expr)
        if name.when == "next"
    ]
    while pending:
        name = pending.pop()
        if name in scalars:
            continue
        line = scalars.get(Name(name.id))
        if line is None:
            scalars[name] = Line(name, Name(name.id), ())
            continue
        expr = substitute(line.expr, lambda n: _one_step_on(n, scalars))
        scalars[name] = Line(name, expr, line.source, line.within)
        pending += [n for n in names_in(expr) if n.when == "next"]


def _one_step_on(name: Name, scalars: dict[Name, Line]) -> Expr | None:
    if name.when != "now" or name.id in ("lr", "lr0"):
        message = f"a next value needs a pure function of `t`, and this one reads `{name}`"
        raise LoweringError([Fault("no-next", message, ("scalars", name.id))])
    if name == T:
        return add(T, ONE)
    return Name(name.id, "next") if name in scalars else None


def with_present_values(program: Program) -> Program:
    """Return a program with a line of x for every `x.next` that is read where x itself is not.

    Analyses speak of one x at two steps. Its line is that of `x.next` with t - 1 for t.
    """
    lines = {line.target: line for line in program.scalars}
    known = {*lines, *(Name(h.name) for h in program.hypers)}
    found = {Name(n.id): line for n, line in lines.items() if n.when == "next"}
    missing = {n: _one_step_back(line, n) for n, line in found.items() if n not in known}
    return replace(program, scalars=ordered({**missing, **lines})) if missing else program


def _one_step_back(line: Line, target: Name) -> Line:
    def back(name: Name) -> Expr | None:
        if name == T:
            return sub(T, ONE)
        return Name(name.id) if name.when == "next" else None

    return Line(target, substitute(line.expr, back), line.source)
