"""Methods ranked by their best setting, with what is due to chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeGuard

from optzoo.comparison.records import Curve, Gathered, Measured, Values, read_curve
from optzoo.comparison.statistics import MeanDifference, Summary, difference, summarise
from optzoo.errors import Diagnostic, InputError
from optzoo.sweeps.schema import ClaimSpec


@dataclass(frozen=True)
class Setting:
    """One point of a method's grid over its seeds."""

    method: str
    values: Values
    records: tuple[Measured, ...]

    @property
    def losses(self) -> dict[int, float]:
        """The final losses by seed, of the runs that did not diverge."""
        return {r.seed: r.loss for r in self.records if r.loss is not None}

    @property
    def diverged(self) -> int:
        """How many of its runs diverged."""
        return sum(record.loss is None for record in self.records)

    @cached_property
    def summary(self) -> Summary | None:
        """The mean over seeds; None when a run diverged: then the setting is no candidate."""
        return summarise(list(self.losses.values())) if not self.diverged else None

    @property
    def text(self) -> str:
        """The values as text."""
        return ", ".join(f"{name}={_shown(value)}" for name, value in self.values) or "as given"

    @cached_property
    def _read(self) -> list[Curve | None]:
        """What stands in the metrics of each record, read once."""
        return [read_curve(record) for record in self.records]

    @property
    def curves(self) -> list[Curve]:
        """The curves that are there, one per seed."""
        return [curve for curve in self._read if _reaches(curve)]

    @property
    def without_curve(self) -> list[Measured]:
        """The records whose curve is not there."""
        return [r for r, c in zip(self.records, self._read, strict=True) if not _reaches(c)]

    @cached_property
    def mean_curve(self) -> tuple[list[int], list[float]]:
        """Tokens and the mean loss over seeds there, at what all curves have."""
        shared = sorted(
            set.intersection(*(set(c.tokens) for c in self.curves)) if self.curves else ()
        )
        by_curve = [dict(zip(c.tokens, c.losses, strict=True)) for c in self.curves]
        return shared, [math.fsum(c[t] for c in by_curve) / len(by_curve) for t in shared]


def _reaches(curve: Curve | None) -> TypeGuard[Curve]:
    """Whether there is a curve beyond the start."""
    return curve is not None and any(curve.tokens)


@dataclass(frozen=True)
class MethodResult:
    """A method at its best setting, against the baseline at its best.

    `is_among_best`: the difference to the best method is within noise. `tokens_to_baseline` is when
    its mean curve reaches the baseline's final loss, None when it does not. `edges` are
    hyperparameters whose best value is the first or last of its grid, with that value.
    """

    method: str
    best: Setting | None
    settings: tuple[Setting, ...]
    to_baseline: MeanDifference | None
    is_among_best: bool
    tokens_to_baseline: float | None
    edges: tuple[tuple[str, Any], ...]

    @property
    def diverged(self) -> int:
        """How many runs of the method diverged."""
        return sum(setting.diverged for setting in self.settings)

    @property
    def runs(self) -> int:
        """How many runs of the method there are."""
        return sum(len(setting.records) for setting in self.settings)


@dataclass(frozen=True)
class Checked:
    """What the seeds say of a claim: the difference, first less second, and a word for it.

    `shows`: a better that is significant, or a same within noise; `reversed`: significantly the
    other way round; `within noise`: a better that may be chance; `differs`: a same that is not;
    `unknown`: nothing can be tested.
    """

    claim: str
    difference: MeanDifference | None
    word: Literal["shows", "reversed", "within noise", "differs", "unknown"]


@dataclass(frozen=True)
class Ranking:
    """Methods, the best first, those without a candidate last."""

    methods: tuple[MethodResult, ...]
    baseline: str
    warnings: tuple[str, ...]
    claims: tuple[Checked, ...] = ()


def rank(gathered: Gathered, baseline: str | None = None) -> Ranking:
    """Rank the methods of gathered records.

    Raises InputError for a baseline that is none of the methods.
    """
    by_method = _settings(gathered.records)
    chosen = baseline or gathered.baseline or next(iter(by_method))
    if chosen not in by_method:
        hint = f"one of {', '.join(by_method)}"
        raise InputError(Diagnostic("unknown-name", f"`{chosen}` is not compared here", hint=hint))
    best = {method: _best(settings) for method, settings in by_method.items()}
    leader = min((s for s in best.values() if s is not None), key=_mean, default=None)
    found = [
        _result(method, settings, best[method], best[chosen], leader, gathered.grids)
        for method, settings in by_method.items()
    ]
    found.sort(key=lambda m: math.inf if m.best is None else _mean(m.best))
    claims = tuple(_checked(claim, best) for claim in gathered.claims)
    return Ranking(tuple(found), chosen, tuple(_warnings(found, gathered)), claims)


