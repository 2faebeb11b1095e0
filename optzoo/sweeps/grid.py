"""From a sweep to what is trained: the points of its grids, and the jobs that measure them.

A point is one row of a grid with one seed. Points that differ in an average of the iterates alone,
such as its window, share a trajectory: one job trains it, and observers measure the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

from optzoo.errors import InputError
from optzoo.program.expressions import Expr, Name, Num, names_in, substitute
from optzoo.program.simplify import drop_unused
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schema import ObserverSpec
from optzoo.sweeps.schema import MethodSpec, SweepSpec, Value
from optzoo.train.setup.overrides import resolve
from optzoo.train.setup.schema import Setup

UNHASHED = ("threads",)
"""Fields of `execution` that may differ from machine to machine."""


@dataclass(frozen=True)
class GridPoint:
    """One setting of a method with one seed: `values` are those of its grid, as written."""

    method: str
    values: tuple[tuple[str, Value], ...]
    seed: int
    view: str
    recipe: Recipe
    setup: Setup

    @property
    def setting(self) -> str:
        """The values of the grid as text."""
        return ", ".join(f"{name}={shown_value(value)}" for name, value in self.values)


@dataclass(frozen=True)
class Job:
    """One training run, and the points that it measures, each at a view."""

    recipe: Recipe
    setup: Setup
    points: tuple[tuple[GridPoint, str], ...]

    @property
    def key(self) -> str:
        """Twelve hex digits that name what is run: recipe, setup and seed, not the threads."""
        setup = self.setup.values()
        for name in UNHASHED:
            setup["execution"].pop(name, None)
        kept = {"recipe": self.recipe.digest, "dtypes": self.recipe.kept_dtypes, "setup": setup}
        text = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def shown_value(value: Value) -> str:
    """Return a value of a grid as a person writes it."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:g}"


def points_of(spec: SweepSpec) -> list[GridPoint]:
    """Return every point of a sweep, method by method.

    Raises one InputError for the first setting of each method that is not legal.
    """
    faults, points = [], []
    for method in spec.methods:
        try:
            points += [
                _point(spec, method, values, seed)
                for values in _cells(method)
                for seed in spec.seeds
            ]
        except InputError as error:
            faults += [
                replace(d, message=f"{method.label}: {d.message}") for d in error.diagnostics
            ]
    if faults:
        raise InputError(*faults)
    return points


def _cells(method: MethodSpec) -> Iterator[dict[str, Value]]:
    for row in product(*method.grid.values()):
        yield dict(zip(method.grid, row, strict=True))


def _point(
    spec: SweepSpec, method: MethodSpec, values: Mapping[str, Value], seed: int
) -> GridPoint:
    settings = {**spec.set, **method.set, **values, "seed": seed}
    changes = [(name, _as_typed(value)) for name, value in settings.items()]
    _, recipe, setup, _ = resolve(method.recipe, spec.setup, changes, method.observe)
    views = [view.name for view in recipe.program().views]
    if method.view not in views:
        raise InputError(f"`view: {method.view}` is none of its views: {', '.join(views)}")
    # what suited the recipe is in it now, and would undo the grid where the setup is read again
    setup = setup.model_copy(update={"recipes": {}, "sources": {}})
    return GridPoint(method.label, tuple(values.items()), seed, method.view, recipe, setup)


def _as_typed(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def jobs_of(points: Sequence[GridPoint]) -> list[Job]:
    """Return the training runs that measure these points, in their order."""
    groups: dict[str, list[GridPoint]] = {}
    for point in points:
        groups.setdefault(_trajectory(point), []).append(point)
    jobs: dict[str, Job] = {}
    for group in groups.values():
        for job in _observed(group):
            known = jobs.get(job.key)
            merged = job if known is None else replace(known, points=known.points + job.points)
            jobs[merged.key] = merged
    return list(jobs.values())


def _trajectory(point: GridPoint) -> str:
    """Return a text that is the same for points whose parameters move alike."""
    recipe = point.recipe
    texts = [json.dumps(recipe.routing.table())] if recipe.is_routed else []
    for rule in recipe.rules:
        program = rule.program()
        train = tuple(view for view in program.views if view.name == "train")
        moving = drop_unused(replace(program, views=train))
        read = {name.id for line in moving.lines for name in names_in(line.expr)}
        moving = replace(moving, hypers=tuple(h for h in moving.hypers if h.name in read | {"lr"}))
        dtypes = {s.name: rule.state_dtypes[s.name] for s in moving.tensor_states}
        texts += [moving.text(), str(sorted(dtypes.items()))]
    return "\n".join([*texts, json.dumps(point.setup.values(), sort_keys=True)])


def _observed(group: Sequence[GridPoint]) -> Iterator[Job]:
    """Yield the jobs of points that move alike: one where observers can measure the others."""
    first, *others = group
    job = Job(first.recipe, first.setup, ((first, first.view),))
    for point in others:
        if point.recipe.digest == first.recipe.digest:
            job = replace(job, points=(*job.points, (point, point.view)))
            continue
        if point.view == "train":
            job = replace(job, points=(*job.points, (point, "train")))
            continue
        weight = _weight(first.recipe, point.recipe) if point.view == "eval" else None
        if weight is None:
            yield Job(point.recipe, point.setup, ((point, point.view),))
            continue
        name = "_".join(f"{n}:{shown_value(v)}" for n, v in _apart(point, first)).replace("+", "")
        job = replace(
            job,
            recipe=_with_observer(job.recipe, name, weight),
            points=(*job.points, (point, name)),
        )
    yield job


def _apart(point: GridPoint, other: GridPoint) -> list[tuple[str, Value]]:
    return [pair for pair in point.values if pair not in other.values]


def _weight(base: Recipe, other: Recipe) -> Expr | None:
    """Return the averaging weight of `other` in the names of `base`, which moves alike.

    None where the average is no plain one, or what differs is read elsewhere too.
    """
    rule = base.spec.averaging
    if rule is None or rule.beta is not None or base.spec.evaluate not in (None, Name("average")):
        return None
    if base.is_routed:  # each rule may average in its own way
        return None
    ours, theirs = base.hyperparameters, other.hyperparameters
    differing = {n for n, knob in theirs.items() if knob.default != ours[n].default}
    for use in uses_of(base.spec):
        is_weight = use.loc == ("averaging", "weight") or use.loc[0] == "hyperparameters"
        if not is_weight and any(name.id in differing for name in names_in(use.expr)):
            return None
    numbers: dict[str, Expr] = {}
    for name in differing:
        value = theirs[name].default
        if not isinstance(value, float):
            return None
        numbers[name] = Num(Fraction(repr(value)))
    return substitute(rule.weight, lambda name: numbers.get(name.id))


def _with_observer(recipe: Recipe, name: str, weight: Expr) -> Recipe:
    observers: dict[str, Any] = {**recipe.spec.observers, name: ObserverSpec(weight=weight)}
    return replace(recipe, spec=recipe.spec.model_copy(update={"observers": observers}))
