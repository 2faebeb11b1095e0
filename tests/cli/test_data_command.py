"""`optzoo data`: numbers as people write them, what is said, and text that acts on terminals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from optzoo.cli.app import app
from optzoo.errors import InputError


def write(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def data(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """A source and what to validate on, as arguments."""
    source = write(tmp_path / "a.jsonl", *(f"document {i}" for i in range(50)))
    held_out = write(tmp_path / "v.jsonl", "held out")
    return [source, "--validation", held_out, "--quiet"]


def test_a_limit_that_the_sources_do_not_reach_is_said(source: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for again in ("", "is complete: nothing to do"):
        done = data("prepare", *source, "--out", out, "--max-tokens", "1e6")
        assert done.exit_code == 0, done.output
        assert "the sources have 591 tokens, fewer than the 1,000,000 of --max-" in done.stderr
        assert again in done.stderr
    done = data("prepare", *source, "--out", f"{out}2", "--max-tokens", "500")
    assert done.stderr == ""


@pytest.mark.parametrize("number", ["1e3", "1_000", "1000", "1000.0"])
def test_numbers_that_count(number: str, source: list[str], tmp_path: Path) -> None:
    done = data("prepare", *source, "--out", str(tmp_path / "out"), "--max-documents", number)
    assert done.exit_code == 0, done.output
    assert (
        json.loads((tmp_path / "out" / "manifest.json").read_text())["request"]["max_documents"]
        == 1000
    )


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "nan", "inf", "x", "1e400", "1e999999999"])
def test_numbers_that_do_not_count(number: str, source: list[str], tmp_path: Path) -> None:
    done = data("prepare", *source, "--out", str(tmp_path / "out"), "--max-documents", number)
    assert isinstance(done.exception, InputError)
    assert "is not a whole number from 1 to 9,223,372,036,854,775,807" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_text_does_not_act_on_the_terminal(source: list[str], tmp_path: Path) -> None:
    source[0] = write(tmp_path / "a.jsonl", "\x1b[31mred\x07 \u202etxet\nsecond line")
    assert data("prepare", *source, "--out", str(tmp_path / "out")).exit_code == 0
    shown = data("show", str(tmp_path / "out")).stdout
    assert r"    \x1b[31mred\x07 \u202etxet" in shown
    assert "\n    second line\n" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
