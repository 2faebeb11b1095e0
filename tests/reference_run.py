"""A program run by the reference, one step at a time, so that tests can look and change between."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from optzoo.interpreters.reference import Number, ReferenceDomain, Value
from optzoo.program.domain import (
    initial_memory,
    kept_memory,
    pooled_value,
    run_known,
    run_scalars,
    run_step,
    run_view,
)
from optzoo.program.ir import Line, Program
from optzoo.program.tensors.elements import Matrix, home, spread
from optzoo.program.tensors.named_sides import FULL, Shape


class ReferenceRun:
    """One parameter trained by a program, step after step.

    `param` is the flat tuple of its elements, or a Matrix. A learning rate may be given per step;
    everything else is read from the program's hyperparameters.
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
        self.param: Value = self.tensor(param)
        self.t = 0
        self.memory: dict[str, Value] = initial_memory(program, self.domain)
        zero = self.domain.number(Fraction(0))
        self.buffers: dict[str, Value] = {
            state.name: self.kept(zero, state.shape) for state in program.tensor_states
        }
        self.inputs: dict[str, Value] = {
            h.name: self.domain.number(h.value) for h in program.hypers
        }
        self.inputs["lr0"] = self.inputs.get("lr", self.domain.number(Fraction(1)))
        self.inputs["T"] = self.domain.number(Fraction(total_steps or 1))
        self.inputs["t"] = zero

    def tensor(self, numbers: Any) -> Value:
        """Return a tensor that is given to the run."""
        return numbers if isinstance(numbers, Matrix) else tuple(numbers)

    def kept(self, value: Value, shape: Shape) -> Value:
        """Return what a buffer of this shape holds of a value."""
        return spread(value, *home(shape, self.param))

    def step(self, grad: Sequence[Number], **hypers: Number) -> None:
        """Take one step with the gradient at `param`; keywords move hyperparameters (`lr`)."""
        self.t += 1
        self.inputs |= hypers
        self.inputs["t"] = self.domain.number(Fraction(self.t))
        gradient = self.tensor(grad)
        if self.t == 1:
            self.buffers = self.first_buffers(gradient)
        scalars = run_scalars(self.program, self.domain, self.inputs, self.memory)
        new, kept = run_step(self.program, self.domain, scalars, self.param, gradient, self.buffers)
        shapes = {state.name: state.shape for state in self.program.tensor_states}
        self.buffers = {name: self.kept(value, shapes[name]) for name, value in kept.items()}
        self.param = self.kept(new, FULL)
        self.memory = kept_memory(self.program, scalars)

    def first_buffers(self, gradient: Value) -> dict[str, Value]:
        """Return what the buffers hold before the first step."""
        given, found = {"grad": gradient, "param": self.param}, {}
        for state in self.program.tensor_states:
            text = state.init if isinstance(state.init, str) else None
            first = given[text] if text else self.domain.number(state.init)
            found[state.name] = self.kept(first, state.shape)
        return found

    def summed_up(self, line: Line, grad: Sequence[Number], **numbers: Number) -> Value:
        """Return the tensor of the next step that a sum over all parameters has of this one."""
        gradient = self.tensor(grad)
        inputs = {**self.inputs, **numbers, "t": self.domain.number(Fraction(self.t + 1))}
        known = run_known(self.program, self.domain, inputs, self.memory)
        buffers = self.buffers if self.t else self.first_buffers(gradient)
        return pooled_value(self.program, line, self.domain, known, self.param, gradient, buffers)

    def view(self, name: str) -> Value:
        """Return a view: `train`, `eval` or an observer."""
        return run_view(
            self.program, name, self.domain, self.inputs, self.memory, self.param, self.buffers
        )
