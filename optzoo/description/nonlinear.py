"""What a step does that is not linear in the gradients, and on which side of the momentum."""

from __future__ import annotations

from dataclasses import dataclass

from optzoo.description.symbols import Symbols
from optzoo.description.system import NoClosedForm, System
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
        system = System.of(program, Symbols(program, constant_lr=False))
    except NoClosedForm:
        return []
    lines = {line.target: line.expr for line in program.step}
    corrections = debiasing(program)
    printer = printer_for(program, "text")
    found: dict[tuple[str, str], Nonlinearity] = {}
    for gain in system.gains:
        name = gain.line
        upstream = {s.id for s in gain.sources if isinstance(s, Name) and s.id != GRAD.id}
        downstream = [b for b in system.updates if b != name.id and _feeds(program, name, b)]
        place = Nonlinearity(
            gain.kind,
            str(name),
            _what(gain.kind, substitute(lines[name], corrections.get), printer),
            tuple(b for b in system.updates if b in upstream),
            tuple(b for b in downstream if b not in upstream),
        )
        found.setdefault((str(name), gain.kind), place)
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


def _what(kind: str, expr: Expr, printer: Printer) -> str:
    """Return the operation in words, with what the line divides by or clips to."""
    calls = [node for node in walk(expr) if isinstance(node, Call)]
    match kind:
        case "sign":
            return "only the sign is kept"
        case "elementwise clip":
            bounds = [c.args[0] for c in calls if c.op in ("min", "max")]
            texts = ", ".join(printer.expression(b) for b in bounds[:2])
            return f"each element is clipped to {texts}"
        case "norm clip" | "preconditioner":
            divisors = [c.args[1] for c in calls if c.op == "div"]
            if divisors:
                return f"divided by {printer.expression(divisors[0])}"
    return kind
