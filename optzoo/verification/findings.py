"""What `verify` found, in words and as plain values: the verdict first."""

from __future__ import annotations

from typing import Any

from optzoo.verification.verification import SMALL, Apart, Verification

COEFFICIENTS = ("beta_a", "eta_a", "alpha_a")


def sentence(found: Verification) -> str:
    """Return the verdict in one plain sentence."""
    name, recipe, gap = found.name, found.recipe, found.gap
    if found.equal:
        return (
            f"{name} computes {recipe}: the largest relative difference in {found.trials} runs of "
            f"{found.steps} steps is {gap.size:.1g}"
        )
    point = "evaluation points" if gap.point == "evaluation" else "iterates"
    return (
        f"{name} is not {recipe}: their {point} part at step {gap.step} by {gap.size:.2g} of the "
        f"move, through {_culprit(found)}"
    )


def _culprit(found: Verification) -> str:
    if found.terms:
        return " and ".join(found.terms)
    if found.gap.size < SMALL:
        return "a number kept in float32, or a small constant of its own"
    if found.weight is not None:
        return "the weights of the gradients"
    return "what divides, clips or compares the gradients"


def format_verification(found: Verification) -> str:
    """Return the answer as text."""
    lines = [sentence(found)]
    if found.terms:
        rest = f" but for less than {found.rest:g}" if found.rest else ""
        lines.append(f"  without {' and '.join(found.terms)} they are equal{rest}")
    elif found.weight is not None:
        lines += _weights(found, found.weight)
    elif not found.equal and found.gap.size >= SMALL:
        lines.append(
            "  with gradients of size 1 the weights of all gradients agree, or are no sums"
        )
    if not found.equal and found.gap.shape:
        lines.append(f"  first seen in a tensor of shape {found.gap.shape}")
    lines.append(f"arguments: {_arguments(found)}")
    if found.arguments.unmapped:
        names = ", ".join(found.arguments.unmapped)
        lines.append(f"  {found.name} is not given {names} of {found.recipe}: see --kwargs")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def _weights(found: Verification, at: Apart) -> list[str]:
    if at.under_a_sign:
        return [
            f"  under the sign of step {at.t}, the gradient of step {at.s} weighs {at.ours:.6g} of "
            f"that of step {at.t} in {found.recipe}, {at.theirs:.6g} in {found.name}"
        ]
    lines = [
        f"  with the preconditioner held (gradients of size 1), the gradient of step {at.s} weighs",
        f"  {at.ours:.6g} in step {at.t} of {found.recipe}, {at.theirs:.6g} in {found.name}",
    ]
    if at.our_form is not None and at.their_form is not None:
        for name, x, y in zip(COEFFICIENTS, at.our_form, at.their_form, strict=True):
            mark = "" if abs(x - y) <= SMALL * max(abs(x), abs(y)) else "   <- differs"
            lines.append(f"    {name:<7}({at.t}) = {x:.8g} and {y:.8g}{mark}")
    return lines


def _arguments(found: Verification) -> str:
    pairs = [
        f"{argument}={names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'}"
        for argument, names in found.arguments.mapped.items()
    ]
    pairs += [f"{argument}={value!r}" for argument, value in found.arguments.own.items()]
    return ", ".join(pairs) or "none"


def verification_json(found: Verification) -> dict[str, Any]:
    """Return plain values."""
    gap = found.gap
    return {
        "recipe": found.recipe,
        "class": found.name,
        "sentence": sentence(found),
        "equal": found.equal,
        "relative_difference": gap.size,
        "step": gap.step,
        "point": None if gap.equal else gap.point,
        "terms": list(found.terms),
        "weight": None if found.weight is None else dict(vars(found.weight)),
        "arguments": {a: list(names) for a, names in found.arguments.mapped.items()},
        "not_given": list(found.arguments.unmapped),
        "notes": list(found.notes),
        "runs": found.trials,
        "steps": found.steps,
    }
