"""Verification: a closed form against the exact response, at random rational points, with `==`.

A closed form that fails is never shown. One that passes twice is wrong only if both draws hit a
root of a fixed polynomial.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from optzoo.description.forms.closed_forms import Closed
from optzoo.interpreters.linear import Form, LinearDomain, run_linear
from optzoo.interpreters.random_point import DrawnDomain, DrawnInputs
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.program.ratios import Atom, Ratio, value_of

STEPS = 10
LATEST_START = 7
PASSES = 2
TRIES = 12
ZERO = Fraction(0)
Rows = Sequence[Mapping[Any, Fraction]]
"""Row i: the weights of the gradients of steps 1, 2, ... in step i + 1, negative as in h."""


@dataclass(frozen=True)
class Point:
    """A random rational point: the scalars of steps 0 to STEPS + 1, by name."""

    program: Program
    domain: DrawnDomain
    inputs: DrawnInputs
    scalars: tuple[Mapping[Name, Fraction], ...]

    @classmethod
    def draw(cls, program: Program, seed: int, *, constant_lr: bool) -> Point:
        """Draw a point and run the scalars there."""
        rng = random.Random(seed)
        domain = DrawnDomain(rng)
        total = STEPS * 6 if seed % 2 else None  # schedules end on the way, or do not
        inputs = DrawnInputs(program, rng, STEPS, constant_lr=constant_lr, total=total)
        memory = initial_memory(program, domain)
        scalars: list[Mapping[Name, Fraction]] = [{Name(n): v for n, v in memory.items()}]
        for t in range(1, STEPS + 2):
            values = run_scalars(program, domain, inputs(t), memory)
            memory = kept_memory(program, values)
            scalars.append(values)
        return cls(program, domain, inputs, tuple(scalars))

    def value(self, ratio: Ratio, t: int) -> Fraction:
        """Return the value of a formula at step t.

        Raises ZeroDivisionError where it has none, LookupError for a step that was not run.
        """
        return Fraction(value_of(ratio, _AtPoint(self, t)))

    def responses(self, source: Name) -> tuple[Rows, Rows]:
        """Return what the source moves the parameter by, and what gradients move the source by."""
        inner: list[Mapping[Any, Fraction]] = []

        def assigned(t: int, target: Name, value: Any) -> Any:
            if target == source and isinstance(value, Form):
                inner.append({s: -v for s, v in value.terms.items()})
                return Form({t: Fraction(1)})
            return value

        domain: LinearDomain[Fraction] = LinearDomain(self.domain)
        run = run_linear(self.program, domain, range(1, STEPS + 1), self.inputs, None, assigned)
        return [move.terms for move in run.moves], inner


@dataclass(frozen=True)
class _AtPoint:
    point: Point
    t: int

    def number(self, value: Fraction) -> Fraction:
        return value

    def atom(self, atom: Atom) -> Fraction:
        row = self.point.scalars[self.t]
        if atom.power:
            name = Name(atom.name)
            return (row[name] if name in row else Fraction(atom.name)) ** self.t
        step = self.t + atom.offset
        if step < 0:
            raise LookupError(step)
        return self.point.scalars[step][Name(atom.name)]


def verified(
    program: Program, closed: Closed, *, constant_lr: bool, inner: bool = False
) -> Closed | None:
    """Return a closed form with the step from which it holds, or None when it is wrong.

    `inner` says that it gives the line `closed.source` in terms of the gradient, instead of the
    movement of the parameter in terms of that line.
    """
    firsts: list[int] = []
    for seed in range(TRIES):
        point = Point.draw(program, seed, constant_lr=constant_lr)
        rows = point.responses(closed.source)[int(inner)]
        if len(rows) < STEPS:
            return None  # what it is said of is not linear at every step
        if not any(rows[LATEST_START - 1].values()):
            continue  # a draw at which nothing moves says nothing
        first = _first(closed, point, rows)
        if first is None:
            return None
        firsts.append(first)
        if len(firsts) == PASSES:
            return replace(closed, first=max(firsts))
    return None


def _first(closed: Closed, point: Point, rows: Rows) -> int | None:
    """Return the gradient from which on a closed form holds; None when it never does.

    Steps before that at which the closed form is 0/0 count as steps where it holds.
    """
    first = 1
    for k in range(1, LATEST_START + 1):
        try:
            if _holds(closed, point, rows, k):
                return first
            first = k + 1
        except (ZeroDivisionError, LookupError):
            continue
    return None


def _holds(closed: Closed, point: Point, rows: Rows, first: int) -> bool:
    """Whether the weights of gradients from `first` on are those that the closed form gives."""
    weights: list[dict[int, Fraction]] = [{} for _ in closed.momenta]
    for t in range(first, STEPS + 1):
        for m, weight in zip(closed.momenta, weights, strict=True):
            beta = point.value(m.beta, t) if t > first else ZERO
            for s in weight:
                weight[s] *= beta
            weight[t] = Fraction(1)
        etas = [point.value(m.eta, t) for m in closed.momenta]
        alpha = point.value(closed.alpha, t)
        for s in range(first, t + 1):
            h = sum((e * w[s] for e, w in zip(etas, weights, strict=True)), ZERO)
            if -(h + (alpha if s == t else ZERO)) != rows[t - 1].get(s, ZERO):
                return False
    return True
