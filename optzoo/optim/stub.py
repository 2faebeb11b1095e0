"""The types of `optzoo.optim`, as a stub for editors and type checkers."""

from __future__ import annotations

from pathlib import Path

from optzoo.description.shelf import shelf
from optzoo.files.shipped import PACKAGE, checkout, shipped
from optzoo.optim.surface import BUILD_OPTIONS, class_name, docstring, knobs_in_order
from optzoo.recipe.recipe import Recipe, load_recipe

HEAD = '''"""Written by `optzoo describe --all docs/recipes`; do not edit by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim.optimizer import ParamsT

from optzoo.optimizer import RecipeOptimizer
'''


def stub_file() -> Path | None:
    """Return where the stub of a checkout stands; None in an installed package."""
    return None if checkout() is None else PACKAGE / "optim" / "__init__.pyi"


def stub_text() -> str:
    """Return the stub: a class for every shipped recipe, sorted by its name."""
    recipes = map(load_recipe, shipped().values())
    classes = {class_name(r): _class(r, e.learning_rate) for r, e in zip(recipes, shelf())}
    return HEAD + "".join(classes[name] for name in sorted(classes))


def _class(recipe: Recipe, learning_rate: str) -> str:
    doc = docstring(recipe, learning_rate).replace("\\", "\\\\").replace('"""', '\\"""')
    doc = "\n".join(f"    {line}".rstrip() for line in doc.splitlines()).lstrip()
    lines = [f"\nclass {class_name(recipe)}(RecipeOptimizer):", f'    """{doc}', '    """']
    lines += ["    def __init__(", "        self,", "        params: ParamsT,"]
    for knob in knobs_in_order(recipe):
        kind = "float | str | Tensor" if knob.name == "lr" else "float | str"
        lines.append(f"        {knob.name}: {kind} = {_literal(knob.default)},")
    lines.append("        *,")
    for name, option in BUILD_OPTIONS.items():
        lines.append(f"        {name}: {option.annotation} = {_literal(option.default)},")
    lines += ["        **options: Any,", "    ) -> None: ...", ""]
    return "\n".join(lines)


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
