"""A description in one plain sentence: the answer, before the equations that prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optzoo.errors import InputError
from optzoo.program.expressions import format_expression
from optzoo.tables import format_short

if TYPE_CHECKING:
    from optzoo.description.description import AtStep, Description

LONGEST = 60
"""Characters of a divisor that is still told in the sentence."""
COUNTS = ("no momentum", "one momentum", "two momenta", "three momenta", "four momenta")


def counted(momenta: int) -> str:
    """Return how many momenta there are, in words."""
    return COUNTS[momenta] if momenta < len(COUNTS) else f"{momenta} momenta"


def in_words(description: Description) -> str:
    """Return what a recipe is in one sentence: its form, what holds it, what weighs how much."""
    parts = [f"{_subject(description)} {_form(description)}{_held(description)}"]
    share = _share(description)
    if share is not None:
        parts.append(share)
    place = _place(description)
    return "; ".join(parts) + (f"; {place}" if place else "")


def _subject(description: Description) -> str:
    settings = [f"{n} = {format_expression(e)}" for n, e in description.recipe.overrides.items()]
    shown = ", ".join(settings)
    name = description.recipe.name
    return f"{name} at {shown}" if settings and len(shown) <= LONGEST else name


def _form(description: Description) -> str:
    if not description.decision.linear:
        return "is no accelerated SGD: its step is not linear in the gradients"
    if description.form:
        return "is SGD without momentum" if description.order == 0 else "is accelerated SGD"
    if description.order > 1:
        return f"is no accelerated SGD: it has {counted(description.order)}"
    return "is no accelerated SGD, though it has " + counted(description.order)


def _held(description: Description) -> str:
    """Say what the form is under: a divisor, a sign, a clip."""
    kinds = {place.kind: place for place in description.nonlinearities}
    rate = " at a rate that the run finds" if description.of_model else ""
    if not description.decision.linear or not kinds:
        return rate if description.decision.linear else ""
    divisors, others = [], []
    for kind, place in kinds.items():
        divisor = place.text.removeprefix("divided by ")
        if kind == "preconditioner" and divisor != place.text and len(divisor) <= LONGEST:
            divisors.append(divisor)
        else:
            others.append(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}")
    text = f" divided by {' and '.join(divisors)}" if divisors else ""
    return text + (f" under {' and '.join(others)}" if others else "") + rate


def _share(description: Description) -> str | None:
    """Say what a gradient weighs in its own step, beside all steps.

    Where coefficients depend on the end of the run, that of the gradient in its middle, by the end.
    """
    if description.order == 0 or not description.decision.linear:
        return None
    if description.whole_run is not None:
        half, end = description.total_steps // 2, description.total_steps
        now = _in_its_step(description, half)
        if now is None or not 0 <= now < description.whole_run:
            return None
        share = f"{100 * now / description.whole_run:.2g}%"
        text = f"the gradient of step {half:,} has {share} of its weight until step {end:,}"
        return f"{text} in its own step"
    for row in reversed(description.steps):
        now, in_all = _in_its_step(description, row.t), _in_all(description, row)
        if now is not None and in_all is not None and 0 <= now < in_all:
            share = f"{100 * now / in_all:.2g}%"
            text = f"the current gradient weighs about {share} of what it will in all"
            return f"at step {row.t:,} {text}"
    return None


def _in_its_step(description: Description, t: int) -> float | None:
    """Return what gradient t weighs in step t; None where it has no value."""
    found = description.formulas
    if description.form:
        try:
            c = description.coefficients(t)
        except InputError:
            return None
        return c.alpha_a + c.eta_a
    if found is None or found.inner is not None:
        return None
    return description.gradient_weights(t)[0] + sum(e for _, e in description.momentum_values(t))


def _in_all(description: Description, row: AtStep) -> float | None:
    """Return what a gradient weighs in all steps, if nothing changes any more."""
    if description.form:
        c = row.coefficients
        settles = c is not None and c.beta_a < 1
        return c.alpha_a + c.eta_a / (1 - c.beta_a) if c is not None and settles else None
    if not row.gradient_weights or any(beta >= 1 for beta, _ in row.momenta):
        return None
    return row.gradient_weights[0] + sum(eta / (1 - beta) for beta, eta in row.momenta)


def _place(description: Description) -> str | None:
    point = description.points[0] if description.points else None
    if point is None or point.kind == "parameters":
        return None
    if point.weight is None:
        return "it is evaluated beside the point it trains at"
    windows = description.windows[0]
    if windows:
        steps = format_short(windows[-1].steps)
        return f"it is evaluated at an average of about the last {steps} iterates"
    return "it is evaluated at an average of the iterates"
