"""Classes of optimizers, made from recipes: `AdEMAMix(params, lr=1e-3, total_steps=10_000)`.

A class is a `RecipeOptimizer` whose signature and docstring are the recipe's. It takes what
`Recipe.build` takes, and the words that frameworks pass to every optimizer of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optzoo.description.shelf import shelf_entry
from optzoo.errors import nearest
from optzoo.files.shipped import shipped
from optzoo.optim.surface import class_name, docstring, signature_of
from optzoo.optimizer import RecipeOptimizer
from optzoo.optimizer.group_options import TORCH_OPTIONS, MomentumWord, refuse_option
from optzoo.recipe.recipe import Recipe, load_recipe

HOME = "optzoo.optim"
OBEYED_OR_IDLE = ("maximize", "foreach", "fused")
"""Words of torch: the first is obeyed, the others say which kernels run; here `engine` does."""


def shipped_class(name: str) -> type[RecipeOptimizer]:
    """Return the class of a shipped recipe by its name. Raises AttributeError for another name."""
    recipes = {stem.replace("_", ""): stem for stem in shipped()}
    stem = recipes.get(name.lower())
    if stem is not None and class_name(recipe := load_recipe(shipped()[stem])) == name:
        entry = shelf_entry(shipped()[stem])
        return optimizer_class(recipe, module=HOME, learning_rate=entry.learning_rate)
    near = recipes.get(nearest(name.lower(), recipes) or "")
    hint = f": did you mean {class_name(load_recipe(shipped()[near]))}?" if near else ""
    raise AttributeError(f"module '{HOME}' has no attribute '{name}'{hint}", name=name)


def optimizer_class(
    recipe: Recipe, *, module: str = __name__, learning_rate: str = ""
) -> type[RecipeOptimizer]:
    """Return a class whose instances are what `recipe.build` returns.

    `module` is where whoever unpickles it finds it by its name, `learning_rate` what its docstring
    says of that.
    """

    def __init__(self: RecipeOptimizer, *args: Any, **keywords: Any) -> None:  # noqa: N807
        given = signature.bind(self, *args, **keywords).arguments
        options = given.pop("options", {})
        del given["self"]
        own = {n: v for n, v in given.items() if n in recipe.hyperparameters and v is not None}
        built = recipe.build(**{**given, **_spelt_out(recipe, options, own)})
        self.__dict__.update(built.__dict__)  # one way to make an optimizer; nothing in it names it
        if options.get("maximize"):
            self.defaults["maximize"] = True
            for group in self.param_groups:
                group["maximize"] = True

    signature = signature_of(recipe)
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{class_name(recipe)}.__init__"
    body = {"__init__": __init__, "__doc__": docstring(recipe, learning_rate), "__module__": module}
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
            found |= word.spelt_out(value, given)
        elif key in TORCH_OPTIONS:
            refuse_option(recipe, key, value)
        else:
            found[key] = value
    return found
