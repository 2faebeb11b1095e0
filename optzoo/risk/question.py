"""What `optzoo quadratic` is asked, and its answers: one per recipe, view, batch and length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.values import Value, check_total_steps
from optzoo.risk.expected import LinearRecipe, checked_steps
from optzoo.risk.regression.problem import Problem
from optzoo.risk.search.tuning import Tuned, tune_curve, tune_to_risk
from optzoo.risk.simulation import simulate


@dataclass(frozen=True)
class Question:
    """Recipes on a problem, for each of the batches.

    Steps are read off in one run whose length, `T`, is the last of them or `total_steps`; with
    `samples` the length is as many steps as these samples allow, batch by batch. With `to_risk` it
    is the most steps that are tried. Hyperparameters to `tune` are the best for each batch and
    each of the steps; `check` is a number of runs to sample beside.
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
    tune: Sequence[str] = ()
    check: int | None = None

    def __post_init__(self) -> None:
        checked_steps(self.steps)
        if self.total_steps is not None:
            check_total_steps(self.total_steps)
        if self.to_risk is not None and not self.to_risk > 0:
            message = f"`to_risk`: {self.to_risk:g} must be above 0"
            raise InputError(Diagnostic("bad-value", message))
        if self.tune and self.total_steps is not None:
            message = "what is tuned is tuned for the steps it takes: there is no other T"
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

    def columns(self) -> list[dict[float, int]]:
        """Return the steps that are read off at all batch sizes, one after the other."""
        count = len(self.steps) if self.samples is None else 1
        return [{batch: self.lengths(batch)[0][i] for batch in self.batches} for i in range(count)]


@dataclass(frozen=True)
class Answer:
    """The risk of a recipe from a view after `steps` steps; None steps never reached `to_risk`."""

    seen: LinearRecipe
    problem: Problem
    steps: int | None
    risk: float
    hyperparameters: Mapping[str, float | str]
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        """The name of the recipe, and of its rule where it has several."""
        return _called(self.seen.recipe)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a risk that float64 does not hold is infinite."""
        batch = self.problem.batch
        return {
            "recipe": self.seen.recipe.name,
            **({"rule": self.seen.recipe.label} if self.seen.recipe.is_routed else {}),
            "view": self.seen.view,
            "batch": int(batch) if math.isfinite(batch) else batch,
            "steps": self.steps,
            "risk": self.risk,
            "hyperparameters": dict(self.hyperparameters),
            **self.further,
        }


def _called(recipe: Recipe) -> str:
    """Return the name of a recipe, and of its rule where it has several."""
    return f"{recipe.name}, {recipe.label}" if recipe.is_routed else recipe.name


def answers(question: Question, tell: Callable[[str], None] = lambda _: None) -> list[Answer]:
    """Return the exact risks that a question asks for, by recipe, view, batch and steps.

    `tell` is called with what is computed next.
    """
    found: list[Answer] = []
    for recipe in question.recipes:
        for view in question.views:
            tell(f"{_called(recipe)}, {view}")
            found += (
                _tuned(question, recipe, view) if question.tune else _read(question, recipe, view)
            )
    if question.check is None:
        return found
    return [_checked(question, answer) for answer in found]


def _read(question: Question, recipe: Recipe, view: str) -> Iterator[Answer]:
    """Yield the risks of a recipe as it is."""
    seen = LinearRecipe.of(recipe, view, lr_schedule=question.lr_schedule)
    for batch in question.batches:
        problem = replace(question.problem, batch=batch)
        steps, total = question.lengths(batch)
        if question.to_risk is None:
            for t, risk in zip(steps, seen.risks(problem, steps, total), strict=True):
                yield Answer(seen, problem, t, risk, seen.hyperparameters)
            continue
        reached = seen.steps_to(problem, question.to_risk, max(steps), total)
        read = max(steps) if reached is None else reached
        (risk,) = seen.risks(problem, [read], total)
        further = {"to_risk": question.to_risk}
        yield Answer(seen, problem, reached, risk, seen.hyperparameters, further)


def _tuned(question: Question, recipe: Recipe, view: str) -> Iterator[Answer]:
    """Yield the risks of a recipe with the best hyperparameters."""
    if question.to_risk is not None:
        last = {batch: max(question.lengths(batch)[0]) for batch in question.batches}
        yield from (
            _answer_of(question, recipe, tuned, {"to_risk": question.to_risk}, reached=reached)
            for tuned, reached in tune_to_risk(
                recipe, question.problem, last, question.tune, view, question.to_risk,
                question.lr_schedule,
            )
        )  # fmt: skip
        return
    columns = [
        tune_curve(recipe, question.problem, lengths, question.tune, view, question.lr_schedule)
        for lengths in question.columns()
    ]
    for row in zip(*columns, strict=True):
        for tuned in row:
            yield _answer_of(question, recipe, tuned, {})


def _answer_of(
    question: Question,
    recipe: Recipe,
    tuned: Tuned,
    further: Mapping[str, Any],
    *,
    reached: bool = True,
) -> Answer:
    best = recipe.with_overrides(tuned.values)
    return Answer(
        LinearRecipe.of(best, tuned.view, lr_schedule=question.lr_schedule),
        replace(question.problem, batch=tuned.batch),
        tuned.steps if reached else None,
        tuned.risk,
        tuned.hyperparameters,
        {
            **further,
            "tuned": list(tuned.values),
            "in_critical_rates": dict(tuned.rates),
            "certificate": tuned.certificate.to_json(),
        },
    )


def _checked(question: Question, answer: Answer) -> Answer:
    """Return an answer with what sampling says."""
    assert question.check is not None
    if answer.steps is None:
        return answer
    _, total = question.lengths(answer.problem.batch)
    total = answer.steps if question.tune else total
    sampled = simulate(answer.seen, answer.problem, answer.steps, total, question.check)
    return replace(answer, further={**answer.further, "check": sampled.to_json()})


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


def rules_of(
    recipes: Sequence[Recipe],
    view: str,
    tune: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> list[Recipe]:
    """Return the recipes, those with routes once for each rule that has an expected risk.

    A rule that does not read a hyperparameter to `tune` is left out too; `tell` is called with what
    is. Raises InputError for a recipe of which nothing is left.
    """
    found = []
    for recipe in recipes:
        if not recipe.is_routed:
            found.append(recipe)
            continue
        left: list[Recipe] = []
        reasons: dict[str, InputError] = {}
        for rule in recipe.rules:
            try:
                LinearRecipe.of(rule, view)
                _check_reads(rule, tune)
                left.append(rule)
            except InputError as error:
                reasons[rule.label] = error
        if not left:
            raise next(iter(reasons.values()))
        for label, reason in reasons.items():
            tell(f"{_called(recipe.at(label))}, is left out: {reason.diagnostics[0].message}")
        found += left
    return found


def _check_reads(rule: Recipe, names: Sequence[str]) -> None:
    """Raise InputError for a hyperparameter of the recipe that one of its rules does not read."""
    read = {name.id for name in rule.program().names()} | {"all"}
    for name in names:
        if name in rule.hyperparameters and name not in read:
            message = f"the step of {_called(rule)} does not read `{name}`"
            raise InputError(Diagnostic("unknown-name", message))
