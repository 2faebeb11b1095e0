"""A description as text: every number with its meaning."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optzoo.description.averages import EvaluatedPoint
from optzoo.description.derivation import Coefficients
from optzoo.description.description import Description
from optzoo.description.forms.spelling import Definition, definitions
from optzoo.description.in_words import counted
from optzoo.description.learning_rate import lr_sentence
from optzoo.interpreters.equations import format_equations
from optzoo.program.expressions import format_expression, format_number
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import format_routes
from optzoo.tables import align, format_short

if TYPE_CHECKING:
    from optzoo.description.weights import Window


def format_report(description: Description) -> str:
    """Return the answer, the equations, the form, the coefficients, what is left out, the bill."""
    sections = [textwrap.wrap(description.sentence, 96), *report_sections(description)]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def format_reports(descriptions: Sequence[Description]) -> str:
    """Return the report of a recipe; of one with routes, these and a report of each rule."""
    recipe = descriptions[0].recipe
    if not recipe.is_routed:
        return format_report(descriptions[0])
    head = [f"{recipe.name}: {recipe.spec.summary}", "", *format_routes(recipe.routing)]
    return "\n\n\n".join(["\n".join(head), *map(format_report, descriptions)])


def report_sections(description: Description) -> list[list[str]]:
    """Return the sections of the report, each a list of lines; an empty one has nothing to say."""
    return [
        [title(description.recipe)],
        [*_settings(description), *format_equations(description.program)],
        statement(description).splitlines(),
        _formulas(description),
        _table(description) if description.form else _momenta_table(description),
        _reductions(description),
        _nonlinear(description),
        _evaluation(description),
        _bill(description),
    ]


def title(recipe: Recipe) -> str:
    """Return the name of a recipe, or of the rule that it stands at, and what it is."""
    rule = recipe.routing.rules.get(recipe.label)
    if rule is None:
        return f"{recipe.name}: {recipe.spec.summary}"
    return f"rule {rule.label}: {rule.spec.summary}"


def _settings(description: Description) -> list[str]:
    """Return the hyperparameters as they are set, in lines of bounded length."""
    knobs = description.recipe.hyperparameters
    pairs = [f"{h.name}={format_number(h.value)}" for h in description.program.hypers]
    read = {h.name for h in description.recipe.program().hypers} - {"lr"}
    zeros = [n for n, h in knobs.items() if h.default == 0 and n in read]
    pairs += [f"{n}=0" for n in zeros]
    return [*textwrap.wrap("at " + ", ".join(pairs), 96, subsequent_indent="   "), ""]


# ------------------------------------------------------------------- the statement


def statement(description: Description) -> str:
    """Say whether the recipe is of the form of Eq. (1), and what that leaves out."""
    decision = description.decision
    if not decision.linear:
        return "Eq. (1) form: no, the step is not linear in the gradients"
    answer = "yes" if decision.has_form else "no"
    text = f"Eq. (1) form: {answer}, {counted(decision.momenta)}"
    if decision.momenta <= 1 and decision.gap is not None:
        text += f"; at step {decision.gap} a gradient enters no momentum, which Eq. (1) cannot say"
    elif decision.momenta <= 1 and decision.cut is not None:
        text += (
            f"; step {decision.cut} reads the gradient before for the last time and keeps its own, "
            "which Eq. (1) cannot say"
        )
    held = [*decision.held_fixed]
    if description.of_model:
        held.append(f"numbers of the model ({', '.join(description.of_model)})")
    if held:
        text += "\n  numerator coefficients; " if decision.held_fixed else "\n  "
        text += f"held fixed: {', '.join(held)}"
    if description.left_out is not None:
        text += f"\n  {description.left_out} left out"
    return text


def _formulas(description: Description) -> list[str]:
    found = description.formulas
    if not description.decision.linear:
        return []
    if found is None:
        is_read_off = description.form and any(row.coefficients for row in description.steps)
        rest = "; numbers are read off the response" if is_read_off else ""
        return [f"no closed form found{rest}"]
    if description.form:
        lines = _equation_one(description)
    elif found.inner is None:
        lines = ["w_{t+1} = w_t - sum of eta(t) m_t over the momenta - alpha_a(t) g_t"]
        lines[0] += "      m_t = beta(t) m_{t-1} + g_t"
        lines += _listed(description, "param")
    else:
        line = found.outer.source
        lines = [f"a momentum of a momentum, of the form of Eq. (1) in {line}:"]
        lines.append(
            f"w_{{t+1}} = w_t - eta(t) m_t - alpha_a(t) {line}_t      m_t = beta(t) m_{{t-1}}"
        )
        lines[1] += f" + {line}_t"
        lines += _listed(description, "param")
        lines.append(f"{line}_t = eta(t) m_t + alpha(t) g_t      m_t = beta(t) m_{{t-1}} + g_t")
        lines += _listed(description, str(line))
    first = max(level.first for level in found.levels)
    if first > 1:
        lines.append(f"  for gradients from step {first} on: a buffer starts from the first one")
    return lines + _where(found.where)


def _where(found: Sequence[Definition]) -> list[str]:
    width = max((len(str(d.name)) for d in found), default=0)
    return [
        f"  {'where' if i == 0 else '     '} {d.name!s:<{width}} = {format_expression(d.value)}"
        for i, d in enumerate(found)
    ]


def _equation_one(description: Description) -> list[str]:
    closed = description.closed_form
    lines = ["w_{t+1} = w_t - eta_a(t) m_t - alpha_a(t) g_t      m_t = beta_a(t) m_{t-1} + g_t"]
    if closed is None:
        return lines
    if description.order == 0:
        return ["w_{t+1} = w_t - alpha_a(t) g_t", f"  alpha_a(t) = {closed['alpha_a']}"]
    return lines + [f"  {key + '(t)':<10} = {text}" for key, text in closed.items()]


def _listed(description: Description, moved: str) -> list[str]:
    found = description.formulas
    assert found is not None
    rows = [m for m in description.momenta if m.moves == moved]
    width = max((len(m.buffers) for m in rows), default=0)
    lines = []
    for m in rows:
        lines.append(f"  {m.buffers:<{width}}  beta(t)    = {m.beta}")
        lines.append(f"  {'':<{width}}  eta(t)     = {m.eta}")
    level = found.outer if moved == "param" else found.levels[-1]
    name = "alpha_a(t)" if moved == "param" else "alpha(t)"
    lines.append(f"  {'':<{width}}  {name:<10} = {found.text(level.alpha)}")
    return lines


# ------------------------------------------------------------------- the tables


def _table(description: Description) -> list[str]:
    rows, found = [], []
    for row in description.steps:
        c = row.coefficients
        if c is None:
            rows.append([f"{row.t}", *"-----"])
            continue
        found.append(c)
        rows.append(
            [f"{row.t}", _exact(c.beta_a), _exact(c.eta_a), _exact(c.alpha_a), *_settled(c)]
        )
    if description.of_model and not found:
        return ["these coefficients are of a run: numbers of the model follow from its gradients"]
    if description.order == 0:
        return align([("t", "alpha_a"), *((row[0], row[3]) for row in rows)], ">")
    lines = align([("t", "beta_a", "eta_a", "alpha_a", "memory", "in all"), *rows], ">")
    lines.append("  memory: 1/(1 - beta_a), the steps that the momentum remembers")
    lines.append("  in all: alpha_a + eta_a/(1 - beta_a), what one gradient weighs in all steps")
    lines.append("          together if the coefficients stay as they are")
    lines += _whole_run(description)
    if description.of_model:
        lines.append("  with the numbers of the model where they start; a run moves them")
    if len(found) < len(rows):
        lines.append("  -: at these hyperparameters the coefficients have no value at this step")
    if any(p.kind == "orthogonaliser" and p.after for p in description.nonlinearities):
        lines.append(
            "  the orthogonaliser does not see size: only eta_a : alpha_a counts, their common"
        )
        lines.append("  factor is free, and lr and the scale alone set how far a step goes")
    if min((c.alpha_a for c in found), default=0) < 0:
        lines.append("  alpha_a is negative: the current gradient counts for less than a past one")
    if max((c.beta_a for c in found), default=0) >= 1:
        lines.append("  beta_a is 1 or more: here older gradients gain weight from step to step")
    return lines


def _settled(c: Coefficients) -> tuple[str, str]:
    """Return the memory of the momentum and the weight of a gradient, were nothing to change."""
    if c.beta_a >= 1:
        return "grows", "grows"
    memory = 1 / (1 - c.beta_a)
    return format_short(memory), format_short(c.alpha_a + c.eta_a * memory)


def _whole_run(description: Description) -> list[str]:
    """Say what a gradient in the middle of the run weighs by its end, where that is not settled."""
    half, end, total = description.total_steps // 2, description.total_steps, description.whole_run
    if total is None:
        return []
    return [
        f"  gradient T/2 = {half:,} weighs {format_short(total)} in steps T/2 to T = {end:,} "
        "together"
    ]


def _momenta_table(description: Description) -> list[str]:
    found = description.formulas
    if found is None:
        return []
    heads = ["t"]
    for m in description.momenta:
        heads += [f"beta({m.buffers})", f"eta({m.buffers})"]
    heads.append("alpha_a")
    if found.inner is not None:
        heads.append(f"alpha in {found.outer.source}")
    rows = []
    for row in description.steps:
        numbers = (*(x for pair in row.momenta for x in pair), *row.gradient_weights)
        rows.append([f"{row.t}", *(f"{x:.8g}" for x in numbers)])
    lines = [*align([heads, *rows], ">"), *_whole_run(description)]
    if any(alpha < 0 for row in description.steps for alpha in row.gradient_weights):
        lines.append("  alpha is negative: the current gradient counts for less than a past one")
    return lines


def _exact(value: float) -> str:
    return f"{value:.10g}"


# ------------------------------------------------------------------- the rest


def _reductions(description: Description) -> list[str]:
    if description.form or not description.decision.linear:
        return []
    lines = []
    settings = [r.setting for r in description.reductions if r.momenta == 1]
    trivial = [r.setting for r in description.reductions if r.momenta == 0]
    if settings:
        lines.append(f"Eq. (1) with one momentum at: {'; '.join(settings)}")
    if trivial:
        lines.append(f"Eq. (1) without momentum at: {'; '.join(trivial)}")
    if not lines:
        lines.append("no single hyperparameter at 0, at 1 or equal to another gives Eq. (1)")
    near = description.nearest_form
    if near is not None:
        lines.append(f"the nearest Eq. (1) optimizer at step {near.t}:")
        lines.append(
            f"  beta_a = {near.beta_a:.6g}, eta_a = {near.eta_a:.6g}, alpha_a = {near.alpha_a:.6g}"
        )
        lines.append(
            f"  its weights of the last {near.num_lags + 1} gradients are off by "
            f"{100 * near.error:.3g}% (Euclidean norm, relative)"
        )
    return lines


def _nonlinear(description: Description) -> list[str]:
    buffers = {b for m in description.momenta for b in m.buffers.split(", ")}
    lines = []
    for place in description.nonlinearities:
        after = [b for b in place.after if b in buffers]
        before = [b for b in place.before if b in buffers]
        where = [f"after the momentum {' and '.join(after)}"] if after else []
        where += [f"before the momentum {' and '.join(before)}"] if before else []
        lines.append(f"  {place.line}: {place.text}" + "".join(f", {w}" for w in where))
    return ["not linear, and held fixed above:", *lines] if lines else []


def _evaluation(description: Description) -> list[str]:
    lines: list[str] = []
    for point, windows in zip(description.points, description.windows, strict=True):
        if lines:
            lines.append("")
        lines += _point(description, point, windows)
    return lines


def _point(description: Description, point: EvaluatedPoint, windows: Sequence[Window]) -> list[str]:
    name = "evaluated" if point.view == "eval" else f"observer {point.view},"
    if point.kind == "parameters":
        return [f"{name} at the parameters themselves"]
    head = f"{name} at {point.text}"
    if point.kind == "gradient step":
        return [f"{head}:", "  the last point less a multiple of its gradient, without momentum"]
    if point.weight is None or description.formulas is None:
        return [f"{head}: a readout, no average of the iterates"]
    lines = [f"{head}: a weighted average of the iterates"]
    lines.append(f"  weight of the newest, w(t) = {description.formulas.text(point.weight)}")
    names = definitions(description.formulas.symbols, [point.weight])
    said = description.formulas.where
    lines += _where([d for d in names if d not in said])
    rows = []
    for window in windows:
        share = min(1.0, window.steps / window.t)
        rows.append(
            [
                f"{window.t}",
                format_short(window.newest),
                format_short(window.steps),
                f"{100 * share:.3g}%",
                format_short(window.effective),
            ]
        )
    lines += align([("t", "w", "steps", "of the run", "effective"), *rows], ">")
    lines.append(
        "  steps: 1/w, about the last so many iterates; effective: 1/sum of squared weights"
    )
    return lines + _coupling(description, point, windows)


def _coupling(
    description: Description, point: EvaluatedPoint, windows: Sequence[Window]
) -> list[str]:
    shared = [m for m in description.momenta if m.moves == "param" and m.buffers in point.buffers]
    if point.view != "eval" or not shared or not windows:
        return []
    last = description.steps[-1]
    beta = last.momenta[description.momenta.index(shared[0])][0]
    window = windows[-1].steps
    if beta >= 1 or not math.isfinite(window):
        return []
    return [
        f"  momentum and averaging share the buffer {shared[0].buffers}: at step {last.t} the "
        f"momentum remembers {format_short(1 / (1 - beta))} steps",
        f"  and the average covers {format_short(window)}. Both follow from the same "
        "coefficients, where large batches want",
        "  them apart (Connections paper, section 5.1, on Schedule-Free)",
    ]


def _bill(description: Description) -> list[str]:
    bill = description.cost
    names = f" ({', '.join(bill.buffers)})" if bill.buffers else ""
    plural = "" if len(bill.buffers) == 1 else "s"
    passes = "" if bill.passes == 1 else f" in {bill.passes} passes"
    moved = bill.step_bytes(description.storage)
    kept = sorted(set(description.recipe.state_dtypes.values())) or ["float32"]
    rate = f"learning rate: {lr_sentence(description)}"
    return [
        *textwrap.wrap(rate, 96, subsequent_indent="  "),
        f"state: {len(bill.buffers)} tensor{plural}{names}, "
        f"{description.state_bytes_per_parameter} bytes per parameter in {' and '.join(kept)}",
        *_other_state(description),
        f"a step reads {bill.tensors_read} tensors and writes {bill.tensors_written}{passes}, "
        f"{moved} bytes per parameter; scope {description.program.scope}",
        *_products(description),
    ]


SHOWN_SIDES = (1024, 4096)
"""Rows and columns of the matrix whose costs are told as an example."""


def _other_state(description: Description) -> list[str]:
    """Say what is kept that is not shaped like the parameter."""
    others = description.cost.others
    if not others:
        return []
    rows, cols = SHOWN_SIDES
    told = ", ".join(f"{name} of {shape}" for name, shape in others)
    share = description.cost.other_bytes(rows, cols, description.storage) / (rows * cols)
    told = f"  and {told}: {share:.3g} bytes per parameter of a {rows} x {cols} matrix"
    return textwrap.wrap(told, 96, subsequent_indent="  ")


def _products(description: Description) -> list[str]:
    rows, cols = SHOWN_SIDES
    flops = description.cost.product_flops(rows, cols)
    if not flops:
        return []
    return [f"products of matrices: {flops / 1e9:.3g} GFLOP a step for a {rows} x {cols} matrix"]
