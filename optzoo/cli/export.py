"""The command export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optzoo.cli.train import RunArgument


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
    from optzoo.train.export import export_run

    exported = export_run(run, view=view, step=step, out=out, dtype=dtype)
    for warning in exported.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"wrote {exported.weights} and {exported.description.name}: {exported.summary}")
