"""Commands about sweeps: run one, look at it, try again what failed."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optzoo.cli.options import JsonOption, QuietOption
from optzoo.cli.usage import AdvisedGroup, unknown_command
from optzoo.errors import Diagnostic, InputError, nearest
from optzoo.sweeps.executors.resources import Resources

if TYPE_CHECKING:
    from optzoo.sweeps.executors.executor import Executor
    from optzoo.sweeps.folder import JobState, SweepFolder, Task

SWEEP_EPILOG = """Examples:

  optzoo sweep s01-adamw-cosine --dry-run

  optzoo sweep mine.yaml --jobs 4 --seeds 3

  optzoo sweep confirm sweeps/mine --seeds 4

  optzoo sweep status sweeps/mine

  optzoo sweep retry sweeps/mine --failed

  optzoo compare sweeps/mine
"""


class RunIsDefault(AdvisedGroup):
    """A group in which a file in the place of a command's name means `run`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command, `run` where the first word names none."""
        named = bool(args) and args[0] in self.commands
        if args and not named and not ctx.resilient_parsing and self._is_slip(args[0]):
            raise unknown_command(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args if named else ["run", *args])

    def _is_slip(self, word: str) -> bool:
        """Whether a word is a command with a slip rather than a sweep, or a path to one."""
        from optzoo.files.shipped import shipped

        is_sweep = word in shipped("sweeps") or Path(word).suffix or Path(word).exists()
        return not is_sweep and nearest(word, self.commands) is not None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give options before the file to `run` too: `sweep --dry-run FILE`."""
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweep = typer.Typer(
    name="sweep",
    cls=RunIsDefault,
    help="Train methods over grids and seeds; the folders of the runs are the database.\n\n"
    "`optzoo sweep FILE` runs what is left of a sweep.",
    epilog=SWEEP_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)

SweepArgument = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="shipped sweeps or YAML files")
]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR|FILE", help="the folder of a sweep, or its file")
]


def folder_of(given: Path) -> Path:
    """Return the folder of a sweep that is named by it, by its file or by its shipped name."""
    from optzoo.sweeps.folder import is_sweep_folder
    from optzoo.sweeps.schema import is_sweep, load_sweep

    if is_sweep_folder(given) or not is_sweep(str(given)):
        return given
    return Path("sweeps") / load_sweep(given).name


class ExecutorKind(StrEnum):
    """Who runs the jobs."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


JobsOption = Annotated[
    int | None, typer.Option(min=1, help="runs at a time  [default: half the cores]")
]
ExecutorOption = Annotated[ExecutorKind, typer.Option(help="who runs the jobs")]
CpusOption = Annotated[int, typer.Option(min=1, help="slurm, ray: cores for each run")]
GpusOption = Annotated[int, typer.Option(min=0, help="slurm, ray: GPUs for each run")]
HoursOption = Annotated[float, typer.Option(min=0.01, help="slurm: time limit of a job")]
PartitionOption = Annotated[str | None, typer.Option(metavar="NAME", help="slurm: partition")]


