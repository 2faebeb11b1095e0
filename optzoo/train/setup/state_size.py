"""What an optimizer keeps for a setup's model, rule by rule: tensors and bytes, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from optzoo.interpreters.cost import cost, storage_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import Subject
from optzoo.train.setup.schema import Setup

NAMED_LAYERS = 1_000
"""Layers whose parameters are asked for by name; those after them are taken as the last of them."""


@dataclass(frozen=True)
class SetupParameter:
    """A parameter of a setup's model: what it is, its sides, and how many there are like it."""

    subject: Subject
    rows: int
    cols: int = 1
    alike: int = 1

    @property
    def elements(self) -> int:
        """The elements of all that are alike."""
        return self.alike * self.rows * self.cols


def state_bytes(recipe: Recipe, setup: Setup, vocabulary: int) -> int:
    """Return the bytes of optimizer state for a setup's float32 parameters.

    Raises InputError for a parameter that no route takes.
    """
    bills = {r.label: (cost(r.trained_program()), storage_of(r.state_dtypes)) for r in recipe.rules}
    total = 0
    for parameter in parameters_of_setup(setup, vocabulary):
        bill, storage = bills[recipe.routing.rule_of(parameter.subject, recipe.name)]
        others = bill.other_bytes(parameter.rows, parameter.cols, storage)
        total += parameter.elements * bill.state_bytes(storage) + parameter.alike * others
    return total


def parameters_of_setup(setup: Setup, vocabulary: int) -> Iterator[SetupParameter]:
    """Yield the parameters of a setup's model, as its transformer names them."""
    model = setup.model
    width, words = model.width, model.vocabulary_rows(vocabulary)
    norms = ["attention_norm", "mlp_norm", *(["q_norm", "k_norm"] if model.qk_norm else [])]
    matrices = {
        "attention_qkv": (3 * width, width),
        "attention_out": (width, width),
        "mlp_up": (model.hidden, width),
        "mlp_down": (width, model.hidden),
    }
    yield SetupParameter(Subject("embedding.weight", ("embedding",), 2), words, width)
    named = min(model.layers, NAMED_LAYERS)
    for layer in range(named):
        alike = model.layers - named + 1 if layer == named - 1 else 1
        for name in norms:
            subject = Subject(f"blocks.{layer}.{name}.weight", ("norm",), 1)
            yield SetupParameter(subject, width, alike=alike)
        for name, sides in matrices.items():
            subject = Subject(f"blocks.{layer}.{name}.weight", ("matrix",), 2)
            yield SetupParameter(subject, *sides, alike=alike)
    yield SetupParameter(Subject("norm.weight", ("norm",), 1), width)
    yield SetupParameter(Subject("head.weight", ("head",), 2), words, width)
