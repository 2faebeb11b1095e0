"""The three things one does with runs: start one, resume one, evaluate one.

This is what the command line calls, and what a script may call.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from optzoo.distributed.signals import StopRequestedError
from optzoo.distributed.world import World, join_world
from optzoo.errors import Diagnostic, InputError
from optzoo.files.atomic import to_json
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.train.evaluate import measure_views
from optzoo.train.experiment import Experiment, assemble
from optzoo.train.model.sample import draw_text
from optzoo.train.progress import Progress
from optzoo.train.runs.checkpoint import load_newest
from optzoo.train.runs.directory import (
    RUN_FORMAT_VERSION,
    RunDirectory,
    create_run,
    default_path,
    free_path,
    hold,
    open_run,
)
from optzoo.train.runs.trackers import check_trackers
from optzoo.train.setup.overrides import resolve
from optzoo.train.snapshot import restore_snapshot
from optzoo.train.trainer import Trainer, Views


@dataclass(frozen=True)
class Finished:
    """A run that reached its last step."""

    run: RunDirectory
    result: dict[str, Any]
    sample: str


def start_run(
    recipe_name: str,
    *,
    setup_name: str = "quick",
    run_dir: Path | None = None,
    changes: Sequence[tuple[str, str]] = (),
    observers: Sequence[str] = (),
    quiet: bool = False,
) -> Finished:
    """Train a recipe in a new run directory.

    `changes` are (name, value) pairs: a recipe's hyperparameter by its own name, or a field of the
    setup by dotted path. Raises InputError before anything is trained, RunError when the run fails
    and StopRequestedError when it is told to stop.
    """
    with join_world() as world:
        given, recipe, setup, suited = resolve(recipe_name, setup_name, changes, observers)
        if suited and not quiet and world.is_first:
            settings = ", ".join(f"{name}={value}" for name, value in suited.items())
            print(f"setup {setup.name} sets {settings} for {recipe.name}", file=sys.stderr)  # noqa: T201
        check_trackers(setup.metrics.track)
        setup = setup.with_threads(torch.get_num_threads()).with_absolute_path()
        experiment = assemble(recipe, setup, world)
        run = world.on_first(
            lambda: create_run(
                run_dir if run_dir is not None else default_path(recipe, setup),
                recipe,
                setup,
                experiment.corpus,
                given=given,
                given_name=recipe_name,
            )
        )
        with _held(run, world):
            return _train(experiment, run, quiet=quiet, resume=False)


def resume_run(path: Path, recipe_name: str | None = None, *, quiet: bool = False) -> Finished:
    """Continue an interrupted run from its newest good checkpoint, or from step 0.

    `recipe_name`, if given, must be the recipe the run was started with. Raises as `start_run`, and
    InputError when there is nothing to resume.
    """
    with join_world() as world:
        run = open_run(path)
        recipe = run.load_recipe()
        if recipe_name is not None:
            _check_same_recipe(run, load_recipe(recipe_name), recipe_name)
        if run.is_finished:
            raise InputError(
                Diagnostic(
                    "finished",
                    f"{path} has finished: there is nothing to resume",
                    hint=f"evaluate it with `optzoo eval {shlex.quote(str(path))}`",
                )
            )
        setup = run.load_setup()
        check_trackers(setup.metrics.track)
        with _held(run, world):
            experiment = assemble(recipe, setup, world)
            run.check_corpus(experiment.corpus)
            return _train(experiment, run, quiet=quiet, resume=True)


@contextlib.contextmanager
def _held(run: RunDirectory, world: World) -> Iterator[None]:
    """Hold a run directory for all processes of a run."""
    with contextlib.ExitStack() as stack:
        world.on_first(lambda: stack.enter_context(hold(run)))
        yield


def evaluate_run(path: Path, views: Sequence[str] = ("all",)) -> dict[str, Any]:
    """Return the held-out loss of a run at its newest checkpoint, at each view asked for.

    The result has the layout of `result.json`. Raises InputError when there is no checkpoint.
    """
    run = open_run(path)
    recipe = run.load_recipe()
    known = [view.name for view in recipe.program().views]
    chosen = known if "all" in views else list(dict.fromkeys(views))
    for view in chosen:
        if view not in known:
            hint = f"views of this run: {', '.join(known)}, or `all`"
            raise InputError(
                Diagnostic("unknown-name", f"`{view}` is not a view of {path}", hint=hint)
            )
    warnings: list[str] = []
    checkpoint = load_newest(run.checkpoints, warn=warnings.append)
    if checkpoint is None:
        raise InputError(
            Diagnostic(
                "no-checkpoint",
                f"{path} has no checkpoint yet",
                hint=f"train it first: `{resume_command(run)}`",
            )
        )
    experiment = assemble(recipe, run.load_setup())
    run.check_corpus(experiment.corpus)
    restore_snapshot(experiment, checkpoint)
    with experiment.autocast():
        found = measure_views(experiment.model, experiment.optimizer, experiment.held_out, chosen)
    return {
        "run": str(path),
        "recipe": recipe.name,
        "step": checkpoint.step,
        "steps": experiment.setup.num_steps,
        "corpus": dict(run.identity["corpus"]),
        "views": describe_views(found),
        "warnings": warnings,
    }


def resume_command(run: RunDirectory, processes: int = 1) -> str:
    """Return the command that continues a run, quoted for a shell; any number of processes may."""
    launcher = ["torchrun", "--standalone", "--nproc-per-node", str(processes), "-m"]
    train = ["optzoo", "train", str(run.identity["given_recipe"]), "--resume", str(run.path)]
    return shlex.join([*(launcher if processes > 1 else []), *train])


def compare_command(run: RunDirectory) -> str:
    """Return the commands that train a rival under the same setup, and put both side by side."""
    rival = "adamw" if run.identity["recipe"] != "adamw" else "ademamix"
    name = f"{rival}-{run.identity['setup']}-s{run.identity['seed']}"
    other = str(free_path(run.path.parent / name))
    setup = str(run.path / "setup.yaml")
    train = ["optzoo", "train", rival, "--setup", setup, "--run-dir", other]
    return f"{shlex.join(train)} && {shlex.join(['optzoo', 'compare', str(run.path), other])}"


def describe_views(found: Views) -> dict[str, dict[str, Any]]:
    """Return losses and weight hashes by view, as JSON values."""
    return {
        view: {
            "nats_per_token": loss.nats_per_token,
            "bits_per_byte": loss.bits_per_byte,
            "weights_sha256": identity,
        }
        for view, (loss, identity) in found.items()
    }


def _train(experiment: Experiment, run: RunDirectory, *, quiet: bool, resume: bool) -> Finished:
    setup = experiment.setup
    first = experiment.world.is_first
    progress = Progress(
        setup.num_steps,
        tokens_per_step=setup.batch.tokens,
        quiet=quiet or not first,
        stream=None if first else io.StringIO(),
    )
    trainer = Trainer(experiment, run, progress)
    if resume:
        trainer.restore()
        progress.say(f"resuming {run.path} after step {trainer.step:,}")
    available = experiment.batches.num_blocks * setup.batch.sequence_length
    if setup.data.path is not None and setup.num_steps * setup.batch.tokens > available:
        epochs = setup.num_steps * setup.batch.tokens / available
        progress.say(f"{available:,} tokens are prepared: the run reads them {epochs:.1f} times")
    progress.start(trainer.step)
    try:
        views = trainer.train()
    except StopRequestedError as stop:
        stop.resume = resume_command(run, experiment.world.size)
        raise
    sample = _draw_sample(experiment)
    result = {
        "format_version": RUN_FORMAT_VERSION,
        "recipe": experiment.recipe.name,
        "recipe_digest": experiment.recipe.digest,
        "setup": setup.name,
        "seed": setup.seed,
        "steps": trainer.step,
        "tokens": trainer.step * setup.batch.tokens,
        "seconds": round(trainer.seconds, 3),
        "parameters": experiment.model.count_parameters(),
        "corpus": dict(run.identity["corpus"]),
        "views": describe_views(views),
    }
    if first:
        run.write("sample.txt", sample.encode())
        run.write("loss.png", _draw(experiment, run))
        run.write("result.json", to_json(result))
    return Finished(run, result, sample)


def _draw_sample(experiment: Experiment) -> str:
    sample = experiment.setup.sample
    try:
        with experiment.optimizer.evaluation(), experiment.autocast():
            return draw_text(
                experiment.model,
                experiment.corpus,
                prompt=sample.prompt,
                num_bytes=sample.bytes,
                temperature=sample.temperature,
                seed=experiment.setup.seed,
                window=experiment.setup.batch.sequence_length,
            )
    except InputError as error:  # the tokenizer's package is not here: the run is still good
        return f"(no sample: {error.diagnostics[0].message})"


def _draw(experiment: Experiment, run: RunDirectory) -> bytes:
    from optzoo.train.runs.loss_figure import draw_losses

    setup = experiment.setup
    return draw_losses(
        run.metrics,
        title=f"{experiment.recipe.name}, setup {setup.name}, seed {setup.seed}",
        subtitle=f"{experiment.corpus.title}{' (not C4)' if setup.data.corpus else ''}; "
        f"{experiment.model.count_parameters():,} parameters, "
        f"{setup.batch.tokens:,} tokens a step",
    )


def _check_same_recipe(run: RunDirectory, recipe: Recipe, name: str) -> None:
    if recipe.digest not in (run.identity["given_digest"], run.identity["recipe_digest"]):
        raise InputError(
            Diagnostic(
                "other-recipe",
                f"{run.path} was started with `{run.identity['given_recipe']}`, and `{name}` is "
                "not that recipe as it was then",
                hint=f"`{resume_command(run)}` continues it, and "
                f"`optzoo train {shlex.quote(name)}` starts a new run",
            )
        )
