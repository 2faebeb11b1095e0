"""The reference interpreter: the definition of the language, slow and without tricks.

A tensor is the tuple of its elements; every operation is written out element by element. Values
are float64; or, for deciding whether two programs are the same, rationals, and decimals of `DIGITS`
digits where rationals do not suffice. It knows nothing of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any, Literal

from optzoo.program.arithmetic import DECIMAL, FLOAT, rational

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
            if op == "norm":
                (tensor,) = args
                assert isinstance(tensor, tuple)
                squares: Any = [self._rule("square", [x]) for x in tensor]
                return self._rule("sqrt", [sum(squares[1:], squares[0]) if squares else 0])
            sizes = {len(arg) for arg in args if isinstance(arg, tuple)}
            if not sizes:
                return self._rule(op, args)
            (size,) = sizes
            rows = [arg if isinstance(arg, tuple) else (arg,) * size for arg in args]
            return tuple(self._rule(op, row) for row in zip(*rows, strict=True))

    def _rule(self, op: str, args: Sequence[Any]) -> Number:
        if self.kind == "rational":
            return rational(op, [Fraction(arg) for arg in args])
        if self.kind == "decimal":
            return DECIMAL[op](*args)
        if op == "div" and args[1] == 0:
            is_nan = args[0] == 0 or math.isnan(args[0])
            return math.nan if is_nan else math.copysign(math.inf, args[0])
        if op == "sqrt" and args[0] < 0:
            return math.nan
        return FLOAT[op](*args)
