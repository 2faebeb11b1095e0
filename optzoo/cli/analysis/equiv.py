"""The commands equiv and convert: are two recipes the same method, and rewriting one as another."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optzoo.cli.options import JsonOption, RecipeArgument, SetOption, read_settings
from optzoo.cli.output import write_new
from optzoo.cli.working import working
from optzoo.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from optzoo.equivalence.sides import Conditions
    from optzoo.program.expressions import Expr

EQUIV_EPILOG = """Examples:

\b
  optzoo equiv lion signum --set-a beta2=0.9
  optzoo equiv agnes mass
  optzoo equiv ademamix adamw --set-a alpha=0 --set-b weight_decay=0

Exact where the recipes are rational, to 40 digits otherwise. Exit code 0: the same; 1: different;
2: a mistake in the input."""


CONVERT_EPILOG = """Examples:

\b
  optzoo convert lion --to accelerated
  optzoo convert ademamix --to simplified_ademamix --set beta1=0 --set warmup=1
  optzoo convert simplified_ademamix_debiased --from adamw --set beta1=0.95 -o mine.yaml
  optzoo convert ademamix --to simplified_ademamix --batch-tokens 1048576

The recipe goes to standard output or to --output, what was proved of it to standard error."""


class LrSchedule(StrEnum):
    """Which learning rates are compared."""

    any = "any"
    constant = "constant"


RightLrOption = Annotated[
    str | None,
    typer.Option(
        "--lr-b", metavar="EXPR", help="learning rate of B, from `lr` (that of A) and `t`"
    ),
]
GradSizeOption = Annotated[
    float,
    typer.Option(min=1e-9, max=1e100, help="largest element of the gradients; 0.1 meets no clip"),
]


def equiv(
    left: Annotated[str, typer.Argument(metavar="A", help="a recipe: shipped name or YAML file")],
    right: Annotated[str, typer.Argument(metavar="B", help="another recipe")],
    set_a: Annotated[
        list[str] | None, typer.Option("--set-a", metavar="NAME=VALUE", help="override one of A")
    ] = None,
    set_b: Annotated[
        list[str] | None, typer.Option("--set-b", metavar="NAME=VALUE", help="override one of B")
    ] = None,
    lr_b: RightLrOption = None,
    lr_schedule: Annotated[
        LrSchedule, typer.Option(help="compare at any learning-rate schedule, or a constant one")
    ] = LrSchedule.any,
    iterates_only: Annotated[
        bool, typer.Option("--iterates-only", help="leave the evaluation points out")
    ] = False,
    total_steps: Annotated[
        int | None, typer.Option(min=1, help="T; drawn between half and all of the steps compared")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=10, max=10_000, help="steps compared; what sets in later is not seen")
    ] = 250,
    grad_size: GradSizeOption = 1.0,
    search: Annotated[
        bool, typer.Option(help="look for hyperparameters of B that make it A")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Say whether two recipes are the same method: the same iterates on all gradients.

    Different ones are told apart by the first weight that differs, and hyperparameters of B that
    make it A are looked for.
    """
    from optzoo.equivalence.route_pairs import compare_recipes, format_comparison
    from optzoo.equivalence.sides import Conditions
    from optzoo.recipe.recipe import load_recipe

    left_values, right_values = read_settings(set_a), read_settings(set_b)
    sides = (
        load_recipe(left).with_overrides(left_values),
        load_recipe(right).with_overrides(right_values),
    )
    conditions = Conditions(
        constant_lr=lr_schedule is LrSchedule.constant,
        total_steps=total_steps,
        grad_size=Fraction(repr(grad_size)),
        long_steps=steps,
    )
    right_lr = None if lr_b is None else _lr_expression(lr_b)
    with working(f"comparing {left} and {right}"):
        verdict = compare_recipes(
            *sides,
            right_lr=right_lr,
            conditions=conditions,
            iterates_only=iterates_only,
            fixed=frozenset(right_values),
            fixed_left=frozenset(left_values),
            search=search,
        )
    if as_json:
        typer.echo(json.dumps(verdict.to_json(), indent=2))
    else:
        arguments = [left, right, *(f"--set-a {shlex.quote(s)}" for s in set_a or ())]
        arguments += [f"--set-b {shlex.quote(s)}" for s in set_b or ()]
        arguments += _as_typed(conditions, iterates_only, grad_size)
        typer.echo(format_comparison(verdict, arguments))
    if not verdict.same:
        raise typer.Exit(1)


