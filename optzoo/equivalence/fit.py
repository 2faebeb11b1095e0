"""Fitting one recipe's hyperparameters to another's trajectory, by least squares in float64.

The distance of two trajectories is the residual, the right recipe's hyperparameters are the
unknowns. A root is a guess of what `optzoo.equivalence.search` then proves.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from optzoo.equivalence.sides import Conditions, Side, own_lr
from optzoo.equivalence.trajectory import Course, follow, start_walk
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.expressions import names_in
from optzoo.program.intervals import Interval
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe

FIT_STEPS = 8
MAX_GRID = 240
STARTS = 3
ITERATIONS = 100
STALLED = 5
"""Steps without a gain of one part in a hundred after which a start is given up."""
ROOT = 1e-11
"""A root mean square distance, relative to the move, that counts as a root in float64."""
TOO_FAR = 1e6
USUAL_LINES = 16
MAX_RUNS = 3_000
"""Runs of both courses, of a program of `USUAL_LINES`, that a search may take: some ten seconds."""

Vector = npt.NDArray[np.float64]


class OutOfRunsError(Exception):
    """The search has taken long enough."""


@dataclass(frozen=True)
class Root:
    """A root, how far each unknown may be off, and the gain on lr at each step, if asked for."""

    values: dict[str, float]
    slack: dict[str, float]
    gains: tuple[float, ...] | None


class Fit:
    """A fit of `right` to `left`; `fixed` hyperparameters of `right` stay as they are."""

    def __init__(
        self,
        left: Side,
        right: Recipe,
        conditions: Conditions,
        fixed: frozenset[str],
        iterates_only: bool,
    ) -> None:
        self.left, self.right, self.conditions = left, right, conditions
        self.iterates_only = iterates_only
        self.domain = ReferenceDomain()
        fitted = replace(conditions, steps=FIT_STEPS, spread=False)
        self.courses = fitted.courses(left.program, right.trained_program())
        program = left.recipe.program()
        self.known = {h.name: h.value for h in program.hypers}
        self.left_lr = own_lr(program)
        knobs = right.hyperparameters
        if "lr" not in right.spec.hyperparameters:  # a mere multiplier: the other knobs do
            fixed = fixed | {"lr"}
        self.unknowns = [
            n for n, h in knobs.items() if n not in fixed and isinstance(h.default, float)
        ]
        self.intervals: dict[str, Interval] = {n: knobs[n].interval for n in self.unknowns}
        self.held: dict[str, float] = {}
        self.runs = 0.0
        self.program = right.program()
        self.run_cost = max(1.0, len(self.program.lines) / USUAL_LINES)
        self.targets = [
            self._points(follow(start_walk(left.program, c, self.domain), c)) for c in self.courses
        ]
        starts = [np.asarray([float(x) for x in c.start]) for c in self.courses]
        self.scales = [
            float(np.max(np.abs(target.reshape(-1, len(start)) - start))) or 1.0
            for target, start in zip(self.targets, starts, strict=True)
        ]

    def _points(self, trajectory: Any) -> Vector:
        points = [trajectory.train] if self.iterates_only else [trajectory.train, trajectory.eval]
        return np.asarray(points, dtype=np.float64).ravel()

    # ---------------------------------------------------------------- the least-squares problem

    def residual(self, values: Mapping[str, float], gains: Sequence[float] | None) -> Vector:
        """Return the distances of all points, relative to the left recipe's largest move."""
        self.runs += self.run_cost
        if self.runs > MAX_RUNS:
            raise OutOfRunsError
        exact = {n: Fraction(v) for n, v in {**values, **self.held}.items()}
        program = self.program.with_values(exact)
        rows = []
        for course, target, scale in zip(self.courses, self.targets, self.scales, strict=True):
            lrs = None if gains is None else self._lrs(course, gains)
            try:
                walk = start_walk(program, course, self.domain, step_lrs=lrs)
                points = self._points(follow(walk, course))
            except (ArithmeticError, ValueError):  # no value at these hyperparameters
                return np.full(sum(len(t) for t in self.targets), TOO_FAR)
            rows.append((points - target) / scale)
        return np.nan_to_num(np.concatenate(rows), nan=TOO_FAR, posinf=TOO_FAR, neginf=-TOO_FAR)

    def _lrs(self, course: Course, gains: Sequence[float]) -> list[float]:
        base = float(self.left_lr)
        return [base * float(f) * g for f, g in zip(course.lr_factors, gains, strict=True)]

    def alike(self) -> dict[str, float]:
        """Return what both preconditioners or decays are named alike for, at the left's value."""
        both_have = _aside(self.left.recipe) & _aside(self.right) & {*self.unknowns}
        values = {n: float(self.known[n]) for n in both_have if n in self.known and n != "lr"}
        return {n: v for n, v in values.items() if v in self.intervals[n]}

    def solve(self, with_gains: bool, held: Mapping[str, float]) -> Root | None:
        """Return a root: from every start in turn, by damped Gauss-Newton steps."""
        names = [n for n in self.unknowns if n not in held and not (with_gains and n == "lr")]
        with self._holding(held):
            root = self._solve(names, with_gains)
        if root is None:
            return None
        return replace(
            root, values={**root.values, **held}, slack={**dict.fromkeys(held, 0.0), **root.slack}
        )

    def _solve(self, names: Sequence[str], with_gains: bool) -> Root | None:
        for start in self._starts(names, with_gains):
            for relative in (False, True):
                vector, error = self._descend(names, start, with_gains, relative=relative)
                if error < ROOT:
                    return self._pinned(names, vector, with_gains)
        return None

    def _pinned(self, names: Sequence[str], vector: Vector, with_gains: bool) -> Root:
        """Return a root with short numbers where a whole family of roots is as good.

        One unknown after the other is held at a short number near its value while the others
        still reach a root.
        """
        held = dict(self.held)
        already = set(held)
        free = list(names)
        for name in sorted(names, key=lambda n: n == "lr"):
            if self._is_alone(free, vector, with_gains, held):
                break
            place = free.index(name)
            value = float(vector[place])
            rest = [n for n in free if n != name]
            start = np.delete(vector, place)
            for short in self._short_numbers(name, value):
                with self._holding({**held, name: short}):
                    moved, error = self._descend(rest, start, with_gains)
                if error < ROOT:
                    held[name], free, vector = short, rest, moved
                    break
        values = {**dict(zip(free, vector[: len(free)].tolist(), strict=True)), **held}
        gains = tuple(vector[len(free) :].tolist()) if with_gains else None
        values = {n: v for n, v in values.items() if n not in already}
        return Root({n: values[n] for n in names}, self._slack(values, gains), gains)

    def _slack(
        self, values: Mapping[str, float], gains: Sequence[float] | None
    ) -> dict[str, float]:
        """Return how far each unknown may be off without leaving the root by more than rounding."""
        names = list(values)
        x = np.asarray([*values.values(), *(gains or ())])
        r = self._residual_of(x, names, gains is not None)
        slopes = np.sqrt((self._jacobian(x, r, names, gains is not None) ** 2).mean(0))
        return {n: 100 * ROOT / (float(s) + 1e-300) for n, s in zip(names, slopes, strict=False)}

    def _is_alone(
        self, free: Sequence[str], vector: Vector, with_gains: bool, held: Mapping[str, float]
    ) -> bool:
        """Whether no direction in the unknowns that matter leaves the trajectory as it is."""
        if not free:
            return True
        with self._holding(held):
            r = self._residual_of(vector, free, with_gains)
            jacobian = self._jacobian(vector, r, free, with_gains)
        sizes = np.sqrt((jacobian**2).sum(0))
        alive = jacobian[:, sizes > 1e-9] / sizes[sizes > 1e-9]
        return alive.shape[1] == 0 or bool(np.linalg.cond(alive) < 1e5)

    def _short_numbers(self, name: str, value: float) -> list[float]:
        """Return numbers worth holding an unknown at: the left recipe's own and rounded ones."""
        near = [float(self.known[name])] if name in self.known else []
        near += [float(f"{value:.{digits}g}") for digits in (1, 2, 3)]
        return [x for x in dict.fromkeys(near) if x in self.intervals[name]]

    @contextmanager
    def _holding(self, values: Mapping[str, float]) -> Iterator[None]:
        before = self.held
        self.held = dict(values)
        try:
            yield
        finally:
            self.held = before

    def _starts(self, names: Sequence[str], with_gains: bool) -> Iterator[Vector]:
        """Yield the best points of a grid over values that the left recipe has, best first."""
        extra = [1.0] * FIT_STEPS if with_gains else []
        own = self.right.hyperparameters
        options = []
        for name in names:
            like = [float(self.known[name])] if name in self.known else []
            all_values = [*like, float(own[name].default), *map(float, self.known.values()), 0.0]
            allowed = [v for v in dict.fromkeys(all_values) if v in self.intervals[name]]
            options.append(allowed)
        size = STARTS if with_gains else MAX_GRID
        grid = list(itertools.islice(self._near_first(options), size))
        ranked = sorted(grid, key=lambda values: self._error([*values, *extra], names, with_gains))
        for values in (*ranked[:STARTS], *self._same_decays(names, grid[0])):
            yield np.asarray([*values, *extra])

    def _same_decays(
        self, names: Sequence[str], first: Sequence[float]
    ) -> Iterator[tuple[float, ...]]:
        """Yield starts where all decays without a namesake are one decay of the left recipe."""
        open_ = [self.intervals[n].high == 1 and not self.known.get(n) for n in names]
        if any(open_):
            for value in sorted({float(v) for v in self.known.values() if 0 < v < 1}, reverse=True):
                yield tuple(value if o else x for o, x in zip(open_, first, strict=True))

    @staticmethod
    def _near_first(options: Sequence[Sequence[float]]) -> Iterator[tuple[float, ...]]:
        """Yield the first choice, then those with one choice changed, then two, then drawn ones."""
        first = tuple(o[0] for o in options)
        yield first
        for count in (1, 2):
            for places in itertools.combinations(range(len(options)), count):
                for values in itertools.product(*(options[i][1:] for i in places)):
                    changed = list(first)
                    for place, value in zip(places, values, strict=True):
                        changed[place] = value
                    yield tuple(changed)
        rng = random.Random(0)
        for _ in range(MAX_GRID):
            yield tuple(rng.choice(o) for o in options)

    def _error(self, vector: Sequence[float], names: Sequence[str], with_gains: bool) -> float:
        return _rms(self._residual_of(np.asarray(vector), names, with_gains))

    def _residual_of(self, vector: Vector, names: Sequence[str], with_gains: bool) -> Vector:
        values = dict(zip(names, vector[: len(names)].tolist(), strict=True))
        return self.residual(values, vector[len(names) :].tolist() if with_gains else None)

    def _descend(
        self,
        names: Sequence[str],
        start: Vector,
        with_gains: bool,
        *,
        relative: bool = False,
    ) -> tuple[Vector, float]:
        """Levenberg-Marquardt with bounds: steps that leave an interval end at its edge.

        `relative` steps multiply: an unbounded unknown by a factor, and 1 - x for a decay x.
        """
        x, damping = start, 1e-3
        r = self._residual_of(x, names, with_gains)
        stalled = 0
        for _ in range(ITERATIONS if len(x) else 0):
            error = _rms(r)
            if error < ROOT or stalled == STALLED:
                break
            jacobian = self._jacobian(x, r, names, with_gains)
            if relative:
                jacobian = jacobian * self._relative_slopes(x, names)
            scale = np.sqrt((jacobian**2).sum(0)) + 1e-300
            steep = jacobian / scale
            for _ in range(8):
                damped = np.vstack([steep, np.sqrt(damping) * np.eye(len(x))])
                aim = np.concatenate([-r, np.zeros(len(x))])
                step = np.linalg.lstsq(damped, aim, rcond=None)[0]
                stride = step / scale
                if relative:
                    stride = self._relative_stride(x, stride, names)
                moved = self._inside(x + stride, names)
                new = self._residual_of(moved, names, with_gains)
                if _rms(new) < error:
                    stalled = stalled + 1 if _rms(new) > 0.99 * error else 0
                    x, r, damping = moved, new, damping / 10
                    break
                damping *= 6
            else:
                break
        return x, _rms(r)

    def _jacobian(self, x: Vector, r: Vector, names: Sequence[str], with_gains: bool) -> Vector:
        columns = []
        for i, value in enumerate(x):
            h = 1e-7 * max(abs(float(value)), 1e-4)
            moved = x.copy()
            moved[i] = value + h
            if i < len(names) and float(moved[i]) not in self.intervals[names[i]]:
                h = -h
                moved[i] = value + h
            columns.append((self._residual_of(moved, names, with_gains) - r) / h)
        return np.stack(columns, axis=1)

    def _relative_slopes(self, x: Vector, names: Sequence[str]) -> Vector:
        """Return dx/du, where x = exp(u), or x = 1 - exp(u) for a decay; 1 for the rest."""
        slopes = np.ones_like(x)
        for i, name in enumerate(names):
            if self.intervals[name].high == 1:
                slopes[i] = max(1 - x[i], 1e-6)
            elif x[i] > 0:
                slopes[i] = x[i]
        return slopes

    def _relative_stride(self, x: Vector, step: Vector, names: Sequence[str]) -> Vector:
        slopes = self._relative_slopes(x, names)
        step = np.clip(step, -TOO_FAR, TOO_FAR)
        stride = slopes * step
        for i, name in enumerate(names):
            grows = np.expm1(np.clip(step[i], -5, 5))
            if self.intervals[name].high == 1:
                stride[i] = -slopes[i] * np.expm1(np.clip(-step[i], -5, 5))
            elif x[i] > 0:
                stride[i] = slopes[i] * grows
        return stride

    def _inside(self, x: Vector, names: Sequence[str]) -> Vector:
        x = x.copy()
        for i, name in enumerate(names):
            interval = self.intervals[name]
            x[i] = min(max(x[i], interval.low), interval.high)
            if float(x[i]) not in interval:  # an open end
                x[i] = np.nextafter(x[i], 0.5 * (interval.low + min(interval.high, 1e9)))
        return x


def _aside(recipe: Recipe) -> set[str]:
    """Return the hyperparameters of the preconditioner and the weight decay."""
    sections = ("preconditioner", "weight_decay")
    uses = (use for use in uses_of(recipe.spec) if use.loc[0] in sections)
    return {name.id for use in uses for name in names_in(use.expr)}


def _rms(r: Vector) -> float:
    return float(np.sqrt(np.mean(np.square(np.clip(r, -TOO_FAR, TOO_FAR)))))
