"""The expected risk of a recipe: `expected_risk`, and what it is made of.

Nothing is sampled. What multiplies a gradient and depends on gradients (preconditioner, sign, clip)
is held fixed at 1 and told by `LinearRecipe.held_fixed`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.interpreters.linear import NotLinearError
from optzoo.program.arithmetic import NotRealError
from optzoo.program.expressions import format_expression
from optzoo.program.ir import PARAM
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.recipe.schedules import parse_lr_schedule, parse_observer
from optzoo.recipe.values import Value, check_total_steps
from optzoo.risk.moments import Recursion
from optzoo.risk.regression.problem import Problem
from optzoo.risk.transition import StepTable, Table, Transition

LARGEST = sys.float_info.max
OTHER_NAMES = {"param": "train", "average": "eval"}
"""What views are called too."""


@dataclass(frozen=True)
class LinearRecipe:
    """A recipe seen from one view, ready to be run on any problem.

    `view` is `train` (or `param`), `eval` (or `average`), or an observer: one of the recipe, or
    such as `tail:0.1`.
    """

    recipe: Recipe
    view: str
    transition: Transition
    lr_schedule: str = "constant"

    @classmethod
    def of(
        cls,
        recipe: Recipe | str | Path,
        view: str = "eval",
        *,
        lr_schedule: str = "constant",
        **hyperparameters: Value,
    ) -> LinearRecipe:
        """Return a recipe seen from a view. Raises InputError for a view that it has not."""
        found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        found = found.with_overrides(hyperparameters)
        name = OTHER_NAMES.get(view, view)
        if name not in ("train", "eval") and name not in found.spec.observers:
            try:
                parse_observer(name)
            except InputError:
                known = ["train", "eval", *found.spec.observers]
                message = f"`{name[:100]}` is not a view of {found.name}"
                hint = f"{did_you_mean(name, known, what='views')}; or an average such as tail:0.1"
                raise InputError(Diagnostic("unknown-name", message, hint=hint)) from None
        observed = [] if name in ("train", "eval") else [name]
        program = found.with_only_observers(observed).trained_program()
        try:
            return cls(found, view, Transition(program, name), lr_schedule)
        except NotLinearError as error:
            (move,) = (line for line in program.step if line.target == PARAM)
            message = f"the step of {found.name} has no expected risk: {error}"
            place = found.document.location(move.source)
            raise InputError(Diagnostic("not-linear", message, place)) from None

    @cached_property
    def held_fixed(self) -> tuple[str, ...]:
        """What the step multiplies or divides by, taken as 1: one text for each place."""
        texts = []
        for gain in self.transition.gains:
            verb = "divided" if gain.factor.divides else "multiplied"
            text = f"{gain.line}: {gain.kind}, {verb} by {format_expression(gain.factor.expr)}"
            if gain.kind in ("sign", "elementwise clip"):
                text = f"{gain.line}: {gain.kind}"
            if text not in texts:
                texts.append(text)
        return tuple(texts)

    @cached_property
    def hyperparameters(self) -> dict[str, float | str]:
        """The value of every hyperparameter: a number, or the text of an expression."""
        return {name: knob.default for name, knob in self.recipe.hyperparameters.items()}

    def coefficients(
        self,
        last: int,
        total_steps: int,
        values: Mapping[str, float] | None = None,
        *,
        quick: bool = False,
    ) -> Iterator[StepTable]:
        """Yield the coefficients of the steps 1 to `last` of `total_steps`.

        `values` replace hyperparameters that are numbers; `quick` is for searches. Raises
        InputError where a scalar has no value.
        """
        factor = parse_lr_schedule(self.lr_schedule, total_steps)
        try:
            yield from self.transition.coefficients(
                values or {}, factor, total_steps, last, quick=quick
            )
        except NotRealError as error:
            raise InputError(self.recipe.diagnostic(error)) from None

    def risks(
        self,
        problem: Problem,
        steps: Sequence[int],
        total_steps: int,
        values: Mapping[str, float] | None = None,
        *,
        limit: float = LARGEST,
        quick: bool = False,
    ) -> list[float]:
        """Return the risk after each of the steps, in the order given.

        It is infinite where it was above float64 at a step, or sum lam q above `limit`. `quick` is
        for searches: the coefficients are computed in float64.
        """
        run = Recursion(problem, self.transition.start)
        last, wanted = max(steps), set(steps)
        found = {0: problem.start_risk}
        parts = self.coefficients(last, total_steps, values, quick=quick) if last else ()
        for chunk in parts:
            first = run.t + 1
            inside = sorted(t for t in wanted if first <= t < first + chunk.count)
            only = not inside or inside == [first + chunk.count - 1]
            if only:
                run.advance(chunk, limit)
                found |= {t: run.risk(chunk.view[-1]) for t in inside}
            else:
                each = run.risks(chunk, limit)
                found |= {t: float(each[t - first]) for t in inside}
            if not run.is_finite:
                break
        return [found.get(t, math.inf) for t in steps]

    def curve(self, problem: Problem, last: int, total_steps: int) -> Table:
        """Return the risk after each of the steps 0 to `last`."""
        run = Recursion(problem, self.transition.start)
        parts = [np.array([problem.start_risk])]
        for chunk in self.coefficients(last, total_steps):
            parts.append(run.risks(chunk, LARGEST))
        return np.concatenate(parts)

    def steps_to(
        self,
        problem: Problem,
        risk: float,
        last: int,
        total_steps: int,
        values: Mapping[str, float] | None = None,
    ) -> int | None:
        """Return the first step after which the risk is at most `risk`; None if none to `last`."""
        if problem.start_risk <= risk:
            return 0
        run = Recursion(problem, self.transition.start)
        for chunk in self.coefficients(last, total_steps, values):
            first = run.t + 1
            below = np.flatnonzero(run.risks(chunk, LARGEST) <= risk)
            if len(below):
                return first + int(below[0])
            if not run.is_finite:
                return None
        return None


@overload
def expected_risk(
    recipe: Recipe | str | Path,
    problem: Problem | Mapping[str, Any] | None = None,
    *,
    steps: int,
    view: str = "eval",
    total_steps: int | None = None,
    lr_schedule: str = "constant",
    **hyperparameters: Value,
) -> float: ...


@overload
def expected_risk(
    recipe: Recipe | str | Path,
    problem: Problem | Mapping[str, Any] | None = None,
    *,
    steps: Sequence[int],
    view: str = "eval",
    total_steps: int | None = None,
    lr_schedule: str = "constant",
    **hyperparameters: Value,
) -> list[float]: ...


def expected_risk(
    recipe: Recipe | str | Path,
    problem: Problem | Mapping[str, Any] | None = None,
    *,
    steps: int | Sequence[int],
    view: str = "eval",
    total_steps: int | None = None,
    lr_schedule: str = "constant",
    **hyperparameters: Value,
) -> float | list[float]:
    """Return the expected excess risk of a recipe after `steps` steps, with the factor 1/2.

    `problem` is a `Problem` or a mapping of its fields. With a sequence of steps the risk after
    each, in one run. `total_steps` is `T`, the last of the steps if left out. A run that diverges
    has the risk infinity once float64 does not hold it. Raises InputError for a recipe that is not
    linear even with its preconditioner held fixed, and for values that are none.

    >>> import optzoo
    >>> round(optzoo.expected_risk("sgd", {"dim": 1}, steps=1, lr=0.5), 12)
    0.375
    """
    wanted = [int(t) for t in np.atleast_1d(steps)]
    checked_steps(wanted)
    total = max(*wanted, 1) if total_steps is None else total_steps
    check_total_steps(total)
    found = LinearRecipe.of(recipe, view, lr_schedule=lr_schedule, **hyperparameters)
    risks = found.risks(Problem.of(problem), wanted, total)
    return risks[0] if np.ndim(steps) == 0 else risks


MOST_STEPS = 1_000_000_000


def checked_steps(steps: Sequence[int]) -> None:
    """Raise InputError for numbers of steps that are none."""
    if not steps:
        raise InputError(Diagnostic("bad-value", "`steps`: there is none"))
    for t in steps:
        if not 0 <= t <= MOST_STEPS:
            message = f"`steps`: {t:,} must be from 0 to {MOST_STEPS:,}"
            raise InputError(Diagnostic("bad-value", message))
