"""What an optimizer keeps for a setup's model, rule by rule: tensors and bytes, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from optzoo.interpreters.cost import cost, storage_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import Subject
from optzoo.recipe.schema import HERE
from optzoo.train.setup.schema import Setup
from optzoo.train.setup.size import count_parameters

NAMED_LAYERS = 1_000
"""Layers whose parameters are asked for by name; those after them are taken as the last of them."""


def state_bytes(recipe: Recipe, setup: Setup, vocabulary: int) -> int:
    """Return the bytes of optimizer state for a setup's float32 parameters.

    Raises InputError for a parameter that no route takes.
    """
    bills = {
        rule.label: cost(rule.trained_program()).state_bytes(storage_of(rule.state_dtypes))
        for rule in recipe.rules
    }
    if not recipe.is_routed:
        return bills[HERE] * count_parameters(setup, vocabulary).total
    return sum(
        elements * bills[recipe.routing.rule_of(subject, recipe.name)]
        for subject, elements in subjects_of_setup(setup, vocabulary)
    )


def subjects_of_setup(setup: Setup, vocabulary: int) -> Iterator[tuple[Subject, int]]:
    """Yield the parameters of a setup's model, as its transformer names them, and their sizes."""
    model = setup.model
    width, rows = model.width, model.vocabulary_rows(vocabulary)
    norms = ["attention_norm", "mlp_norm", *(["q_norm", "k_norm"] if model.qk_norm else [])]
    matrices = {
        "attention_qkv": 3 * width * width,
        "attention_out": width * width,
        "mlp_up": width * model.hidden,
        "mlp_down": model.hidden * width,
    }
    yield Subject("embedding.weight", ("embedding",), 2), rows * width
    named = min(model.layers, NAMED_LAYERS)
    for layer in range(named):
        alike = model.layers - named + 1 if layer == named - 1 else 1
        for name in norms:
            yield Subject(f"blocks.{layer}.{name}.weight", ("norm",), 1), alike * width
        for name, elements in matrices.items():
            yield Subject(f"blocks.{layer}.{name}.weight", ("matrix",), 2), alike * elements
    yield Subject("norm.weight", ("norm",), 1), width
    yield Subject("head.weight", ("head",), 2), rows * width
