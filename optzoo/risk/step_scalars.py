"""The scalars of a program over many steps at once, at one setting of its hyperparameters.

Steps come in chunks, in order; what is carried from one chunk to the next is the memory of the
scalars. Values are numpy's: one number for what is the same at every step, else one for each. A
recurrence that is linear in its previous value, or a maximum, is one pass of numpy; any other is
walked step by step, in floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from optzoo.description.folding import scan
from optzoo.description.recurrences import affine_parts, running_max_of
from optzoo.interpreters.arrays import ArrayDomain
from optzoo.program.arithmetic import NotRealError, RealDomain
from optzoo.program.bounds.checked import outside
from optzoo.program.domain import evaluate, initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import ONE, ZERO, Expr, Name, names_in
from optzoo.program.ir import Line, Program

Array = Any
"""Numbers: one for each step of a chunk, or one that stands for all."""
Kind = type[np.floating[Any]]
LR, STEP, TOTAL = Name("lr"), Name("t"), Name("T")


class _CircleError(Exception):
    """Scalars that read each other's previous values."""


class StepScalars:
    """The scalars of a program, whatever its hyperparameters."""

    def __init__(self, program: Program, kind: Kind) -> None:
        self.program, self.kind, self.domain = program, kind, ArrayDomain(kind)
        self.lines = {line.target: line for line in program.scalars}
        self.reads = {line.target: tuple(names_in(line.expr)) for line in program.scalars}
        self.hypers = {Name(h.name): self.domain.number(h.value) for h in program.hypers}
        self.start = initial_memory(program, self.domain)

    def chunks(
        self,
        values: Mapping[str, float],
        lr_factor: Expr,
        total_steps: int,
        last: int,
        size: int,
    ) -> Iterator[tuple[int, dict[Name, Array]]]:
        """Yield the scalars of the steps 1 to `last`, with the first step of each chunk.

        `values` replace hyperparameters; the learning rate of step t is `lr` times `lr_factor`.
        Raises NotRealError, placed, for the first step at which one has no value.
        """
        run = _Run(self, values, lr_factor, total_steps)
        memory: Mapping[str, Array] = self.start
        for first in range(1, last + 1, size):
            count = min(size, last + 1 - first)
            with np.errstate(all="ignore"):  # what is no number is found and told below
                found = run.chunk(first, count, memory)
            self._check(first, count, found)
            yield first, found
            memory = {
                s.name: np.broadcast_to(found[Name(s.name)], count)[-1]
                for s in self.program.scalar_states
            }

    def _check(self, first: int, count: int, values: Mapping[Name, Array]) -> None:
        """Raise NotRealError where a scalar is no finite number, or a knob leaves its interval."""
        for line in self.program.scalars:
            array, within = values[line.target], line.within
            right = np.isfinite(array)
            if within is not None:
                right &= (array > within.low) | ((array == within.low) & (not within.low_open))
                right &= (array < within.high) | ((array == within.high) & (not within.high_open))
            if not np.all(right):
                place = int(np.argmin(np.broadcast_to(right, count)))
                value = float(np.broadcast_to(array, count)[place])
                raise _error(line, value).at(line, first + place)


def _error(line: Line, value: float) -> NotRealError:
    if math.isfinite(value):
        return outside(line, value)
    return NotRealError(f"it is {value:.3g} here, no finite real number")


class _Run:
    """The scalars of a program at one setting."""

    def __init__(
        self, scalars: StepScalars, values: Mapping[str, float], lr_factor: Expr, total_steps: int
    ) -> None:
        self.scalars, self.program, self.lr_factor = scalars, scalars.program, lr_factor
        self.fixed = dict(scalars.hypers)
        for name, value in values.items():
            if Name(name) in self.fixed:
                self.fixed[Name(name)] = scalars.kind(value)
        self.base_lr = self.fixed.pop(LR, scalars.kind(1))
        self.fixed |= {TOTAL: scalars.kind(total_steps), Name("lr0"): self.base_lr}

    def chunk(self, first: int, count: int, memory: Mapping[str, Array]) -> dict[Name, Array]:
        """Return the scalars of `count` steps from `first` on, after what `memory` holds."""
        chunk = _ScalarChunk(self, first, count, memory)
        try:
            for line in self.program.scalars:
                chunk.value(line.target)
            for state in self.program.scalar_states:
                chunk.value(Name(state.name, "prev"))
        except _CircleError:
            return self._walked(first, count, memory)
        chunk.value(LR)
        return chunk.known

    def _walked(self, first: int, count: int, memory: Mapping[str, Array]) -> dict[Name, Array]:
        """Return the scalars step by step, for recurrences of no simple kind."""
        kept = {name: float(value) for name, value in memory.items()}
        given = {name.id: float(value) for name, value in self.fixed.items()}
        rows = []
        for t in range(first, first + count):
            names = {STEP: self.scalars.kind(t), TOTAL: self.fixed[TOTAL]}
            lr = float(self.base_lr * evaluate(self.lr_factor, self.scalars.domain, names))
            inputs = {**given, "t": float(t), "lr": lr}
            rows.append(run_scalars(self.program, RealDomain(), inputs, kept))
            kept = kept_memory(self.program, rows[-1])
        found = {name: np.array([row[name] for row in rows], self.scalars.kind) for name in rows[0]}
        return {**found, **self.fixed}


class _ScalarChunk:
    """The scalars of `count` steps from `first` on, computed as they are asked for."""

    def __init__(self, run: _Run, first: int, count: int, memory: Mapping[str, Array]) -> None:
        self.run, self.memory, self.count = run, memory, count
        steps = np.arange(first, first + count, dtype=run.scalars.kind)
        self.known: dict[Name, Array] = {**run.fixed, STEP: steps}
        self.pending: set[Name] = set()

    def value(self, name: Name) -> Array:
        """Return the values of a scalar."""
        if name not in self.known:
            if name in self.pending:
                raise _CircleError
            self.pending.add(name)
            self.known[name] = self._computed(name)
        return self.known[name]

    def _computed(self, name: Name) -> Array:
        if name.when == "prev":
            past = np.broadcast_to(self.value(Name(name.id)), self.count)[:-1]
            return np.concatenate([[self.memory[name.id]], past])
        if name == LR:
            return self.run.base_lr * self._evaluated(self.run.lr_factor)
        expr, reads = self.run.scalars.lines[name].expr, self.run.scalars.reads[name]
        if name.prev in reads:
            return self._solved(expr, name)
        for read in reads:
            self.value(read)
        return evaluate(expr, self.run.scalars.domain, self.known)

    def _evaluated(self, expr: Expr) -> Array:
        for name in names_in(expr):
            self.value(name)
        return evaluate(expr, self.run.scalars.domain, self.known)

    def _solved(self, expr: Expr, name: Name) -> Array:
        start = self.memory[name.id]
        largest = running_max_of(expr, name)
        if largest is not None:
            array = np.broadcast_to(self._evaluated(largest), self.count)
            return np.maximum(np.maximum.accumulate(array), start)
        parts = affine_parts(expr, name.prev)
        if parts is None:
            raise _CircleError
        a, c = (np.broadcast_to(self._evaluated(part), self.count) for part in parts)
        if parts[0] == ONE:
            return start + np.cumsum(c)
        if parts[1] == ZERO:
            return start * np.cumprod(a)
        return scan(a, c, start)
