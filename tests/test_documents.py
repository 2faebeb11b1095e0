"""Files that are no recipes: pipes, devices, sparse and hostile ones, each refused by one error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import optzoo
from optzoo.catalog import find_file, names_setup
from optzoo.documents import MAX_VALUES, number_or_text, parse_document
from optzoo.errors import CONTROLS, Diagnostic, InputError, Location
from optzoo.zoo import parse_recipe

ADAMW = optzoo.load_recipe("adamw").text


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_recipe(text, "made.yaml")
    return str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes by name are a thing of Unix")
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        assert not names_setup(str(path))
        with pytest.raises(InputError, match="a device or a pipe, not a file"):
            optzoo.load_recipe(path)


def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sparse.yaml"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    assert not names_setup(str(path))
    with pytest.raises(InputError, match="3,221,225,472 bytes"):
        optzoo.load_recipe(path)


@pytest.mark.parametrize("path", ["a" * 300, "a" * 300 + ".yaml", "a/" * 3_000 + "b", "nul\0.yaml"])
def test_what_no_path_can_be(path: str) -> None:
    assert not names_setup(path)
    with pytest.raises(InputError, match=r"no such file|no recipe is called"):
        find_file(path)


def test_messages_do_not_act_on_a_terminal() -> None:
    location = Location("\x1b]0;x\x07.yaml", 1, 3, 2, "a \x1bb c")
    shown = Diagnostic("x", "`\x1b[31m\u202e`", location, "\x9b2J").render()
    assert not CONTROLS.search(shown)
    assert r"\x1b[31m\u202e" in shown
    lines = shown.splitlines()
    assert lines[2].index("^") == lines[1].index("\N{REPLACEMENT CHARACTER}")


def test_a_file_with_a_strange_name_is_validated(tmp_path: Path) -> None:
    name = "strange\x1b[31m.yaml"
    (tmp_path / name).write_text(ADAMW)
    command = [sys.executable, "-m", "optzoo", "validate", name, "\x1b]0;absent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith(r"ok  strange\x1b[31m.yaml: adamw")
    assert not CONTROLS.search(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 1e-3), ("5.", 5.0), (".5", 0.5), ("1_000.5e1", 10_005.0), ("-12", -12)),
        *(("e1", "e1"), (".", "."), ("1e", "1e"), ("1.2.3", "1.2.3"), ("_1", "_1"), ("+", "+")),
        *(("1e400", "1e400"), ("1e-400", "1e-400"), ("0e-400", 0.0), ("1.e5", 1e5)),
    ],
)
def test_plain_words_and_numbers(text: str, value: object) -> None:
    found = parse_document(f"a: {text}", "made.yaml").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_numbers_that_float64_would_change_stay_text() -> None:
    texts = ["1e-5", "1e400", "-1e400", "1e-400", "0.0", "inf", "nan", "x"]
    assert [isinstance(number_or_text(text), str) for text in texts] == [
        *(False, True, True, True, False, False, False, True)
    ]


def test_a_bare_e1_is_a_name() -> None:
    made = parse_recipe(ADAMW.replace("beta1", "e1"))
    assert made.hyperparameters["e1"].default == 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ADAMW.replace("version: 1", "version: " + "1" * 20_000), "a number of 20,000 characters"),
        (ADAMW.replace("version: 1", "version: " + "1" * 20_000 + "x"), "`version`"),
        (ADAMW.replace("version: 1", "version: " + "1_" * 10_000 + "x"), "`version`"),
        (ADAMW.replace('"[0, inf)"', '"[0' + " " * 20_000 + '"', 1), "is not an interval"),
        (ADAMW.replace("1/(1 - beta1**t)", "(" * 900), "not an expression"),
        (ADAMW.replace("1/(1 - beta1**t)", "-" * 900 + "t"), "40 deep"),
        (ADAMW + "".join(f"k{i}: 1\n" for i in range(9_000)), "`k0` is not a key"),
        (ADAMW + "".join(f"k{i}: 1\n" for i in range(19_000)), "more than 20,000 keys and values"),
        (ADAMW + "k: 1\n" * 9_000, "appears twice"),
        (f"{'x' * 201}: 1", "a key of 201 characters"),
        ("- " * 5_000, "40 levels"),
        ('a: "\\U00110000"', "stands for no character"),
        (ADAMW.replace("1/(1 - beta1**t)", "'\"\\uD800\"'"), r"`\ud800` is not a number"),
        ("a: \ud800", "half of a surrogate pair"),
        (f"a: [{'x, ' * 2 * MAX_VALUES}]", "more than 20,000 keys and values"),
    ],
)
def test_hostile_yaml_is_refused_with_little(text: str, message: str) -> None:
    found = refused(text)
    assert message in found
    assert len(found) < 50_000


def test_nineteen_thousand_lines_that_say_nothing() -> None:
    for more in ("# x\n", "\n"):
        assert parse_recipe(ADAMW + more * 19_000).digest == optzoo.load_recipe("adamw").digest


@pytest.mark.parametrize("section", ["hyperparameters", "scalars", "buffers", "observers"])
def test_a_recipe_has_a_bounded_number_of_names(section: str) -> None:
    entry = {
        "hyperparameters": '{default: 1, in: "[0, 1]", doc: x}',
        "scalars": "s0 + z",
        "buffers": "{input: z, decay: 0.9, gain: 1}",
        "observers": "{weight: z}",
    }[section]
    lines = "".join(f"  s{i}: {entry}\n" for i in range(1_500))
    text = ADAMW if section != "observers" else ADAMW + "observers:\n"
    found = refused(text.replace(f"{section}:\n", f"{section}:\n{lines}"))
    assert "a recipe has at most 150" in found
    assert found.count("error:") == 1


def test_a_long_chain_of_states_is_given_up_on_in_time() -> None:
    chain = "".join(
        f"  b{i}: {{input: b{i - 1}.prev, decay: 0.9, gain: 1}}\n" for i in range(1, 140)
    )
    text = ADAMW.replace(
        "buffers:\n", "buffers:\n  b0: {input: grad, decay: 0.9, gain: 1}\n" + chain
    )
    assert len(parse_recipe(text.replace("{m: k}", "{m: k, b139: 1}")).program().states) == 142


def test_advice_of_python_on_an_expression_is_not_passed_on() -> None:
    command = [sys.executable, "-m", "optzoo", "show", "adamw", "--set", "beta1=1if"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Warning" not in done.stderr
