"""A description as a LaTeX fragment and as a page of Markdown, both pure functions of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from optzoo.description.description import Description
from optzoo.description.forms.formulas import coefficient_formulas
from optzoo.description.output.text import report_sections, statement, title
from optzoo.interpreters.equations import (
    Equation,
    equations,
    format_latex,
    printer_for,
)
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import format_routes

SYMBOLS = {"beta_a": r"\beta_a(t)", "eta_a": r"\eta_a(t)", "alpha_a": r"\alpha_a(t)"}


def format_latex_page(description: Description) -> str:
    """Return the equations and the coefficients as LaTeX: `align*` environments of amsmath."""
    name = _escaped(description.program.name)
    first = _escaped(statement(description).splitlines()[0])
    parts = [
        f"% {description.program.name}, by optzoo describe --latex; needs \\usepackage{{amsmath}}",
        rf"\paragraph{{{name}}} {_escaped(_summary(description.recipe))}.",
        "\n".join(format_latex(equations(description.program, "latex"))),
        f"{first}.",
    ]
    found = coefficient_equations(description)
    if found:
        parts.append("\n".join(format_latex(found)))
    return "\n".join(parts)


def _summary(recipe: Recipe) -> str:
    rule = recipe.routing.rules.get(recipe.label)
    return (recipe if rule is None else rule).spec.summary


LATEX = {
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
"""What stands for characters that LaTeX acts on."""


def _escaped(text: str) -> str:
    """Return a text as a line of LaTeX that shows it and does nothing."""
    return "".join(LATEX.get(mark, mark) for mark in " ".join(text.split()))


def _shown(text: str) -> str:
    """Return a text as a line of Markdown in which no HTML and no block starts."""
    line = re.sub("<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()))
    return "\\" + line if line.startswith(("#", ">", "- ", "+ ", "* ", "=", "```")) else line


def cell(text: str) -> str:
    """Return a text as a cell of a table of Markdown."""
    return _shown(text).replace("|", "\\|")


def _fenced(language: str, text: str) -> str:
    """Return a block of code; what is in it does not end it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def coefficient_equations(description: Description) -> list[Equation]:
    """Return the closed forms of the coefficients, then what their names stand for."""
    printer = printer_for(description.program, "latex")
    formulas = description.formulas
    if formulas is None:
        return []
    found = []
    if not description.form:
        momenta = [m for level in formulas.levels for m in level.momenta]
        for i, m in enumerate(momenta, start=1):
            for symbol, ratio in ((r"\beta", m.beta), (r"\eta", m.eta)):
                text = printer.expression(formulas.spelled(ratio))
                found.append(Equation(rf"{symbol}_{{{i}}}(t)", text))
    closed = coefficient_formulas(formulas, description.decision)
    shown = [k for k in closed if description.order or k == "alpha_a"]
    found += [Equation(SYMBOLS[key], printer.expression(closed[key])) for key in shown]
    return found + [
        Equation(printer.name(d.name), printer.expression(d.value)) for d in formulas.where
    ]


def _math(lines: Sequence[str]) -> str:
    return "\n".join(["```math", *lines, "```"])


def format_markdown(*descriptions: Description) -> str:
    """Return a page about the recipe: equations, coefficients, numbers, notes, YAML.

    Of a recipe with routes these are tabulated, and each of `descriptions` is of one rule.
    """
    recipe = descriptions[0].recipe
    spec = recipe.spec
    parts = [
        f"# {recipe.name}",
        f"{_shown(spec.summary)}.",
        f"{_shown(descriptions[0].sentence)}.",
        f"*{_shown(spec.reference)}*",
        _hyperparameters(descriptions[0]),
    ]
    if recipe.is_routed:
        parts += ["## Routes", _fenced("text", "\n".join(format_routes(recipe.routing)))]
    for description in descriptions:
        if recipe.is_routed:
            parts.append(f"## {_shown(title(description.recipe))}")
        parts += _rule_sections(description, "###" if recipe.is_routed else "##")
    if spec.notes:
        parts += ["## Readings", "\n".join(f"- {_shown(note)}" for note in spec.notes)]
    parts += ["## Recipe", _fenced("yaml", recipe.text.rstrip())]
    return "\n\n".join(parts) + "\n"


def _rule_sections(description: Description, level: str) -> list[str]:
    _, _, _, _, table, reductions, nonlinear, evaluation, bill = report_sections(description)
    parts = [
        f"{level} Step",
        f"The gradient of step t is taken at w_t. {_shown_at(description)}",
        _math(format_latex(equations(description.program, "latex"))),
        f"{level} As accelerated SGD",
        _sentence(description),
    ]
    if description.form and description.order:
        form = r"w_{t+1} = w_t - \eta_a(t) \, m_t - \alpha_a(t) \, g_t, \qquad"
        parts.append(_math([form + r" m_t = \beta_a(t) \, m_{t-1} + g_t"]))
    elif not description.form and description.momenta:
        parts.append("Each momentum goes by m := beta(t) m + g and enters the step with eta(t).")
    found = coefficient_equations(description)
    if found:
        parts.append(_math(format_latex(found)))
    for lines in (table, reductions, nonlinear, evaluation, bill):
        if lines:
            parts.append("\n".join(["```text", *lines, "```"]))
    return parts


def _sentence(description: Description) -> str:
    first, *rest = statement(description).splitlines()
    extra = ". ".join(line.strip()[:1].upper() + line.strip()[1:] for line in rest)
    return f"{first}." + (f" {extra}." if extra else "")


def _shown_at(description: Description) -> str:
    knobs = description.recipe.hyperparameters
    read = {h.name for h in description.recipe.program().hypers} - {"lr"}
    zeros = [f"`{n}`" for n, h in knobs.items() if h.default == 0 and n in read]
    if not zeros:
        return "Shown at the hyperparameters of the table."
    verb = "is" if len(zeros) == 1 else "are"
    return f"{', '.join(zeros)} {verb} 0 by default and left out."


def _hyperparameters(description: Description) -> str:
    rows = ["| hyperparameter | default | in | |", "|---|---|---|---|"]
    for name, knob in description.recipe.hyperparameters.items():
        value = knob.default if isinstance(knob.default, str) else f"{knob.default:g}"
        rows.append(f"| `{name}` | {value} | {knob.interval} | {cell(knob.doc)} |")
    return "\n".join(rows)


def format_index(pages: Sequence[Description]) -> str:
    """Return the table of contents of all pages."""
    rows = [
        "# The shipped recipes",
        "Written by `optzoo describe --all DIR`; do not edit by hand.",
        "\n".join(
            [
                "| recipe | | Eq. (1) | momenta | state, bytes per parameter |",
                "|---|---|---|---|---|",
                *(
                    f"| [{d.recipe.name}]({d.recipe.name}.md) | {cell(d.recipe.spec.summary)} "
                    f"| {'yes' if d.form else 'no'} | {d.order} | {d.state_bytes_per_parameter} |"
                    for d in pages
                ),
            ]
        ),
    ]
    return "\n\n".join(rows) + "\n"
