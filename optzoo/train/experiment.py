"""Everything a run computes with, put together from a recipe and a setup.

Training, resuming and evaluating all start here, so that they cannot differ.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from optzoo.data.batches import Batches
from optzoo.data.corpus import Corpus, TokenStream, open_corpus
from optzoo.data.manifest import MANIFEST, PROGRESS, Manifest, data_folder, read_manifest
from optzoo.data.prepared import open_index, open_tokenizer, open_tokens
from optzoo.distributed.world import World
from optzoo.errors import Diagnostic, InputError
from optzoo.optim.decay_groups import split_groups
from optzoo.optimizer import RecipeOptimizer
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schedules import LrMultiplier
from optzoo.train.evaluate import HeldOut
from optzoo.train.memory import check_memory, enough_memory
from optzoo.train.model.transformer import Transformer
from optzoo.train.parallel import Parallel, resolve_kind, spread_model
from optzoo.train.setup.plan import describe_data
from optzoo.train.setup.schema import Setup


@dataclass
class Experiment:
    """A model and its optimizer at step 0, and what they will see."""

    recipe: Recipe
    setup: Setup
    corpus: Corpus
    batches: Batches
    held_out: HeldOut
    model: Transformer
    optimizer: RecipeOptimizer
    schedule: LrMultiplier
    world: World
    parallel: Parallel

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context that forward passes run in."""
        execution = self.setup.execution
        enabled = execution.precision == "bfloat16"
        context: AbstractContextManager[None] = torch.autocast(
            execution.device, dtype=torch.bfloat16, enabled=enabled
        )
        return context


def assemble(
    recipe: Recipe, setup: Setup, world: World | None = None, *, moved: str | None = None
) -> Experiment:
    """Build corpus, model and optimizer. Sets torch's thread count when the setup names one.

    In a `world` of several processes each of them calls this, and the model is spread over them.
    `moved` is the command that says where prepared data is now. Raises InputError when the corpus,
    the device or the engine is not there, or when the model is larger than the memory, and RunError
    when the memory is not enough.
    """
    world = world or World()
    kind = resolve_kind(setup, world)
    execution = setup.execution
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            Diagnostic(
                "no-device",
                "the setup asks for `execution.device: cuda`, and torch finds no GPU",
                hint="train on the CPU with `--set execution.device=cpu`",
            )
        )
    if execution.threads != "auto":
        torch.set_num_threads(execution.threads)
    corpus = open_data(setup, moved)
    check_memory(recipe, setup, corpus.vocabulary, kind)
    with enough_memory(setup):
        return _assemble(recipe, setup, world, corpus, kind)


def _assemble(recipe: Recipe, setup: Setup, world: World, corpus: Corpus, kind: str) -> Experiment:
    batch, execution = setup.batch, setup.execution
    batches = Batches(
        corpus.train.tokens, corpus.fingerprint, setup.seed, batch.sequences, batch.sequence_length
    )
    rows = batch.micro_sequences or batch.sequences
    held_out = HeldOut(corpus, setup.evaluation.sequences, batch.sequence_length, rows)
    model = make_model(setup, corpus.vocabulary)
    model.initialize(setup.seed)
    model.to(execution.device)
    parallel = spread_model(model, kind, world, execution.device)
    if execution.compile:
        _check_compiler(execution.device)
        model.compile()
    optimizer = recipe.build(
        parameter_groups(model, recipe, setup),
        total_steps=setup.num_steps,
        engine=execution.engine,
        model=model,
    )
    schedule = setup.lr_schedule(recipe.training.lr_schedule)
    return Experiment(
        recipe, setup, corpus, batches, held_out, model, optimizer, schedule, world, parallel
    )


def _check_compiler(device: str) -> None:
    """Raise InputError where torch.compile would not find the C++ compiler it needs."""
    known = os.environ.get("CXX"), "g++", "clang++", "c++"
    if device == "cpu" and not any(shutil.which(name) for name in known if name):
        raise InputError(
            Diagnostic(
                "no-compiler",
                "`execution.compile` needs a C++ compiler on the CPU, and there is none",
                hint="install g++ or clang++, or train without `--compile`",
            )
        )


