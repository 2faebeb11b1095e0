"""One row about a recipe, for `optzoo list`."""

from __future__ import annotations

from typing import Any

from optzoo.description.form import decide
from optzoo.interpreters.cost import cost, storage_of
from optzoo.zoo import Recipe


def summarise(recipe: Recipe) -> dict[str, Any]:
    """Return name, family, order, Eq. (1) form, state bytes per parameter and reference.

    Bytes are for float32 parameters at the recipe's default hyperparameters.
    """
    spec = recipe.spec
    return {
        "name": recipe.name,
        "family": spec.family,
        "order": spec.order if spec.preconditioner != "none" else "-",
        "eq1": _form(recipe),
        "bytes": cost(recipe.trained_program()).state_bytes(storage_of(recipe.state_dtypes)),
        "reference": spec.reference,
    }


def _form(recipe: Recipe) -> str:
    decision = decide(recipe.trained_program())
    return "yes" if decision.has_form else f"no, {decision.momenta} momenta"
