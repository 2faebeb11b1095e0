"""What `optzoo quadratic` is asked, and its answers: one per recipe, view, batch and length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.values import Value, check_total_steps
from optzoo.risk.expected import LinearRecipe, checked_steps
from optzoo.risk.problem import Problem


@dataclass(frozen=True)
class Question:
    """Recipes on a problem, for each of the batches.

    Steps are read off in one run whose length, `T`, is the last of them or `total_steps`; with
    `samples` the length is as many steps as these samples allow, batch by batch. With `to_risk` it
    is the most steps that are tried.
    """

    recipes: Sequence[Recipe]
    problem: Problem
    batches: Sequence[float]
    steps: Sequence[int]
    views: Sequence[str] = ("eval",)
    total_steps: int | None = None
    samples: int | None = None
    to_risk: float | None = None
    lr_schedule: str = "constant"

    def __post_init__(self) -> None:
        checked_steps(self.steps)
        if self.total_steps is not None:
            check_total_steps(self.total_steps)
        if self.to_risk is not None and not self.to_risk > 0:
            message = f"`to_risk`: {self.to_risk:g} must be above 0"
            raise InputError(Diagnostic("bad-value", message))
        for batch in self.batches:
            replace(self.problem, batch=batch)
            if self.samples is not None and not batch <= self.samples:
                message = f"`samples`: {self.samples:,} are no batch of {batch:g}"
                raise InputError(Diagnostic("bad-value", message))

    def lengths(self, batch: float) -> tuple[list[int], int]:
        """Return the steps that are read off at a batch size, and `T`."""
        steps = list(self.steps) if self.samples is None else [int(self.samples // batch)]
        return steps, max(*steps, 1) if self.total_steps is None else self.total_steps

    def cases(self) -> Iterator[tuple[LinearRecipe, Problem]]:
        """Yield each recipe from each view, on the problem of each batch size."""
        for recipe in self.recipes:
            for view in self.views:
                seen = LinearRecipe.of(recipe, view, lr_schedule=self.lr_schedule)
                for batch in self.batches:
                    yield seen, replace(self.problem, batch=batch)


@dataclass(frozen=True)
class Answer:
    """The risk of a recipe from a view after `steps` steps; None steps never reached `to_risk`."""

    recipe: str
    view: str
    batch: float
    steps: int | None
    risk: float
    hyperparameters: Mapping[str, float | str]
    further: Mapping[str, Any] = field(default_factory=dict)
    held_fixed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a risk that float64 does not hold is infinite."""
        return {
            "recipe": self.recipe,
            "view": self.view,
            "batch": int(self.batch) if math.isfinite(self.batch) else self.batch,
            "steps": self.steps,
            "risk": self.risk,
            "hyperparameters": dict(self.hyperparameters),
            **self.further,
        }


def answers(question: Question) -> list[Answer]:
    """Return the exact risks that a question asks for."""
    found = []
    for seen, problem in question.cases():
        steps, total = question.lengths(problem.batch)
        if question.to_risk is not None:
            reached = seen.steps_to(problem, question.to_risk, max(steps), total)
            read = [max(steps) if reached is None else reached]
            rows = [(reached, seen.risks(problem, read, total)[0])]
        else:
            rows = list(zip(steps, seen.risks(problem, steps, total), strict=True))
        found += [
            Answer(
                seen.recipe.name,
                seen.view,
                problem.batch,
                t,
                risk,
                seen.hyperparameters,
                {} if question.to_risk is None else {"to_risk": question.to_risk},
                seen.held_fixed,
            )
            for t, risk in rows
        ]
    return found


def with_settings(recipes: Sequence[Recipe], settings: Mapping[str, Value]) -> list[Recipe]:
    """Return the recipes, each with those settings that it has a hyperparameter for.

    Raises InputError for a setting that none of them has.
    """
    known = {name for recipe in recipes for name in recipe.hyperparameters}
    for name in settings:
        if name not in known:
            message = f"`{name}` is not a hyperparameter of {' or '.join(r.name for r in recipes)}"
            hint = did_you_mean(name, known, what="hyperparameters")
            raise InputError(Diagnostic("unknown-name", message, hint=hint))
    return [
        r.with_overrides({n: v for n, v in settings.items() if n in r.hyperparameters})
        for r in recipes
    ]
