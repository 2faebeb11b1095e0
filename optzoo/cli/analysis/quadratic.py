"""The command quadratic: the expected risk of recipes on noisy linear regression, exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optzoo.cli.options import JsonOption, SetOption, read_settings
from optzoo.cli.working import working
from optzoo.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from optzoo.risk.question import Question

QUADRATIC_EPILOG = """Examples:

\b
  optzoo quadratic accelerated_sgd sgd --steps 1000 --noise 0.1 --batch 1,16,256
  optzoo quadratic schedule_free_sgd --set lr=0.2 --view train --view eval --json
  optzoo quadratic accelerated_sgd --tune eta,alpha,k --noise 0.1 --batch 1,4,16,64,256
  optzoo quadratic sgd sgd_momentum --tune all --to-risk 0.01 --batch 1,10,100 --plot steps.png
  optzoo quadratic --study acceleration"""


RecipesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RECIPE...", help="shipped names (`optzoo list`) or YAML files"),
]
SpectrumOption = Annotated[
    str, typer.Option(metavar="power:A", help="eigenvalues j**-A, or a list: 1,0.5,0.1")
]
TargetOption = Annotated[
    str, typer.Option(metavar="ones|power:B", help="w* along the eigenvectors; w_0 is 0")
]
StreamOption = Annotated[
    str,
    typer.Option(metavar="KIND", help="gaussian, onehot, onehot-scaled, features:A,B,V, ..."),
]
BatchOption = Annotated[str, typer.Option(metavar="N,N,...", help="batch sizes; inf is one")]
StepsOption = Annotated[
    str, typer.Option(metavar="N,N,...", help="steps after which the risk is read off")
]
SamplesOption = Annotated[
    int | None, typer.Option(min=1, help="steps are that many samples, whatever the batch")
]
TotalStepsOption = Annotated[
    int | None, typer.Option(min=1, help="T of recipes and schedules  [default: last step]")
]
LrScheduleOption = Annotated[
    str, typer.Option(metavar="KIND[:ARGS]", help="constant, linear, cosine:100, wsd:warmup=100")
]
ObserveOption = Annotated[
    list[str] | None,
    typer.Option(metavar="AVERAGE", help="an average to read too: tail:0.1, ema:0.999"),
]
ViewOption = Annotated[
    list[str] | None,
    typer.Option(metavar="VIEW", help="param, eval or an average  [default: eval, averages]"),
]
ToRiskOption = Annotated[
    float | None, typer.Option(help="tell the first step at this risk, of at most --steps")
]
TuneOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,...|all", help="find the best of these for each batch and length"),
]
CheckOption = Annotated[
    int | None, typer.Option(metavar="RUNS", min=2, help="sample that many runs; print z")
]
GainsOption = Annotated[
    bool | None,
    typer.Option(
        "--gains/--no-gains",
        help="compare with SGD and momentum, each tuned  [default: where it is quick]",
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="make a study's tables and its figure, NAME.png"),
]
PlotOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="draw a figure: .png, .svg or .pdf")
]


def quadratic(
    recipes: RecipesArgument = None,
    spectrum: SpectrumOption = "power:1.5",
    dim: Annotated[str, typer.Option(metavar="N|inf", help="dimensions")] = "100",
    target: TargetOption = "ones",
    stream: StreamOption = "gaussian",
    noise: Annotated[float, typer.Option(help="variance of the noise in the labels")] = 0.0,
    batch: BatchOption = "1",
    steps: StepsOption = "1000",
    samples: SamplesOption = None,
    total_steps: TotalStepsOption = None,
    settings: SetOption = None,
    lr_schedule: LrScheduleOption = "constant",
    observe: ObserveOption = None,
    view: ViewOption = None,
    to_risk: ToRiskOption = None,
    tune: TuneOption = None,
    check: CheckOption = None,
    gains: GainsOption = None,
    plot: PlotOption = None,
    study: StudyOption = None,
    seed: Annotated[int, typer.Option(min=0, help="draws random features")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compute the expected excess risk of recipes on noisy linear regression, exactly.

    The risk has the factor 1/2; nothing is sampled.
    """
    from optzoo.files.shipped import shipped
    from optzoo.recipe.recipe import load_recipe

    if (study is None) == (not recipes):
        message = "name recipes, or a study: `--study NAME`"
        hint = f"studies: {', '.join(shipped('studies'))}"
        raise InputError(Diagnostic("bad-value", message, hint=hint))
    if study is not None:
        _study(study, plot)
        return
    assert recipes
    if stream.startswith("features") and (spectrum, target) != ("power:1.5", "ones"):
        typer.echo("random features have a spectrum and a target of their own", err=True)
    loaded = [load_recipe(name) for name in recipes]
    _make_place(plot)
    from optzoo.risk.question import Question, rules_of, with_settings
    from optzoo.risk.regression.problem import Problem

    views, tuned = _views(view, observe or ()), _names(tune)

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    question = Question(
        rules_of(with_settings(loaded, read_settings(settings)), views[0], tuned, tell),
        Problem(spectrum, _numbers("dim", dim)[0], target, stream, noise, seed=seed),
        _numbers("batch", batch),
        [_whole("steps", number) for number in _numbers("steps", steps)],
        views,
        total_steps,
        samples,
        to_risk,
        lr_schedule,
        tuned,
        check,
    )
    _answer(question, as_json, gains, plot)


