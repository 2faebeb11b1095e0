"""Fitting one recipe's hyperparameters to another's trajectory, by least squares in float64.

The distance of two trajectories is the residual, the right recipe's hyperparameters are the
unknowns, and many starts descend side by side. A root is a guess of what
`optzoo.equivalence.search` then proves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from optzoo.equivalence.fitting.batch import Array, Courses, ProgramBatch, has_signs
from optzoo.equivalence.fitting.descent import ITERATIONS, STALLED, Unknown, descend, rms
from optzoo.equivalence.fitting.starts import Starts
from optzoo.equivalence.sides import Conditions, Side, own_lr
from optzoo.program.expressions import names_in
from optzoo.program.ir import Program
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe

FIT_STEPS = 10
LONG_FIT_STEPS = 120
"""Steps of a second look at guesses: what sets in late is seen there."""
ROOT = 1e-10
"""A root mean square distance, relative to the move, that counts as a root in float64."""
PROMISING, PATIENT = 1e-4, 200
"""A distance from which a single descent goes on for so many steps."""
POLISHING = 12
ROUNDED = 1e-14
FLAT = 0.05
TOO_FAR = 1e6
ABOUT = 1.1
"""How much farther a point may be for the sake of plain numbers."""
FEW, FEW_ITERATIONS, FEW_POINTS = 5, 9, 400
"""Starts, steps and points of the grid of a glance."""
SMALL = Fraction(1, 10**5)
"""The gradients of a third course: beside them an eps shows."""


@dataclass(frozen=True)
class Root:
    """A root, how far each unknown may be off, and the gain on lr at each step, if asked for.

    `error` is the distance that is left: what is no root is the nearest that was found.
    """

    values: dict[str, float]
    slack: dict[str, float]
    gains: tuple[float, ...] | None
    error: float

    @property
    def found(self) -> bool:
        """Whether the trajectories meet in float64."""
        return self.error < ROOT


@dataclass(frozen=True)
class Target:
    """The trajectory that is fitted: the left recipe's, on courses of its own."""

    program: Program
    known: dict[str, Fraction]
    lr: Fraction
    courses: Courses
    points: Array
    scales: Array

    @classmethod
    def of(
        cls,
        left: Side,
        conditions: Conditions,
        iterates_only: bool,
        smooth_signs: bool,
        steps: int = FIT_STEPS,
    ) -> Target:
        """Run the left recipe."""
        short = replace(conditions, steps=steps, spread=False)
        small = replace(short, grad_size=min(conditions.grad_size, SMALL))
        program = left.recipe.program()
        courses = Courses([*short.courses(program), small.courses(program)[1]])
        points = _points(left.program, courses, iterates_only, smooth_signs)
        moves = np.abs(points - courses.start[:, :, None, None, :])
        moves[~np.isfinite(moves)] = 0
        scales = moves.max(axis=(1, 2, 3, 4), keepdims=True)
        scales[scales == 0] = 1
        known = {h.name: h.value for h in program.hypers}
        return cls(left.program, known, own_lr(program), courses, points, scales)


def _points(program: Program, courses: Courses, iterates_only: bool, smooth_signs: bool) -> Array:
    train, shown = ProgramBatch(program, smooth_signs=smooth_signs)(courses, {})
    return np.stack([train] if iterates_only else [train, shown], axis=2)


