"""What `optzoo quadratic` prints for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optzoo.risk.question import Answer, Question
from optzoo.tables import align


def format_answers(question: Question, found: Sequence[Answer]) -> str:
    """Return the answers as a table, under what the problem is and over what was held fixed."""
    heads = ["recipe", "view", "batch", "steps", "risk"]
    rows = [
        [a.recipe, a.view, f"{a.batch:g}", format_steps(a.steps), format_risk(a.risk)]
        for a in found
    ]
    lines = [format_problem(question), "", *align([heads, *rows], "<<>", indent=0)]
    held = {f"{a.recipe}: {text}": None for a in found for text in a.held_fixed}
    if held:
        lines += ["", "held fixed, taken as 1:", *(f"  {text}" for text in held)]
    return "\n".join(lines)


def format_problem(question: Question) -> str:
    """Return one line of what the risk is computed for."""
    problem = question.problem
    shape = f"spectrum {problem.spectrum}, target {problem.target}, "
    if problem.stream.startswith("features"):
        shape = ""
    return (
        f"{shape}dim {problem.dim:g}, stream {problem.stream}, noise {problem.noise:g}; "
        f"excess risk with the factor 1/2, {problem.start_risk:.6g} at the start"
    )


def format_steps(steps: int | None) -> str:
    """Return a number of steps; `never` for one that is not reached."""
    return "never" if steps is None else f"{steps:,}"


def format_risk(risk: float) -> str:
    """Return a risk to seven digits."""
    if math.isinf(risk):
        return "diverges"
    return "below 1e-300" if 0 < risk < 1e-300 or risk == 0 else f"{risk:.7g}"
