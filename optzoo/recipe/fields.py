"""What recipe files are made of: names, expressions, and the base of every section.

Shape and syntax only; what an expression's names refer to is settled by `optzoo.recipe.names`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)

from optzoo.files.explanations import bad_value
from optzoo.program.expressions import (
    Expr,
    ExpressionError,
    format_expression,
    parse_expression,
)

MAX_NAME = 100
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""A name, by `fullmatch`; of `MAX_NAME` characters at most."""
RESERVED = frozenset(
    [
        "t",
        "T",
        "lr0",
        "grad",
        "param",
        "preconditioned",
        "params",
        "total_steps",
        "engine",
        "observers",
        "self",
        "inf",
        "nan",
    ]
)


def _parse(value: Any) -> Any:
    if not isinstance(value, str | int | float):  # already parsed, or not an expression at all
        if isinstance(value, Expr):
            return value
        kind = {"dict": "a mapping", "list": "a list", "NoneType": "nothing"}
        name = kind.get(type(value).__name__, type(value).__name__)
        raise bad_value(f"expected a number or an expression, not {name}")
    try:
        return parse_expression(value)
    except ExpressionError as error:
        raise bad_value(
            error.message, hint=error.hint, offset=error.offset, width=error.width
        ) from None


Expression = Annotated[
    Any,
    BeforeValidator(_parse),
    PlainSerializer(lambda expr: format_expression(expr)),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
"""A number, or the text of an expression; held as parsed nodes."""


def _check_identifier(name: str) -> str:
    if not IDENTIFIER.fullmatch(name):
        shown = name[:MAX_NAME].replace("\n", "\\n")
        raise ValueError(f"`{shown}` is not a name: use letters, digits and `_`, a letter first")
    if len(name) > MAX_NAME:
        raise ValueError(f"`{name[:20]}...` has {len(name):,} characters: at most {MAX_NAME}")
    if name in RESERVED:
        raise ValueError(f"`{name}` has a fixed meaning and cannot be redefined")
    return name


Identifier = Annotated[str, BeforeValidator(lambda v: _check_identifier(str(v)))]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


def mapping_kind(value: Any) -> str:
    """Return the tag of a value that is a mapping, or a word or number."""
    return "[mapping]" if isinstance(value, dict | Section) else "[word]"
