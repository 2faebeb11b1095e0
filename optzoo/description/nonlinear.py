"""What a step does that is not linear in the gradients, and on which side of the momentum."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from optzoo.description.response import DECISION_STEPS
from optzoo.interpreters.equations import Printer, debiasing, printer_for
from optzoo.interpreters.linear import Factor, Form, Gain, LinearDomain, Opaque, linear_step
from optzoo.interpreters.random_point import DrawnDomain, DrawnInputs
from optzoo.program.domain import initial_memory, run_scalars
from optzoo.program.expressions import Call, Expr, Name, names_in, substitute, walk
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.simplify import conditions_of, decided

ONE = Fraction(1)


@dataclass(frozen=True)
class Nonlinearity:
    """One place: what is done in which line, after which momenta and before which.

    A momentum is told by its buffer.
    """

    kind: str
    line: str
    text: str
    after: tuple[str, ...]
    before: tuple[str, ...]


def nonlinearities(program: Program) -> list[Nonlinearity]:
    """Return the places where a step is not linear, in order."""
    chosen = dict.fromkeys(conditions_of(program), True)  # what happens at some steps only
    program = replace(program, step=decided(program, chosen))
    buffers, gains = _places(program)
    lines = {line.target: line.expr for line in program.step}
    corrections = debiasing(program)
    printer = printer_for(program, "text")
    found: dict[tuple[str, str, str], Nonlinearity] = {}
    for gain in gains:
        name = gain.line
        upstream = {s.id for s in gain.sources if isinstance(s, Name) and s.id != GRAD.id}
        downstream = [b for b in buffers if b != name.id and _feeds(program, name, b)]
        text = _what(gain.factor, lines[name], lambda e: substitute(e, corrections.get), printer)
        place = Nonlinearity(
            gain.kind,
            str(name),
            text,
            tuple(b for b in buffers if b in upstream),
            tuple(b for b in downstream if b not in upstream),
        )
        found.setdefault((str(name), gain.kind, text), place)
    return list(found.values())


SOME_TIME = Fraction(12347, 1001)
"""A t between two steps, at which nothing that a condition spares has to be missing: t - 1, say."""


def _places(program: Program) -> tuple[list[str], Sequence[Gain]]:
    """Return the buffers that are linear, and the places of one step that are not.

    The numbers of the step do not matter here, and are drawn.
    """
    rng = random.Random(0)
    drawn = DrawnDomain(rng)
    inputs = DrawnInputs(program, rng, DECISION_STEPS)
    numbers = {**inputs(1), "t": SOME_TIME}
    scalars = run_scalars(program, drawn, numbers, initial_memory(program, drawn))
    names = {state.name for state in program.tensor_states}
    opaque: set[str] = set()
    while True:  # a buffer fed by what is not linear is not linear in the next step either
        linear: list[str] = []
        values: dict[Name, Any] = {**scalars, PARAM.prev: Form({}), GRAD: Form({GRAD: ONE})}
        for state in program.tensor_states:
            old = Name(state.name, "prev")
            fixed = Opaque(ONE, (Factor("elementwise factor", old),))
            values[old] = fixed if state.name in opaque else Form({old: ONE})

        def assigned(target: Name, value: Any, linear: list[str] = linear) -> Any:
            if isinstance(value, Form) and target.id in names:
                linear.append(target.id)
                return Form({target: ONE})
            return value

        domain: LinearDomain[Fraction] = LinearDomain(drawn)
        linear_step(program, domain, values, assigned)
        if GRAD.id in names:
            linear.insert(0, GRAD.id)
        if names - set(linear) <= opaque:
            return linear, domain.gains if isinstance(values[PARAM], Form) else ()
        opaque |= names - set(linear)


def _feeds(program: Program, line: Name, buffer: str) -> bool:
    """Whether a buffer is computed from a line of the same step."""
    lines = {ln.target: ln.expr for ln in program.step}
    stack, seen = [Name(buffer)], set()
    while stack:
        name = stack.pop()
        if name == line:
            return True
        if name in lines and name not in seen:
            seen.add(name)
            stack += [n for n in names_in(lines[name]) if n.when == "now"]
    return False


def _what(factor: Factor, line: Expr, spelled: Callable[[Expr], Expr], printer: Printer) -> str:
    """Return the operation in words, with what the line multiplies, divides or clips by."""
    match factor.kind:
        case "sign":
            return "only the sign is kept"
        case "orthogonaliser":
            return "only the singular vectors are kept, the singular values go to 1"
        case "elementwise clip":
            calls = [node for node in walk(line) if isinstance(node, Call)]
            bounds = [_bound(c) for c in calls if c.op in ("min", "max")]
            texts = ", ".join(printer.expression(spelled(b)) for b in bounds[:2])
            return f"each element is clipped to {texts}"
    verb = "divided" if factor.divides else "multiplied"
    return f"{verb} by {printer.expression(spelled(factor.expr))}"


def _bound(clip: Call) -> Expr:
    """Return what a `min` or `max` compares with: its shortest argument, the other is clipped."""
    return min(clip.args, key=lambda arg: sum(1 for _ in walk(arg)))
