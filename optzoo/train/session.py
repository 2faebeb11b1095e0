"""The things one does with runs: start one, resume one, either of them, evaluate one.

This is what the command line calls, and what a script may call.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from optzoo.distributed.signals import StopRequestedError, catching_saves
from optzoo.distributed.world import World, join_world, speaks
from optzoo.errors import Diagnostic, InputError
from optzoo.recipe.recipe import Recipe, load_recipe
from optzoo.train.evaluate import measure_views
from optzoo.train.experiment import assemble
from optzoo.train.finishing import describe_views, finish_run
from optzoo.train.memory import enough_memory
from optzoo.train.progress import Progress, warn
from optzoo.train.runs.beginning import (
    claimed,
    create_run,
    default_path,
    describe_corpus,
    free_path,
    hold,
)
from optzoo.train.runs.changes import record_resume
from optzoo.train.runs.checkpoint import load_newest
from optzoo.train.runs.directory import RunDirectory, open_run, recipe_asks
from optzoo.train.runs.result import read_result
from optzoo.train.runs.trackers import check_trackers
from optzoo.train.setup.identity import MAY_CHANGE, setup_changes, with_course_of
from optzoo.train.setup.overrides import override_setup, resolve, split_changes
from optzoo.train.setup.schema import Setup
from optzoo.train.snapshot import restore_snapshot
from optzoo.train.trainer import Trainer

Changes = Sequence[tuple[str, str]]
Change = Callable[[Recipe, Setup], Setup]


@dataclass(frozen=True)
class Finished:
    """A run that reached its last step."""

    run: RunDirectory
    result: dict[str, Any]
    sample: str


@dataclass(frozen=True)
class Order:
    """A run that is to be: what a user asks for, and what that comes to."""

    given_name: str
    given: Recipe
    recipe: Recipe
    setup: Setup
    quiet: bool


def start_run(
    recipe_name: str,
    *,
    setup_name: str = "quick",
    run_dir: Path | None = None,
    changes: Changes = (),
    observers: Sequence[str] = (),
    quiet: bool = False,
) -> Finished:
    """Train a recipe in a new run directory.

    `changes` are (name, value) pairs: a recipe's hyperparameter by its own name, or a field of the
    setup by dotted path. Raises InputError before anything is trained, RunError when the run fails
    and StopRequestedError when it is told to stop.
    """
    with join_world() as world, catching_saves():
        order = _order(recipe_name, setup_name, changes, observers, quiet)
        return _start(order, run_dir, world)


def resume_run(
    path: Path, recipe_name: str | None = None, *, changes: Changes = (), quiet: bool = False
) -> Finished:
    """Continue an interrupted run from its newest good checkpoint, or from step 0.

    `recipe_name`, if given, must be the recipe the run was started with. `changes` are fields of
    the setup that may change on the way; a larger budget continues a finished run too. Raises as
    `start_run`, and InputError when there is nothing to resume.
    """
    with join_world() as world, catching_saves():

        def change(recipe: Recipe, setup: Setup) -> Setup:
            knobs, fields = split_changes(recipe, changes)
            if knobs:
                raise _fixed(path, ", ".join(f"`{name}`" for name in knobs))
            return override_setup(setup, fields)

        return _resume(path, recipe_name, change, world, quiet=quiet)


def start_or_resume_run(
    recipe_name: str,
    *,
    setup_name: str = "quick",
    run_dir: Path | None = None,
    changes: Changes = (),
    observers: Sequence[str] = (),
    quiet: bool = False,
) -> Finished:
    """Train a recipe in a run directory: begin there, go on, or return what has finished.

    Raises as `start_run`, and InputError when the run that is there is of another recipe or setup.
    Of what may change on the way only what `changes` name counts, and only while it has not
    finished or when they ask for more steps.
    """
    with join_world() as world, catching_saves():
        order = _order(recipe_name, setup_name, changes, observers, quiet)
        path = run_dir if run_dir is not None else default_path(order.recipe, order.setup)
        if not world.on_first(lambda: (path / "run.json").exists()):
            return _start(order, path, world)
        run = open_run(path)
        _check_same_order(run, order)
        done = read_result(run)
        if done is not None and done["steps"] >= order.setup.num_steps:
            _warn(world)(f"{path} has finished: nothing is left to do")
            return Finished(run, done, _read_sample(run))
        fields = split_changes(order.recipe, changes)[1]

        def change(_: Recipe, setup: Setup) -> Setup:
            return override_setup(with_course_of(setup, order.setup), fields)

        return _resume(path, None, change, world, quiet=quiet)


def evaluate_run(
    path: Path, views: Sequence[str] = ("all",), *, data: Path | None = None
) -> dict[str, Any]:
    """Return the held-out loss of a run at its newest checkpoint, at each view asked for.

    The text is what the run held out, or the validation split of `data`, a prepared directory with
    the same vocabulary. The result has the layout of `result.json`. Raises InputError when there is
    no checkpoint, and when recipe or setup are no longer those of the run.
    """
    run = open_run(path)
    recipe, setup = run.load_recipe(), run.setup_here()
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
    place = [c for c in setup_changes(run.recorded_setup(), setup) if c.path != "data.path"]
    if place:
        warnings.append(f"computed otherwise than it was trained: {', '.join(map(str, place))}")
    if data is not None:
        setup = override_setup(setup, {"data.path": str(data), "data.vocabulary": "null"})
    experiment = assemble(
        recipe, setup, moved=shlex.join(["optzoo", "eval", str(path), "--data", "DIR"])
    )
    is_own = data is None or experiment.corpus.fingerprint == run.identity["corpus"]["fingerprint"]
    if data is None:
        run.check_corpus(experiment.corpus)
    elif not is_own:
        warnings.append(f"{data} is not what the run held out: it was trained on other data")
    identity = run.identity.get("setup_sha256")
    restore_snapshot(experiment, checkpoint, setup_sha256=identity, is_own_corpus=is_own)
    with enough_memory(setup), experiment.autocast():
        found = measure_views(experiment.model, experiment.optimizer, experiment.held_out, chosen)
    return {
        "run": str(path),
        "recipe": recipe.name,
        "step": checkpoint.step,
        "steps": setup.num_steps,
        "corpus": dict(run.identity["corpus"]) if is_own else describe_corpus(experiment.corpus),
        "views": describe_views(found),
        "warnings": warnings,
    }


def resume_command(run: RunDirectory, processes: int = 1) -> str:
    """Return the command that continues a run, quoted for a shell; any number of processes may."""
    launcher = ["torchrun", "--standalone", "--nproc-per-node", str(processes), "-m"]
    train = ["optzoo", "train", "--resume", str(run.path)]
    return shlex.join([*(launcher if processes > 1 else []), *train])


def compare_command(run: RunDirectory) -> str:
    """Return the commands that train a rival under the same setup, and put both side by side."""
    rival = "adamw" if run.identity["recipe"] != "adamw" else "ademamix"
    name = f"{rival}-{run.identity['setup']}-s{run.identity['seed']}"
    other = str(free_path(run.path.parent / name))
    setup = str(run.path / "setup.yaml")
    train = ["optzoo", "train", rival, "--setup", setup, "--run-dir", other]
    return f"{shlex.join(train)} && {shlex.join(['optzoo', 'compare', str(run.path), other])}"


def _order(
    recipe_name: str, setup_name: str, changes: Changes, observers: Sequence[str], quiet: bool
) -> Order:
    given, recipe, setup, suited = resolve(recipe_name, setup_name, changes, observers)
    if suited and speaks():
        settings = ", ".join(f"{name}={value}" for name, value in suited.items())
        _progress(setup, quiet=quiet).say(f"setup {setup.name} sets {settings} for {recipe.name}")
    check_trackers(setup.metrics.track)
    setup = setup.with_threads(torch.get_num_threads()).with_absolute_path()
    return Order(recipe_name, given, recipe, setup, quiet)


def _start(order: Order, path: Path | None, world: World) -> Finished:
    experiment = assemble(order.recipe, order.setup, world)
    folder = path if path is not None else default_path(order.recipe, order.setup)
    with contextlib.ExitStack() as held:

        def begin() -> RunDirectory:
            claim = claimed(folder, given=path is not None, warn=warn)
            return create_run(
                held.enter_context(claim),
                order.recipe,
                order.setup,
                experiment.corpus,
                given=order.given,
                given_name=order.given_name,
            )

        run = world.on_first(begin)
        progress = _progress(order.setup, quiet=order.quiet or not world.is_first)
        return _train(Trainer(experiment, run, progress), progress)


def _resume(
    path: Path,
    recipe_name: str | None,
    change: Change,
    world: World,
    *,
    quiet: bool,
) -> Finished:
    run = open_run(path)
    with contextlib.ExitStack() as held:
        world.on_first(lambda: held.enter_context(hold(run, warn=warn)))
        run = open_run(path)  # as it is now that nobody else writes
        recipe = run.load_recipe()
        if recipe_name is not None:
            _check_same_recipe(run, recipe_name, _warn(world))
        setup = _changed_setup(run, recipe, change)
        _check_unfinished(run, setup, _warn(world))
        check_trackers(setup.metrics.track)
        command = shlex.join(["optzoo", "train", "--resume", str(path), "--set", "data.path=DIR"])
        experiment = assemble(recipe, setup, world, moved=command)
        run.check_corpus(experiment.corpus)
        progress = _progress(setup, quiet=quiet or not world.is_first)
        trainer = Trainer(experiment, run, progress)
        trainer.restore()
        if trainer.step > setup.num_steps:
            raise InputError(
                Diagnostic(
                    "bad-value",
                    f"{path} has taken {trainer.step:,} steps, and is to have {setup.num_steps:,}",
                    hint="give it a larger budget, or start a new run",
                )
            )
        trainer.run = world.on_first(
            lambda: record_resume(run, recipe, setup, trainer.step, warn=progress.warn)
        )
        progress.say(f"resuming {path} after step {trainer.step:,}")
        return _train(trainer, progress)


def _progress(setup: Setup, *, quiet: bool) -> Progress:
    return Progress(
        setup.num_steps,
        tokens_per_step=setup.batch.tokens,
        quiet=quiet,
        stream=None if speaks() else io.StringIO(),
    )


def _warn(world: World) -> Callable[[str], None]:
    """Return what warns before a run has begun: once, whatever the number of processes."""
    return warn if world.is_first else lambda _: None


def _train(trainer: Trainer, progress: Progress) -> Finished:
    experiment, setup = trainer.experiment, trainer.experiment.setup
    available = experiment.batches.num_blocks * setup.batch.sequence_length
    if setup.data.path is not None and setup.num_steps * setup.batch.tokens > available:
        epochs = setup.num_steps * setup.batch.tokens / available
        progress.say(f"{available:,} tokens are prepared: the run reads them {epochs:.1f} times")
    progress.start(trainer.step)
    try:
        with enough_memory(setup):
            views = trainer.train()
    except StopRequestedError as stop:
        stop.resume = resume_command(trainer.run, experiment.world.size)
        raise
    result, sample = finish_run(trainer, views, warn=progress.warn)
    return Finished(trainer.run, result, sample)


def _changed_setup(run: RunDirectory, recipe: Recipe, change: Change) -> Setup:
    """Return the setup a run goes on with. Raises InputError for what cannot change on the way."""
    setup = change(recipe, run.load_setup())
    setup = setup.with_threads(torch.get_num_threads()).with_absolute_path()
    fixed = [c for c in setup_changes(run.recorded_setup(), setup) if not c.is_free]
    if fixed:
        raise _fixed(run.path, ", ".join(map(str, fixed)))
    return setup


def _fixed(path: Path, what: str) -> InputError:
    return InputError(
        Diagnostic(
            "fixed-field",
            f"{path} has begun, and this cannot change: {what}",
            hint=f"start a new run with it; what may change on the way: {MAY_CHANGE}",
        )
    )


def _check_unfinished(run: RunDirectory, setup: Setup, warn: Callable[[str], None]) -> None:
    """Raise InputError when a run has taken the steps that it is to take."""
    try:
        result = read_result(run)
    except InputError as error:
        warn(f"{error.diagnostics[0].message}; it is made anew from the last checkpoint")
        return
    if result is not None and result["steps"] >= setup.num_steps:
        path = shlex.quote(str(run.path))
        raise InputError(
            Diagnostic(
                "finished",
                f"{run.path} has finished: there is nothing to resume",
                hint=f"evaluate it with `optzoo eval {path}`, or train it longer with "
                f"`optzoo train --resume {path} --set budget.steps=N`",
            )
        )


def _check_same_recipe(run: RunDirectory, name: str, warn: Callable[[str], None]) -> None:
    """Raise InputError unless a recipe is that of the run; the file it was may be gone."""
    given, copy = run.identity["given_recipe"], run.path / "recipe.yaml"
    try:
        recipe = load_recipe(name)
    except InputError as error:
        if name != given or error.diagnostics[0].code != "not-found":
            raise
        warn(f"{name} is not there any more: the run goes on with its own copy, {copy}")
        return
    known = run.identity.get("given_asks") or recipe_asks(recipe), run.identity["given_digest"]
    trained = run.identity.get("recipe_asks"), run.identity["recipe_digest"]
    if (recipe_asks(recipe), recipe.digest) not in (known, trained):
        raise InputError(
            Diagnostic(
                "other-recipe",
                f"{run.path} was started with `{given}`, and `{name}` is not that recipe as it was "
                "then",
                hint=f"`{resume_command(run)}` continues it with the recipe as it was, which is in "
                f"{copy}; `optzoo train {shlex.quote(name)}` starts a new run",
            )
        )


def _check_same_order(run: RunDirectory, order: Order) -> None:
    """Raise InputError unless the run that is there is the one that was asked for."""
    recipe = (order.recipe.name, order.recipe.digest, recipe_asks(order.recipe))
    identity = run.identity
    asks = identity.get("recipe_asks", recipe_asks(order.recipe))
    problems = []
    if recipe != (identity["recipe"], identity["recipe_digest"], asks):
        problems.append(f"recipe {identity['recipe']} with other hyperparameters or observers")
        if order.recipe.name != identity["recipe"]:
            problems = [f"recipe {identity['recipe']}, not {order.recipe.name}"]
    changes = setup_changes(run.recorded_setup(), order.setup)
    problems += [f"{change} here" for change in changes if not change.is_free]
    if problems:
        raise InputError(
            Diagnostic(
                "other-run",
                f"{run.path} holds another run: {', '.join(problems)}",
                hint="name another directory with `--run-dir`, or continue the one that is there: "
                f"`{resume_command(run)}`",
            )
        )


def _read_sample(run: RunDirectory) -> str:
    try:
        return (run.path / "sample.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
