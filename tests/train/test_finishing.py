"""The result comes first; what adorns it, and what it is drawn from, may fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import stopped_run, tiny_changes
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.files.sealed import read_object
from optzoo.train.runs import loss_figure
from optzoo.train.runs.comparison import compare_runs
from optzoo.train.runs.loss_figure import draw_losses
from optzoo.train.session import resume_run, start_run

Damage = Callable[[Path], object]


def rewrite(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


DAMAGES: dict[str, Damage] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"\xff\x00 garbage"),
    "no JSON": rewrite(lambda lines: [lines[0], b"no JSON" + lines[1], *lines[2:]]),
    "a line left out": rewrite(lambda lines: [lines[0], *lines[2:]]),
    "no line ends": rewrite(lambda lines: [line.strip() for line in lines]),
    "other kinds": rewrite(lambda lines: [line.replace(b"kind", b"sort") for line in lines]),
    "not numbers": rewrite(
        lambda lines: [line.replace(b'"loss": ', b'"loss": -1e') for line in lines]
    ),
    "views gone": rewrite(lambda lines: [line.replace(b'"eval"', b'"x"') for line in lines]),
    "lists": rewrite(lambda lines: [b"[1, 2]\n" for _ in lines]),
    "deep": rewrite(lambda lines: [b"[" * 100_000 + b"\n", *lines]),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run that nothing happens to ends in."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = start_run("sgd", run_dir=path, changes=tiny_changes(("budget.steps", "6")), quiet=True)
    views: dict[str, object] = done.result["views"]
    return views


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_metrics_are_a_warning(
    damage: str, whole: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped_run(tmp_path / "run", 3, ("budget.steps", "6"))
    DAMAGES[damage](run / "metrics.jsonl")
    assert resume_run(run, quiet=True).result["views"] == whole
    assert "metrics.jsonl" in capsys.readouterr().err
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["step"] for line in lines[-3:]] == [6, 6, 6]
    DAMAGES[damage](run / "metrics.jsonl")
    assert compare_runs([run])[0][0]["run"] == str(run)
    plot = tmp_path / "losses.png"
    found = CliRunner().invoke(app, ["compare", str(run), "--plot", str(plot)])
    assert found.exit_code == 0
    assert "nats per token" in found.output
    assert plot.exists() or "metrics.jsonl" in found.output


@pytest.mark.parametrize("what", ["loss.png", "sample.txt"])
def test_a_figure_or_a_sample_that_fails_is_a_warning(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a font is gone")

    where = ("optzoo.train.runs.loss_figure.draw_losses", "optzoo.train.finishing.draw_text")
    monkeypatch.setattr(where[what == "sample.txt"], fail)
    run = tmp_path / "run"
    start_run("sgd", run_dir=run, changes=tiny_changes(("budget.steps", "2")), quiet=True)
    assert (run / "result.json").exists()
    assert f"warning: {what} is left out" in capsys.readouterr().err
    with pytest.raises(optzoo.InputError, match="has finished"):
        resume_run(run)


def test_a_run_that_ended_in_its_figure_is_finished_by_resuming(
    whole: dict[str, object], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    start_run("sgd", run_dir=run, changes=tiny_changes(("budget.steps", "6")), quiet=True)
    for name in ("result.json", "loss.png", "sample.txt"):
        (run / name).unlink()
    assert resume_run(run, quiet=True).result["views"] == whole


def test_a_damaged_result_is_made_anew(
    whole: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    start_run("sgd", run_dir=run, changes=tiny_changes(("budget.steps", "6")), quiet=True)
    text = (run / "result.json").read_text()
    for damaged in ("{", "[]", "{}", text.replace('"tokens": 192', '"tokens": 191'), text[:-9]):
        (run / "result.json").write_text(damaged)
        with pytest.raises(optzoo.InputError, match=r"result\.json is damaged"):
            compare_runs([run])
    resume_run(run, quiet=True)
    assert "is made anew" in capsys.readouterr().err
    assert read_object(run / "result.json")["views"] == whole


@pytest.mark.parametrize(
    "title",
    [
        "cost$$list.jsonl",
        r"\frac{1}{",
        "$x^2_3_4$",
        "a\x1b[31mb",
        "\n\n",
        "文字 \u0301",
        "x, " * 9000,
    ],
)
def test_a_title_is_text(title: str, tmp_path: Path) -> None:
    line = json.dumps({"kind": "step", "step": 1, "loss": 2.0})
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    figure = draw_losses(tmp_path / "metrics.jsonl", title=title, subtitle=title)
    assert figure.startswith(b"\x89PNG")
    assert len(loss_figure.plain(title, 80)) <= 80
    assert "\x1b" not in loss_figure.plain(title, 80)
