"""What a validator says about a value, in the words of who wrote the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

MAX_SHOWN = 60
"""Characters of a value that a message repeats."""
_EXPECTED = {
    "a number": ("float_type", "float_parsing"),
    "a finite number": ("finite_number",),
    "a whole number": ("int_type", "int_parsing", "int_from_float"),
    "true or false": ("bool_type", "bool_parsing"),
    "text": ("string_type",),
    "a list": ("list_type", "tuple_type"),
    "a mapping of keys to values": ("dict_type", "model_type", "model_attributes_type"),
}
_WANTED = {kind: wanted for wanted, kinds in _EXPECTED.items() for kind in kinds}


def bad_value(
    message: str, *, hint: str | None = None, offset: int = 0, width: int = 0
) -> PydanticCustomError:
    """Return what a validator raises where a message has more to it than its text.

    `offset` and `width` select the characters of the value that are at fault.
    """
    values = {"message": message, "hint": hint, "offset": offset, "width": width}
    return PydanticCustomError("bad_value", "{message}", values)


def explain(item: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return message and hint of one of pydantic's errors."""
    hint: str | None = (item.get("ctx") or {}).get("hint")
    wanted = _WANTED.get(item["type"])
    if wanted is not None:
        return f"expected {wanted}, not {shown(item['input'])}", hint
    if item["type"] == "string_too_short":
        return "expected text, and this is empty", hint
    message = str(item["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "must be", 1), hint


def shown(value: Any) -> str:
    """Return a value of a file as a message names it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if len(text) <= MAX_SHOWN else f"`{text[:MAX_SHOWN]}...`"
