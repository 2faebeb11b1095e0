"""An experiment as a checkpoint, and back.

Model weights are those of the training point; averages and observers are optimizer state. Tensors
of the optimizer are keyed `PARAMETER/BUFFER`, so that a checkpoint can be read without knowing in
which order parameters were given. There is no random state to save: batches, initial weights and
samples are functions of the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from optzoo.distributed.sharding import local, moved_like
from optzoo.errors import Diagnostic, InputError
from optzoo.optimizer import RecipeOptimizer
from optzoo.train.experiment import Experiment
from optzoo.train.model.transformer import Transformer
from optzoo.train.runs.checkpoint_folder import Checkpoint


def take_snapshot(
    experiment: Experiment,
    step: int,
    progress: dict[str, Any],
    loss: float | None = None,
    *,
    setup_sha256: str = "",
) -> Checkpoint:
    """Return the checkpoint of an experiment after `step` steps; `progress` is kept as it is.

    `setup_sha256` is what the run calls its setup. Its tensors are those that are trained, not
    copies.
    """
    saved = experiment.optimizer.state_dict()
    names = _parameter_names(saved["param_groups"])
    buffers: dict[str, Tensor] = {}
    for index, state in saved["state"].items():
        for buffer, value in state.items():
            buffers[f"{names[index]}/{buffer}"] = value
    state = {
        "seed": experiment.setup.seed,
        "corpus_fingerprint": experiment.corpus.fingerprint,
        "recipe_digest": experiment.recipe.digest,
        "setup_sha256": setup_sha256,
        "optimizer": {"param_groups": saved["param_groups"], "optzoo": saved["optzoo"]},
        "progress": progress,
    }
    parameters = experiment.model.named_parameters()
    model = {name: parameter.detach() for name, parameter in parameters}
    return Checkpoint(step, {"model": model, "optimizer": buffers}, state, loss)


def restore_snapshot(
    experiment: Experiment,
    checkpoint: Checkpoint,
    *,
    setup_sha256: str | None = None,
    is_own_corpus: bool = True,
) -> dict[str, Any]:
    """Put an experiment where the checkpoint was taken; return the `progress` kept in it.

    Raises InputError when the checkpoint is of another model, seed, recipe or setup, as far as it
    and the run say which, or of another corpus where it is to be that of the run.
    """
    with _expecting_a_run(checkpoint):
        state = checkpoint.state
        corpus, setup = experiment.corpus.fingerprint, state.get("setup_sha256")
        for what, theirs, ours in (
            ("corpus", state["corpus_fingerprint"] if is_own_corpus else corpus, corpus),
            ("seed", state["seed"], experiment.setup.seed),
            ("recipe", state["recipe_digest"], experiment.recipe.digest),
            ("setup", setup, setup_sha256 if setup and setup_sha256 else setup),
        ):
            if theirs != ours:
                raise _foreign(checkpoint, f"is of another {what}: `{theirs}`, not `{ours}`")
        restore_weights(experiment.model, experiment.optimizer, checkpoint)
        progress: dict[str, Any] = state["progress"]
    return progress


@torch.no_grad()
def restore_weights(model: Transformer, optimizer: RecipeOptimizer, checkpoint: Checkpoint) -> None:
    """Put a model and its optimizer where the checkpoint was taken.

    Raises InputError when the checkpoint is of another model or recipe.
    """
    with _expecting_a_run(checkpoint):
        parameters = dict(model.named_parameters())
        weights = checkpoint.tensors["model"]
        if set(weights) != set(parameters):
            odd = sorted(set(weights) ^ set(parameters))
            raise _foreign(checkpoint, f"is of another model: they differ in `{odd[0]}`")
        for name, parameter in parameters.items():
            if weights[name].shape != parameter.shape or weights[name].dtype != parameter.dtype:
                what = f"is of another model: `{name}` has another shape or dtype"
                raise _foreign(checkpoint, what)
            local(parameter).copy_(local(moved_like(weights[name], parameter)))
        saved = checkpoint.state["optimizer"]
        names = _parameter_names(saved["param_groups"])
        index = {name: i for i, name in names.items()}
        tensors: dict[int, dict[str, Tensor]] = {i: {} for i in names}
        for key, value in checkpoint.tensors["optimizer"].items():
            name, _, buffer = key.rpartition("/")
            whole_or_shard = moved_like(value, parameters[name]) if value.dim() else value
            tensors[index[name]][buffer] = whole_or_shard
        groups = [  # `T` is the length that the run has now: it may train longer than it was to
            {**group, "total_steps": ours["total_steps"]}
            for group, ours in zip(saved["param_groups"], optimizer.param_groups, strict=True)
        ]
        optimizer.load_state_dict(
            {"state": tensors, "param_groups": groups, "optzoo": saved["optzoo"]}
        )


@contextlib.contextmanager
def _expecting_a_run(checkpoint: Checkpoint) -> Iterator[None]:
    """Say so when a checkpoint lacks what a run's checkpoints have."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            Diagnostic(
                "foreign-checkpoint",
                f"the checkpoint of step {checkpoint.step:,} is not one of an optzoo training run "
                f"({type(error).__name__}: {error})",
            )
        ) from None


def _parameter_names(groups: list[dict[str, Any]]) -> dict[int, str]:
    """Return the name of each parameter index of a torch optimizer's saved groups."""
    return {
        index: name
        for group in groups
        for index, name in zip(group["params"], group["param_names"], strict=True)
    }


def _foreign(checkpoint: Checkpoint, what: str) -> InputError:
    return InputError(
        Diagnostic(
            "foreign-checkpoint",
            f"the checkpoint of step {checkpoint.step:,} {what}",
            hint="resume with the run directory as the run left it",
        )
    )
