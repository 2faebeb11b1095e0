"""optzoo: deep-learning optimizers as data.

>>> import optzoo
>>> recipe = optzoo.load_recipe("adamw")
>>> print(recipe.program().step[-1])
param := param.prev - lr*(u + weight_decay*param.prev)

Importing optzoo is cheap; torch is imported when an optimizer is built. The names below are the
public ones; every other module is internal and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from optzoo.files.moved import keep_old_names

if TYPE_CHECKING:
    __version__: str
    from optzoo import optim as optim
    from optzoo.description.description import describe
    from optzoo.errors import InputError, OptzooError, RunError
    from optzoo.identification.identification import identify
    from optzoo.optim.decay_groups import no_decay_groups
    from optzoo.optim.migration import from_torch
    from optzoo.optimizer import RecipeOptimizer
    from optzoo.optimizer.routing import routes
    from optzoo.recipe.recipe import Recipe, load_recipe, parse_recipe
    from optzoo.risk.expected import expected_risk
    from optzoo.risk.regression.problem import Problem
    from optzoo.risk.search.tuning import tune
    from optzoo.verification.verification import verify

__all__ = [
    "InputError",
    "OptzooError",
    "Problem",
    "Recipe",
    "RecipeOptimizer",
    "RunError",
    "__version__",
    "describe",
    "expected_risk",
    "from_torch",
    "identify",
    "load_recipe",
    "no_decay_groups",
    "optim",
    "parse_recipe",
    "routes",
    "tune",
    "verify",
]

_HOMES = {
    "InputError": "optzoo.errors",
    "OptzooError": "optzoo.errors",
    "Problem": "optzoo.risk.regression.problem",
    "Recipe": "optzoo.recipe.recipe",
    "RecipeOptimizer": "optzoo.optimizer",
    "RunError": "optzoo.errors",
    "describe": "optzoo.description.description",
    "expected_risk": "optzoo.risk.expected",
    "from_torch": "optzoo.optim.migration",
    "identify": "optzoo.identification.identification",
    "load_recipe": "optzoo.recipe.recipe",
    "no_decay_groups": "optzoo.optim.decay_groups",
    "parse_recipe": "optzoo.recipe.recipe",
    "routes": "optzoo.optimizer.routing",
    "tune": "optzoo.risk.search.tuning",
    "verify": "optzoo.verification.verification",
}


keep_old_names()


def __getattr__(name: str) -> Any:
    if name not in {*_HOMES, "__version__", "optim"}:
        raise AttributeError(f"module 'optzoo' has no attribute '{name}'")
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("optzoo")
    elif name == "optim":
        value = import_module("optzoo.optim")
    else:
        value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
