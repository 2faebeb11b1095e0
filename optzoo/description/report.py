"""A description as text."""

from __future__ import annotations

from optzoo.description.form import Description

_MOMENTA = {0: "no momentum", 1: "one momentum", 2: "two momenta", 3: "three momenta"}


def format_report(description: Description) -> str:
    """Return the program, the statement about Eq. (1), the coefficients, and the bill."""
    parts = [description.program.text(), statement(description)]
    if description.form:
        parts.append(_table(description))
    parts.append(_bill(description))
    return "\n\n".join(parts)


def statement(description: Description) -> str:
    """Say whether the recipe is of the form of Eq. (1), and what that leaves out."""
    decision = description.decision
    answer = "yes" if decision.has_form else "no"
    count = _MOMENTA.get(decision.momenta, f"{decision.momenta} momenta")
    text = f"Eq. (1) form: {answer}, {count}"
    if decision.momenta <= 1 and decision.gap is not None:
        text += f"; at step {decision.gap} a gradient enters no momentum, which Eq. (1) cannot say"
    if decision.held_fixed:
        text += f"\n  of the numerator; held fixed: {', '.join(decision.held_fixed)}"
    decays = description.recipe.hyperparameters.get("weight_decay")
    if decays is not None and decays.default != 0:
        text += "\n  weight decay left out"
    return text


def _table(description: Description) -> str:
    rows = [f"  {'t':>8} {'beta_a':>16} {'eta_a':>16} {'alpha_a':>16}"]
    lowest = 0.0
    for t in description.at:
        c = description.coefficients(t)
        rows.append(f"  {t:>8} {c.beta_a:>16.10g} {c.eta_a:>16.10g} {c.alpha_a:>16.10g}")
        lowest = min(lowest, c.alpha_a)
    if lowest < 0:
        rows.append("  alpha_a is negative: the current gradient counts for less than a past one")
    return "\n".join(rows)


def _bill(description: Description) -> str:
    bill = description.cost
    states = bill.buffers
    names = f" ({', '.join(states)})" if states else ""
    plural = "" if len(states) == 1 else "s"
    passes = "" if bill.passes == 1 else f" in {bill.passes} passes"
    return (
        f"state: {len(states)} tensor{plural}{names}, {bill.state_bytes()} bytes per parameter in "
        f"float32\n"
        f"a step reads {bill.tensors_read} tensors and writes {bill.tensors_written}{passes}, "
        f"{bill.step_bytes()} bytes per parameter; scope {description.program.scope}"
    )
