"""The one loop over steps: a program walked along gradients, in any domain of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from optzoo.program.domain import (
    Domain,
    kept_memory,
    pooled_value,
    run_known,
    run_scalars,
    run_step,
    run_view,
)
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.tensors.elements import Matrix, home, sides, spread

Point = tuple[Any, ...]
"""The elements of a tensor."""


@dataclass(frozen=True)
class Walk:
    """A program under way: what it holds after `t` steps.

    `lr_at(t)` is the learning rate of step t, `inputs` what is the same in every step.
    """

    program: Program
    domain: Domain[Any]
    inputs: Mapping[str, Any]
    lr_at: Callable[[int], Any]
    param: Any
    memory: Mapping[str, Any]
    buffers: Mapping[str, Any]
    t: int = 0

    def after(self, numbers: Point, tensors: Domain[Any] | None = None) -> Walk:
        """Return the walk one step on, with the gradient `numbers`; `tensors` runs its lines."""
        domain, t = self.domain, self.t + 1
        given = [domain.number(x) if isinstance(x, Fraction) else x for x in numbers]
        grad = spread_like(given, self.param)
        buffers = self.buffers if self.t else first_buffers(self.program, domain, self.param, grad)
        scalars = self._scalars
        if self.program.pooled:
            inputs = self._pooled(grad, buffers)
            scalars = run_scalars(self.program, domain, inputs, self.memory)
        param, new = run_step(self.program, tensors or domain, scalars, self.param, grad, buffers)
        kept = {  # a line that is a number is a tensor of that number
            state.name: spread(new[state.name], *home(state.shape, self.param))
            for state in self.program.tensor_states
        }
        memory = kept_memory(self.program, scalars)
        return replace(self, param=param, memory=memory, buffers=kept, t=t)

    @cached_property
    def _scalars(self) -> Mapping[Name, Any]:
        """The scalars of the next step, whatever its gradient."""
        return run_scalars(self.program, self.domain, self._given(self.t + 1), self.memory)

    def _pooled(self, grad: Point, buffers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the inputs of the next step with sums over all parameters: here there is one."""
        inputs, program, domain = self._given(self.t + 1), self.program, self.domain
        for line in program.pooled:
            known = run_known(program, domain, inputs, self.memory)
            tensor = pooled_value(program, line, domain, known, self.param, grad, buffers)
            inputs[line.target.id] = domain.apply("sum", [tensor])
        return inputs

    def _given(self, t: int) -> dict[str, Any]:
        return {**self.inputs, "t": self.domain.number(Fraction(t)), "lr": self.lr_at(t)}

    @property
    def evaluated(self) -> Any:
        """The evaluation point after the step."""
        given = self._given(self.t)
        return run_view(
            self.program, "eval", self.domain, given, self.memory, self.param, self.buffers
        )


def first_buffers(
    program: Program, domain: Domain[Any], param: Point, grad: Point
) -> dict[str, Any]:
    """Return what the buffers hold before the first step."""
    first = {}
    for state in program.tensor_states:
        if isinstance(state.init, str):
            first[state.name] = grad if state.init == "grad" else param
        else:
            first[state.name] = spread(domain.number(state.init), *home(state.shape, param))
    return first


def spread_like(numbers: Sequence[Any], param: Point) -> Point:
    """Return numbers as a tensor of the sides of a parameter."""
    return Matrix(numbers, *sides(param)) if isinstance(param, Matrix) else tuple(numbers)
