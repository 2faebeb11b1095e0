"""A program as people read it: where states start is said of them, and not computed in a line.

Lowering gives a start that is an expression a line of its own, which chooses between it and what
is remembered (`m_before := where(t == 1, norm(param.prev), m.prev)`); all that reads `m.prev` reads
that line. Recipes know nothing of it: what is shown, and what errors say, is `m.prev` again. The
digest of a program is of the program as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from optzoo.program.expressions import ONE, Call, Expr, Name, substitute
from optzoo.program.ir import MODEL_STEP, Line, Program, format_program

IDENTITY = Name("identity")
STARTS = ("init", "start")
"""Keys of a recipe that say where something starts; such a line comes from one of them."""


@dataclass(frozen=True)
class Start:
    """What the previous value of a state is at the first step."""

    state: Name
    value: Expr


def starts_of(program: Program) -> dict[Name, Start]:
    """Return the lines that choose between a start and what is remembered, by their names."""
    found = {}
    for line in program.lines:
        start = _start_in(line)
        if start is not None:
            found[line.target] = start
    return found


def _start_in(line: Line) -> Start | None:
    match line.expr:
        case Call(
            "where", (Call("equal", (Name() as step, one)), value, Name(when="prev") as state)
        ):
            if line.source[-1:] in [(key,) for key in STARTS] and one == ONE:
                return Start(state, value) if step in (Name("t"), MODEL_STEP) else None
    return None


def as_told(program: Program) -> Program:
    """Return the program without its starts: each value before the step is called so."""
    starts = starts_of(program)
    if not starts:
        return program

    def own(name: Name) -> Name | None:
        return starts[name].state if name in starts else None

    def told(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        kept = (line for line in lines if line.target not in starts)
        return tuple(replace(line, expr=substitute(line.expr, own)) for line in kept)

    return replace(
        program,
        scalars=told(program.scalars),
        step=told(program.step),
        pooled=told(program.pooled),
    )


def told_starts(program: Program) -> dict[str, Expr]:
    """Return the starts that are expressions, by state, in its own names."""
    starts = starts_of(program)

    def own(name: Name) -> Name | None:
        return starts[name].state if name in starts else None

    return {start.state.id: substitute(start.value, own) for start in starts.values()}


def _plain(expr: Expr, identity: Call) -> Expr:
    """Return a start with `identity` for the identity of the state's own sides."""
    if expr == identity:
        return IDENTITY
    if not isinstance(expr, Call):
        return expr
    return Call(expr.op, tuple(_plain(arg, identity) for arg in expr.args), expr.span)


def readable(program: Program) -> str:
    """Return a program as text for people: like `Program.text`, with starts said of states."""
    starts = {
        name: _plain(start, Call("identity", (Name(name, "prev"),)))
        for name, start in told_starts(program).items()
    }
    return format_program(as_told(program), starts=starts)


def in_own_names(text: str, before: Mapping[Name, Name]) -> str:
    """Return a message in which values before the step are called as a recipe calls them."""
    for line, state in before.items():
        text = re.sub(rf"(?<![\w.]){re.escape(line.id)}(?!\w)", str(state), text)
    return text
