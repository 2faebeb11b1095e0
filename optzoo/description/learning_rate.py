"""What a recipe's learning rate is beside AdamW's: what it multiplies, and how much that weighs.

Two recipes that divide the gradient by the same preconditioner take steps of the same size where
lr times the weight of a gradient in all steps together is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from optzoo.program.expressions import Call, walk
from optzoo.program.ir import Program

if TYPE_CHECKING:
    from optzoo.description.description import Description

Scale = Literal["model", "adam", "polar", "sign", "norm", "grad"]
"""What lr multiplies: a rate that the run finds, a preconditioned gradient, a polar factor, a sign,
what a norm has scaled, or the gradient."""

SAYS: dict[Scale, str] = {
    "model": "it multiplies a rate that the run finds, from numbers of the whole model",
    "adam": "on AdamW's scale, a gradient over the root of its mean square",
    "polar": "the step is a polar factor, so every singular value of it is about lr",
    "sign": "the step is a sign, so every element moves by lr whatever the gradient",
    "norm": "relative to the norms of whole tensors, which is not AdamW's scale",
    "grad": "on SGD's scale, the gradient as it is, not AdamW's",
}
NEAR = 0.02
"""Weights so near to 1 are said to be 1: a run of finite length cuts the tails of momenta."""


def lr_scale(description: Description) -> Scale:
    """Return what the learning rate multiplies."""
    held = description.decision.held_fixed
    if description.of_model:
        return "model"
    if "orthogonaliser" in held:
        return "polar"
    if "norm clip" not in held and _takes_norms(description.program) and "sign" not in held:
        return "norm"
    if "preconditioner" in held:
        return "adam"
    return "sign" if "sign" in held else "grad"


def _takes_norms(program: Program) -> bool:
    calls = (e for line in program.step for e in walk(line.expr) if isinstance(e, Call))
    return any(call.op == "norm" for call in calls)


def gradient_weight(description: Description) -> float | None:
    """Return the weight of gradient T/2 in all steps to T together, in units of lr.

    In AdamW, SGD and every plain average of gradients it is 1. None where it has no closed form,
    and under a schedule.
    """
    from optzoo.description.folding import CannotFoldError
    from optzoo.description.weights import total_weight

    lr = description.recipe.hyperparameters["lr"].default
    if lr_scale(description) in ("polar", "model"):  # it does not see how large a gradient is
        return None
    if description.lr_schedule != "constant" or not isinstance(lr, float) or lr <= 0:
        return None
    end = description.total_steps
    try:
        total = total_weight(description.derivation, max(1, end // 2), end)
    except CannotFoldError:  # it moves in a way that is not followed over many steps at once
        return None
    return None if total is None else total / lr


def lr_summary(description: Description) -> str:
    """Return the scale and the weight in a few letters: `adam`, `adam x2`, `grad x10`."""
    scale, weight = lr_scale(description), gradient_weight(description)
    return scale if weight is None or abs(weight - 1) < NEAR else f"{scale} x{_short(weight)}"


def _short(weight: float) -> str:
    return f"{float(f'{weight:.2g}'):g}"


def lr_sentence(description: Description) -> str:
    """Return where to start, what the learning rate is beside AdamW's, and what its authors say.

    The authors' part is what the recipe's doc of `lr` has after a semicolon.
    """
    knob = description.recipe.hyperparameters["lr"]
    value = knob.default if isinstance(knob.default, str) else f"{knob.default:g}"
    scale, weight = lr_scale(description), gradient_weight(description)
    text = f"start at lr = {value}; {SAYS[scale]}"
    if weight is not None and abs(weight - 1) >= NEAR:
        rival = "SGD" if scale == "grad" else "AdamW"
        text += f"; a gradient weighs {_short(weight)} lr in all steps of a run, in {rival} lr"
    _, _, authors = knob.doc.partition("; ")
    return f"{text}; {authors}" if authors else text