def _make_place(plot: Path | None) -> None:
    """Make the folder of a figure; what is wrong with its name is said before minutes pass."""
    from optzoo.files.drawing import check_place

    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        check_place(plot)


def _study(name: str, plot: Path | None) -> None:
    from optzoo.risk.output.studies import draw_study, format_study, load_study, run_study

    study = load_study(name)
    path = plot or Path(f"{study.name}.png")
    _make_place(path)
    with working(f"study {study.name}") as tell:
        panels = run_study(study, tell)
    draw_study(study, panels, path)
    typer.echo(f"wrote {path}", err=True)
    typer.echo(format_study(study, panels))


def _answer(question: Question, as_json: bool, gains: bool | None, plot: Path | None) -> None:
    from optzoo.risk.gain import compare
    from optzoo.risk.output.risk_table import format_answers, held_fixed
    from optzoo.risk.question import answers

    with working("tuning" if question.tune else "computing") as tell:
        found = answers(question, tell)
    if plot is not None:
        from optzoo.risk.output.risk_figures import draw_answers

        draw_answers(question, found, plot)
        typer.echo(f"wrote {plot}", err=True)
    if as_json:
        for text in held_fixed(found):
            typer.echo(f"held fixed, taken as 1: {text}", err=True)
        text = json.dumps([answer.to_json() for answer in found], indent=2)
        typer.echo(text.replace(": Infinity", ": 1e999"))  # JSON has no other infinity
        return
    with working("tuning SGD and momentum, to compare with"):
        compared = compare(question, gains)
    if compared is None and gains is None and question.to_risk is None:
        typer.echo("gains over SGD and momentum take long here: see --gains", err=True)
    typer.echo(format_answers(question, found, compared))


def _names(texts: Sequence[str] | None) -> list[str]:
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def _views(views: Sequence[str] | None, observers: Sequence[str]) -> list[str]:
    """Return the views asked for: with none of them evaluation and the observers."""
    return list(dict.fromkeys(_names(views) or ["eval", *observers]))


def _numbers(name: str, text: str) -> list[float]:
    """Return numbers separated by commas; `inf` is one."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if any(math.isnan(number) for number in found):
        message = f"`--{name} {text[:100]}`: write numbers such as 1,4,16"
        raise InputError(Diagnostic("bad-value", message))
    return found


def _whole(name: str, number: float) -> int:
    if not (math.isfinite(number) and number == int(number)):
        message = f"`--{name}`: {number:g} is no whole number"
        raise InputError(Diagnostic("bad-value", message))
    return int(number)
