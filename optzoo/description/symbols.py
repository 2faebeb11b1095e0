"""The scalars of a program as formulas.

A scalar made of + - * / and powers is written out; one with a schedule in it keeps its name. So
does a running scalar, unless it runs on something steady: then the sum, the product or the mean is
written out too. Steady is what has the same value at every step; whether `lr` is, is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from optzoo.description.affine import affine_parts, running_max_of
from optzoo.description.algebra import (
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
from optzoo.program.check import intervals_of
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Expr, Name, format_number, names_in
from optzoo.program.ir import CLOCK_INPUTS, Line, Program

ZERO, ONE = constant_ratio(0), constant_ratio(1)
LARGEST_EXPONENT = 8
LONGEST_FORMULA = 400
"""Terms that a formula would have with everything multiplied out; no person reads a longer one."""
MAX_BITS = 1 << 12
"""Size of the integers in a formula."""


class NotRational(ArithmeticError):  # noqa: N818
    """An operation that is no rational function of its arguments."""


class SymbolDomain:
    """Scalars as rational functions; `unknown`, if given, stands for what is none.

    `positive` are values known to be above 0, `steady` names that have one value at every step:
    only those have a power with the exponent t.
    """

    def __init__(
        self,
        steady: Collection[str],
        unknown: Ratio | None = None,
        positive: frozenset[Ratio] = frozenset(),
    ) -> None:
        self.steady, self.unknown, self.positive = steady, unknown, positive

    def number(self, value: Fraction) -> Ratio:
        """Return a number."""
        return constant_ratio(value)

    def apply(self, op: str, args: Sequence[Ratio]) -> Ratio:
        """Apply an operation; NotRational when the result is no rational function, or too long."""
        if all(map(_is_short, args)):
            result = self._applied(op, args)
            if result is not None and _is_short(result):
                return result
        if self.unknown is not None:
            return self.unknown
        raise NotRational(op)

    def _applied(self, op: str, args: Sequence[Ratio]) -> Ratio | None:
        match op:
            case "add":
                return combine(args[0], args[1])
            case "sub":
                return combine(args[0], negate(args[1]))
            case "mul":
                return multiply(args[0], args[1])
            case "neg":
                return negate(args[0])
            case "square":
                return power(args[0], 2)
            case "div" | "ratio" if not args[1].is_zero:
                return multiply(args[0], invert(args[1]))
            case "positive" if args[0] in self.positive:
                return ONE
            case "pow":
                return symbolic_power(args[0], args[1], self.steady)
        return None


def _is_short(ratio: Ratio) -> bool:
    exponent = sum(abs(k) for _, k in ratio.factors)
    if exponent > LONGEST_FORMULA or _bits(ratio.scale) > MAX_BITS:
        return False
    numbers = (c for p, _ in ratio.factors for _, c in p.terms)
    terms = math.prod(len(p.terms) ** abs(k) for p, k in ratio.factors)
    return terms <= LONGEST_FORMULA and all(_bits(c) <= MAX_BITS for c in numbers)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def symbolic_power(base: Ratio, exponent: Ratio, steady: Collection[str]) -> Ratio | None:
    """Return a whole power, or a steady name or number to the power t + n; None for the rest."""
    number = exponent.constant
    if number is not None and number.denominator == 1 and abs(number) <= LARGEST_EXPONENT:
        return None if base.is_zero and number < 0 else power(base, int(number))
    shift = combine(exponent, negate(atom_ratio(STEP))).constant
    name = _base_name(base, steady)
    if shift is None or shift.denominator != 1 or abs(shift) > LARGEST_EXPONENT or name is None:
        return None
    return multiply(atom_ratio(Atom(name, power=True)), power(base, int(shift)))


def _base_name(base: Ratio, steady: Collection[str]) -> str | None:
    if base.constant is not None:
        return format_number(base.constant) if base.constant > 0 else None
    for atom in base.atoms:
        if atom.name in steady and not atom.offset and not atom.power and base == atom_ratio(atom):
            return atom.name
    return None


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
        self.lines = {line.target: line.expr for line in program.scalars}
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
        except NotRational:
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
        """Return a running scalar that runs on something steady. NotRational for all others."""
        name, start = line.target, self.inits.get(line.target.id)
        assert isinstance(start, Fraction)
        largest = running_max_of(line.expr, name)
        if largest is not None:
            value = self._evaluated(largest)
            low = self.intervals[name].low if name in self.intervals else None
            if self.is_steady(value) and (start == 0 and low is not None and low >= 0):
                return value
            raise NotRational(name)
        parts = affine_parts(line.expr, name.prev)
        if parts is None:
            raise NotRational(name)
        a, c = (self._evaluated(part) for part in parts)
        if not (self.is_steady(a) and self.is_steady(c)):
            raise NotRational(name)
        first = constant_ratio(start)
        if a == ONE:
            return combine(first, multiply(atom_ratio(STEP), c))
        left = symbolic_power(a, atom_ratio(STEP), self.steady)
        if left is None:
            raise NotRational(name)
        mass = multiply(combine(ONE, negate(left)), invert(combine(ONE, negate(a))))
        return combine(multiply(left, first), multiply(c, mass))
