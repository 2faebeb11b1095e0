"""What the class of a recipe is called, what it takes and what it says of itself; no torch."""

from __future__ import annotations

import inspect
import re
from textwrap import wrap

from optzoo.files.shipped import shipped
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.recipe.values import Hyperparameter

WIDTH = 90
"""Characters in a line of a docstring."""

BUILD_OPTIONS = {
    name: option
    for name, option in inspect.signature(Recipe.build).parameters.items()
    if option.kind is inspect.Parameter.KEYWORD_ONLY
}
"""What `Recipe.build` takes besides parameters and hyperparameters, and every class too."""


def class_name(recipe: Recipe) -> str:
    """Return what the class of a recipe is called: its title without spaces and hyphens."""
    words = re.findall(r"\w+", recipe.title)
    return "".join(word[0].upper() + word[1:] for word in words)


def shipped_classes() -> list[str]:
    """Return the names of the classes of all shipped recipes, sorted."""
    return sorted(class_name(load_recipe(path)) for path in shipped().values())


def knobs_in_order(recipe: Recipe) -> list[Hyperparameter]:
    """Return the hyperparameters as the class takes them: `lr`, then the recipe's own order."""
    return sorted(recipe.hyperparameters.values(), key=lambda knob: knob.name != "lr")


def signature_of(recipe: Recipe) -> inspect.Signature:
    """Return the signature of `__init__`: hyperparameters with their defaults, then build's."""
    P = inspect.Parameter
    parameters = [P("self", P.POSITIONAL_OR_KEYWORD), P("params", P.POSITIONAL_OR_KEYWORD)]
    parameters += [
        P(knob.name, P.POSITIONAL_OR_KEYWORD, default=knob.default)
        for knob in knobs_in_order(recipe)
    ]
    parameters += BUILD_OPTIONS.values()
    return inspect.Signature([*parameters, P("options", P.VAR_KEYWORD)])


def docstring(recipe: Recipe, learning_rate: str = "") -> str:
    """Return what a recipe is and what its hyperparameters are; `learning_rate` is a sentence."""
    lines = [f"{recipe.spec.summary}.", "", *wrap(f"{recipe.spec.reference}.", WIDTH)]
    lines += ["", "Hyperparameters:"]
    for knob in knobs_in_order(recipe):
        value = knob.default if isinstance(knob.default, str) else f"{knob.default:g}"
        text = f"    {knob.name} = {value}, in {knob.interval}: {knob.doc}"
        lines += wrap(text, WIDTH, subsequent_indent=" " * 8)
    if learning_rate:
        lines += ["", *wrap(f"Learning rate: {learning_rate}.", WIDTH)]
    if recipe.program().uses_total_steps:
        lines += ["", "It needs `total_steps`, the length T of the run."]
    lines += ["", f"Made from the recipe `{recipe.name}`; `Recipe.build` says what the rest is."]
    return "\n".join(lines)
