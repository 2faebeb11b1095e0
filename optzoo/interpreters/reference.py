"""The reference interpreter: the definition of the language, slow and without tricks.

A tensor is the tuple of its elements, which knows its rows and columns
(`optzoo.program.tensors.elements`); every operation is written out element by element. Values are
float64; or, for deciding whether two programs are the same, rationals, and decimals of `DIGITS`
digits where rationals do not suffice. It knows nothing of torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import partial
from typing import Any, Literal

from optzoo.program.arithmetic import DECIMAL, FLOAT, IEEE, rational
from optzoo.program.ops import OPS, Scope
from optzoo.program.tensors.elements import DEPENDENT, apply_matrix, elementwise

Number = float | Fraction | Decimal
Value = Number | tuple[Number, ...]
Kind = Literal["float", "rational", "decimal"]

DIGITS = 70
"""Digits of decimals, far more than two programs are ever asked to agree to."""
_CONTEXT = Context(prec=DIGITS)


def in_digits() -> AbstractContextManager[Context]:
    """Return the context in which decimals have `DIGITS` digits."""
    return localcontext(_CONTEXT)


class ReferenceDomain:
    """Numbers of one kind, and tuples of them.

    In rationals an operation whose result is not rational, or too long, raises NotRationalError.
    Floats are IEEE's where tensors are: x/0 and the root of a negative number have values.
    """

    def __init__(self, kind: Kind = "float") -> None:
        self.kind = kind
        self._rules = {op: partial(self._rule, op) for op in FLOAT} | _CLOSE[kind]

    def number(self, value: Fraction) -> Value:
        """Return a literal."""
        if self.kind == "rational":
            return value
        if self.kind == "float":
            return float(value)
        with in_digits():
            return Decimal(value.numerator) / Decimal(value.denominator)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation, element by element; a number meets every element."""
        context: AbstractContextManager[Any] = nullcontext()
        if self.kind == "decimal":
            context = in_digits()
        with context:
            if OPS[op].scope is not Scope.ELEMENTWISE:
                value: Value = apply_matrix(op, args, self._rules)
                return value
            if any(isinstance(arg, tuple) for arg in args):
                return elementwise(self._rules[op], args)
            return self._rule(op, *args)

    def _rule(self, op: str, *args: Any) -> Number:
        if self.kind == "rational":
            return rational(op, [Fraction(arg) for arg in args])
        if self.kind == "decimal":
            return DECIMAL[op](*args)
        return IEEE[op](*args)


_CLOSE: dict[Kind, dict[str, Callable[..., bool]]] = {
    "float": {
        "approximates": lambda small, whole: small <= 1e-34 * whole,
        "negligible": lambda part, whole: part <= DEPENDENT * sys.float_info.epsilon * whole,
    },
    "rational": {"negligible": lambda part, _: part <= 0},
    "decimal": {
        "approximates": lambda small, whole: small <= whole * Decimal(10) ** (-2 * DIGITS + 8),
        "negligible": lambda part, whole: part <= whole * Decimal(10) ** (8 - DIGITS),
    },
}
"""When what is left of the off-diagonal, squared, and when a column beside the largest is rounding;
rationals have no eigenvalues.
"""
