"""One row about a recipe, for `optzoo list`."""

from __future__ import annotations

from typing import Any

from optzoo.zoo import Recipe


def summarise(recipe: Recipe) -> dict[str, Any]:
    """Return name, family, order, state bytes per parameter and reference of a recipe.

    Bytes are for float32 state at the recipe's default hyperparameters.
    """
    spec = recipe.spec
    return {
        "name": recipe.name,
        "family": spec.family,
        "order": spec.order if spec.preconditioner != "none" else "-",
        "bytes": 4 * len(recipe.trained_program().tensor_states),
        "reference": spec.reference,
    }