class Fit:
    """A fit of `right` to `left`; `fixed` hyperparameters of `right` stay as they are.

    `others` are numbers of the left recipe that its own hyperparameters do not show, such as 1 - a:
    the unknowns may start there.
    """

    def __init__(
        self,
        left: Side,
        right: Recipe,
        conditions: Conditions,
        fixed: frozenset[str] = frozenset(),
        iterates_only: bool = False,
        others: Sequence[float] = (),
    ) -> None:
        self.left, self.right, self.iterates_only = left, right, iterates_only
        self.program = right.program()
        self.smooth_signs = has_signs(left.program) and has_signs(self.program)
        self.run = ProgramBatch(self.program, smooth_signs=self.smooth_signs)
        self.target = Target.of(left, conditions, iterates_only, self.smooth_signs)
        knobs = right.hyperparameters
        if "lr" not in right.spec.hyperparameters:  # a mere multiplier: the other knobs do
            fixed = fixed | {"lr"}
        self.unknowns = {
            n: Unknown(n, h.interval, h.default)
            for n, h in knobs.items()
            if n not in fixed and isinstance(h.default, float)
        }
        self.others, self.conditions = others, conditions
        self._long: Target | None = None

    # ---------------------------------------------------------------- the least-squares problem

    def long_residual(self, names: Sequence[str], vectors: Array) -> Array:
        """Return the distances over more steps than are fitted."""
        if self._long is None:
            self._long = Target.of(
                self.left, self.conditions, self.iterates_only, self.smooth_signs, LONG_FIT_STEPS
            )
        short, self.target = self.target, self._long
        try:
            return self.residual(names, vectors, with_gains=False)
        finally:
            self.target = short

    def residual(self, names: Sequence[str], vectors: Array, with_gains: bool) -> Array:
        """Return the distances of all points for many vectors, relative to the left one's move."""
        settings = {n: vectors[:, i] for i, n in enumerate(names)}
        gains = vectors[:, len(names) :] if with_gains else None
        base = float(self.target.lr) if with_gains else None
        train, shown = self.run(self.target.courses, settings, gains=gains, base_lr=base)
        points = np.stack([train] if self.iterates_only else [train, shown], axis=2)
        with np.errstate(all="ignore"):
            rows = (points - self.target.points) / self.target.scales
        rows = np.nan_to_num(rows, nan=TOO_FAR, posinf=TOO_FAR, neginf=-TOO_FAR)
        rows = np.broadcast_to(rows, (rows.shape[0], len(vectors), *rows.shape[2:]))
        return np.clip(np.moveaxis(rows, 1, 0).reshape(len(vectors), -1), -TOO_FAR, TOO_FAR)

    def alike(self) -> dict[str, float]:
        """Return what both preconditioners or decays are named alike for, at the left's value."""
        both_have = _aside(self.left.recipe) & _aside(self.right) & {*self.unknowns}
        known = self.target.known
        values = {n: float(known[n]) for n in both_have if n in known and n != "lr"}
        return {n: v for n, v in values.items() if v in self.unknowns[n].interval}

    def solve(self, with_gains: bool, held: Mapping[str, float]) -> Root:
        """Return a root, or else the nearest that was found; `held` unknowns stay at a value.

        `with_gains` frees the learning rate of every step.
        """
        problem = _Problem(self, held, with_gains)
        x, error = problem.descend(Starts(self, problem.names, held, with_gains).best())
        if ROOT <= error < PROMISING:
            x, error = problem.descend(x[None], PATIENT, patience=PATIENT)
        return problem.finished(x, error, held)

    def at(self, values: Mapping[str, float], held: Mapping[str, float]) -> Root:
        """Return the root at these values, if there is one."""
        problem = _Problem(self, held, with_gains=False)
        x = np.asarray([values[n] for n in problem.names])
        return problem.finished(x, float(rms(problem.residual(x[None]))[0]), held)

    def glance(self, with_gains: bool) -> Root:
        """Return the nearest that a few short descents find."""
        problem = _Problem(self, {}, with_gains)
        starts = Starts(self, problem.names, {}, with_gains).best(FEW, FEW_POINTS)
        x, error = problem.descend(starts, FEW_ITERATIONS)
        return problem.root(x, error, dict.fromkeys(problem.names, 0.0))

    def plain(self, root: Root) -> Root:
        """Return a point about as near with as many unknowns as that allows at their default or 0.

        A root, and a point with gains, stays as it is.
        """
        if root.found or root.gains is not None:
            return root
        names = list(root.values)
        x = np.asarray(list(root.values.values()))
        limit = ABOUT * root.error
        for i, name in enumerate(names):
            unknown = self.unknowns[name]
            options = [v for v in (unknown.default, 0.0) if name != "lr" and unknown.allows(v)]
            for value in options:
                moved = x.copy()
                moved[i] = value
                if float(rms(self.residual(names, moved[None], False))[0]) <= limit:
                    x = moved
                    break
        error = float(rms(self.residual(names, x[None], False))[0])
        return Root(dict(zip(names, x.tolist(), strict=True)), root.slack, None, error)


