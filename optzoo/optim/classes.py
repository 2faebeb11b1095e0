"""Classes of optimizers, made from recipes: `AdEMAMix(params, lr=1e-3, total_steps=10_000)`.

A class is a `RecipeOptimizer` whose signature and docstring are the recipe's. It takes what
`Recipe.build` takes, and the words that frameworks pass to every optimizer of torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from optzoo.errors import nearest
from optzoo.files.shipped import shipped
from optzoo.optimizer import RecipeOptimizer
from optzoo.optimizer.group_options import TORCH_OPTIONS, MomentumWord, refuse_option
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.recipe.values import Hyperparameter

HOME = "optzoo.optim"
WIDTH = 90
"""Characters in a line of a docstring."""
OBEYED_OR_IDLE = ("maximize", "foreach", "fused")
"""Words of torch: the first is obeyed, the others say which kernels run; here `engine` does."""

BUILD_OPTIONS: dict[str, tuple[str, Any]] = {
    "total_steps": ("int | None", None),
    "engine": ("str", "auto"),
    "observers": ("Sequence[str]", ()),
    "state_dtype": ("str | Mapping[str, str] | None", None),
    "param_rounding": ("str", "master"),
    "rounding_seed": ("int", 0),
}
"""What `Recipe.build` takes besides hyperparameters: type and default."""


def class_name(recipe: Recipe) -> str:
    """Return what the class of a recipe is called: its title without spaces and hyphens."""
    words = re.findall(r"\w+", recipe.title)
    return "".join(word[0].upper() + word[1:] for word in words)


def shipped_classes() -> list[str]:
    """Return the names of the classes of all shipped recipes, sorted."""
    return sorted(class_name(load_recipe(path)) for path in shipped().values())


def shipped_class(name: str) -> type[RecipeOptimizer]:
    """Return the class of a shipped recipe by its name. Raises AttributeError for another name."""
    recipes = {stem.replace("_", ""): stem for stem in shipped()}
    stem = recipes.get(name.lower())
    if stem is not None and class_name(recipe := load_recipe(shipped()[stem])) == name:
        return optimizer_class(recipe, module=HOME)
    near = recipes.get(nearest(name.lower(), recipes) or "")
    hint = f": did you mean {class_name(load_recipe(shipped()[near]))}?" if near else ""
    raise AttributeError(f"module '{HOME}' has no attribute '{name}'{hint}", name=name)


def optimizer_class(recipe: Recipe, *, module: str = __name__) -> type[RecipeOptimizer]:
    """Return a class whose instances are what `recipe.build` returns.

    `module` is where whoever unpickles it finds it by its name.
    """

    def __init__(self: RecipeOptimizer, *args: Any, **keywords: Any) -> None:  # noqa: N807
        given = signature.bind(self, *args, **keywords).arguments
        options = given.pop("options", {})
        del given["self"]
        params, lr = given.pop("params"), given.pop("lr", None)
        build = {name: given.pop(name) for name in BUILD_OPTIONS if name in given}
        known = {**given, **_spelt_out(recipe, options, {**given, "lr": lr})}
        observers, dtype = build.pop("observers", ()), build.pop("state_dtype", None)
        made = recipe.configured(observers, dtype, {**known, **({} if lr is None else {"lr": lr})})
        RecipeOptimizer.__init__(self, params, made, lr=lr, **build)
        if options.get("maximize"):
            self.defaults["maximize"] = True
            for group in self.param_groups:
                group["maximize"] = True

    signature = signature_of(recipe)
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{class_name(recipe)}.__init__"
    body = {"__init__": __init__, "__doc__": docstring(recipe), "__module__": module}
    return type(class_name(recipe), (RecipeOptimizer,), body)


def _spelt_out(
    recipe: Recipe, options: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options by the recipe's names; torch's that are off are no options.

    Raises InputError for one of torch's that the recipe cannot obey; the rest is left to the
    recipe, which knows how its hyperparameters are spelt.
    """
    found: dict[str, Any] = {}
    word = MomentumWord.of(recipe)
    for key, value in options.items():
        if key in OBEYED_OR_IDLE:
            continue
        if key == "betas" and word.key == key:
            found |= word.spelt_out(value, {n: v for n, v in given.items() if v is not None})
        elif key in TORCH_OPTIONS:
            refuse_option(recipe, key, value)
        else:
            found[key] = value
    return found


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
    parameters += [
        P(name, P.KEYWORD_ONLY, default=default) for name, (_, default) in BUILD_OPTIONS.items()
    ]
    return inspect.Signature([*parameters, P("options", P.VAR_KEYWORD)])


def docstring(recipe: Recipe) -> str:
    """Return what a recipe is and what its hyperparameters are."""
    lines = [f"{recipe.spec.summary}.", "", *wrap(f"{recipe.spec.reference}.", WIDTH)]
    lines += ["", "Hyperparameters:"]
    for knob in knobs_in_order(recipe):
        value = knob.default if isinstance(knob.default, str) else f"{knob.default:g}"
        text = f"    {knob.name} = {value}, in {knob.interval}: {knob.doc}"
        lines += wrap(text, WIDTH, subsequent_indent=" " * 8)
    if recipe.program().uses_total_steps:
        lines += ["", "It needs `total_steps`, the length T of the run."]
    lines += ["", f"Made from the recipe `{recipe.name}`; `Recipe.build` says what the rest is."]
    return "\n".join(lines)
