"""The types of `optzoo.optim`, as a stub for editors and type checkers."""

from __future__ import annotations

from pathlib import Path

from optzoo.files.shipped import recipes_dir, shipped
from optzoo.optim.classes import BUILD_OPTIONS, class_name, docstring, knobs_in_order
from optzoo.recipe.recipe import Recipe, load_recipe

HEAD = '''"""Written by `optzoo describe --all docs/recipes`; do not edit by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from optzoo.optimizer import RecipeOptimizer
'''


def stub_file() -> Path | None:
    """Return where the stub of a checkout stands; None in an installed package."""
    package = Path(__file__).resolve().parents[1]
    return None if package in recipes_dir().parents else package / "optim" / "__init__.pyi"


def stub_text() -> str:
    """Return the stub: a class for every shipped recipe, sorted by its name."""
    recipes = {class_name(r): r for r in map(load_recipe, shipped().values())}
    return HEAD + "".join(_class(name, recipes[name]) for name in sorted(recipes))


def _class(name: str, recipe: Recipe) -> str:
    doc = docstring(recipe).replace("\\", "\\\\").replace('"""', '\\"""')
    doc = "\n".join(f"    {line}".rstrip() for line in doc.splitlines()).lstrip()
    lines = [f"\nclass {name}(RecipeOptimizer):", f'    """{doc}', '    """']
    lines += ["    def __init__(", "        self,", "        params: ParamsT,"]
    for knob in knobs_in_order(recipe):
        kind = "float | str | Tensor" if knob.name == "lr" else "float | str"
        lines.append(f"        {knob.name}: {kind} = {_literal(knob.default)},")
    lines.append("        *,")
    for option, (kind, default) in BUILD_OPTIONS.items():
        lines.append(f"        {option}: {kind} = {_literal(default)},")
    lines += ["        **options: Any,", "    ) -> None: ...", ""]
    return "\n".join(lines)


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
