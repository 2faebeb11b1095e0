"""Bad recipes are data: each file's first comment says which error it must give, and where."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import optzoo
from optzoo.files.documents import MAX_BYTES

FOLDER = Path(__file__).parents[1] / "bad_recipes"
FILES = sorted(FOLDER.glob("*.yaml"))


def expectation(path: Path) -> tuple[str, str, str]:
    first = path.read_text().splitlines()[0]
    match = re.match(r"# expect: (\S+) (\S+) (.+)$", first)
    assert match, f"{path.name} lacks its `# expect: CODE LINE:COLUMN TEXT`"
    return match.group(1), match.group(2), match.group(3)


def test_there_are_bad_recipes() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_one_clear_error(path: Path) -> None:
    code, where, text = expectation(path)
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.load_recipe(path)
    found = [d for d in caught.value.diagnostics if d.code == code]
    assert found, str(caught.value)
    assert text in found[0].message
    location = found[0].location
    if where != "0":
        assert location is not None
        column = f":{location.column}" if ":" in where else ""
        assert f"{location.line}{column}" == where
    assert "Traceback" not in str(caught.value)


def test_all_errors_of_a_file_are_reported_at_once() -> None:
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.load_recipe(FOLDER / "two_many.yaml")
    columns = [d.location.column for d in caught.value.diagnostics if d.location]
    assert columns == [27, 43]


def test_the_caret_stands_under_the_fault() -> None:
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.load_recipe(FOLDER / "unknown_name_inside.yaml")
    lines = str(caught.value).splitlines()
    source, caret = lines[1], lines[2]
    start = caret.index("^")
    assert source[start : start + caret.count("^")] == "betta1"
    assert lines[4] == "hint: did you mean `beta1`?"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: 1\n" * (10 * MAX_BYTES // 5))
    with pytest.raises(optzoo.InputError, match="at most 1,048,576"):
        optzoo.load_recipe(path)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(optzoo.InputError, match="not UTF-8"):
        optzoo.load_recipe(path)
    with pytest.raises(optzoo.InputError, match="no such file"):
        optzoo.load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(optzoo.InputError, match="is a directory"):
        optzoo.load_recipe(tmp_path)
    with pytest.raises(optzoo.InputError, match="did you mean `ademamix`"):
        optzoo.load_recipe("adamemix")


def test_the_command_line_exits_2_without_a_traceback() -> None:
    files = [str(FOLDER / "cycle.yaml"), str(FOLDER / "unknown_key.yaml"), "adamw"]
    command = [sys.executable, "-m", "optzoo", "validate", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 2
    assert done.stdout.startswith("ok  adamw")
