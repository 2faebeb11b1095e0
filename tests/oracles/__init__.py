"""Independent float64 re-statements of every shipped recipe, by recipe name.

Nothing here imports optzoo. Every module of this folder is imported, and each class that names its
`recipe` stands in `ORACLES`: a new oracle is a new class, in a file of its own or beside its kin,
and no table. `LIVELY` holds their lively settings.
"""

from __future__ import annotations

import importlib
import pkgutil

from .base import ORACLES, Oracle, make_oracle

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

LIVELY: dict[str, dict[str, float]] = {name: oracle.lively for name, oracle in ORACLES.items()}

__all__ = ["LIVELY", "ORACLES", "Oracle", "make_oracle"]
