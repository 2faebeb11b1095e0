"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from optzoo.cli.usage import AdvisedCommand
from optzoo.errors import Diagnostic, InputError

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="a shipped name (`optzoo list`) or a YAML file")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="override a hyperparameter; repeatable"),
]
StateDtypeOption = Annotated[
    str | None,
    typer.Option(
        metavar="DTYPE",
        help="keep buffers in bfloat16, rounded stochastically: all, or `m1=bfloat16,...`",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="show no progress, only what came of it")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON for programs to read")]


def read_settings(settings: Sequence[str] | None) -> dict[str, float | str]:
    """Return `NAME=VALUE` texts as a mapping; numbers become numbers.

    Raises InputError for a text without `=` and for a name given twice.
    """
    from optzoo.files.documents import number_or_text

    given = [split_setting(text) for text in settings or ()]
    refuse_twice(given)
    return {name: number_or_text(value) for name, value in given}


def refuse_twice(settings: Sequence[tuple[str, str]]) -> None:
    """Raise InputError where a name has two values, whichever options gave them."""
    seen: dict[str, str] = {}
    for name, value in settings:
        if name in seen:
            message = f"`{name}` is given twice: {seen[name]} and {value}"
            hint = "options such as `--steps` are short for `--set budget.steps=...`"
            raise InputError(Diagnostic("given-twice", message, hint=hint if "." in name else None))
        seen[name] = value


class OnceCommand(AdvisedCommand):
    """A command that refuses an option given twice, unless it says that it is repeatable."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look at what was given, and parse it as usual."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: set[str] = set()
        for parameter in order:
            once = not getattr(parameter, "is_flag", False) and not parameter.multiple
            if parameter.param_type_name == "option" and once and parameter.name in seen:
                message = f"`{parameter.opts[-1]}` is given twice"
                raise InputError(Diagnostic("given-twice", message))
            seen.add(parameter.name)
        return super().parse_args(ctx, args)


def split_setting(text: str) -> tuple[str, str]:
    """Return the two sides of `NAME=VALUE`. Raises InputError when one is missing."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and name and value):
        raise InputError(Diagnostic("bad-value", f"`--set {text}`: write `--set NAME=VALUE`"))
    return name, value