class _Problem:
    """The unknowns of one descent: some held at a value, the gains on the learning rate at the end.

    Where a whole family of roots is as good, one unknown after the other is held at a short number
    near its value while the others still reach a root.
    """

    def __init__(self, fit: Fit, held: Mapping[str, float], with_gains: bool) -> None:
        self.fit, self.with_gains = fit, with_gains
        self.names = [n for n in fit.unknowns if not (with_gains and n == "lr")]
        self.unknowns = [fit.unknowns[n] for n in self.names]
        if with_gains:
            self.unknowns += [Unknown.gain()] * FIT_STEPS
        free = [n not in held for n in self.names]
        self.mask = np.asarray([*free, *[True] * (len(self.unknowns) - len(free))])

    def residual(self, vectors: Array) -> Array:
        """Return the distances of all points for many vectors."""
        return self.fit.residual(self.names, vectors, self.with_gains)

    def descend(
        self, starts: Array, iterations: int = ITERATIONS, patience: int = STALLED
    ) -> tuple[Array, float]:
        """Return the best point that the starts lead to."""
        return descend(
            self.residual, self.unknowns, starts, self.mask, iterations, patience=patience
        )

    def finished(self, x: Array, error: float, held: Mapping[str, float]) -> Root:
        """Return a point: a root with short numbers where that is free, and its slack."""
        slack = dict.fromkeys(self.names, 0.0)
        if error < ROOT:
            x, error = self.polished(*self.pin(x, error))
            slack = self.slack(x, error)
        return self.root(x, error, {**slack, **dict.fromkeys(held, 0.0)})

    def root(self, x: Array, error: float, slack: dict[str, float]) -> Root:
        """Return a point by the names of the unknowns."""
        values = dict(zip(self.names, x.tolist(), strict=False))
        gains = tuple(x[len(self.names) :].tolist()) if self.with_gains else None
        return Root(values, slack, gains, error)

    def pin(self, x: Array, error: float) -> tuple[Array, float]:
        """Return a root of the family whose numbers are short."""
        for i in sorted(range(len(self.names)), key=lambda i: self.names[i] == "lr"):
            if not self.mask[i]:
                continue
            if self._is_alone(x):
                break
            before = self.mask
            self.mask = before & (np.arange(len(before)) != i)
            for short in self._short_numbers(self.names[i], float(x[i])):
                start = x.copy()
                start[i] = short
                moved, left = self.descend(start[None])
                if left < ROOT:
                    x, error = moved, left
                    break
            else:
                self.mask = before
        return x, error

    def polished(self, x: Array, error: float) -> tuple[Array, float]:
        """Return a root as near as float64 comes."""
        nearer, left = descend(
            self.residual, self.unknowns, x[None], self.mask, POLISHING, enough=0.0
        )
        return (nearer, left) if left < error else (x, error)

    def slack(self, x: Array, error: float) -> dict[str, float]:
        """Return how far each unknown may be off, others moving along, at ten times the error."""
        jacobian = self._jacobian(x)
        sizes = np.sqrt((jacobian**2).sum(1)) + 1e-300
        steep = jacobian[self.mask] / sizes[self.mask, None]
        spread = np.ones(len(x))
        if self.mask.any():
            spread[self.mask] = np.sqrt(np.diag(np.linalg.pinv(steep @ steep.T, rcond=1e-14)))
        far = 10 * max(error, ROUNDED) * np.sqrt(jacobian.shape[1]) * spread / sizes
        far[: len(self.names)][self._flat(x)] = np.inf
        return dict(zip(self.names, far.tolist(), strict=False))

    def _flat(self, x: Array) -> Array:
        """Return which unknowns may go some way to one side at least, and nothing moves."""
        rows = []
        for i, name in enumerate(self.names):
            for factor in (1 - FLAT, 1 + FLAT):
                moved = x.copy()
                moved[i] = self.fit.unknowns[name].inside(np.asarray(x[i] * factor))
                rows.append(moved)
        errors = rms(self.residual(np.stack(rows))).reshape(len(self.names), 2)
        apart = np.abs(np.stack(rows) - x).max(1).reshape(len(self.names), 2) > 0
        return np.asarray(((errors < ROOT) & apart).any(1))

    def _jacobian(self, x: Array) -> Array:
        rows = []
        for i, value in enumerate(x):
            h = 1e-7 * max(abs(float(value)), 1e-4)
            moved = x.copy()
            moved[i] = value + (h if self.unknowns[i].allows(value + h) else -h)
            rows.append(moved)
        found = self.residual(np.stack([x, *rows]))
        steps = np.asarray([moved[i] - x[i] for i, moved in enumerate(rows)])
        slopes: Array = (found[1:] - found[0]) / steps[:, None]
        return slopes

    def _is_alone(self, x: Array) -> bool:
        """Whether no direction in the unknowns that are free leaves the trajectory as it is."""
        if not self.mask.any():
            return True
        jacobian = self._jacobian(x)[self.mask]
        sizes = np.sqrt((jacobian**2).sum(1))
        if (sizes <= 1e-9).any():
            return False
        return bool(np.linalg.cond(jacobian / sizes[:, None]) < 1e5)

    def _short_numbers(self, name: str, value: float) -> list[float]:
        """Return numbers worth holding an unknown at: the left recipe's own and rounded ones."""
        known, unknown = self.fit.target.known, self.fit.unknowns[name]
        near = [float(known[name])] if name in known else []
        near += [unknown.default, 0.0, 1.0, *(float(f"{value:.{digits}g}") for digits in (1, 2, 3))]
        return [x for x in dict.fromkeys(near) if unknown.allows(x)]


def _aside(recipe: Recipe) -> set[str]:
    """Return the hyperparameters of the preconditioner and the weight decay."""
    sections = ("preconditioner", "weight_decay")
    uses = (use for use in uses_of(recipe.spec) if use.loc[0] in sections)
    return {name.id for use in uses for name in names_in(use.expr)}
