"""The keys that a file may have, read off its pydantic model: for hints."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Loc = tuple[str | int, ...]


def fields_at(model: type[BaseModel], loc: Loc) -> dict[str, str | None]:
    """Return the keys that may stand at `loc` with their docs, through dicts, lists and unions."""
    current: list[Any] = [model]
    for part in loc:
        following: list[Any] = []
        for kind in current:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, info in kind.model_fields.items():
                    if part in (name, info.alias):
                        following += _alternatives(info.annotation)
                continue
            arguments = typing.get_args(kind)
            if typing.get_origin(kind) in (dict, list) and arguments:
                following += _alternatives(arguments[-1])
        current = following or current  # the tag of a union: stay where we are
    names: dict[str, str | None] = {}
    for kind in current:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= field_names(kind)
    return names


def _alternatives(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [a for arg in typing.get_args(annotation) for a in _alternatives(arg)]
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    return [annotation]


def field_names(model: type[BaseModel]) -> dict[str, str | None]:
    """Return the keys of a section with their docs."""
    return {info.alias or name: info.description for name, info in model.model_fields.items()}


def homes_of(key: str, model: type[BaseModel]) -> list[str]:
    """Return the sections of a file that have a key of this name, but for the file itself."""
    return list(dict.fromkeys(f"`{'.'.join(path)}`" for path in _paths_to(key, model, ())))


def _paths_to(key: str, kind: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if path and key in field_names(kind):
            yield path
        for name, info in kind.model_fields.items():
            for other in _alternatives(info.annotation):
                yield from _paths_to(key, other, (*path, info.alias or name))
    elif typing.get_origin(kind) is dict:
        for other in _alternatives(typing.get_args(kind)[-1]):
            yield from _paths_to(key, other, (*path, "NAME"))
    elif typing.get_origin(kind) is list:
        for other in _alternatives(typing.get_args(kind)[-1]):
            yield from _paths_to(key, other, path)