def _as_typed(conditions: Conditions, iterates_only: bool, grad_size: float) -> list[str]:
    """Return the options that were given, for a command that asks the same of other settings."""
    from optzoo.equivalence.sides import LONG_STEPS

    steps, total_steps = conditions.long_steps, conditions.total_steps
    given = {
        f"--steps {steps}": steps != LONG_STEPS,
        "--lr-schedule constant": conditions.constant_lr,
        "--iterates-only": iterates_only,
        f"--grad-size {grad_size:g}": grad_size != 1,
        f"--total-steps {total_steps}": total_steps is not None,
    }
    return [text for text, is_given in given.items() if is_given]


def _lr_expression(text: str) -> Expr:
    from optzoo.program.expressions import names_in
    from optzoo.program.parsing import ExpressionError, parse_expression

    try:
        expr = parse_expression(text)
    except ExpressionError as error:
        raise InputError(
            Diagnostic("bad-value", f"`--lr-b {text}`: {error.message}", hint=error.hint)
        ) from None
    for name in names_in(expr):
        if name.id not in ("lr", "t") or name.when != "now":
            message = f"`--lr-b {text}`: `{name}` is neither `lr` nor `t`"
            hint = "write numbers, `lr` (the learning rate of A) and `t`, such as `lr*(1 - 0.9**t)`"
            raise InputError(Diagnostic("unknown-name", message, hint=hint))
    return expr


def convert(
    recipe: RecipeArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="FORM", help="`accelerated` (Eq. 1) or a recipe")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="RECIPE", help="write RECIPE with the settings of this one"),
    ] = None,
    settings: SetOption = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="tokens per batch: alpha and lr by the authors' rules"),
    ] = None,
    total_steps: Annotated[int, typer.Option(min=10, help="T, for schedules")] = 10_000,
    drop_clips: Annotated[
        bool, typer.Option("--drop-clips", help="leave clips out first: the same while none acts")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file to write  [default: stdout]")
    ] = None,
) -> None:
    """Write a recipe in another form that trains identically, and prove it.

    `--to accelerated` writes one momentum sum, as Eq. (1) has it. `--to RECIPE` finds the settings
    of another recipe; the nearest ones where none are the same and that recipe has a momentum sum
    and a weight for the current gradient, as simplified_ademamix. `--set` overrides the original's
    hyperparameters.
    """
    from optzoo.recipe.recipe import load_recipe

    if (to is None) == (source is None):
        message = "say what to convert to: `--to accelerated`, `--to RECIPE`, or `--from RECIPE`"
        raise InputError(Diagnostic("bad-value", message))
    original = load_recipe(source or recipe).with_overrides(read_settings(settings))
    target = recipe if source is not None else to
    assert target is not None
    wanted = None if target == "accelerated" else load_recipe(target)
    from optzoo.equivalence.conversion import convert_to_accelerated, convert_to_recipe
    from optzoo.equivalence.verdict import format_verdict

    if wanted is None and batch_tokens is not None:
        message = "`--batch-tokens` goes with a recipe, such as `--to simplified_ademamix`"
        raise InputError(Diagnostic("bad-value", message))
    with working(f"writing {original.name} as {target}"):
        found = (
            convert_to_accelerated(original, drop_clips=drop_clips)
            if wanted is None
            else convert_to_recipe(
                original, wanted, total_steps=total_steps, batch_tokens=batch_tokens
            )
        )
    text = found.recipe.to_yaml()
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_new(output, text)
        typer.echo(f"wrote {output}", err=True)
    typer.echo(found.sentence, err=True)
    typer.echo(format_verdict(found.verdict, []), err=True)
    for remark in found.remarks:
        typer.echo(f"  {remark}", err=True)
