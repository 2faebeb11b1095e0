"""What a run would be: every number that follows from recipe and setup, before anything is done.

A plan is plain data, made without torch, without reading a corpus and without writing a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optzoo.recipe.recipe import Recipe
from optzoo.train.setup.hardware import SHOWN, Accelerator, find_accelerator
from optzoo.train.setup.provenance import annotate
from optzoo.train.setup.schema import Setup
from optzoo.train.setup.size import count_parameters, flops_per_token, memory_bytes
from optzoo.train.setup.state_size import state_bytes

FORMULAS = {
    "flops_per_token": "6 (matrices + head) + 12 layers width length",
    "hours": "tokens x FLOPs per token / (peak FLOP/s x MFU) / 3600, training steps only",
    "memory": "float32 weights and gradients; optimizer state as it is kept; activations of a "
    "micro-batch of the eager model; logits of the loss",
}


def make_plan(
    recipe: Recipe, setup: Setup, *, mfu: float = 0.4, hardware: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the plan as JSON values.

    `mfu` is the share of the peak that hours are computed at, `hardware` names devices of the
    table; without any, a setup for a GPU shows the usual ones. Raises InputError for an unknown
    device.
    """
    devices = [find_accelerator(name) for name in hardware]
    if not devices and setup.execution.device == "cuda":
        devices = [find_accelerator(name) for name in SHOWN]
    data = describe_data(setup)
    vocabulary = data["vocabulary"]
    parameters = count_parameters(setup, vocabulary)
    tokens = setup.num_steps * setup.batch.tokens
    per_token = flops_per_token(setup, vocabulary)
    tensors = [len(rule.trained_program().tensor_states) for rule in recipe.rules]
    memory = memory_bytes(setup, vocabulary, state_bytes(recipe, setup, vocabulary))
    knobs = recipe.hyperparameters
    return {
        "recipe": recipe.name,
        "setup": setup.name,
        "hyperparameters": {name: knob.default for name, knob in knobs.items()},
        "routes": recipe.routing.table() if recipe.is_routed else [],
        "parameters": {
            "total": parameters.total,
            "non_embedding": parameters.matrices,
            "norms": parameters.norms,
            "embedding": parameters.embedding,
            "head": parameters.head,
        },
        "steps": setup.num_steps,
        "tokens": tokens,
        "tokens_per_step": setup.batch.tokens,
        "micro_batches": setup.batch.sequences
        // (setup.batch.micro_sequences or setup.batch.sequences),
        "tokens_per_parameter": tokens / (parameters.total - parameters.embedding),
        "flops_per_token": per_token,
        "flops": per_token * tokens,
        "memory_bytes": {**memory, "total": sum(memory.values())},
        "optimizer_tensors": max(tensors),
        "hours": [_hours(device, per_token * tokens, mfu) for device in devices],
        "schedule": _milestones(setup, recipe),
        "data": data,
        "fields": annotate(setup.values(), setup.sources),
        "formulas": FORMULAS,
    }


def describe_data(setup: Setup) -> dict[str, Any]:
    """Return the vocabulary of a setup's corpus, whether it is there, and how to get it."""
    from optzoo.data.corpus import VOCABULARY
    from optzoo.data.manifest import data_folder

    if setup.data.path is not None:
        return _describe_prepared(setup, data_folder(setup.data.path))
    return {
        "corpus": setup.data.corpus,
        "vocabulary": VOCABULARY,
        "ready": True,
        "status": "read from the running interpreter, nothing to prepare",
        "command": None,
    }


def _describe_prepared(setup: Setup, folder: Path) -> dict[str, Any]:
    from optzoo.data.corpus import VOCABULARY
    from optzoo.data.manifest import MANIFEST, read_manifest

    asked = setup.num_steps * setup.batch.tokens
    ready = (folder / MANIFEST).is_file()
    vocabulary, status = setup.data.vocabulary or VOCABULARY, "not prepared yet"
    if ready:
        manifest = read_manifest(folder)
        vocabulary = manifest.tokenizer.vocabulary
        status = f"prepared, {asked / manifest.train.tokens:.2f} epochs"
    return {
        "corpus": str(folder),
        "vocabulary": vocabulary,
        "ready": ready,
        "status": status,
        "command": None if ready else setup.data.prepare_command(asked),
    }


def _hours(device: Accelerator, flops: float, mfu: float) -> dict[str, Any]:
    return {
        "hardware": device.name,
        "peak_teraflops": device.teraflops,
        "source": device.source,
        "mfu": mfu,
        "hours": flops / (device.peak * mfu) / 3600,
    }


def _milestones(setup: Setup, recipe: Recipe) -> dict[str, Any]:
    schedule = setup.lr_schedule(recipe.training.lr_schedule)
    peak = recipe.hyperparameters["lr"].default
    assert isinstance(peak, float)  # a recipe's learning rate is a number
    first, last = min(setup.warmup_steps, setup.num_steps - 1) + 1, setup.num_steps
    steps = sorted({1, first, (setup.warmup_steps + last - 1) // 2 + 1, last})
    return {
        "kind": schedule.text,
        "warmup_steps": setup.warmup_steps,
        "milestones": [{"step": t, "lr": peak * schedule.at(t)} for t in steps],
    }
