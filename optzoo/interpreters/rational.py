"""Scalars as rational functions of named scalars: what a coefficient is as a formula."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from fractions import Fraction

from optzoo.program.arithmetic import bits
from optzoo.program.expressions import format_number
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
)

ZERO, ONE = constant_ratio(0), constant_ratio(1)
LARGEST_EXPONENT = 8
LONGEST_FORMULA = 400
"""Terms that a formula would have with everything multiplied out; no person reads a longer one."""
MAX_BITS = 1 << 12
"""Size of the integers in a formula."""


class NotRationalFunctionError(ArithmeticError):
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
        """Apply an operation.

        Raises NotRationalFunctionError where the result is none, or too long.
        """
        if all(map(_is_short, args)):
            result = self._applied(op, args)
            if result is not None and _is_short(result):
                return result
        if self.unknown is not None:
            return self.unknown
        raise NotRationalFunctionError(op)

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
    if exponent > LONGEST_FORMULA or bits(ratio.scale) > MAX_BITS:
        return False
    numbers = (c for p, _ in ratio.factors for _, c in p.terms)
    terms = math.prod(len(p.terms) ** abs(k) for p, k in ratio.factors)
    return terms <= LONGEST_FORMULA and all(bits(c) <= MAX_BITS for c in numbers)


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
        return format_number(base.constant).strip("()") if base.constant > 0 else None
    for atom in base.atoms:
        if atom.name in steady and not atom.offset and not atom.power and base == atom_ratio(atom):
            return atom.name
    return None
