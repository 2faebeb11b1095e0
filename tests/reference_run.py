"""A program run by the reference, one step at a time, so that tests can look and change between."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from optzoo.interpreters.reference import Number, ReferenceDomain, Value
from optzoo.program.domain import initial_memory, kept_memory, run_scalars, run_step, run_view
from optzoo.program.ir import Program
from optzoo.program.walk import first_buffers


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
            self.buffers = first_buffers(self.program, self.domain, self.param, gradient)
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
