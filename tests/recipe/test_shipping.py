"""What a new shipped recipe asks for: its YAML, its oracle class and its page, nothing else.

A recipe is added to a copy of the project and the tests of the copy are run on it. It is one that
leaves the beaten track: two momenta, a rule for the first step, a default that is not its authors'.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RECIPE = """\
name: newcomer
version: 1
summary: A fast and a slow average of the gradient, over the root of its mean square
family: adam
reference: "made up for a test"
hyperparameters:
  lr: {default: 1e-3, in: "[0, inf)", doc: learning rate}
  fast: {default: 0.9, in: "[0, 1)", doc: decay of the fast average}
  slow: {default: 0.99, in: "[0, 1)", doc: decay of the slow average}
  share: {default: 0.5, in: "[0, 1]", doc: weight of the slow average}
  square: {default: 0.999, in: "[0, 1)", doc: decay of the squared gradient}
  eps: {default: 1e-8, in: "(0, inf)", doc: added after the square root}
  weight_decay: {default: 0, in: "[0, inf)", doc: "decoupled, times lr"}
scalars:
  later: min(1, t - 1)
buffers:
  a: {input: grad, decay: fast, gain: 1 - fast*later}
  b: {input: grad, decay: slow, gain: 1 - slow*later}
preconditioner:
  rms: {of: grad, decay: square, eps: eps}
order: momentum_first
update: {mix: {a: 1 - share, b: share}}
weight_decay: {amount: weight_decay, kind: decoupled}
"""

ORACLE = '''\
"""An oracle in a module of its own."""

from .base import Array, Oracle


class Newcomer(Oracle):
    """Two averages that start at the first gradient."""

    recipe = "newcomer"
    defaults = {
        "fast": 0.9, "slow": 0.99, "share": 0.3, "square": 0.999, "eps": 1e-8, "weight_decay": 0.0,
    }
    default_lr = 1e-3
    our_defaults = {"share": 0.5}  # made up as well
    lively = {
        "lr": 0.02, "fast": 0.7, "slow": 0.9, "share": 0.4, "square": 0.93, "eps": 0.03,
        "weight_decay": 0.2,
    }

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.v = 0 * w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        if self.t == 1:
            self.a = self.b = g
        else:
            self.a = h.fast * self.a + (1 - h.fast) * g
            self.b = h.slow * self.b + (1 - h.slow) * g
        self.v = h.square * self.v + (1 - h.square) * g * g
        root = (self.v / (1 - h.square**self.t)) ** 0.5 + h.eps
        step = ((1 - h.share) * self.a + h.share * self.b) / root
        self.w = self.w - lr * (step + h.weight_decay * self.w)
'''


ON_THE_RECIPE = "newcomer"
ON_ALL = (
    "the_index_and_nothing_else or the_gallery_has or every_oracle_has_a_recipe"
    " or import_nothing_from_optzoo or list_of_refusals or no_python_is_for_one_recipe"
    " or types_are_up_to_date"
)
"""Tests that look at all recipes at once, and would mind one more."""


class Project:
    """A copy of the project to which the recipe was added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("optzoo", "recipes", "docs", "tests"):
            shutil.copytree(
                ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, root / file)
        self.write("recipes/newcomer.yaml", RECIPE)

    def write(self, place: str, text: str) -> None:
        (self.root / place).write_text(text, encoding="utf-8")

    def write_pages(self) -> None:
        done = self.run("optzoo", "describe", "--all", "docs/recipes")
        assert done.returncode == 0, done.stderr

    def run(self, *module: str) -> subprocess.CompletedProcess[str]:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        return subprocess.run(
            [sys.executable, "-m", *module],
            cwd=self.root,
            env={**ours, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    def test(self, selection: str, *files: str) -> tuple[int, set[str], str]:
        """Run tests of the copy; return how many passed, in which files some failed, the output."""
        done = self.run("pytest", "-v", "-rf", "-n", "0", "--tb=short", "-k", selection, *files)
        counted = re.search(r"(\d+) passed", done.stdout)
        failed = set(re.findall(r"^(?:FAILED|ERROR) (\S+?\.py)", done.stdout, re.MULTILINE))
        assert done.returncode == (1 if failed else 0), done.stdout + done.stderr
        return int(counted[1]) if counted else 0, failed, done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_yaml_oracle_and_page_are_all(project: Project) -> None:
    project.write("tests/oracles/newcomer.py", ORACLE)
    project.write_pages()
    before = snapshot(ROOT)
    added = {place for place, text in snapshot(project.root).items() if before.get(place) != text}
    page = {"docs/recipes/newcomer.md", "docs/recipes/README.md", "docs/recipes/index.json"}
    page |= {"docs/recipes/gallery/README.md", "docs/recipes/gallery/newcomer.svg"}
    types = {"optzoo/optim/__init__.pyi"}  # by the command that writes the page
    assert added == {"recipes/newcomer.yaml", "tests/oracles/newcomer.py", *page, *types}
    passed, failed, output = project.test(f"{ON_THE_RECIPE} or {ON_ALL}")
    assert not failed, output
    assert passed >= 50


def snapshot(root: Path) -> dict[str, bytes]:
    """Return the files of a project that a recipe could ask for."""
    files = [
        p for folder in ("optzoo", "recipes", "docs", "tests") for p in (root / folder).rglob("*")
    ]
    kept = [p for p in files if p.is_file() and "__pycache__" not in p.parts]
    return {str(p.relative_to(root)): p.read_bytes() for p in kept}


@pytest.mark.slow
def test_without_its_oracle_the_tests_fail_and_say_so(project: Project) -> None:
    project.write_pages()
    _, failed, output = project.test(
        ON_THE_RECIPE, "tests/recipe/test_recipes.py", "tests/description/test_golden.py"
    )
    assert failed == {"tests/recipe/test_recipes.py"}
    assert "recipes/newcomer.yaml has no oracle: write a class with `recipe = " in output


@pytest.mark.slow
def test_without_its_page_the_tests_fail_and_say_so(project: Project) -> None:
    project.write("tests/oracles/newcomer.py", ORACLE)
    _, failed, output = project.test(
        ON_THE_RECIPE, "tests/recipe/test_recipes.py", "tests/description/test_golden.py"
    )
    assert failed == {"tests/description/test_golden.py"}
    missing = "docs/recipes/newcomer.md is missing; write it: optzoo describe --all docs/recipes"
    assert missing in output


@pytest.mark.slow
def test_an_oracle_of_something_else_is_noticed(project: Project) -> None:
    """The comparison is alive in the copy: one coefficient of the oracle is off."""
    wrong = ORACLE.replace("h.share * self.b", "1.0001 * h.share * self.b")
    assert wrong != ORACLE
    project.write("tests/oracles/newcomer.py", wrong)
    _, failed, output = project.test(ON_THE_RECIPE, "tests/recipe/test_recipes.py")
    assert failed == {"tests/recipe/test_recipes.py"}
    assert "training point after step 1" in output