def make_model(setup: Setup, vocabulary: int) -> Transformer:
    """Return the setup's transformer, not yet initialised."""
    return Transformer(**model_arguments(setup, vocabulary))


def model_without_memory(setup: Setup) -> Transformer:
    """Return the setup's transformer on the `meta` device: names and shapes, no numbers."""
    with torch.device("meta"):
        return make_model(setup, describe_data(setup)["vocabulary"])


def model_arguments(setup: Setup, vocabulary: int) -> dict[str, Any]:
    """Return what the setup's `Transformer` is made with: plain values, fit for JSON."""
    shape = setup.model
    return {
        "vocabulary": shape.vocabulary_rows(vocabulary),
        "width": shape.width,
        "layers": shape.layers,
        "heads": shape.heads,
        "hidden": shape.hidden,
        "max_length": setup.batch.sequence_length,
        "rope_base": shape.rope_base,
        "qk_norm": shape.qk_norm,
        "activation_checkpointing": setup.execution.activation_checkpointing,
    }


def parameter_groups(model: Transformer, recipe: Recipe, setup: Setup) -> list[dict[str, Any]]:
    """Return named parameter groups: one, or a second without weight decay by the setup's rule."""
    decay = recipe.hyperparameters.get("weight_decay")
    exempt = setup.weight_decay.none_for if decay is not None and decay.default != 0 else []
    return split_groups((n, kind in exempt, p) for n, kind, p in model.classified_parameters())


def open_data(setup: Setup, moved: str | None = None) -> Corpus:
    """Return the text that a setup trains on; `moved` is the command that says where it is now.

    Raises InputError when prepared data is not where the setup says, not complete, or has another
    vocabulary than the setup is for; nothing else is read instead.
    """
    if setup.data.path is None:
        return open_corpus(setup.data.corpus or "stdlib")
    folder = data_folder(setup.data.path)
    if not (folder / MANIFEST).exists() and not (folder / PROGRESS).exists():
        raise _missing(setup, folder, moved)
    manifest = read_manifest(folder)
    _check_vocabulary(setup, folder, manifest)
    return Corpus(
        name="prepared",
        title=manifest.title,
        vocabulary=manifest.tokenizer.vocabulary,
        separator=manifest.tokenizer.end_of_document,
        train=TokenStream(
            open_tokens(folder, manifest.train, manifest),
            manifest.train.documents,
            manifest.train.bytes,
        ),
        held_out=TokenStream(
            open_tokens(folder, manifest.validation, manifest),
            manifest.validation.documents,
            manifest.validation.bytes,
            open_index(folder, manifest.validation),
        ),
        fingerprint=manifest.fingerprint,
        open_tokenizer=lambda: open_tokenizer(folder, manifest),
    )


def _check_vocabulary(setup: Setup, folder: Path, manifest: Manifest) -> None:
    asked, found = setup.data.vocabulary, manifest.tokenizer.vocabulary
    if asked is not None and asked != found:
        name = setup.data.tokenizer
        raise InputError(
            Diagnostic(
                "other-vocabulary",
                f"{folder} has a vocabulary of {found:,} (`{manifest.tokenizer.name}`), and setup "
                f"`{setup.name}` is for {asked:,}{f' (`{name}`)' if name else ''}",
                hint=f"train on it all the same with `--set data.vocabulary={found}`",
            )
        )


def _missing(setup: Setup, folder: Path, moved: str | None) -> InputError:
    command = setup.data.prepare_command(setup.num_steps * setup.batch.tokens)
    hint = f"make it: `{command}`, or give another place: `--set data.path=DIR`"
    if moved is not None:
        hint = f"put it back, or say where it is now: `{moved}`"
    return InputError(Diagnostic("no-data", f"there is no prepared data at {folder}", hint=hint))
