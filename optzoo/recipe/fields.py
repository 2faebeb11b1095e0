"""What the fields of a recipe are made of: expressions, names, starts, lists of coefficients.

Each is read and checked here, with the place of what is wrong; the sections that hold them are in
`optzoo.recipe.schema`.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from optzoo.errors import nearest
from optzoo.files.explanations import bad_value, shown
from optzoo.program.expressions import Expr, format_expression
from optzoo.program.parsing import ExpressionError, parse_expression
from optzoo.program.tensors.polar_lists import POLAR_LISTS

MAX_NAME = 100
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""A name, by `fullmatch`; of `MAX_NAME` characters at most."""
STARTS = ("zeros", "grad", "param")
"""What a buffer may start as, beside a number."""
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


def parse_init(value: Any) -> Any:
    """Return the word, the number or the expression that a buffer starts as."""
    if isinstance(value, str) and value in STARTS:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        pass
    else:
        if math.isfinite(number):
            return number
        raise bad_value(f"a buffer starts as a finite number, not as {shown(value)}")
    if isinstance(value, str | Expr):
        return _parse(value)
    raise bad_value(
        f"a buffer starts as `zeros`, a number, `grad`, `param` or an expression, not as "
        f"{shown(value)}"
    )


INIT_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string"}], "default": "zeros"}


def parse_coefficients(value: Any) -> Any:
    """Return the name of a list of coefficients, or the list itself as exact numbers."""
    if isinstance(value, str) and value in POLAR_LISTS:
        return value
    if isinstance(value, list | tuple) and value and all(map(_is_triple, value)):
        return tuple(tuple(_exact(number) for number in step) for step in value)
    meant = nearest(value, POLAR_LISTS) if isinstance(value, str) else None
    lists = f"{', '.join(POLAR_LISTS)}, or steps of three numbers: `[[a, b, c], ...]`"
    raise bad_value(
        "these are no coefficients of `polar`"
        if isinstance(value, list)
        else f"{shown(value)} is no list of coefficients",
        hint=lists if meant is None else f"did you mean `{meant}`?",
    )


def _is_triple(step: Any) -> bool:
    numbers = list(step) if isinstance(step, list | tuple) else []
    return len(numbers) == 3 and all(
        isinstance(n, int | float | Fraction) and not isinstance(n, bool) for n in numbers
    )


def _exact(number: float | Fraction) -> Fraction:
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


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


def _check_observer_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][\w.:-]{,99}", name) or name in ("train", "eval"):
        raise ValueError(
            f"`{name}` cannot name an observer: use letters, digits and `_.:-`, a letter first"
        )
    return name


ObserverName = Annotated[str, BeforeValidator(lambda v: _check_observer_name(str(v)))]
Identifier = Annotated[str, BeforeValidator(lambda v: _check_identifier(str(v)))]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )
    written: ClassVar[str] = ""
    """How such a section is written, for who wrote something else."""

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        if not cls.written or isinstance(value, dict | Section):
            return value
        message = f"expected a mapping of keys to values, not {shown(value)}"
        raise bad_value(message, hint=f"write it as `{cls.written}`")


def mapping_kind(value: Any) -> str:
    """Return the tag of a value that is a mapping, or a word or number."""
    return "[mapping]" if isinstance(value, dict | Section) else "[word]"
