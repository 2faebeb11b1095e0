"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON for programs to read")]


def read_settings(settings: Sequence[str] | None) -> dict[str, float | str]:
    """Return `NAME=VALUE` texts as a mapping; numbers become numbers.

    Raises InputError for a text without `=` and for a name given twice.
    """
    from optzoo.files.documents import number_or_text

    values: dict[str, float | str] = {}
    for text in settings or ():
        name, value = split_setting(text)
        if name in values:
            raise InputError(Diagnostic("bad-value", f"`--set {name}=...` is given twice"))
        values[name] = number_or_text(value)
    return values


def split_setting(text: str) -> tuple[str, str]:
    """Return the two sides of `NAME=VALUE`. Raises InputError when one is missing."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and name and value):
        raise InputError(Diagnostic("bad-value", f"`--set {text}`: write `--set NAME=VALUE`"))
    return name, value
