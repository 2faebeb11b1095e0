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
from optzoo.program.domain import (
    initial_memory,
    kept_memory,
    run_scalars,
    run_step,
    run_view,
)
from optzoo.program.ir import Program

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


class ReferenceRun:
    """One parameter trained by a program, step after step.

    `param` is the flat tuple of its elements. A learning rate may be given per step; everything
    else is read from the program's hyperparameters.
    """

    def __init__(
        self,
        program: Program,
        param: Sequence[Number],
        *,
        total_steps: int | None = None,
        exact: bool = False,
    ) -> None:
        self.program = program
        self.domain = ReferenceDomain("rational" if exact else "float")
        self.param: Value = tuple(param)
        self.t = 0
        self.memory: dict[str, Value] = initial_memory(program, self.domain)
        zero = self.domain.number(Fraction(0))
        assert not isinstance(zero, tuple)
        self.buffers: dict[str, Value] = {
            state.name: (zero,) * len(param) for state in program.tensor_states
        }
        self.inputs: dict[str, Value] = {
            h.name: self.domain.number(h.value) for h in program.hypers
        }
        self.inputs["lr0"] = self.inputs.get("lr", self.domain.number(Fraction(1)))
        self.inputs["T"] = self.domain.number(Fraction(total_steps or 1))
        self.inputs["t"] = zero

    def step(self, grad: Sequence[Number], **hypers: Number) -> None:
        """Take one step with the gradient at `param`; keywords move hyperparameters (`lr`)."""
        self.t += 1
        self.inputs |= hypers
        self.inputs["t"] = self.domain.number(Fraction(self.t))
        gradient: Value = tuple(grad)
        if self.t == 1:
            for state in self.program.tensor_states:
                if isinstance(state.init, str):
                    self.buffers[state.name] = gradient if state.init == "grad" else self.param
                else:
                    fill = self.domain.number(state.init)
                    assert not isinstance(fill, tuple)
                    self.buffers[state.name] = (fill,) * len(grad)
        scalars = run_scalars(self.program, self.domain, self.inputs, self.memory)
        self.param, self.buffers = run_step(
            self.program, self.domain, scalars, self.param, gradient, self.buffers
        )
        self.memory = kept_memory(self.program, scalars)

    def view(self, name: str) -> Value:
        """Return a view: `train`, `eval` or an observer."""
        return run_view(
            self.program, name, self.domain, self.inputs, self.memory, self.param, self.buffers
        )
