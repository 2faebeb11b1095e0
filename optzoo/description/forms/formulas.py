"""The closed forms of a recipe: found, verified, and evaluated at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from optzoo.description.forms.closed_forms import Closed, closed_form
from optzoo.description.forms.spelling import Definition, definitions, in_own_names, spelled
from optzoo.description.forms.symbolic_step import NoClosedFormError, System, minus
from optzoo.description.forms.symbols import Symbols
from optzoo.description.forms.verify import verified
from optzoo.description.response import Decision
from optzoo.description.scalars import ScalarTable
from optzoo.program.arithmetic import precisely
from optzoo.program.expressions import ZERO, Expr, Name, format_expression
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.program.ratios import Atom, Ratio, TooLongError, bounded, value_of


@dataclass(frozen=True)
class Formulas:
    """Verified closed forms. `outer` moves the parameter; its source may be a line of its own.

    Then `inner` gives that line in terms of the gradient: momentum of a momentum.
    """

    symbols: Symbols
    outer: Closed
    inner: Closed | None = None

    @property
    def levels(self) -> tuple[Closed, ...]:
        """The closed forms, the one that moves the parameter first."""
        return (self.outer,) if self.inner is None else (self.outer, self.inner)

    def spelled(self, ratio: Ratio) -> Expr:
        """Return a formula as an expression."""
        return in_own_names(spelled(ratio, self.symbols.steady), self.symbols)

    def text(self, ratio: Ratio) -> str:
        """Return a formula as text."""
        return format_expression(self.spelled(ratio))

    @property
    def where(self) -> list[Definition]:
        """What the names in the formulas stand for."""
        return definitions(
            self.symbols,
            [
                ratio
                for level in self.levels
                for ratio in (*(r for m in level.momenta for r in (m.beta, m.eta)), level.alpha)
            ],
        )

    @property
    def where_text(self) -> dict[str, str]:
        """The same as text."""
        return {str(d.name): format_expression(d.value) for d in self.where}


def coefficient_formulas(found: Formulas | None, decision: Decision) -> dict[str, Expr]:
    """Return `beta_a`, `eta_a` and `alpha_a` as expressions; only `alpha_a` without such a form.

    Empty when no closed form was found.
    """
    if found is None:
        return {}
    alpha = found.spelled(found.outer.alpha)
    if not decision.has_form or found.inner is not None:
        return {"alpha_a": alpha}
    if not found.outer.momenta:
        return {"beta_a": ZERO, "eta_a": ZERO, "alpha_a": alpha}
    (m,) = found.outer.momenta
    return {"beta_a": found.spelled(m.beta), "eta_a": found.spelled(m.eta), "alpha_a": alpha}


def find_formulas(program: Program, *, constant_lr: bool) -> Formulas | None:
    """Return the closed forms of a program; None when none is found, or one too long to be read."""
    try:
        with bounded():
            return _found_formulas(program, constant_lr=constant_lr)
    except TooLongError:
        return None


def _found_formulas(program: Program, *, constant_lr: bool) -> Formulas | None:
    """Return the closed forms of a program, or None when none is found that verifies.

    Momenta side by side are looked for first. Where a buffer feeds another with a weight that
    moves, the step is taken apart at a line between them.
    """
    symbols = Symbols(program, constant_lr=constant_lr)
    try:
        base = System.of(program, symbols)
    except NoClosedFormError:
        return None
    try:
        closed = verified(program, closed_form(base, base.move), constant_lr=constant_lr)
        if closed is not None:
            return Formulas(symbols, closed)
    except NoClosedFormError:
        pass
    for line in _lines_between(program, base):
        try:
            system = System.of(program, symbols, line)
            outer = closed_form(system, system.move, line)
            within = closed_form(system, minus(system.inner))
        except NoClosedFormError:
            continue
        checked = verified(program, outer, constant_lr=constant_lr)
        seen = Closed(within.momenta, within.alpha, line)
        inner = verified(program, seen, constant_lr=constant_lr, inner=True)
        if checked is not None and inner is not None:
            found = Closed(inner.momenta, inner.alpha, GRAD, inner.first)
            return Formulas(symbols, checked, found)
    return None


def _lines_between(program: Program, base: System) -> Iterator[Name]:
    """Yield lines that could be a source: those that are not linear first."""
    buffers = {state.name for state in program.tensor_states}
    gains = list(dict.fromkeys(gain.line for gain in base.gains))
    others = [ln.target for ln in program.step if ln.target not in gains and ln.target != PARAM]
    for name in (*gains, *others):
        if name.id not in buffers:
            yield name


@dataclass(frozen=True)
class _At:
    table: ScalarTable
    t: int

    def number(self, value: Fraction) -> Decimal:
        return self.table.domain.number(value)

    def atom(self, atom: Atom) -> Decimal:
        if atom.power and not atom.name.isidentifier():
            return self.number(Fraction(atom.name)) ** self.t
        value = self.table.value(Name(atom.name), self.t + atom.offset)
        return value**self.t if atom.power else value


def value_at(ratio: Ratio, table: ScalarTable, t: int) -> Decimal:
    """Return the value of a formula at step t. Raises ZeroDivisionError where it has none."""
    with precisely():
        try:
            return Decimal(value_of(ratio, _At(table, t)))
        except ArithmeticError as error:  # decimal's own division by zero, and 0/0
            raise ZeroDivisionError(str(error)) from None
