"""The reference interpreter: the definition of the language, slow and without tricks.

A tensor is the tuple of its elements; every operation is written out element by element. Values
are float64, or `Fraction` for programs that stay rational. It knows nothing of torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from optzoo.program.domain import (
    initial_memory,
    kept_memory,
    run_scalars,
    run_step,
    run_view,
)
from optzoo.program.ir import Program
from optzoo.program.numbers import SCALAR_RULES

Number = float | Fraction
Value = Number | tuple[Number, ...]


class NotRationalError(ArithmeticError):
    """An operation whose result is not rational was asked for in exact arithmetic."""


_RATIONAL = ("add", "sub", "mul", "div", "neg", "square", "abs", "sign", "min", "max")


class ReferenceDomain:
    """Numbers and tuples of numbers; `exact` uses rationals and refuses roots and logarithms."""

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact

    def number(self, value: Fraction) -> Value:
        """Return a literal."""
        return value if self.exact else float(value)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation, element by element; a number meets every element."""
        if op == "norm":
            (tensor,) = args
            assert isinstance(tensor, tuple)
            return self._number_rule("sqrt", [sum(x * x for x in tensor)])
        sizes = {len(arg) for arg in args if isinstance(arg, tuple)}
        if not sizes:
            return self._number_rule(op, [arg for arg in args if not isinstance(arg, tuple)])
        (size,) = sizes
        rows = [arg if isinstance(arg, tuple) else (arg,) * size for arg in args]
        return tuple(self._number_rule(op, list(row)) for row in zip(*rows, strict=True))

    def _number_rule(self, op: str, args: list[Number]) -> Number:
        if not self.exact:
            if op == "div" and args[1] == 0:  # IEEE, as on tensors
                return (
                    math.nan
                    if args[0] == 0 or math.isnan(args[0])
                    else math.copysign(math.inf, float(args[0]))
                )
            if op == "sqrt" and args[0] < 0:
                return math.nan
            return SCALAR_RULES[op](*args)
        if op == "pow" and args[1] == int(args[1]):
            return Fraction(args[0]) ** int(args[1])
        if op == "ratio":
            return args[0] / args[1] if args[1] != 0 else Fraction(0)
        if op == "positive":
            return Fraction(int(args[0] > 0))
        if op == "sqrt":
            return _rational_root(Fraction(args[0]))
        if op == "half_life" and (args[0] == args[1] or args[2] >= 1):
            return args[1]
        if op not in _RATIONAL:
            raise NotRationalError(op)
        return Fraction(SCALAR_RULES[op](*args))


def _rational_root(value: Fraction) -> Fraction:
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise NotRationalError("sqrt")
    return root


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
        self.domain = ReferenceDomain(exact=exact)
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
