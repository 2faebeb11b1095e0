"""The table of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from optzoo.cli.analysis.describe import DESCRIBE_EPILOG, describe
from optzoo.cli.analysis.equiv import CONVERT_EPILOG, EQUIV_EPILOG, convert, equiv
from optzoo.cli.analysis.identify import IDENTIFY_EPILOG, identify
from optzoo.cli.analysis.quadratic import QUADRATIC_EPILOG, quadratic
from optzoo.cli.analysis.verifying import VERIFY_EPILOG, verify
from optzoo.cli.bench import BENCH_EPILOG, bench
from optzoo.cli.compare import COMPARE_EPILOG, REPORT_EPILOG, compare, report
from optzoo.cli.data import data
from optzoo.cli.options import OnceCommand
from optzoo.cli.recipes import LIST_EPILOG, list_recipes, new, routes, schema, show, validate
from optzoo.cli.reproduce import REPRODUCE_EPILOG, reproduce
from optzoo.cli.sweep import sweep
from optzoo.cli.train import TRAIN_EPILOG, eval_, export, train
from optzoo.cli.usage import AdvisedGroup

HELP = """Deep-learning optimizers as data.

A recipe (YAML) becomes a torch optimizer, its accelerated-SGD coefficients, and a training run.

Try: optzoo train ademamix
"""

app = typer.Typer(
    name="optzoo",
    cls=AdvisedGroup,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from optzoo import __version__

        typer.echo(f"optzoo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    pass


app.command("list", epilog=LIST_EPILOG)(list_recipes)
app.command("show")(show)
app.command("routes")(routes)
app.command("describe", epilog=DESCRIBE_EPILOG)(describe)
app.command("equiv", epilog=EQUIV_EPILOG)(equiv)
app.command("identify", epilog=IDENTIFY_EPILOG)(identify)
app.command("verify", epilog=VERIFY_EPILOG)(verify)
app.command("convert", epilog=CONVERT_EPILOG)(convert)
app.command("quadratic", epilog=QUADRATIC_EPILOG)(quadratic)
app.command("validate")(validate)
app.command("schema")(schema)
app.command("new")(new)
app.command("train", epilog=TRAIN_EPILOG)(train)
app.command("eval")(eval_)
app.command("compare", epilog=COMPARE_EPILOG)(compare)
app.command("report", epilog=REPORT_EPILOG)(report)
app.command("reproduce", epilog=REPRODUCE_EPILOG)(reproduce)
app.command("export")(export)
app.command("bench", epilog=BENCH_EPILOG)(bench)
app.add_typer(sweep)
app.add_typer(data)
for command in (*app.registered_commands, *data.registered_commands, *sweep.registered_commands):
    command.cls = OnceCommand
