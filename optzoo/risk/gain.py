"""What a risk is compared with: SGD, and the better of heavy ball and Nesterov, each tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optzoo.errors import InputError
from optzoo.recipe.recipe import load_recipe
from optzoo.risk.question import Question
from optzoo.risk.regression.problem import Problem
from optzoo.risk.search.tuning import tune_curve

PLAIN = ("sgd", ("lr",))
MOMENTA = (("sgd_momentum", ("lr", "momentum")), ("sgd_nesterov", ("lr", "momentum")))
MOST_WORK = 2e10
"""Steps times eigenvalues of all searches together that are not waited for unasked: a minute."""
SEARCHES = 2_500
"""Runs that the three searches of one batch size take, about."""


@dataclass(frozen=True)
class Baselines:
    """The least risks of SGD and of momentum by batch size, each after the same steps."""

    sgd: Mapping[float, float]
    momentum: Mapping[float, float]


def baselines(problem: Problem, lengths: Mapping[float, int], lr_schedule: str) -> Baselines:
    """Return what gains are measured against, after `lengths[batch]` steps.

    A risk that underflows, or whose searches find none, is missing.
    """
    sgd = _least(PLAIN, problem, lengths, lr_schedule)
    heavy, nesterov = (_least(family, problem, lengths, lr_schedule) for family in MOMENTA)
    found = [batch for batch in lengths if batch in heavy and batch in nesterov]
    return Baselines(sgd, {batch: min(heavy[batch], nesterov[batch]) for batch in found})


def compare(question: Question, wish: bool | None) -> list[Baselines] | None:
    """Return the baselines for each of the steps asked for, or None where there are none.

    `wish` says whether they are wanted; None where they are if they are quick. Risks that were to
    be reached are not compared.
    """
    columns = question.columns()
    quick = sum(work(question.problem, lengths) for lengths in columns) <= MOST_WORK
    if question.to_risk is not None or not (quick if wish is None else wish):
        return None
    return [baselines(question.problem, lengths, question.lr_schedule) for lengths in columns]


def work(problem: Problem, lengths: Mapping[float, int]) -> float:
    """Return about how many steps times eigenvalues the searches of the baselines take."""
    return SEARCHES * len(problem.rows.eigenvalues) * float(sum(lengths.values()))


def _least(
    family: tuple[str, tuple[str, ...]],
    problem: Problem,
    lengths: Mapping[float, int],
    lr_schedule: str,
) -> dict[float, float]:
    name, knobs = family
    try:
        found = tune_curve(
            load_recipe(name), problem, lengths, knobs, "eval", lr_schedule, certify=False
        )
    except InputError:
        return {}
    return {each.batch: each.risk for each in found}
