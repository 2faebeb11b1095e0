"""Gradients at which a method switches: where a sign turns, a clip begins, a maximum changes hands.

Drawn gradients hardly ever lie there: the decays 1e-4 and 2e-4 under a sign part only on gradients
of about their size, and a clip at 100 is never met by gradients below 1. So the places are looked
for. What is compared with 0, or with the other argument, is a function of this step's gradient, by
the secant method its root is found, and both methods take a gradient close to it on either side.
In between come gradients of which one element is 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Any

from optzoo.equivalence.trajectory import Course
from optzoo.interpreters.reference import ReferenceDomain, in_digits
from optzoo.program.walk import Point, Walk

VISITS = 2
"""How often each place is looked for, every second step: each element once on either side."""
MOST_STEPS = 64
LOOKAHEAD = 3
"""Steps from a gradient to a switch that it reaches only through a buffer."""
SECANTS = 14
NEAR = Decimal("1e-12")
"""How far from a root the gradients on either side of it lie, relative to it."""
CONVERGED = Decimal("1e-20")


@dataclass
class _Watcher:
    """The domain that it wraps, noting how far each switch of a step is from switching."""

    domain: ReferenceDomain
    margins: list[Any] = field(default_factory=list)

    def number(self, value: Fraction) -> Any:
        return self.domain.number(value)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        if op == "sign":
            self.margins.append(args[0])
        if op in ("min", "max"):
            self.margins += [self.domain.apply("sub", [args[0], other]) for other in args[1:]]
        if op in ("less", "greater"):
            self.margins.append(self.domain.apply("sub", list(args)))
        return self.domain.apply(op, args)


def _margins(walk: Walk, grads: Sequence[Point]) -> list[Any]:
    """Return the margins of the last of some steps: a number, or one for each element."""
    for grad in grads[:-1]:
        walk = walk.after(grad)
    assert isinstance(walk.domain, ReferenceDomain)
    watcher = _Watcher(walk.domain)
    walk.after(grads[-1], watcher)
    size = len(grads[-1])  # of a margin with other sides, such as one of rows, the first counts
    return [m[0] if isinstance(m, tuple) and len(m) != size else m for m in watcher.margins]


def switching_walks(
    walks: Sequence[Walk], course: Course, limit: Fraction | None
) -> Iterator[tuple[Walk, Walk, bool]]:
    """Yield both methods after each step of a course that visits the places where one switches.

    The walks are in decimals. `limit` bounds the elements of gradients. True marks steps that found
    such a place. Yields nothing for methods that never switch.
    """
    places = [
        (side, k)
        for side, walk in enumerate(walks)
        for k in range(len(_margins(walk, course.grads[:1])))
    ]
    rota = itertools.cycle(places)
    left, right = walks
    for t in range(1, min(MOST_STEPS, 2 * VISITS * len(places)) + 1):
        grad: Point = course.grads[t - 1]
        is_edge = False
        if t % 2:
            grad = tuple(x if i != t // 2 % len(grad) else Fraction(0) for i, x in enumerate(grad))
        else:
            side, k = next(rota)
            turned = (t // 2 - 1) // len(places) % 2 == 1
            found = _on_the_edge((left, right)[side], course, k, turned=turned)
            if found is not None and (limit is None or max(map(abs, found)) <= limit):
                grad, is_edge = found, True
        try:
            left, right = left.after(grad), right.after(grad)
        except DecimalException:  # what grows so fast has shown what it does
            return
        yield left, right, is_edge


def _on_the_edge(walk: Walk, course: Course, k: int, *, turned: bool) -> Point | None:
    """Return a gradient whose elements lie beside the roots of a margin, if there are."""
    start = tuple(walk.domain.number(x) for x in course.grads[walk.t])
    for ahead in range(LOOKAHEAD):
        later = course.grads[walk.t + 1 : walk.t + 1 + ahead]

        def margin(grad: Point, later: Sequence[Point] = later) -> Any:
            try:
                seen = _margins(walk, [grad, *later])
            except DecimalException:  # a guess so large that a number leaves the decimals
                return None
            return seen[k] if k < len(seen) else None  # on a way that this step does not go

        assert isinstance(walk.domain, ReferenceDomain)
        with in_digits():
            at_start = margin(start)
            if at_start is None:
                continue
            found = _roots(margin, start, at_start)
            if any(root is not None for root in found):
                side = -NEAR if turned else NEAR
                turns = (1, -1) if isinstance(at_start, tuple) else (1, 1)
                return tuple(
                    first if x is None else x + side * turns[i % 2] * (abs(x) or 1)
                    for i, (x, first) in enumerate(zip(found, start, strict=True))
                )
    return None


def _roots(margin: Any, start: Point, at_start: Any) -> list[Any]:
    """Return where the margin of each element is 0; None for an element where no root is found.

    A margin that is one number for the whole tensor is followed along the ray through `start`.
    """
    whole = not isinstance(at_start, tuple)
    old, values = list(start), _each(at_start, len(start))
    new = [x + (x if whole else abs(x) + 1) / 8 for x in old]
    roots: list[Any] = [None] * len(old)
    for _ in range(SECANTS):
        now = margin(tuple(new))
        if now is None:
            break
        fresh = _each(now, len(old))
        moving = [i for i, (f, g) in enumerate(zip(values, fresh, strict=True)) if f != g]
        for i in moving:
            f, g = values[i], fresh[i]
            step = -g * (new[i] - old[i]) / (g - f)
            old[i], values[i] = new[i], g
            new[i] += step
            if abs(step) <= abs(new[i]) * CONVERGED:
                roots[i] = new[i]
        if all(roots[i] is not None for i in moving):
            break
    return roots


def _each(value: Any, size: int) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value] * size
