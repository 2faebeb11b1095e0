"""What `describe` says of every recipe, as it was reviewed: docs/recipes is the golden.

After a change that is meant, write the pages and their index anew and read the difference:

    optzoo describe --all docs/recipes

A page has equations and closed forms in LaTeX. How the terminal prints them is kept in
tests/golden/describe for the few recipes that together reach every line of the printers; a new
recipe needs no text there.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from oracles import ORACLES, Oracle
from problems import RECIPES

import optzoo
from optzoo.description.description import Description, describe, describe_rules
from optzoo.description.output.gallery import format_gallery
from optzoo.description.output.page import format_index, format_latex_page, format_markdown
from optzoo.description.output.text import format_report
from optzoo.description.shelf import entry_of, index_text
from optzoo.files.shipped import shipped

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "recipes"
TEXTS = sorted((ROOT / "tests" / "golden" / "describe").glob("*.txt"))
PAGES_COMMAND = "optzoo describe --all docs/recipes"
WIDTH = 110


@cache
def rules(name: str) -> list[Description]:
    return describe_rules(optzoo.load_recipe(name))


def described(name: str) -> Description:
    return rules(name)[0]


def check(path: Path, text: str, command: str) -> None:
    """Compare a file with what it should hold; `command` writes it anew."""
    place = path.relative_to(ROOT)
    assert path.exists(), f"{place} is missing; write it: {command}"
    written = path.read_text(encoding="utf-8")
    assert written == text, f"{place} has changed; if that is meant: {command}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_is_what_describe_says(name: str) -> None:
    check(PAGES / f"{name}.md", format_markdown(*rules(name)), PAGES_COMMAND)
    row = format_index([described(name)]).splitlines()[-1]
    index = (PAGES / "README.md").read_text(encoding="utf-8").splitlines()
    assert row in index, f"docs/recipes/README.md lacks {name}; write it anew: {PAGES_COMMAND}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_report_is_whole_and_fits(name: str) -> None:
    text = format_report(described(name))
    assert "Eq. (1) form:" in text
    assert "evaluated at" in text
    oracle = ORACLES.get(name, Oracle)  # that one is missing is told elsewhere
    is_linear = "not linear in the gradients" not in text.split("Eq. (1) form:")[1].splitlines()[0]
    assert ("no closed form" in text) == (is_linear and not oracle.has_closed_form)
    assert " nan" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_the_index_and_nothing_else() -> None:
    pages = [rules(name) for name in sorted(RECIPES)]
    check(PAGES / "README.md", format_index([each[0] for each in pages]), PAGES_COMMAND)
    entries = map(entry_of, shipped().values(), pages)
    check(PAGES / "index.json", index_text(entries), PAGES_COMMAND)
    assert {p.stem for p in PAGES.glob("*.md")} == {*RECIPES, "README"}


def test_the_gallery_has_every_recipe_and_is_up_to_date() -> None:
    page, pictures = format_gallery([rules(name) for name in sorted(RECIPES)])
    for file, text in {"README.md": page, **pictures}.items():
        check(PAGES / "gallery" / file, text, PAGES_COMMAND)
    assert {path.name for path in (PAGES / "gallery").iterdir()} == {"README.md", *pictures}
    assert set(re.findall(r"\]\(\.\./(\w+)\.md\)", page)) == set(RECIPES)
    assert set(re.findall(r"!\[[^]]*\]\(([^)]*)\)", page)) == set(pictures)
    undrawn = re.findall(r"^\|  \| \[(\w+)\].* \| (.*) \|$", page, re.MULTILINE)
    for name, why in undrawn:
        linear = described(name).decision.linear
        assert ("no formula" if linear else "not linear in the gradients") in why
    assert 0 < len(undrawn) < 6
    assert max(map(len, pictures.values())) < 5000  # bytes


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_report_in_full(path: Path) -> None:
    command = f"optzoo describe {path.stem} > {path.relative_to(ROOT)}"
    check(path, format_report(described(path.stem)) + "\n", command)


def test_there_are_reports_in_full() -> None:
    assert len(TEXTS) >= 11


HOSTILE = """
name: hostile
version: 1
summary: "# <script>alert(1)</script> \\\\input{/etc/passwd} | x ~ ^ %"
reference: "<b>x</b>"
notes: ["one\\n\\n# two", "``` three"]
hyperparameters:
  lr: {default: 1e-3, in: "[0, inf)", doc: "a | b <u>"}
update: grad  # ``````
"""


def test_texts_of_a_recipe_are_shown_and_do_nothing() -> None:
    description = describe(optzoo.parse_recipe(HOSTILE))
    latex = format_latex_page(description)
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert r"\# <script>" in latex
    assert r"\textasciitilde{} \textasciicircum{} \%" in latex
    page = format_markdown(description)
    before, recipe = page.split("## Recipe")
    assert "<script" not in before
    assert "<u>" not in before
    assert r"\# &lt;script>" in before
    assert r"a \| b" in before
    assert "\n# two" not in before
    assert "\n- \\``` three" in before
    assert recipe.strip().startswith("```````yaml\n")
    assert recipe.rstrip().endswith("\n```````")
