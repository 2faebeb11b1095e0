"""A class for every shipped recipe, for whoever wants to name one: `optzoo.optim.AdEMAMix`.

Frameworks that take a class and keywords (Trainer, torchtitan, Axolotl, Hydra) take these. They are
made from the recipes when they are asked for; the types beside this file, `__init__.pyi`, are
written by `optzoo describe --all docs/recipes`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    # `from optzoo.optim import classes` would ask this very function for `classes` first
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'optzoo.optim' has no attribute '{name}'")
    if name == "__all__":
        return import_module("optzoo.optim.surface").shipped_classes()
    made = import_module("optzoo.optim.classes").shipped_class(name)
    globals()[name] = made  # the one that a pickle names
    return made


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
