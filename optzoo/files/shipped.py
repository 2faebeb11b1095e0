"""Where the shipped YAML files are: recipes, and the setups and sweeps beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from optzoo.errors import Diagnostic, InputError, did_you_mean

PACKAGE = Path(__file__).resolve().parent.parent


def checkout() -> Path | None:
    """Return the root of the checkout that this package is in; None for an installed one."""
    root = PACKAGE.parent
    has_both = (root / "recipes").is_dir() and (root / "pyproject.toml").is_file()
    return root if has_both else None


def recipes_dir() -> Path:
    """Return the folder of the shipped recipes, in a checkout or in an installed package."""
    return (checkout() or PACKAGE) / "recipes"


def index_file() -> Path:
    """Return where the index of the shipped recipes lies: beside their pages, or beside them."""
    root = checkout()
    return (PACKAGE / "recipes" if root is None else root / "docs" / "recipes") / "index.json"


def shipped(kind: str = ".") -> dict[str, Path]:
    """Return the shipped files by name: recipes for `.`, or those of a folder such as `setups`."""
    folder = recipes_dir() / kind
    files = sorted(f for f in os.listdir(folder) if f.endswith(".yaml")) if folder.is_dir() else []
    return {file.removesuffix(".yaml"): folder / file for file in files}


def find_file(name_or_path: str | Path, *, kind: str = ".", what: str = "recipe") -> Path:
    """Return the file of a shipped name or of a path.

    Raises InputError when there is neither, with the nearest shipped name.
    """
    text = str(name_or_path)
    known = shipped(kind)
    if text in known and not path_is(Path.is_file, text):
        return known[text]
    path = Path(text)
    if path_is(Path.exists, text):
        return path
    looks_like_path = path.suffix in (".yaml", ".yml") or "/" in text
    message = f"no such file: `{text}`" if looks_like_path else f"no {what} is called `{text}`"
    hint = did_you_mean(path.stem, known, what=f"shipped {what}s")
    raise InputError(Diagnostic("not-found", message, hint=hint))


def path_is(test: Callable[[Path], bool], text: str) -> bool:
    """Apply a test to a path; False for what no path can be: too long, or with a NUL in it."""
    try:
        return test(Path(text))
    except (OSError, ValueError):
        return False
