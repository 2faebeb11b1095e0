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


HINTS = {
    "comma_in_braces": ['quote what has a comma: `input: "max(grad, m.prev)"`'],
    "comma_in_mix": ['quote what has a comma: `m: "max(1, lr, beta1)"`'],
    "interval_unquoted": ['inside braces quote what has commas or brackets: `in: "[0, inf)"`'],
    "unknown_key_of_update": ["did you mean `scale`?"],
    "division_by_norm": ["keep a tensor away from 0 by an eps: `a/(b + eps)`, or `a/max(b, eps)`"],
}


@pytest.mark.parametrize("name", HINTS)
def test_there_is_one_mistake_and_its_hint_says_what_to_do(name: str) -> None:
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.load_recipe(FOLDER / f"{name}.yaml")
    assert [d.hint for d in caught.value.diagnostics] == HINTS[name]


def test_values_cut_by_commas_are_told_apart_from_keys_without_a_value() -> None:
    head = "name: mine\nversion: 1\nsummary: commas\nreference: none\n"
    both = head + (
        "hyperparameters:\n  lr: {default: 1, in: (0, inf), doc: rate, times two, or three}\n"
        "update: grad\n"
    )
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.parse_recipe(both)
    hints = [d.hint for d in caught.value.diagnostics]
    assert hints == [
        'quote what has a comma: `in: "(0, inf)"`',
        'quote what has a comma: `doc: "rate, times two, or three"`',
    ]
    empty = head + (
        "hyperparameters:\n  lr: {default: 1, in: '(0, inf)', doc: rate, unit: }\nupdate: grad\n"
    )
    with pytest.raises(optzoo.InputError, match="`unit` is not a key of"):
        optzoo.parse_recipe(empty)


def test_what_a_validator_says_is_said_in_words_of_the_file() -> None:
    text = (FOLDER / "unknown_key.yaml").read_text().replace("updates: 3\n", "")
    changes = {
        "version: 1": ("version: one", "`version`: expected a whole number, not `one`"),
        "summary: a recipe with one mistake": ("summary: 3", "expected text, not `3`"),
        "reference: none": ('reference: ""', "expected text, and this is empty"),
        "eps: eps}": ("eps: eps, debias: maybe}", "expected true or false, not `maybe`"),
        "update: {mix: {m: k}}": (
            "update: m\nweight_decay: coupled",
            "`weight_decay`: expected a mapping of keys to values, not `coupled`",
        ),
    }
    for old, (new, message) in changes.items():
        assert old in text
        with pytest.raises(optzoo.InputError) as caught:
            optzoo.parse_recipe(text.replace(old, new, 1))
        assert message in str(caught.value)
        assert "nput should" not in str(caught.value)


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
