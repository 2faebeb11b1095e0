"""Commands about runs: train, eval, export."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optzoo.cli.options import (
    JsonOption,
    QuietOption,
    StateDtypeOption,
    refuse_twice,
    split_setting,
)
from optzoo.errors import Diagnostic, InputError, printable
from optzoo.tables import align

if TYPE_CHECKING:
    from optzoo.train.session import Finished

TrainedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="a shipped name (`optzoo list`) or a YAML file; with --resume it may be left out",
        show_default=False,
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run directory")]
TRAIN_EPILOG = """Examples:

  optzoo train ademamix

  optzoo train lion --steps 500 --seed 1 --set lr=3e-4 --set batch.sequences=8

  optzoo train adamw --observe tail:0.1 --observe ema:0.999

  optzoo train ademamix --setup c4-150m --dry-run --hardware h100 --mfu 0.5

  optzoo train --resume runs/adamw-quick-s0 --set budget.steps=4000

  optzoo train adamw --run-dir runs/a --or-resume

  torchrun --standalone --nproc-per-node 2 -m optzoo train adamw --parallel fsdp
"""


# Options, in the order in which help lists them.
SetupOption = Annotated[
    str | None, typer.Option(help="a shipped setup or a YAML file  [default: quick]")
]
RunDirOption = Annotated[
    Path | None, typer.Option(help="where to write  [default: runs/RECIPE-SETUP-sSEED]")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="optimizer steps")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="weights and order of the data")]
CheckpointEveryOption = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="save every K steps")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="a hyperparameter of the recipe, or a setup field by its dotted path; repeatable",
    ),
]
ObserveOption = Annotated[
    list[str] | None,
    typer.Option(metavar="AVERAGE", help="tail:DELTA, ema:DECAY or uniform; repeatable"),
]
EngineOption = Annotated[str | None, typer.Option(help="auto, compiled, foreach, reference")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads")]
ParallelOption = Annotated[
    str | None, typer.Option(help="under torchrun: ddp, or fsdp to shard  [default: ddp]")
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="run the model through torch.compile")
]
TrackOption = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="also log to tensorboard, wandb, trackio (with commas)"),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="continue a run; --steps and --set budget.steps train longer"),
]
OrResumeOption = Annotated[
    bool,
    typer.Option("--or-resume", help="start in the run directory, or go on with the run there"),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="print what the run would be, and write nothing")
]
MfuOption = Annotated[
    float | None,
    typer.Option(min=0.001, max=1.0, help="--dry-run: share of the peak  [default: 0.4]"),
]
HardwareOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="--dry-run: hours on h100, a100, ...; repeatable"),
]
MeasureThroughputOption = Annotated[
    bool,
    typer.Option(
        "--measure-throughput", help="compare with a bare PyTorch loop, and write nothing"
    ),
]
PlanJsonOption = Annotated[bool, typer.Option("--json", help="with one of these two: print JSON")]


def train(
    recipe: TrainedArgument = None,
    setup: SetupOption = None,
    run_dir: RunDirOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    checkpoint_every: CheckpointEveryOption = None,
    settings: SettingsOption = None,
    observe: ObserveOption = None,
    engine: EngineOption = None,
    state_dtype: StateDtypeOption = None,
    threads: ThreadsOption = None,
    parallel: ParallelOption = None,
    compile_: CompileOption = False,
    track: TrackOption = None,
    resume: ResumeOption = None,
    or_resume: OrResumeOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    mfu: MfuOption = None,
    hardware: HardwareOption = None,
    measure_throughput: MeasureThroughputOption = False,
    as_json: PlanJsonOption = False,
) -> None:
    """Train a recipe on a small transformer, or the setup of your choice.

    With no option it takes about a minute on two CPU cores.
    """
    fields = {
        "budget.steps": steps,
        "seed": seed,
        "checkpoint.every": checkpoint_every,
        "execution.engine": engine,
        "execution.state_dtype": state_dtype,
        "execution.threads": threads,
        "execution.parallel": parallel,
        "execution.compile": "true" if compile_ else None,
        "metrics.track": f"[{track}]" if track else None,
    }
    changes = [(name, str(value)) for name, value in fields.items() if value is not None]
    changes += [split_setting(text) for text in settings or ()]
    refuse_twice(changes)
    plans = {"--dry-run": dry_run, "--measure-throughput": measure_throughput}
    details = {"--mfu": mfu is not None, "--hardware": bool(hardware), "--json": as_json}
    _refuse_apart(plans, details, resuming=resume is not None or or_resume)
    if resume is not None:
        beside = {"--setup": setup, "--run-dir": run_dir, "--observe": observe}
        _refuse_beside_resume({**beside, "--or-resume": or_resume})
        _look_at_run(resume)
        from optzoo.train.session import resume_run

        _run(lambda: resume_run(resume, recipe, changes=changes, quiet=quiet), quiet=quiet)
        return
    recipe = _given(recipe)
    _look_at_order(recipe, setup or "quick", changes, observe or ())
    if dry_run:
        _print_plan(recipe, setup or "quick", changes, observe or (), mfu, hardware or (), as_json)
        return
    if measure_throughput:
        _print_throughput(recipe, setup or "quick", changes, observe or (), as_json)
        return
    from optzoo.train.session import start_or_resume_run, start_run

    begin = partial(start_or_resume_run if or_resume else start_run, recipe, run_dir=run_dir)
    about = {"setup_name": setup or "quick", "changes": changes, "observers": observe or ()}
    _run(partial(begin, **about, quiet=quiet), quiet=quiet)


def _given(recipe: str | None) -> str:
    """Return the recipe that is to be trained. Raises InputError where nobody said which."""
    if recipe is None:
        raise InputError(
            Diagnostic(
                "bad-value",
                "which recipe is to be trained?",
                hint="for example `optzoo train adamw`, or `optzoo train --resume DIR`; "
                "`optzoo list` shows the recipes",
            )
        )
    return recipe


def _look_at_order(
    recipe: str, setup: str, changes: list[tuple[str, str]], observers: Sequence[str]
) -> None:
    """Raise InputError for what is mistyped now, not after the seconds that importing torch takes.

    Of several processes one speaks, and which is known later.
    """
    from optzoo.train.setup.overrides import resolve

    if os.environ.get("WORLD_SIZE", "1") == "1":
        resolve(recipe, setup, changes, observers)


def _look_at_run(path: Path) -> None:
    """Raise InputError where there is no run, as `_look_at_order` does."""
    from optzoo.train.runs.directory import open_run

    if os.environ.get("WORLD_SIZE", "1") == "1":
        open_run(path)


def _refuse_apart(plans: dict[str, bool], details: dict[str, bool], *, resuming: bool) -> None:
    """Raise InputError for options that do not go together."""
    chosen = [name for name, given in plans.items() if given]
    given = [name for name, given in details.items() if given]
    wrong = [
        name for name in given if not chosen or (name != "--json" and "--dry-run" not in chosen)
    ]
    if wrong or len(chosen) > 1 or (chosen and resuming):
        raise InputError(
            Diagnostic(
                "bad-value",
                "`--mfu`, `--hardware` and `--json` belong to `--dry-run`, which starts from a "
                "recipe and a setup",
                hint="for example `optzoo train adamw --setup c4-150m --dry-run --hardware h100`",
            )
        )


def _refuse_beside_resume(options: dict[str, object]) -> None:
    """Raise InputError for options that begin a run, where one is continued."""
    given = [name for name, value in options.items() if value]
    if given:
        raise InputError(
            Diagnostic(
                "bad-value",
                f"`--resume` continues a run as it was started, and `{given[0]}` begins one",
                hint="leave it out; `--set FIELD=VALUE` changes what may change on the way, "
                "`--set budget.steps=N` trains longer",
            )
        )


def _run(work: Callable[[], Finished], *, quiet: bool) -> None:
    """Train, and say at the end what there is, or how to go on where it was stopped."""
    from optzoo.distributed.signals import StopRequestedError
    from optzoo.distributed.world import speaks

    try:
        finished = work()
    except StopRequestedError as stop:
        if speaks():
            typer.echo(f"stopped by {stop} after a checkpoint; continue with", err=True)
            typer.echo(f"  {stop.resume}", err=True)
        raise typer.Exit(stop.exit_code) from None
    if speaks():
        _report(finished, quiet=quiet)


def _print_plan(
    recipe_name: str,
    setup_name: str,
    changes: list[tuple[str, str]],
    observers: Sequence[str],
    mfu: float | None,
    hardware: Sequence[str],
    as_json: bool,
) -> None:
    from optzoo.train.setup.overrides import resolve
    from optzoo.train.setup.plan import make_plan
    from optzoo.train.setup.plan_text import render_plan

    _, recipe, setup, _ = resolve(recipe_name, setup_name, changes, observers)
    plan = make_plan(recipe, setup, mfu=0.4 if mfu is None else mfu, hardware=hardware)
    typer.echo(json.dumps(plan, indent=2) if as_json else render_plan(plan))


def _print_throughput(
    recipe_name: str,
    setup_name: str,
    changes: list[tuple[str, str]],
    observers: Sequence[str],
    as_json: bool,
) -> None:
    from optzoo.bench.throughput import measure_throughput, render_throughput

    found = measure_throughput(recipe_name, setup_name, changes, observers)
    typer.echo(json.dumps(found, indent=2) if as_json else render_throughput(found))


def _report(finished: Finished, *, quiet: bool) -> None:
    """Print the losses and where the run is; if not quiet a sample, and what to do next."""
    from optzoo.train.session import compare_command, resume_command

    run, result = finished.run, finished.result
    if quiet:
        typer.echo(f"{_losses(result['views'], digits=4)}\nwrote {shlex.quote(str(run.path))}")
        return
    typer.echo(f"\n{_losses(result['views'], digits=4)}")
    typer.echo("\nsample, drawn from the evaluated weights:\n")
    typer.echo("\n".join(f"    {line}" for line in finished.sample.splitlines()))
    path = shlex.quote(str(run.path))
    typer.echo(f"\nwrote {path}: result.json, loss.png, metrics.jsonl, sample.txt, checkpoints")
    typer.echo(f"  resume    {resume_command(run)}   (had it been interrupted)")
    typer.echo(f"  evaluate  optzoo eval {path}")
    typer.echo(f"  compare   {compare_command(run)}")


def _losses(views: dict[str, dict[str, float]], *, digits: int) -> str:
    """Return the table of held-out losses by view."""
    rows = [
        (view, *(f"{loss[key]:.{digits}f}" for key in ("nats_per_token", "bits_per_byte")))
        for view, loss in views.items()
    ]
    heads = ("view", "nats/token", "bits/byte")
    least = (12, *[max(10, digits + 3)] * 2)
    return "\n".join(align([heads, *rows], "<>", gap=1, indent=0, least=least))


def eval_(
    run: RunArgument,
    view: Annotated[
        list[str] | None,
        typer.Option(metavar="VIEW", help="train, eval, an observer, or all; repeatable"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="held-out text of other prepared data, or where the data is now"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the held-out loss of a run at its newest checkpoint.

    Example: optzoo eval runs/ademamix-quick-s0 --view train
    """
    _look_at_run(run)
    from optzoo.train.session import evaluate_run

    result = evaluate_run(run, view or ["eval"], data=data)
    _say_warnings(result.pop("warnings"))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    typer.echo(f"{run}: {result['recipe']} after {result['step']:,} of {result['steps']:,} steps")
    if data is not None:
        typer.echo(f"on {result['corpus']['title']}")
    typer.echo(_losses(result["views"], digits=15))


def _say_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        typer.echo(printable(f"warning: {warning}"), err=True)


def export(
    run: RunArgument,
    view: Annotated[
        str, typer.Option(help="train, eval, average, or an observer such as tail:0.1")
    ] = "eval",
    step: Annotated[
        str | None, typer.Option(metavar="N", help="a checkpointed step  [default: the newest]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="FILE.safetensors  [default: inside RUN/exports]"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16  [default: as trained]"),
    ] = None,
) -> None:
    """Write a run's weights at a view as safetensors, with the model's shape as JSON beside.

    Example: optzoo export runs/ademamix-quick-s0 --view train --out model.safetensors
    """
    _look_at_run(run)
    from optzoo.train.export import export_run

    exported = export_run(run, view=view, step=step, out=out, dtype=dtype)
    _say_warnings(exported.warnings)
    typer.echo(f"wrote {exported.weights} and {exported.description.name}: {exported.summary}")
