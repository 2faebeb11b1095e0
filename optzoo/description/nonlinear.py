"""What a step does that is not linear in the gradients, and on which side of the momentum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optzoo.description.symbols import Symbols
from optzoo.description.system import NoClosedForm, System
from optzoo.interpreters.linear import Factor
from optzoo.interpreters.text import Printer, debiasing, printer_for
from optzoo.program.expressions import (
    Call,
    Expr,
    Name,
    names_in,
    substitute,
    walk,
)
from optzoo.program.ir import GRAD, Program


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
    try:
        system = System.of_step(program, Symbols(program, constant_lr=False))
    except NoClosedForm:
        return []
    lines = {line.target: line.expr for line in program.step}
    corrections = debiasing(program)
    printer = printer_for(program, "text")
    found: dict[tuple[str, str, str], Nonlinearity] = {}
    for gain in system.gains:
        name = gain.line
        upstream = {s.id for s in gain.sources if isinstance(s, Name) and s.id != GRAD.id}
        downstream = [b for b in system.updates if b != name.id and _feeds(program, name, b)]
        text = _what(gain.factor, lines[name], lambda e: substitute(e, corrections.get), printer)
        place = Nonlinearity(
            gain.kind,
            str(name),
            text,
            tuple(b for b in system.updates if b in upstream),
            tuple(b for b in downstream if b not in upstream),
        )
        found.setdefault((str(name), gain.kind, text), place)
    return list(found.values())


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
