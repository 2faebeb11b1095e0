"""Modules that moved are still found under their old names, with a warning.

Scripts name them, and so do pickles. A finder is asked only after all others have failed, so the
names that there are cost nothing.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "optzoo.catalog": ("optzoo.files.shipped",),
    "optzoo.compiled_engine": ("optzoo.engines.compiled",),
    "optzoo.data.inspection": ("optzoo.data.prepared",),
    "optzoo.data.prepare": ("optzoo.data.preparation.prepare",),
    "optzoo.documents": ("optzoo.files.documents",),
    "optzoo.engine": ("optzoo.engines.engine",),
    "optzoo.interpreters.foreach": ("optzoo.engines.foreach",),
    "optzoo.reference_engine": ("optzoo.engines.reference",),
    "optzoo.shards": ("optzoo.distributed.sharding",),
    "optzoo.train.batches": ("optzoo.data.batches",),
    "optzoo.train.checkpoint": (
        "optzoo.train.runs.checkpoint",
        "optzoo.train.runs.checkpoint_folder",
    ),
    "optzoo.train.compare": ("optzoo.train.runs.comparison",),
    "optzoo.train.corpus": ("optzoo.data.corpus",),
    "optzoo.train.figure": ("optzoo.train.runs.loss_figure",),
    "optzoo.train.signals": ("optzoo.distributed.signals",),
    "optzoo.train.trackers": ("optzoo.train.runs.trackers",),
    "optzoo.train.world": ("optzoo.distributed.world",),
    "optzoo.zoo": ("optzoo.recipe.recipe",),
}
"""Old names and the modules that hold what was there, since 0.2."""


class OldNames(MetaPathFinder, Loader):
    """Finds a moved module by its old name: the very module, where it is one still."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, None for all others."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave making the module to the import system; it is replaced when it is run."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the moved module where the old one is looked for."""
        old = module.__name__
        new = MOVED[old]
        warnings.warn(f"{old} is {' and '.join(new)} now", DeprecationWarning, stacklevel=2)
        homes = [importlib.import_module(name) for name in new]
        if len(homes) == 1:
            sys.modules[old] = homes[0]
        else:
            module.__dict__["__getattr__"] = partial(_looked_up, old, homes)


def _looked_up(old: str, homes: Sequence[ModuleType], name: str) -> Any:
    """Return what one of several modules has by a name."""
    for home in homes:
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"module '{old}' has no attribute '{name}'")


def keep_old_names() -> None:
    """Let old names be imported; once is enough."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
