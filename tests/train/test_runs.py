"""Tiny runs by the command line: files, resuming bit for bit, stopping, and what goes wrong."""

from __future__ import annotations

import json
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Done, optzoo
from tiny_runs import TINY, tiny_options

Tiny = Callable[..., Done]


def result(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "result.json").read_text())
    return loaded


def weights(path: Path) -> dict[str, str]:
    return {view: loss["weights_sha256"] for view, loss in result(path)["views"].items()}


def metrics_but_speed(path: Path) -> list[str]:
    """The lines of the metrics that do not depend on the clock."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [line for line in lines if '"kind": "speed"' not in line]


def test_a_run_leaves_what_it_promises(tiny: Tiny, tmp_path: Path) -> None:
    done = tiny("run", "--steps", "20", "--observe", "tail:0.5", "--checkpoint-every", "10")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run"
    for name in ("recipe.yaml", "setup.yaml", "program.txt", "versions.json", "sample.txt"):
        assert (path / name).stat().st_size > 0, name
    assert (path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (path / "program.txt").read_text().startswith("program ademamix (")
    found = result(path)
    assert (found["steps"], found["tokens"], found["seed"]) == (20, 20 * 32, 0)
    assert set(found["views"]) == {"train", "eval", "tail:0.5"}
    assert found["views"]["tail:0.5"] != found["views"]["eval"]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 21))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [0, 10, 20]
    for view, loss in found["views"].items():
        assert f"{loss['nats_per_token']:.4f}" in done.stdout, view
    assert done.stdout.endswith(f"wrote {path}\n"), "quiet: no sample, no advice"
    assert done.stderr == ""


def test_the_printed_comparison_runs_and_compares_equal_setups(tmp_path: Path) -> None:
    path = str(tmp_path / "a run")
    done = optzoo("train", "ademamix", "--run-dir", path, *tiny_options("--steps", "4"))
    assert done.returncode == 0, done.stderr
    for verb in ("optzoo train --resume", "optzoo eval"):
        assert verb in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("  compare   "))
    train, compare = line.removeprefix("  compare   ").split(" && ")
    assert optzoo(*shlex.split(train)[1:], "--quiet").returncode == 0
    compared = optzoo(*shlex.split(compare)[1:])
    assert compared.returncode == 0, compared.stderr
    assert "do not compare" not in compared.stderr
    assert {"adamw", "ademamix"} <= set(compared.stdout.split())


def test_eval_gives_the_final_loss_exactly(tiny: Tiny, tmp_path: Path) -> None:
    tiny("run", "--steps", "20", recipe="schedule_free_adamw")
    final = result(tmp_path / "run")["views"]
    assert final["train"] != final["eval"]
    again = json.loads(optzoo("eval", str(tmp_path / "run"), "--view", "all", "--json").stdout)
    assert again["views"] == final
    one = json.loads(optzoo("eval", str(tmp_path / "run"), "--json").stdout)
    assert one["views"] == {"eval": final["eval"]}


def test_evaluation_does_not_disturb_training(tiny: Tiny, tmp_path: Path) -> None:
    recipe = "schedule_free_adamw"
    tiny("often", "--steps", "20", "--set", "evaluation.every=1", recipe=recipe)
    tiny("once", "--steps", "20", "--set", "evaluation.every=1000", recipe=recipe)
    assert weights(tmp_path / "often") == weights(tmp_path / "once")


def test_micro_batches_see_the_same_data(tiny: Tiny, tmp_path: Path) -> None:
    tiny("whole", "--steps", "10")
    tiny("split", "--steps", "10", "--set", "batch.micro_sequences=1")
    whole, split = (result(tmp_path / name)["views"]["eval"] for name in ("whole", "split"))
    assert whole["nats_per_token"] == pytest.approx(split["nats_per_token"], rel=1e-5)


def test_seeds_differ(tiny: Tiny, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        tiny(seed, "--steps", "3", "--seed", seed)
    assert weights(tmp_path / "0") != weights(tmp_path / "1")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ademamix", "schedule_free_adamw", "mars"])
def test_killed_at_any_moment_it_ends_in_the_same_weights(
    recipe: str, tiny: Tiny, tmp_path: Path
) -> None:
    steps = ("--steps", "120", "--checkpoint-every", "3", "--observe", "ema:0.9")
    assert tiny("whole", *steps, recipe=recipe).returncode == 0
    path = tmp_path / "killed"
    start = ["train", recipe, "--run-dir", str(path), "--quiet", *TINY, *steps]
    resume = ["train", recipe, "--resume", str(path), "--quiet"]
    chance = random.Random(recipe)
    kills = 0
    for _ in range(40):
        arguments = resume if (path / "run.json").exists() else start
        process = Command(*arguments)
        deadline = time.monotonic() + 60
        seen = len(list(path.glob("checkpoints/*")))
        while process.poll() is None and time.monotonic() < deadline:
            moved = {p.name for p in path.glob("checkpoints/*")}
            if len(moved) != seen or chance.random() < 0.01:
                time.sleep(chance.random() * 0.2)
                break
            time.sleep(0.01)
        if process.poll() is None and kills < 4:
            process.kill()
            kills += 1
        _, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        if path.exists() and not (path / "run.json").exists():
            subprocess.run(["rm", "-r", str(path)], check=True)
    assert kills >= 2
    assert weights(path) == weights(tmp_path / "whole")
    assert metrics_but_speed(path) == metrics_but_speed(tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "stopped"
    steps = ("--steps", "100000", "--checkpoint-every", "100000")
    process = Command("train", "adamw", "--run-dir", str(path), "--quiet", *TINY, *steps)
    deadline = time.monotonic() + 60
    metrics = path / "metrics.jsonl"
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size > 9000):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert f"optzoo train --resume {path}" in errors
    assert len(list((path / "checkpoints").glob("step-*"))) == 1
    assert "Traceback" not in errors


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tiny: Tiny, tmp_path: Path
) -> None:
    done = tiny(
        *("run", "--steps", "60", "--checkpoint-every", "1", "--set", "lr=1e30"),
        *("--set", "objective.clip_norm=null"),
        recipe="sgd_momentum",
    )
    assert done.returncode == 1
    assert "the run stops here" in done.stderr or "not finite" in done.stderr
    assert "step" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "result.json").exists()
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    again = optzoo("eval", str(tmp_path / "run"))
    assert again.returncode == 0, again.stderr


class TestBadInput:
    @pytest.fixture
    def finished(self, tiny: Tiny, tmp_path: Path) -> Path:
        assert tiny("run", "--steps", "2").returncode == 0
        return tmp_path / "run"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--set", "bata1=0.5"), "did you mean `beta1`?"),
            (("--set", "beta1=1.5"), "outside [0, 1)"),
            (("--set", "batch.sequence=4"), "did you mean `sequences`?"),
            (("--set", "model.heads=7"), "not a multiple"),
            (("--set", "nonsense"), "write `--set NAME=VALUE`"),
            (("--setup", "quik"), "did you mean `quick`?"),
            (("--observe", "tail:2"), "is not an observer"),
            (("--engine", "fast"), "is not an engine"),
            (("--steps", "0"), "greater than or equal to 1"),
        ],
    )
    def test_flags(self, tiny: Tiny, tmp_path: Path, arguments: tuple[str], message: str) -> None:
        done = tiny("run", *arguments)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()

    def test_all_mistakes_at_once(self, tiny: Tiny) -> None:
        done = tiny("run", "--set", "bata1=0.5", "--set", "batch.sequence=4")
        assert done.stderr.count("error: ") == 2

    def test_a_directory_in_use(self, finished: Path, tiny: Tiny) -> None:
        before = (finished / "result.json").read_bytes()
        done = tiny("run", "--steps", "2")
        assert done.returncode == 2
        assert "is not empty" in done.stderr
        assert "--resume" in done.stderr
        assert (finished / "result.json").read_bytes() == before

    def test_an_unwritable_directory(self, tmp_path: Path, tiny: Tiny) -> None:
        (tmp_path / "file").write_text("in the way")
        done = tiny("file/run", "--steps", "2")
        assert done.returncode == 2
        assert "cannot be written" in done.stderr

    def test_resuming_what_is_finished_or_no_run(self, finished: Path, tmp_path: Path) -> None:
        done = optzoo("train", "ademamix", "--resume", str(finished))
        assert done.returncode == 2
        assert "has finished" in done.stderr
        done = optzoo("train", "ademamix", "--resume", str(tmp_path))
        assert done.returncode == 2
        assert "is not a run directory" in done.stderr

    def test_resuming_with_another_recipe(self, finished: Path) -> None:
        (finished / "result.json").unlink()
        done = optzoo("train", "lion", "--resume", str(finished))
        assert done.returncode == 2
        assert "was started with `ademamix`" in done.stderr
        assert f"`optzoo train --resume {finished}` continues it" in done.stderr
        done = optzoo("train", "ademamix", "--resume", str(finished), "--seed", "3")
        assert done.returncode == 2
        assert "this cannot change: `seed` 0 -> 3" in done.stderr

    def test_a_truncated_and_a_foreign_checkpoint(self, finished: Path, tiny: Tiny) -> None:
        (newest,) = (finished / "checkpoints").glob("step-*")
        model = newest / "model.safetensors"
        whole = model.read_bytes()
        model.write_bytes(whole[:100])
        done = optzoo("eval", str(finished))
        assert done.returncode == 2
        assert "no checkpoint can be read" in done.stderr
        assert "bytes instead of" in done.stderr
        model.write_bytes(whole)
        tiny("other", "--steps", "2", "--seed", "5")
        (foreign,) = (finished.parent / "other" / "checkpoints").glob("step-*")
        newest.rename(finished / "checkpoints" / ".aside")
        foreign.rename(newest)
        done = optzoo("eval", str(finished))
        assert done.returncode == 2
        assert "is of another seed" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_unknown_view(self, finished: Path) -> None:
        done = optzoo("eval", str(finished), "--view", "avrage")
        assert done.returncode == 2
        assert "views of this run: train, eval" in done.stderr


def test_compare(tiny: Tiny, tmp_path: Path) -> None:
    tiny("a", "--steps", "10")
    tiny("b", "--steps", "10", "--set", "delta=1", recipe="adamw_averaged")
    runs = [str(tmp_path / name) for name in ("a", "b")]
    figure = tmp_path / "losses.png"
    done = optzoo("compare", *runs, "--json", "--plot", str(figure))
    rows = json.loads(done.stdout)
    assert [row["recipe"] for row in rows].count("adamw_averaged") == 2  # train and average
    losses = [row["nats_per_token"] for row in rows]
    assert losses == sorted(losses)
    assert "one seed per recipe" in done.stderr
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert optzoo("compare", str(tmp_path)).returncode == 2
