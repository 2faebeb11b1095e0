"""Gradients at which a method switches: where a sign turns, a clip begins, a maximum changes hands.

Drawn gradients hardly ever lie there: the decays 1e-4 and 2e-4 under a sign part only on gradients
of about their size, and a clip at 100 is never met by gradients below 1. So the places are looked
for. What is compared with 0, or with the other argument, is a function of this step's gradient, by
the secant method its root is found, and both methods take a gradient on the root (where rationals
allow it) and one close to it on either side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from optzoo.equivalence.trajectory import Course, Point, Walk
from optzoo.interpreters.digits import DigitsDomain

VISITS = 3
"""How often each place is looked for along a course, every second step."""
MOST_STEPS = 48
LOOKAHEAD = 3
"""Steps from a gradient to a switch that it reaches only through a buffer."""
SECANTS = 9
NEAR = Fraction(1, 10**12)
"""How far from a root the gradients on either side of it lie, relative to it."""
CONVERGED = Fraction(1, 10**30)
MARKS = ((0, 1, -1), (-1, 0, 1), (1, -1, 0))
"""On which side of its root each element of a gradient lies, by turns."""


@dataclass
class _Watcher:
    """The domain that it wraps, noting how far each switch of a step is from switching."""

    domain: DigitsDomain
    margins: list[Any] = field(default_factory=list)

    def number(self, value: Fraction) -> Any:
        return self.domain.number(value)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        if op == "sign":
            self.margins.append(args[0])
        if op in ("min", "max"):
            self.margins += [self.domain.apply("sub", [args[0], other]) for other in args[1:]]
        return self.domain.apply(op, args)


def _margins(walk: Walk, grads: Sequence[Point]) -> list[Any]:
    """Return the margins of the last of some steps: a number, or one for each element."""
    for grad in grads[:-1]:
        walk = walk.after(grad)
    assert isinstance(walk.domain, DigitsDomain)
    watcher = _Watcher(walk.domain)
    walk.after(grads[-1], watcher)
    return watcher.margins


def switching_walks(
    walks: Sequence[Walk], course: Course, limit: Fraction | None
) -> Iterator[tuple[Walk, ...]]:
    """Yield both methods after each step of a course that visits the places where one switches.

    `limit` bounds the elements of gradients. Yields nothing for methods that never switch.
    """
    places = [
        (side, k)
        for side, walk in enumerate(walks)
        for k in range(len(_margins(walk, course.grads[:1])))
    ]
    rota = itertools.cycle(places)
    now = tuple(walks)
    for t in range(1, min(steps_needed(len(places)), len(course) - LOOKAHEAD) + 1):
        grad: Point = course.grads[t - 1]
        if t % 2 == 0 and limit != 0:
            side, k = next(rota)
            found = _on_the_edge(now[side], course, k, MARKS[t // 2 % len(MARKS)])
            if found is not None and (limit is None or max(map(abs, found)) <= limit):
                grad = found
        now = tuple(walk.after(grad) for walk in now)
        yield now


def steps_needed(num_places: int) -> int:
    """Return how long a course that visits every place is."""
    return min(MOST_STEPS, 2 * VISITS * num_places)


def _on_the_edge(walk: Walk, course: Course, k: int, marks: Sequence[int]) -> Point | None:
    """Return a gradient whose elements lie at and beside the roots of a margin, if there are."""
    assert isinstance(walk.domain, DigitsDomain)
    t = walk.t
    for ahead in range(LOOKAHEAD):
        later = course.grads[t + 1 : t + 1 + ahead]
        start = course.grads[t]

        def margin(grad: Point, later: Sequence[Point] = later) -> Any:
            return _margins(walk, [grad, *later])[k]

        with localcontext(walk.domain.context):
            numbers = tuple(walk.domain.number(x) for x in start)
            found = _roots(margin, numbers, marks, exact=walk.domain.exact)
        if found is not None:
            return found
    return None


def _roots(margin: Any, start: Point, marks: Sequence[int], *, exact: bool) -> Point | None:
    """Return where the margin of each element is 0, a little off it as `marks` say.

    A margin that is one number for the whole tensor is followed along the ray through `start`.
    """
    old, move = list(start), [abs(x) / 8 + type(x)(1) / 16 for x in start]
    at_old = margin(start)
    whole = not isinstance(at_old, tuple)
    if whole:
        move = [x / 8 for x in start]
    new = [x + m for x, m in zip(old, move, strict=True)]
    values = _each(at_old, len(old))
    reached = [False] * len(old)
    for _ in range(SECANTS):
        fresh = _each(margin(tuple(new)), len(old))
        for i, (f, g) in enumerate(zip(values, fresh, strict=True)):
            if g == 0 or f == g:
                reached[i] = reached[i] or (g == 0 and f != 0)
                continue
            step = -g * (new[i] - old[i]) / (g - f)
            old[i], values[i] = new[i], g
            new[i] = _rounded(new[i] + step, exact=exact)
            reached[i] = abs(step) <= abs(new[i]) * _like(CONVERGED, step)
        if all(reached):
            break
    if not any(reached):
        return None
    signs = [marks[-1] or 1] * len(old) if whole else marks
    return tuple(
        _beside(x, sign, exact=exact) if hit else first
        for x, sign, hit, first in zip(new, signs, reached, start, strict=True)
    )


def _each(value: Any, size: int) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value] * size


def _beside(root: Any, sign: int, *, exact: bool) -> Any:
    """Return the root itself or a number close to it; rounded, 0 is on neither side for certain."""
    if sign == 0 and exact:
        return root
    distance = _like(NEAR, root)
    return root + (sign or 1) * (abs(root) * distance if root else distance)


def _rounded(value: Any, *, exact: bool) -> Any:
    """Keep short rationals, which are exact roots of linear margins, and round long ones."""
    if not exact or value.denominator < 10**400:
        return value
    return Fraction(Decimal(value.numerator) / Decimal(value.denominator))


def _like(value: Fraction, other: Any) -> Any:
    if isinstance(other, Fraction):
        return value
    return Decimal(value.numerator) / Decimal(value.denominator)
