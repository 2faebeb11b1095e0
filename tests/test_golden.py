"""The text of `describe` for every recipe, and the pages of docs/recipes, as they were reviewed.

After a change that is meant, write both anew and read the difference:

    OPTZOO_WRITE_GOLDEN=1 pytest -n 0 tests/test_golden.py
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from problems import RECIPES

import optzoo
from optzoo.description.description import Description, describe
from optzoo.description.output.page import format_index, format_markdown
from optzoo.description.output.text import format_report

GOLDEN = Path(__file__).parent / "golden" / "describe"
PAGES = Path(__file__).parent.parent / "docs" / "recipes"
STALE = "has changed; if that is meant: OPTZOO_WRITE_GOLDEN=1 pytest -n 0 tests/test_golden.py"


@cache
def described(name: str) -> Description:
    return describe(optzoo.load_recipe(name))


def check(path: Path, text: str) -> None:
    if os.environ.get("OPTZOO_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing"
    assert path.read_text(encoding="utf-8") == text, f"{path.name} {STALE}"


@pytest.mark.parametrize("name", RECIPES)
def test_text_and_page(name: str) -> None:
    check(GOLDEN / f"{name}.txt", format_report(described(name)) + "\n")
    check(PAGES / f"{name}.md", format_markdown(described(name)))


def test_the_index_and_nothing_else() -> None:
    check(PAGES / "README.md", format_index([described(name) for name in sorted(RECIPES)]))
    assert {p.stem for p in PAGES.glob("*.md")} == {*RECIPES, "README"}
    assert {p.stem for p in GOLDEN.glob("*.txt")} == set(RECIPES)
