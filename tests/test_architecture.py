"""The rules of the house, as tests: who may import whom, and how large a room may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import optzoo
from optzoo.files.shipped import shipped

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "optzoo"
FILES = sorted(PACKAGE.rglob("*.py"))
RECIPES = frozenset(shipped())

HEAVY = {"torch", "numpy", "sympy", "typer", "rich", "matplotlib", "datasets", "pandas"}
YAML = ["documents", "cut_values", "explanations", "overlays", "unchanged"]
PROGRAM_LAYER = ["errors.py", *(f"files/{name}.py" for name in YAML), "program", "recipe"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Yield the modules a file imports, except those only for type checkers."""

    def visit(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield node.module or ""
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                yield from visit(node.orelse)
            elif not (top_level_only and isinstance(node, ast.FunctionDef)):
                for child in ("body", "orelse", "finalbody", "handlers"):
                    yield from visit(getattr(node, child, []))

    yield from visit(ast.parse(path.read_text()).body)


def layer(name: str) -> list[Path]:
    path = PACKAGE / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


@pytest.mark.parametrize("path", [p for n in PROGRAM_LAYER for p in layer(n)], ids=module_name)
def test_the_program_layer_imports_nothing_heavy(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & HEAVY
    allowed = ("optzoo.errors", "optzoo.program", "optzoo.recipe")
    allowed += tuple(f"optzoo.files.{name}" for name in YAML)
    if path.match("recipe/recipe.py"):  # what people hold: it finds files and builds, lazily
        allowed += ("optzoo.files.shipped", "optzoo.optimizer")
    strangers = {n for n in imports(path) if n.startswith("optzoo.") and not n.startswith(allowed)}
    assert not strangers, f"{path.name} imports {sorted(strangers)}"


def test_the_program_knows_nothing_of_recipes() -> None:
    for path in layer("program"):
        assert not any(name.startswith("optzoo.recipe") for name in imports(path)), path


def test_interpreters_do_not_import_one_another() -> None:
    for path in layer("interpreters"):
        assert not {n for n in imports(path) if n.startswith("optzoo.interpreters")}, path


def test_interpreters_sit_on_the_program_layer_only() -> None:
    allowed = ("optzoo.program", "optzoo.errors")
    for path in layer("interpreters"):
        ours = {n for n in imports(path) if n.startswith("optzoo.")}
        assert all(n.startswith(allowed) for n in ours), (path, sorted(ours))


def test_the_command_line_is_light_at_the_top() -> None:
    for path in layer("cli"):
        roots = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not roots & (HEAVY - {"typer"}), path


def test_nothing_is_evaluated() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_compiler = path.match("engines/kernel.py")
                assert is_compiler or node.func.id not in ("eval", "exec", "compile"), path


LONGEST_FILE, LONGEST_FUNCTION, MOST_FILES = 450, 70, 14


def test_files_can_be_read_in_one_sitting() -> None:
    long = {module_name(p): len(p.read_text().splitlines()) for p in FILES}
    assert {name: size for name, size in long.items() if size > LONGEST_FILE} == {}


def test_functions_can_be_seen_at_once() -> None:
    long = {
        f"{module_name(path)}.{node.name}": size
        for path, node in nodes(ast.FunctionDef)
        if (size := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_rooms_are_not_crowded() -> None:
    folders = {path.parent for path in FILES}
    sizes = {str(f.relative_to(ROOT)): len(sources(f)) for f in folders}
    assert {folder: size for folder, size in sizes.items() if size > MOST_FILES} == {}
    top = {path.name for path in PACKAGE.glob("*.py")}
    assert top == {"__init__.py", "__main__.py", "errors.py", "tables.py"}


def sources(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def nodes(kind: type[Any]) -> Iterator[tuple[Path, Any]]:
    """Yield the nodes of one kind in all files."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield path, node


SHARED_FILE_NAMES = {"reference.py", "schema.py", "text.py"}


def test_one_name_for_one_thing() -> None:
    files = Counter(path.name for path in FILES if path.name != "__init__.py")
    assert {name for name, count in files.items() if count > 1} == SHARED_FILE_NAMES
    classes = Counter(node.name for _, node in nodes(ast.ClassDef))
    assert [name for name, count in classes.items() if count > 1] == []


def test_domains_stand_where_meanings_do() -> None:
    """A class that says what numbers and operations are is an interpreter, an engine or a table.

    One may wrap another to watch it.
    """
    homes = ("interpreters/", "engines/", "program/arithmetic.py", "program/domain.py")
    strangers = {
        (path.relative_to(PACKAGE).as_posix(), node.name)
        for path, node in nodes(ast.ClassDef)
        if {"number", "apply"} <= {m.name for m in node.body if isinstance(m, ast.FunctionDef)}
        and not path.relative_to(PACKAGE).as_posix().startswith(homes)
    }
    assert strangers == {("equivalence/switches.py", "_Watcher")}


def test_scalar_arithmetic_is_one_table() -> None:
    """Whoever writes a rule for `half_life` writes a table of rules."""
    keys = {
        path.relative_to(PACKAGE).as_posix()
        for path, node in nodes(ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
        and key.value == "half_life"
        and not isinstance(value, ast.Set)
    }
    # intervals and arrays over steps cannot branch on a value
    assert keys == {"program/arithmetic.py", "program/intervals.py", "interpreters/arrays.py"}


def test_training_does_not_prepare_data_and_setups_know_no_torch() -> None:
    for path in [*layer("train"), *layer("data")]:
        if "preparation" not in path.parts:
            assert not any(n.startswith("optzoo.data.preparation") for n in imports(path)), path
    for path in layer("train/setup"):
        assert not any(n.split(".")[0] == "torch" for n in imports(path)), path


def test_torchs_private_compilers_are_left_alone() -> None:
    for path in FILES:
        found = re.findall(r"torch\._(?:inductor|dynamo|functorch)", path.read_text())
        assert not found, path


def test_one_circle_of_imports() -> None:
    """`Recipe.build` makes the optimizer that holds a recipe, lazily: there is no other circle."""
    names = {module_name(path): path for path in FILES}
    reads = {
        name: {n for n in imports(path) if n in names and n != name} for name, path in names.items()
    }
    reads["optzoo.recipe.recipe"].discard("optzoo.optimizer")
    done: set[str] = set()
    while ready := {n for n in reads if n not in done and reads[n] <= done}:
        done |= ready
    assert set(reads) - done == set()


def test_the_page_of_the_house_names_every_room() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rows = set(re.findall(r"^\| (.*?) \|", page, re.MULTILINE))
    named = {n for row in rows for n in re.findall(r"`(optzoo/[^`]*)`", row)}
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in FILES} - {"optzoo/"}
    top = {f"optzoo/{path.name}" for path in PACKAGE.glob("*.py")}
    assert named == folders | top


def test_the_readme_lists_the_rooms() -> None:
    listed = set(re.findall(r"^    optzoo/(\w+)/", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}


def test_tests_follow_the_rooms() -> None:
    """A folder of tests is a room of the package, or holds what its name says."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders <= rooms | {"fuzz"}


def test_exceptions_are_named_errors() -> None:
    assert "noqa: N818" not in "".join(path.read_text() for path in FILES)


FOR_ONE_RECIPE = {
    # an option of torch's Adam, which is no recipe there
    "optimizer/group_options.py": {"amsgrad"},
    # gains are measured against SGD, heavy ball and Nesterov
    "risk/gain.py": {"sgd", "sgd_momentum", "sgd_nesterov"},
    # defaults: what `new` starts from, and whom the end of a run proposes to compare with
    "cli/recipes.py": {"adamw"},
    "train/session.py": {"adamw", "ademamix"},
}
"""Files that name shipped recipes, each with the reason; benchmarks compare recipes by name."""


def test_no_python_is_for_one_recipe() -> None:
    found = {}
    for path in FILES:
        place = path.relative_to(PACKAGE)
        if place.parts[0] != "bench":
            names = set(named_recipes(path, texts=place.parts[0] != "cli"))
            found |= {place.as_posix(): names} if names else {}
    assert found == FOR_ONE_RECIPE, "what a recipe needs is said in its YAML: docs/extending.md"


def named_recipes(path: Path, *, texts: bool) -> Iterator[str]:
    """Yield the shipped recipes that strings name: alone, or in the midst of `texts` too.

    Docstrings may name any; within a text an underscore tells a recipe from an English word.
    """
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in RECIPES:
                yield node.value
            elif texts and id(node) not in docstrings:
                words = set(re.findall(r"\w+", node.value)) & RECIPES
                yield from (word for word in words if "_" in word)


def test_naming_a_recipe_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        '"""As in qhm and mars_lion."""\nif name == "lion":\n    print("like accelerated_sgd")\n'
    )
    assert set(named_recipes(path, texts=True)) == {"lion", "accelerated_sgd"}
    assert set(named_recipes(path, texts=False)) == {"lion"}


@pytest.mark.parametrize("word", ["utils", "common", "misc", "helpers", "manager"])
def test_modules_are_named_for_what_they_hold(word: str) -> None:
    assert not [p for p in FILES if word in p.stem]


@pytest.mark.parametrize(
    "command",
    [["--help"], ["list"], ["validate", "ademamix"], ["show", "lion", "--program"]],
    ids=" ".join,
)
def test_light_commands_do_not_import_torch(command: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['optzoo', *{command!r}]\n"
        "from optzoo.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'numpy', 'sympy', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_public_surface_is_complete_and_sorted() -> None:
    assert list(optzoo.__all__) == sorted(optzoo.__all__)
    for name in optzoo.__all__:
        assert getattr(optzoo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        optzoo.nonsense  # noqa: B018
