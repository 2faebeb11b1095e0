"""What `optzoo quadratic` prints for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optzoo.risk.gain import Baselines
from optzoo.risk.question import Answer, Question
from optzoo.tables import align


def format_answers(
    question: Question,
    found: Sequence[Answer],
    compared: Sequence[Baselines] | None,
) -> str:
    """Return the answers as a table, under what the problem is and over what was held fixed.

    `compared` are the baselines for each of the steps asked for, or None.
    """
    parts = [format_problem(question), "", *_table(question, found, compared)]
    held = held_fixed(found)
    if held:
        parts += ["", "held fixed, taken as 1:", *(f"  {text}" for text in held)]
    if question.tune:
        parts += ["", *_certificates(found)]
    return "\n".join(parts)


def held_fixed(found: Sequence[Answer]) -> list[str]:
    """Return what was taken as 1, each place of each recipe once."""
    return list(dict.fromkeys(f"{a.recipe}: {text}" for a in found for text in a.seen.held_fixed))


def _table(
    question: Question, found: Sequence[Answer], compared: Sequence[Baselines] | None
) -> list[str]:
    heads = ["recipe", "view", "batch", "steps", "risk"]
    columns = [_cells(answer) for answer in found]
    if compared is not None:
        heads += ["over SGD", "over momentum"]
        count = len(question.columns())
        for i, answer in enumerate(found):
            columns[i] += _gains(answer, compared[i % count])
    knobs = list(dict.fromkeys(name for a in found for name in a.further.get("tuned", ())))
    for name in knobs:
        heads.append(name)
        for cells, answer in zip(columns, found, strict=True):
            value = answer.hyperparameters.get(name)
            cells.append(f"{value:.4g}" if isinstance(value, float) else "")
    if question.check is not None:
        heads.append("z")
        for cells, answer in zip(columns, found, strict=True):
            cells.append(
                f"{answer.further['check']['z']:+.2f}" if "check" in answer.further else ""
            )
    lines = align([heads, *columns], "<<>", indent=0)
    if compared is not None:
        lines += [
            "",
            "over SGD, over the better of heavy ball and Nesterov: their least risk, each",
        ]
        lines += ["tuned for the batch and the steps, over this one"]
    if question.check is not None:
        lines += ["", f"z: the mean of {question.check:,} sampled runs, in standard errors"]
    return lines


def _cells(answer: Answer) -> list[str]:
    batch = f"{answer.problem.batch:g}"
    risk = format_risk(answer.risk)
    return [answer.recipe, answer.seen.view, batch, format_steps(answer.steps), risk]


def _gains(answer: Answer, compared: Baselines) -> list[str]:
    cells = []
    for risks in (compared.sgd, compared.momentum):
        least = risks.get(answer.problem.batch)
        gain = least / answer.risk if least is not None and answer.risk else math.nan
        cells.append("-" if math.isnan(gain) else f"{gain:.4g}")
    return cells


def _certificates(found: Sequence[Answer]) -> list[str]:
    """Return what was tried against the optima."""
    lines = []
    for answer in found:
        told = answer.further["certificate"]
        for name, bound in told["bounds"].items():
            place = f"{answer.recipe} at batch {answer.problem.batch:g}"
            lines.append(f"{place}: `{name}` is on the {bound} bound of the search, no optimum")
    nested = [v for a in found for v in a.further["certificate"]["nesting"].values()]
    evolved = [v for a in found if (v := a.further["certificate"]["evolution"]) is not None]
    count = sum(a.further["certificate"]["evaluations"] for a in found)
    lines.append(f"tuned in {count:,} runs; optima are those of their neighbours too")
    if nested:
        lines.append(f"with one knob at its own value the risk is {min(nested):.6g} times, or more")
    if evolved:
        lines.append(f"differential evolution found {min(evolved):.9g} times the risk, or more")
    return lines


def format_problem(question: Question) -> str:
    """Return one line of what the risk is computed for."""
    problem = question.problem
    shape = f"spectrum {problem.spectrum}, target {problem.target}, "
    if problem.stream.startswith("features"):
        shape = ""
    return (
        f"{shape}dim {problem.dim:g}, stream {problem.stream}, noise {problem.label_noise:g}\n"
        f"excess risk with the factor 1/2: {problem.start_risk:.6g} at the start"
    )


def format_steps(steps: int | None) -> str:
    """Return a number of steps; `never` for one that is not reached."""
    return "never" if steps is None else f"{steps:,}"


def format_risk(risk: float) -> str:
    """Return a risk to seven digits."""
    if math.isinf(risk):
        return "diverges"
    return "below 1e-300" if risk < 1e-300 else f"{risk:.7g}"
