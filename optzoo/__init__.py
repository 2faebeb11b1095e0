"""optzoo: deep-learning optimizers as data.

>>> import optzoo
>>> recipe = optzoo.load_recipe("adamw")
>>> print(recipe.program().step[-1])
param := param.prev - lr*(u + weight_decay*param.prev)

Importing optzoo is cheap; torch is imported when an optimizer is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optzoo.description.form import describe
    from optzoo.errors import InputError, OptzooError, RunError
    from optzoo.zoo import Recipe, load_recipe, parse_recipe

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "OptzooError",
    "Recipe",
    "RunError",
    "__version__",
    "describe",
    "load_recipe",
    "parse_recipe",
]

_HOMES = {
    "InputError": "optzoo.errors",
    "OptzooError": "optzoo.errors",
    "Recipe": "optzoo.zoo",
    "RunError": "optzoo.errors",
    "describe": "optzoo.description.form",
    "load_recipe": "optzoo.zoo",
    "parse_recipe": "optzoo.zoo",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'optzoo' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
