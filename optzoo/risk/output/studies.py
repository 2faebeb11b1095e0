"""Studies: questions of a paper as YAML, `recipes/studies/*.yaml`, and what answers them.

A study names problems, methods (a recipe, what is set and what is tuned) and one kind of figure:

    gains      the least risk of the references over each method's, against the batch size
    target     steps to a risk against the batch size, with the line of perfect scaling
    ratio      two tuned hyperparameters over each other, against the batch size
    risk       the least risk against the number of steps it is tuned for
    exponents  the local exponent of the risk of one run against the steps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optzoo.files.documents import load_document
from optzoo.files.explanations import bad_value
from optzoo.files.shipped import find_file
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.risk.expected import LinearRecipe
from optzoo.risk.regression.problem import Problem
from optzoo.risk.search.tuning import Tuned, tune_curve, tune_to_risk

Kind = Literal["gains", "target", "ratio", "risk", "exponents"]
Whole = Annotated[int, Field(ge=1)]


class StudyPart(BaseModel):
    """A mapping of a study; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyProblem(StudyPart):
    """A problem without its batch."""

    spectrum: str = "power:1.5"
    dim: float = 100
    target: str = "ones"
    stream: str = "gaussian"
    noise: float = 0.0

    def problem(self, batch: float = 1) -> Problem:
        """Return the problem."""
        return Problem(self.spectrum, self.dim, self.target, self.stream, self.noise, batch)


class StudyMethod(StudyPart):
    """A recipe, what is set, and what is tuned; `theory` is the exponent that theory says."""

    recipe: str
    set: dict[str, float | str] = Field(default_factory=dict)
    tune: tuple[str, ...] = ()
    view: str = "eval"
    lr_schedule: str = "constant"
    theory: float | None = None
    only: tuple[str, ...] = ()

    def ready(self) -> Recipe:
        """Return the recipe with what is set."""
        return load_recipe(self.recipe).with_overrides(self.set)


class StudySpec(StudyPart):
    """A study: see the module. `over` are the references of gains, each the best of some methods.

    `ratio` names the hyperparameters above and below the line.
    """

    name: str
    claim: str
    figure: Kind
    problems: dict[str, StudyProblem]
    methods: dict[str, StudyMethod]
    steps: tuple[Whole, ...]
    batches: tuple[float, ...] = (1,)
    to_risk: float | None = None
    over: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    ratio: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _fits_its_figure(self) -> Self:
        needed = {"target": "to_risk", "ratio": "ratio", "gains": "over"}.get(self.figure)
        if needed is not None and not getattr(self, needed):
            raise bad_value(f"a study whose figure is `{self.figure}` says `{needed}`")
        for names in self.over.values():
            for name in names:
                if name not in self.methods:
                    raise bad_value(f"`over`: `{name}` is not a method of this study")
        return self


@dataclass(frozen=True)
class StudyCurve:
    """What one method does on one problem: `ys` at `xs`, with the settings there."""

    xs: Sequence[float]
    ys: Sequence[float]
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class StudyPanel:
    """The curves of one problem, by method."""

    problem: str
    curves: dict[str, StudyCurve]
    gains: dict[str, dict[str, StudyCurve]] = field(default_factory=dict)


def load_study(name_or_path: str) -> StudySpec:
    """Load a shipped study by name, or a file by path. Raises InputError with every mistake."""
    path = find_file(name_or_path, kind="studies", what="study")
    return load_document(path, StudySpec, what="study")[0]


def run_study(study: StudySpec, tell: Callable[[str], None] = lambda _: None) -> list[StudyPanel]:
    """Return the curves of a study, problem by problem; `tell` is called with what is next."""
    panels = []
    for label, spec in study.problems.items():
        curves = {}
        for name, method in study.methods.items():
            if not method.only or label in method.only:
                tell(f"{label}, {name}")
                curves[name] = _curve(study, method, spec)
        panels.append(StudyPanel(label, curves, _gains(study, curves)))
    return panels


def _curve(study: StudySpec, method: StudyMethod, spec: StudyProblem) -> StudyCurve:
    if study.figure == "exponents":
        return _exponents(study, method, spec)
    if study.figure == "risk":
        found = [_tuned(method, spec, {study.batches[0]: steps})[0] for steps in study.steps]
        return StudyCurve(
            study.steps, [each.risk for each in found], [_said(each) for each in found]
        )
    last = study.steps[-1]
    if study.figure == "target":
        assert study.to_risk is not None
        pairs = tune_to_risk(
            method.ready(), spec.problem(), dict.fromkeys(study.batches, last), method.tune,
            method.view, study.to_risk, method.lr_schedule,
        )  # fmt: skip
        steps = [float(each.steps) if reached else math.nan for each, reached in pairs]
        return StudyCurve(study.batches, steps, [_said(each) for each, _ in pairs])
    found = _tuned(method, spec, dict.fromkeys(study.batches, last))
    if study.figure == "ratio":
        assert study.ratio is not None
        above, below = study.ratio
        ratios = [each.values[above] / each.values[below] for each in found]
        return StudyCurve(study.batches, ratios, [_said(each) for each in found])
    return StudyCurve(study.batches, [each.risk for each in found], [_said(each) for each in found])


