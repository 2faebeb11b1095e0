"""Exports: the weights of any view, loadable in plain PyTorch, with the loss `eval` reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_runs import TINY

import optzoo
from optzoo.cli.options import split_setting
from optzoo.data.corpus import open_corpus
from optzoo.train.evaluate import HeldOut, hash_weights, measure_loss
from optzoo.train.export import export_run
from optzoo.train.model.transformer import Transformer
from optzoo.train.session import evaluate_run, start_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of an optimizer that averages, checkpointed after 3 and 6, with an observer."""
    path = tmp_path_factory.mktemp("export") / "run"
    changes = [split_setting(text) for text in TINY if "=" in text]
    changes += [("budget.steps", "6"), ("checkpoint.every", "3"), ("execution.threads", "1")]
    observers = ["tail:0.5"]
    start_run("schedule_free_adamw", run_dir=path, changes=changes, observers=observers, quiet=True)
    return path


@pytest.mark.parametrize("view", ["train", "eval", "tail:0.5"])
def test_plain_pytorch_gives_the_loss_that_eval_reports(
    run: Path, view: str, tmp_path: Path
) -> None:
    exported = export_run(run, view=view, out=tmp_path / "model.safetensors")
    described = json.loads((tmp_path / "model.json").read_text())
    model = Transformer(**described["model"])
    model.load_state_dict(load_file(exported.weights))
    wanted = evaluate_run(run, [view])["views"][view]
    assert hash_weights(model) == wanted["weights_sha256"] == described["weights_sha256"]
    held_out = HeldOut(open_corpus("stdlib"), num_sequences=4, length=16, rows=2)
    assert measure_loss(model, held_out).nats_per_token == wanted["nats_per_token"]


def test_the_average_is_the_evaluation_point(run: Path) -> None:
    average = load_file(export_run(run, view="average").weights)
    evaluated = load_file(export_run(run, view="eval").weights)
    trained = load_file(export_run(run, view="train").weights)
    for name, value in average.items():
        assert torch.equal(value, evaluated[name])
    assert any(not torch.equal(value, trained[name]) for name, value in average.items())


def test_an_older_step_and_another_dtype(run: Path) -> None:
    exported = export_run(run, view="train", step="3", dtype="bfloat16")
    assert exported.weights == run / "exports" / "train-step-00000003.safetensors"
    with safe_open(exported.weights, "pt") as file:
        metadata = file.metadata()
        assert file.get_tensor("head.weight").dtype == torch.bfloat16
    assert (metadata["recipe"], metadata["view"]) == ("schedule_free_adamw", "train")
    assert (metadata["step"], len(metadata["setup_sha256"])) == ("3", 64)
    newest = load_file(export_run(run, view="train").weights)["head.weight"]
    assert not torch.equal(load_file(exported.weights)["head.weight"], newest.bfloat16())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view": "avrage"}, "views of this run: train, eval, tail:0.5"),
        ({"step": "4"}, "steps that have one: 3, 6"),
        ({"step": "last"}, "give the number of a step"),
        ({"dtype": "float8"}, "dtypes|did you mean"),
        ({"out": Path("model.pt")}, "must end in `.safetensors`"),
    ],
)
def test_what_does_not_exist(run: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(optzoo.InputError, match=message):
        export_run(run, **arguments)  # type: ignore[arg-type]


def test_a_recipe_without_an_average_says_so() -> None:
    from optzoo.train.export import resolve_view

    with pytest.raises(optzoo.InputError, match="no average of its own"):
        resolve_view(optzoo.load_recipe("adamw"), "average")
    assert resolve_view(optzoo.load_recipe("adamw_averaged"), "average") == "eval"
