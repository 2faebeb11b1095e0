"""The commands about recipe files, run as a user runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import optzoo as run
from commands import typed
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app


def test_help_names_every_command_and_examples() -> None:
    done = subprocess.run(typed("--help"), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for verb in ("list", "show", "validate", "schema", "new", "train", "eval"):
        assert f"\n  {verb} " in done.stdout
    assert "optzoo train ademamix" in done.stdout


def test_version() -> None:
    assert run("--version").stdout == f"optzoo {optzoo.__version__}\n"


def test_list_shows_each_shipped_recipe() -> None:
    rows = json.loads(run("list", "--json").stdout)
    by_name = {row["name"]: row for row in rows}
    assert by_name["ademamix"]["bytes"] == 12
    assert by_name["lion"]["bytes"] == 4
    assert by_name["laprop"]["order"] == "precondition_first"
    assert by_name["lion"]["lr"] == 1e-4
    assert by_name["ademamix"]["lr_scale"] == "adam x2"
    assert "3 to 10 times less than AdamW's" in by_name["lion"]["learning_rate"]
    lines = run("list").stdout.splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].split()[:5] == ["name", "family", "order", "eq1", "bytes"]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("options", "wanted", "unwanted"),
    [
        (("--family", "sign"), "lion", "adamw"),
        (("--family", "Sign"), "signum", "sgd"),
        (("--order", "precondition_first"), "laprop", "adamw"),
        (("--order", "none"), "sgd", "lion"),
        (("--search", "2405.15682"), "schedule_free_sgd", "lion"),
        (("--search", "ADEMAMIX", "--family", "accelerated adam"), "ademamix", "adana"),
    ],
)
def test_list_narrows_down(options: tuple[str, ...], wanted: str, unwanted: str) -> None:
    runner = CliRunner()
    names = runner.invoke(app, ["list", *options, "--names"]).stdout.split()
    assert wanted in names
    assert unwanted not in names
    rows = json.loads(runner.invoke(app, ["list", *options, "--json"]).stdout)
    assert [row["name"] for row in rows] == names
    assert len(runner.invoke(app, ["list", *options]).stdout.splitlines()) == len(names) + 1


def test_list_of_nothing() -> None:
    done = run("list", "--search", "no such thing")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no shipped recipe is like that" in done.stderr


def test_show() -> None:
    assert run("show", "lion").stdout == optzoo.load_recipe("lion").text
    program = run("show", "ademamix", "--program", "--set", "beta1=0").stdout
    assert program.startswith("program ademamix (")
    assert "m1" not in program
    assert "void step(" in run("show", "ademamix", "--source", "c").stdout
    assert "@triton.jit" in run("show", "ademamix", "--source", "triton").stdout
    source = run("show", "ademamix", "--source", "python", "--set", "beta1=0").stdout
    assert source.startswith(
        "import torch\n\n\ndef ademamix(param_prev, grad, m2_prev, v_prev, coeff"
    )
    resolved = run("show", "ademamix", "--set", "alpha=5").stdout
    assert optzoo.parse_recipe(resolved).hyperparameters["alpha"].default == 5.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "lionn"), "did you mean `lion`?"),
        (("show", "lion", "--set", "beta3=1"), "`beta3` is not a hyperparameter of lion"),
        (("show", "lion", "--set", "beta1"), "write `--set NAME=VALUE`"),
        (("show", "lion", "--set", "beta1=2"), "outside [0, 1]"),
        (("show", "lion", "--set", "lr=1", "--set", "lr=2"), "is given twice"),
        (("train", "lion", "--seed", "1", "--seed", "2"), "`--seed` is given twice"),
        (
            ("train", "lion", "--steps", "3", "--set", "budget.steps=4"),
            "`budget.steps` is given tw",
        ),
        (("train", "lion", "--set", "lr=1", "--set", "lr=2"), "`lr` is given twice: 1 and 2"),
        (("data", "prepare", "x", "--out", "a", "--out", "b"), "`--out` is given twice"),
        (("train",), "which recipe is to be trained?"),
        (("train", "--resume", "r", "--setup", "quick"), "and `--setup` begins one"),
        (("train", "--resume", "r", "--or-resume"), "and `--or-resume` begins one"),
        (("train", "lion", "--dry-run", "--or-resume"), "belong to `--dry-run`"),
        (("new", "2fast"), "is not a name"),
        (("frobnicate",), "`optzoo frobnicate`: there is no such command"),
        (("trian", "adamw"), "did you mean `optzoo train`?"),
        (("data", "prepar"), "did you mean `optzoo data prepare`?"),
        (("sweep", "confrim", "x"), "did you mean `optzoo sweep confirm`?"),
        (("train", "adamw", "--step", "5"), "did you mean `--steps`? see `optzoo train --help`"),
        (("sweep", "x", "--job", "5"), "did you mean `--jobs`?"),
        (("--verson",), "did you mean `--version`?"),
        (("train", "adamw", "--steps", "x"), "`--steps` must be a valid integer"),
        (("train", "adamw", "--steps", "0"), "`--steps` must be greater than or equal to 1"),
        (("train", "adamw", "--resume"), "option `--resume` requires an argument"),
        (("schema", "setp"), "`setp` is not one of recipe, setup, sweep\n\nhint: did you mean `se"),
        (("equiv", "lion"), "missing argument `B`"),
        (("describe", "lion", "extra"), "extra argument"),
        (("list", "--family", "sgn"), "did you mean `sign`?"),
    ],
)
def test_bad_input_exits_2(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Value error" not in done.stderr
    assert done.stdout == ""


def test_completion_of_a_word_that_is_no_command_yet() -> None:
    words = {"_OPTZOO_COMPLETE": "complete_bash", "COMP_WORDS": "optzoo desc", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], env=words, prog_name="optzoo")
    assert "describe" in done.output, done.output
    wrong = {**words, "COMP_WORDS": "optzoo descr x", "COMP_CWORD": "2"}
    done = CliRunner().invoke(app, [], env=wrong, prog_name="optzoo")
    assert not isinstance(done.exception, optzoo.InputError)


def test_new_writes_a_recipe_that_validates(tmp_path: Path) -> None:
    done = run("new", "my_adam", "--from", "ademamix", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recipe = optzoo.load_recipe(tmp_path / "my_adam.yaml")
    assert recipe.name == "my_adam"
    assert recipe.text.startswith("# optzoo train my_adam.yaml\n")
    again = run("new", "my_adam", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert recipe.text == (tmp_path / "my_adam.yaml").read_text()


def test_schema_accepts_the_shape_of_every_recipe() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) == {"name", "version"}
    assert schema["if"] == {"required": ["extends"]}  # whose parent has the rest
    assert set(schema["else"]["required"]) >= {"name", "version", "hyperparameters", "update"}
    assert schema["else"]["properties"].keys() == schema["properties"].keys()
    assert schema["additionalProperties"] is False
    hyper = schema["$defs"]["HyperparameterSpec"]
    assert set(hyper["properties"]) == {"default", "in", "doc"}


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m optzoo list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("name")
    assert done.stderr == ""


def test_help_advises_what_works_from_any_folder() -> None:
    """Whoever installed a wheel has no folder `recipes`."""
    runner = CliRunner()
    verbs = re.findall(r"^  (\w+) ", runner.invoke(app, ["--help"]).output, re.MULTILINE)
    texts = [runner.invoke(app, [*verb, "--help"]).output for verb in ([], *([v] for v in verbs))]
    examples = [line for text in texts for line in text.splitlines() if "optzoo " in line]
    assert len(examples) > 20
    assert [line for line in examples if "recipes/" in line] == []