@sweep.command("run")
def run(
    files: SweepArgument,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="where to keep it  [default: sweeps/NAME]")
    ] = None,
    jobs: JobsOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="how many seeds each")] = None,
    executor: ExecutorOption = ExecutorKind.local,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0,
    hours: HoursOption = 24.0,
    partition: PartitionOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what it would be, and write nothing")
    ] = False,
    mfu: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="--dry-run: share of the peak")
    ] = 0.4,
    hardware: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="--dry-run: hours on h100, a100, ...; repeatable"),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run what is left of a sweep; `run` may be left out.

    Interrupt it, or lose the machine, at any time: the same command goes on.
    """
    from optzoo.sweeps.schema import load_sweep, with_seeds

    specs = [load_sweep(file) for file in files]
    specs = [spec if seeds is None else with_seeds(spec, seeds) for spec in specs]
    if dry_run:
        _print_plans(specs, mfu, hardware or (), as_json)
        return
    if directory is not None and len(specs) > 1:
        raise InputError(Diagnostic("bad-value", "`--dir` is for one sweep; give one file"))
    from optzoo.sweeps.folder import write_sweep
    from optzoo.sweeps.grid import jobs_of, points_of

    resources = Resources(cpus, gpus, hours, partition)
    failed = 0
    for spec in specs:
        folder = write_sweep(
            directory or Path("sweeps") / spec.name, spec, jobs_of(points_of(spec))
        )
        chosen = make_executor(executor, folder, jobs, resources)
        failed += run_folder(folder, chosen, quiet=quiet)
    if failed:
        raise typer.Exit(1)


def _print_plans(specs: list[Any], mfu: float, hardware: Any, as_json: bool) -> None:
    from optzoo.sweeps.sweep_plan import plan_sweep, render_sweep_plan

    plans = [plan_sweep(spec, mfu=mfu, hardware=hardware) for spec in specs]
    if as_json:
        typer.echo(json.dumps(plans, indent=2))
        return
    typer.echo("\n\n".join(render_sweep_plan(plan) for plan in plans))
    if len(plans) > 1:
        runs, trained = (sum(plan[key] for plan in plans) for key in ("runs", "trained"))
        typer.echo(f"\ntogether: {runs:,} runs, {trained:,} trained")


def make_executor(
    kind: ExecutorKind, folder: SweepFolder, jobs: int | None, resources: Resources
) -> Executor:
    """Return who runs the jobs, `jobs` at a time."""
    if kind is ExecutorKind.slurm:
        from optzoo.sweeps.executors.slurm import SlurmExecutor

        return SlurmExecutor(folder.path, jobs, resources)
    if kind is ExecutorKind.ray:
        from optzoo.sweeps.executors.ray_core import RayExecutor

        return RayExecutor(jobs, resources)
    from optzoo.sweeps.executors.local import LocalExecutor, usable_cores

    return LocalExecutor(jobs or max(1, usable_cores() // 2))


def run_folder(folder: SweepFolder, executor: Executor, *, quiet: bool) -> int:
    """Run a sweep to its end; return how many jobs failed."""
    from tqdm import tqdm

    from optzoo.sweeps.controller import Controller
    from optzoo.sweeps.folder import JobState

    states = folder.states()
    over = sum(state.is_over for state in states.values())
    with tqdm(
        total=len(states), initial=over, unit="run", disable=True if quiet else None, desc="runs"
    ) as bar:

        def report(task: Task, state: JobState) -> None:
            bar.update()
            if not quiet:
                bar.write(_line(task, state), file=None)

        with _stopped_by_signals():
            states = Controller(folder, executor, report).run()
    counts = {state: sum(s is state for s in states.values()) for state in JobState}
    failed = counts[JobState.FAILED]
    if quiet and not failed:
        return 0
    done = f"{counts[JobState.DONE]} done, {counts[JobState.DIVERGED]} diverged, {failed} failed"
    typer.echo(f"{folder.path}: {done}", err=True)
    typer.echo(f"  compare   optzoo compare {shlex.quote(str(folder.path))}", err=True)
    if failed:
        typer.echo(f"  failures  optzoo sweep status {shlex.quote(str(folder.path))}", err=True)
    return failed


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Leave by SystemExit on SIGTERM and SIGHUP, so that workers are asked to save."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(task: Task, state: JobState) -> str:
    """Return what is said of a job that is over."""
    points = task.about["points"]
    first = points[0]
    setting = ", ".join(f"{name}={value}" for name, value in first["values"].items())
    name = f"{first['method']} {setting} seed {first['seed']}".replace("  ", " ")
    if len(points) > 1:
        name += f" and {len(points) - 1} more"
    result = task.result
    if state.value == "done" and result is not None:
        loss = result["views"][first["view"]]["nats_per_token"]
        return f"{task.key}  {name}: {loss:.4f} nats/token in {result['seconds']:.0f} s"
    said = result if state.value == "diverged" else task.failure
    reason = said["reason"].strip().splitlines()[-1] if said else ""
    return f"{task.key}  {name}: {state.value} {reason}".rstrip()


@sweep.command("confirm")
def confirm(
    folder: FolderArgument,
    seeds: Annotated[int, typer.Option(min=2, help="fresh seeds for each winner")] = 4,
    jobs: JobsOption = None,
    executor: ExecutorOption = ExecutorKind.local,
    cpus: CpusOption = 1,
    gpus: GpusOption = 0,
    hours: HoursOption = 24.0,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run the best setting of each method with fresh seeds, in the folder DIR-confirmed.

    The best of a grid is flattered by the seeds that chose it; these had no say.
    """
    found = confirmed(folder_of(folder), seeds)
    resources = Resources(cpus, gpus, hours, partition)
    if run_folder(found, make_executor(executor, found, jobs, resources), quiet=quiet):
        raise typer.Exit(1)


