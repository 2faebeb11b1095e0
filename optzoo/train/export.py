"""A run's weights for use elsewhere: one safetensors file and the model's shape as JSON.

The weights are those of a view at a checkpointed step. The file loads in plain PyTorch with
`Transformer(**description["model"])` and `load_state_dict`; nothing of the optimizer, the corpus or
the run directory is needed then. The corpus is not needed to export either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import optzoo
from optzoo.errors import Diagnostic, InputError, RunError, did_you_mean
from optzoo.files.atomic import to_json, write_durably
from optzoo.optimizer import RecipeOptimizer
from optzoo.recipe.recipe import Recipe
from optzoo.train.evaluate import hash_weights
from optzoo.train.experiment import model_arguments, parameter_groups
from optzoo.train.model.transformer import Transformer
from optzoo.train.runs.checkpoint import load_newest, load_step, save_tensors
from optzoo.train.runs.checkpoint_folder import Checkpoint
from optzoo.train.runs.directory import RunDirectory, open_run
from optzoo.train.setup.schema import Setup
from optzoo.train.snapshot import restore_weights

AVERAGE = "average"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EXPORT_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Exported:
    """The two files of an export, and what there is to say about them."""

    weights: Path
    description: Path
    summary: str
    warnings: list[str]


def export_run(
    path: Path,
    *,
    view: str = "eval",
    step: str | None = None,
    out: Path | None = None,
    dtype: str | None = None,
) -> Exported:
    """Write the weights of a view after `step` steps, or at the newest good checkpoint.

    Files of the same name are replaced. Raises InputError for an unknown view, step or dtype, with
    a list of the known ones, and RunError when the disk does not take the files.
    """
    run = open_run(path)
    recipe, setup = run.load_recipe(), run.setup_here()
    name = resolve_view(recipe, view)
    if dtype is not None and dtype not in DTYPES:
        hint = did_you_mean(dtype, DTYPES, what="dtypes")
        raise InputError(Diagnostic("unknown-name", f"`{dtype}` is not a dtype", hint=hint))
    warnings: list[str] = []
    checkpoint = _load(run, step, warnings)
    model, optimizer, arguments = _rebuild(recipe, setup, checkpoint)
    target = out if out is not None else _default_path(run, name, checkpoint.step)
    if target.suffix != ".safetensors":
        raise InputError(
            Diagnostic("bad-value", f"`--out {target}`: the name must end in `.safetensors`")
        )
    with optimizer.evaluation(view=name):
        description = {
            "format_version": EXPORT_FORMAT_VERSION,
            "class": "optzoo.train.model.Transformer",
            "model": arguments,
            "recipe": recipe.name,
            "recipe_digest": recipe.digest,
            "view": name,
            "step": checkpoint.step,
            "setup": setup.name,
            "setup_sha256": hashlib.sha256(setup.to_yaml().encode()).hexdigest(),
            "corpus": dict(run.identity["corpus"]),
            "weights_sha256": hash_weights(model),
            "dtype": dtype or str(model.head.weight.dtype).removeprefix("torch."),
            "optzoo": optzoo.__version__,
        }
        _write(target, model, description)
    summary = f"{recipe.name}, view {name}, step {checkpoint.step:,}, {description['dtype']}"
    return Exported(target, target.with_suffix(".json"), summary, warnings)


def resolve_view(recipe: Recipe, view: str) -> str:
    """Return the view's own name; `average` is the evaluation point of a recipe that averages.

    Raises InputError for an unknown one, and for `average` where the evaluation point is the
    training point.
    """
    views = [point.name for point in recipe.program().views]
    if view in views:
        return view
    known = f"views of this run: {', '.join(views)}"
    if view != AVERAGE:
        raise InputError(Diagnostic("unknown-name", f"`{view}` is not a view", hint=known))
    programs = [rule.program() for rule in recipe.rules]
    if all(program.view("eval").expr == program.view("train").expr for program in programs):
        raise InputError(
            Diagnostic(
                "unknown-name",
                f"{recipe.name} has no average of its own: it is evaluated where it trains",
                hint=known,
            )
        )
    return "eval"


def _load(run: RunDirectory, step: str | None, warnings: list[str]) -> Checkpoint:
    if step is None:
        checkpoint = load_newest(run.checkpoints, warn=warnings.append)
        if checkpoint is None:
            raise InputError(Diagnostic("no-checkpoint", f"{run.path} has no checkpoint yet"))
        return checkpoint
    if not step.isdecimal() or len(step) > 18:
        raise InputError(Diagnostic("bad-value", f"`--step {step}`: give the number of a step"))
    return load_step(run.checkpoints, int(step))


def _rebuild(
    recipe: Recipe, setup: Setup, checkpoint: Checkpoint
) -> tuple[Transformer, RecipeOptimizer, dict[str, Any]]:
    """Return model and optimizer as the checkpoint has them, and what the model is made with."""
    embedding = checkpoint.tensors.get("model", {}).get("embedding.weight")
    rows = embedding.shape[0] if embedding is not None and embedding.ndim else 1
    arguments = model_arguments(setup, rows)
    model = Transformer(**arguments)
    optimizer = recipe.build(
        parameter_groups(model, recipe, setup),
        total_steps=setup.num_steps,
        engine=setup.execution.engine,
    )
    restore_weights(model, optimizer, checkpoint)
    return model, optimizer, arguments


def _default_path(run: RunDirectory, view: str, step: int) -> Path:
    return run.path / "exports" / f"{view.replace(':', '-')}-step-{step:08d}.safetensors"


def _write(target: Path, model: Transformer, description: dict[str, Any]) -> None:
    dtype = DTYPES[description["dtype"]]
    tensors = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    text = to_json(description)
    metadata = {"format": "pt", "optzoo": text.decode()}
    metadata |= {key: str(description[key]) for key in ("recipe", "view", "step", "setup_sha256")}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(target, tensors, metadata)
        write_durably(target.with_suffix(".json"), text)
    except OSError as error:
        raise RunError(f"{target} could not be written: {error.strerror or error}") from None