def _tuned(method: StudyMethod, spec: StudyProblem, lengths: dict[float, int]) -> list[Tuned]:
    return tune_curve(
        method.ready(), spec.problem(), lengths, method.tune, method.view, method.lr_schedule,
        certify=False,
    )  # fmt: skip


def _said(tuned: Tuned) -> str:
    return ", ".join(f"{name}={value:.3g}" for name, value in tuned.values.items())


def _exponents(study: StudySpec, method: StudyMethod, spec: StudyProblem) -> StudyCurve:
    """Return the slope of log risk in log steps between steps and the ones before them."""
    problem = spec.problem(study.batches[0])
    seen = LinearRecipe.of(method.ready(), method.view, lr_schedule=method.lr_schedule)
    risks = seen.risks(problem, study.steps, study.steps[-1])
    steps = study.steps
    slopes = [
        math.log(risks[i] / risks[i - 1]) / math.log(steps[i] / steps[i - 1])
        for i in range(1, len(steps))
    ]
    return StudyCurve(steps[1:], slopes)


def _gains(study: StudySpec, curves: dict[str, StudyCurve]) -> dict[str, dict[str, StudyCurve]]:
    """Return the least risk of the references over that of each method, by reference."""
    gains: dict[str, dict[str, StudyCurve]] = {}
    for label, names in study.over.items():
        least = [min(risks) for risks in zip(*(curves[name].ys for name in names), strict=True)]
        gains[label] = {
            name: StudyCurve(curve.xs, [best / y for best, y in zip(least, curve.ys, strict=True)])
            for name, curve in curves.items()
            if name not in names
        }
    return gains


def draw_study(study: StudySpec, panels: Sequence[StudyPanel], path: Path) -> None:
    """Draw the figure of a study: a panel for each problem, for gains one for each reference."""
    from optzoo.files.drawing import legend_below, part_coincident, save_figure
    from optzoo.risk.output.risk_figures import draw_lines, draw_perfect_scaling, new_figure

    wide = [(panel, label) for panel in panels for label in (study.over or {"": ()})]
    columns = len(study.over) or len(panels)
    figure, axes = new_figure(len(wide) // columns, columns)
    along = {"risk": "steps", "exponents": "steps"}.get(study.figure, "batch size")
    up = {
        "target": f"steps to the risk {study.to_risk:g}" if study.to_risk else "",
        "ratio": f"best {study.ratio[0]} / {study.ratio[1]}" if study.ratio else "",
        "risk": "least expected risk",
        "exponents": "local exponent of the risk",
    }
    for here, (panel, label) in zip(axes, wide, strict=True):
        curves = panel.gains[label] if label else panel.curves
        draw_lines(
            here,
            {name: (curve.xs, curve.ys) for name, curve in curves.items()},
            xlabel=along,
            ylabel=f"gain over {label}" if label else up[study.figure],
            log_y=study.figure != "exponents",
            base=10 if along == "steps" else 2,
            styles=list(study.methods),
        )
        if study.figure == "target":
            first = next(iter(curves.values()))
            draw_perfect_scaling(here, first.xs, first.ys)
        if label:
            here.axhline(1, color="0.7", linewidth=1, zorder=0)
        for method in study.methods.values():
            if method.theory is not None and (not method.only or panel.problem in method.only):
                here.axhline(method.theory, color="0.6", linewidth=1, linestyle="--", zorder=0)
        here.set_title(panel.problem, loc="left", fontsize=9)
        part_coincident(here)
    legend_below(figure)
    save_figure(figure, path)


def format_study(study: StudySpec, panels: Sequence[StudyPanel]) -> str:
    """Return a study as tables: the claim, then the numbers problem by problem."""
    from optzoo.tables import align

    lines = [study.claim]
    for panel in panels:
        first = next(iter(panel.curves.values()))
        heads = ["", *(f"{x:,.0f}" for x in first.xs)]
        rows = [[name, *map(_cell, curve.ys)] for name, curve in panel.curves.items()]
        lines += ["", f"{panel.problem}: {_what(study)}", *align([heads, *rows], "<>")]
        for label, gains in panel.gains.items():
            rows = [[name, *map(_cell, curve.ys)] for name, curve in gains.items()]
            lines += [f"{panel.problem}: gain over {label}", *align([heads, *rows], "<>")]
        for name, curve in panel.curves.items():
            if curve.settings:
                lines.append(f"  {name}: {curve.settings[0]} ... {curve.settings[-1]}")
    return "\n".join(lines)


def _what(study: StudySpec) -> str:
    last = f"{study.steps[-1]:,} steps"
    return {
        "gains": f"least risk after {last}, by batch size",
        "target": f"steps to the risk {study.to_risk}, by batch size",
        "ratio": f"best ratio of {' to '.join(study.ratio or ())} after {last}, by batch size",
        "risk": "least risk, by the steps it is tuned for",
        "exponents": "local exponent of the risk, by steps",
    }[study.figure]


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
