"""The scalars of a program as formulas.

A scalar made of + - * / and powers is written out; one with a schedule in it keeps its name. So
does a running scalar, unless it runs on something steady: then the sum, the product or the mean is
written out too. Steady is what has the same value at every step; whether `lr` is, is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from optzoo.description.recurrences import affine_parts, running_max_of
from optzoo.interpreters.rational import ONE, NotRationalFunctionError, SymbolDomain, symbolic_power
from optzoo.program.check import intervals_of
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Expr, Name, names_in
from optzoo.program.ir import CLOCK_INPUTS, MODEL_STEP, Line, Program
from optzoo.program.ratios import (
    STEP,
    Atom,
    Ratio,
    atom_ratio,
    combine,
    constant_ratio,
    invert,
    multiply,
    negate,
    power,
    substitute,
)
from optzoo.program.reading import starts_of


class Symbols:
    """The values of a program's scalars. `named` are those that keep a name."""

    def __init__(self, program: Program, *, constant_lr: bool) -> None:
        above = frozenset(atom_ratio(Atom(h.name)) for h in program.hypers if h.value > 0)
        self.steady = {"T", "lr0", *(h.name for h in program.hypers)}
        if not constant_lr:
            self.steady.discard("lr")
        self.domain = SymbolDomain(self.steady, positive=above)
        self.intervals = intervals_of(program)
        self.inits = {s.name: s.init for s in program.scalar_states}
        self.values: dict[Name, Any] = {
            Name(n): atom_ratio(Atom(n)) for n in (*CLOCK_INPUTS, *(h.name for h in program.hypers))
        }
        self.values |= {line.target: atom_ratio(Atom(line.target.id)) for line in program.pooled}
        self.values[MODEL_STEP] = atom_ratio(STEP)
        self.lines: dict[Name, Expr] = {line.target: line.expr for line in program.scalars}
        self.starts = starts_of(program)
        self.sums = {line.target: Call("model_sum", (line.expr,)) for line in program.pooled}
        self.named: set[str] = set()
        for name in self.inits:
            self.values[Name(name, "prev")] = atom_ratio(Atom(name, -1))
        for line in program.scalars:
            self._know(line.target)
        for name in self.inits:  # the previous value of what is written out
            if name not in self.named:
                before = self.shifted(self.values[Name(name)], -1)
                self.values[Name(name, "prev")] = before

    def is_steady(self, ratio: Ratio) -> bool:
        """Whether a formula has the same value at every step."""
        return all(a.name in self.steady and not a.power and not a.offset for a in ratio.atoms)

    def _is_written_out(self, ratio: Ratio) -> bool:
        """Whether a formula mentions only t, powers to the t, and what is steady."""
        return all(a == STEP or a.power or a.name in self.steady for a in ratio.atoms)

    def shifted(self, ratio: Ratio, offset: int) -> Ratio:
        """Return the value `offset` steps later, as a function of the present step."""

        def move(atom: Atom) -> Ratio:
            if atom == STEP:
                return combine(atom_ratio(STEP), constant_ratio(offset))
            if atom.power:
                is_number = atom.name[:1] in "0123456789.("
                root = constant_ratio(Fraction(atom.name)) if is_number else None
                base = atom_ratio(Atom(atom.name)) if root is None else root
                return multiply(atom_ratio(atom), power(base, offset))
            if atom.name in self.steady:
                return atom_ratio(atom)
            return atom_ratio(replace(atom, offset=atom.offset + offset))

        return substitute(ratio, move)

    def _know(self, name: Name) -> None:
        """Find the symbol of a scalar, and first of those that it reads; `x.next` reads x."""
        if name in self.values or name not in self.lines:
            return
        line = Line(name, self.lines[name])
        for read in (Name(name.id),) if name.when == "next" else names_in(line.expr):
            self._know(read)
        self.values[name] = self._symbol(line)

    def _symbol(self, line: Line) -> Ratio:
        name = line.target
        if name.when == "next":
            return self.shifted(self.values[Name(name.id)], 1)
        try:
            if name.prev in names_in(line.expr):
                return self._solved(line)
            value = self._evaluated(line.expr)
            if name.id not in self.inits or self._is_written_out(value):
                return value
        except NotRationalFunctionError:
            pass
        self.named.add(name.id)
        reads = list(names_in(line.expr))
        if all(n.when == "now" and self.is_steady(self.values[n]) for n in reads):
            self.steady.add(name.id)
        return atom_ratio(Atom(name.id))

    def _evaluated(self, expr: Expr) -> Ratio:
        value = evaluate(expr, self.domain, self.values)
        assert isinstance(value, Ratio)
        return value

    def _solved(self, line: Line) -> Ratio:
        """Return a scalar that runs on something steady; NotRationalFunctionError for others."""
        name, start = line.target, self.inits.get(line.target.id)
        assert isinstance(start, Fraction)
        largest = running_max_of(line.expr, name)
        if largest is not None:
            value = self._evaluated(largest)
            low = self.intervals[name].low if name in self.intervals else None
            if self.is_steady(value) and (start == 0 and low is not None and low >= 0):
                return value
            raise NotRationalFunctionError(name)
        parts = affine_parts(line.expr, name.prev)
        if parts is None:
            raise NotRationalFunctionError(name)
        a, c = (self._evaluated(part) for part in parts)
        if not (self.is_steady(a) and self.is_steady(c)):
            raise NotRationalFunctionError(name)
        first = constant_ratio(start)
        if a == ONE:
            return combine(first, multiply(atom_ratio(STEP), c))
        left = symbolic_power(a, atom_ratio(STEP), self.steady)
        if left is None:
            raise NotRationalFunctionError(name)
        mass = multiply(combine(ONE, negate(left)), invert(combine(ONE, negate(a))))
        return combine(multiply(left, first), multiply(c, mass))