def confirmed(folder: Path, seeds: int) -> SweepFolder:
    """Write the sweep that confirms a finished one; return its folder."""
    from optzoo.comparison.ranking import rank
    from optzoo.comparison.records import gather
    from optzoo.sweeps.confirm import SUFFIX, confirmation
    from optzoo.sweeps.folder import open_sweep, write_sweep
    from optzoo.sweeps.grid import jobs_of, points_of

    spec = confirmation(open_sweep(folder).spec, rank(gather([folder])), seeds)
    path = folder.with_name(folder.name + SUFFIX)
    return write_sweep(path, spec, jobs_of(points_of(spec)))


@sweep.command("status")
def status(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Say what is done, what runs, and what failed and why."""
    from optzoo.sweeps.folder import JobState, open_sweep
    from optzoo.tables import align

    folder = folder_of(folder)
    found = open_sweep(folder)
    rows = [(task, task.state) for task in found.tasks]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {"key": t.key, "state": s.value, "run": str(t.run), "step": t.step,
                     "points": t.about["points"], "failure": t.failure}
                    for t, s in rows
                ],
                indent=2,
            )
        )  # fmt: skip
        return
    counts = {state: sum(s is state for _, s in rows) for state in JobState}
    shown = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    typer.echo(f"{found.spec.name}: {len(rows)} jobs: {shown}")
    lines = [("key", "state", "step", "what")]
    for task, state in rows:
        if state in (JobState.RUNNING, JobState.FAILED, JobState.BEGUN, JobState.DIVERGED):
            lines.append((task.key, state.value, f"{task.step:,}", _line(task, state)[14:]))
    if len(lines) > 1:
        typer.echo("\n".join(align(lines, "<<><")))
    if counts[JobState.FAILED]:
        typer.echo(f"again: optzoo sweep retry {shlex.quote(str(folder))} --failed", err=True)


@sweep.command("retry")
def retry(
    folder: FolderArgument,
    failed: Annotated[bool, typer.Option("--failed", help="those that failed")] = False,
    keys: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="these; repeatable")
    ] = None,
) -> None:
    """Forget failures, so that the next `optzoo sweep` tries again; checkpoints stay."""
    from optzoo.sweeps.folder import JobState, open_sweep

    folder = folder_of(folder)
    found = open_sweep(folder)
    if not failed and not keys:
        raise InputError(Diagnostic("bad-value", "say what to try again: `--failed`, or `--key`"))
    known = {task.key: task for task in found.tasks}
    for key in keys or ():
        if key not in known:
            raise InputError(Diagnostic("unknown-name", f"`{key}` is no job of {folder}"))
    chosen = [
        task
        for key, task in known.items()
        if task.state is JobState.FAILED and (failed or key in (keys or ()))
    ]
    for task in chosen:
        task.failure_file.unlink(missing_ok=True)
        task.starts_file.unlink(missing_ok=True)
    typer.echo(f"{len(chosen)} will be tried again by: optzoo sweep {folder / 'sweep.yaml'}"
               f" --dir {shlex.quote(str(folder))}", err=True)  # fmt: skip


@sweep.command("work", hidden=True)
def work(
    task: Annotated[Path, typer.Argument(metavar="TASK", help="tasks/KEY of a sweep")],
) -> None:
    """Train one job of a sweep: what executors start."""
    from optzoo.sweeps.folder import Task
    from optzoo.sweeps.worker import work as train_task

    raise typer.Exit(train_task(Task(task.parent.parent, task.name)))