def _checked(claim: ClaimSpec, best: Mapping[str, Setting | None]) -> Checked:
    first, second = (best.get(label) for label in claim.labels)
    if first is None or second is None:
        return Checked(claim.text, None, "unknown")
    found = difference(first.losses, second.losses)
    if found.p is None:
        return Checked(claim.text, found, "unknown")
    if claim.same:
        return Checked(claim.text, found, "shows" if found.is_within_noise else "differs")
    if found.is_within_noise:
        return Checked(claim.text, found, "within noise")
    return Checked(claim.text, found, "shows" if found.mean < 0 else "reversed")


def _settings(records: Sequence[Measured]) -> dict[str, list[Setting]]:
    """Return settings by method; of runs of one seed twice the first counts."""
    groups: dict[tuple[str, Values], dict[int, Measured]] = {}
    for record in records:
        groups.setdefault((record.method, record.values), {}).setdefault(record.seed, record)
    by_method: dict[str, list[Setting]] = {}
    for (method, values), found in groups.items():
        by_method.setdefault(method, []).append(Setting(method, values, tuple(found.values())))
    return by_method


def _mean(setting: Setting) -> float:
    assert setting.summary is not None
    return setting.summary.mean


def _best(settings: Sequence[Setting]) -> Setting | None:
    """Return the setting of lowest mean loss among those with as many seeds as any has."""
    whole = max(len(setting.records) for setting in settings)
    candidates = [s for s in settings if s.summary is not None and len(s.records) == whole]
    return min(candidates, key=_mean, default=None)


def _result(
    method: str,
    settings: Sequence[Setting],
    best: Setting | None,
    baseline: Setting | None,
    leader: Setting | None,
    grids: Mapping[str, Mapping[str, Sequence[Any]]],
) -> MethodResult:
    if best is None or leader is None:
        return MethodResult(method, None, tuple(settings), None, False, None, ())
    apart = difference(best.losses, baseline.losses) if baseline is not None else None
    behind = difference(best.losses, leader.losses)
    return MethodResult(
        method=method,
        best=best,
        settings=tuple(settings),
        to_baseline=apart,
        is_among_best=best is leader or behind.is_within_noise,
        tokens_to_baseline=None if baseline is None else tokens_to(best, _mean(baseline)),
        edges=tuple(_edges(best, grids.get(method, {}))),
    )


def tokens_to(setting: Setting, loss: float) -> float | None:
    """Return after how many tokens the mean curve of a setting first is at a loss or below.

    Between two evaluations in proportion; None when it never is, or there are no curves.
    """
    tokens, losses = setting.mean_curve
    for i, value in enumerate(losses):
        if value <= loss:
            if i == 0 or losses[i - 1] == value:
                return float(tokens[i])
            share = (losses[i - 1] - loss) / (losses[i - 1] - value)
            return tokens[i - 1] + share * (tokens[i] - tokens[i - 1])
    return None


def _edges(best: Setting, grid: Mapping[str, Sequence[Any]]) -> list[tuple[str, Any]]:
    """Return which numbers of the best setting are the least or the largest of their grid."""
    found = []
    for name, value in best.values:
        numbers = [v for v in grid.get(name, ()) if isinstance(v, int | float)]
        if len(numbers) > 1 and value in (min(numbers), max(numbers)):
            found.append((name, value))
    return found


def _warnings(methods: Sequence[MethodResult], gathered: Gathered) -> list[str]:
    warnings = []
    if gathered.unfinished:
        count = len(gathered.unfinished)
        warnings.append(f"{count} runs are not finished and do not count, {gathered.unfinished[0]}")
    for method in methods:
        for name, value in method.edges:
            warnings.append(
                f"{method.method}: the best {name} is {_shown(value)}, on the edge of its grid: "
                "widen the grid before you compare"
            )
        if method.best is None:
            warnings.append(f"{method.method}: every setting has a run that diverged")
    seeds = {len(m.best.records) for m in methods if m.best is not None}
    if seeds and max(seeds) < 2:
        warnings.append("one seed each: no difference can be told from chance; take --seeds 3")
    elif seeds and min(seeds) == 2:
        warnings.append(
            "two seeds tell little: a test of one degree of freedom finds next to nothing"
        )
    if any(len(m.settings) > 1 for m in methods):
        warnings.append(
            "the best setting of each grid was chosen by these very seeds, which flatters large "
            "grids: confirm with fresh ones, `optzoo sweep confirm DIR`"
        )
    if len(seeds) > 1:
        warnings.append("the best settings have different numbers of seeds")
    counted = sum(len(s.records) for m in methods for s in m.settings)
    if counted < len(gathered.records):
        twice = len(gathered.records) - counted
        warnings.append(f"{twice} runs repeat a seed of their setting, and do not count again")
    corpora = {record.tokens for record in gathered.records if record.loss is not None}
    if len(corpora) > 1:
        warnings.append("these runs have different numbers of tokens: their losses do not compare")
    return warnings


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
