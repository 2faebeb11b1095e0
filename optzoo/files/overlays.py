"""Documents laid over one another: values with their positions, from several files.

Every value keeps the file, line and column that it was written at, so that an error in what has
been put together still points into the right file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from optzoo.files.documents import Document, Loc

V = TypeVar("V")


def fresh_copy(document: Document) -> Document:
    """Return a document whose values can be changed without touching the first."""
    data = copy.deepcopy(document.data)
    marks = (dict(document.keys), dict(document.values), dict(document.cuts))
    return Document(document.path, document.text, data, *marks)


def part_of_document(document: Document, loc: Loc) -> Document:
    """Return the value at a place as a document of its own, with the positions it had."""
    found = Document(document.path, document.text)
    place(found, (), document, loc)
    return found


def value_at(document: Document, loc: Loc) -> Any:
    """Return the value at a place, None where there is none."""
    value: Any = document.data
    for part in loc:
        is_there = isinstance(value, dict) and part in value
        is_there = is_there or (isinstance(value, list) and part in range(len(value)))
        if not is_there:
            return None
        value = value[part]
    return value


def holds(document: Document, loc: Loc) -> bool:
    """Return whether a document says something at a place, be it `null`."""
    if not loc:
        return document.data is not None
    parent = value_at(document, loc[:-1])
    return isinstance(parent, dict) and loc[-1] in parent


def remove(document: Document, loc: Loc) -> None:
    """Take away what a mapping holds at a place, if it is there."""
    _forget(document, loc)
    parent = value_at(document, loc[:-1])
    if isinstance(parent, dict):
        parent.pop(loc[-1], None)


def place(target: Document, loc: Loc, source: Document, at: Loc) -> None:
    """Put the value of `source` at `at` to the place `loc` of `target`, with its positions."""
    value = copy.deepcopy(value_at(source, at))
    _forget(target, loc)
    if loc:
        value_at(target, loc[:-1])[loc[-1]] = value
    else:
        target.data = value
    for rest in _places(value):
        _copy_mark(source.keys, (*at, *rest), target.keys, (*loc, *rest))
        _copy_mark(source.values, (*at, *rest), target.values, (*loc, *rest))
        _copy_mark(source.cuts, (*at, *rest), target.cuts, (*loc, *rest))


def _copy_mark(source: Mapping[Loc, V], at: Loc, target: dict[Loc, V], to: Loc) -> None:
    if at in source:
        target[to] = source[at]


def _forget(document: Document, loc: Loc) -> None:
    for rest in _places(value_at(document, loc)):
        for marks in (document.keys, document.values, document.cuts):
            marks.pop((*loc, *rest), None)


def _places(value: Any) -> Iterator[Loc]:
    """Yield where a value and all in it stand, from the value on."""
    yield ()
    items = value.items() if isinstance(value, dict) else ()
    for key, held in enumerate(value) if isinstance(value, list) else items:
        for rest in _places(held):
            yield (key, *rest)


def lay_over(
    target: Document,
    loc: Loc,
    source: Document,
    at: Loc,
    levels: Callable[[Loc], int],
    *,
    keeps_nulls: bool = False,
) -> None:
    """Lay the value of `source` at `at` over what `target` has at `loc`.

    A mapping over a mapping is merged key by key, as deep as `levels` says of its place in the
    target; anything else replaces what was there, and `null` removes it unless `keeps_nulls`.
    """
    value, old = value_at(source, at), value_at(target, loc)
    if value is None and not keeps_nulls and holds(target, loc):
        remove(target, loc)
    elif isinstance(value, dict) and isinstance(old, dict) and levels(loc) > len(loc):
        for marks, given in ((target.keys, source.keys), (target.values, source.values)):
            if at in given:  # who writes the child looks for a mistake there
                marks[loc] = given[at]
        for key in value:
            lay_over(target, (*loc, key), source, (*at, key), levels, keeps_nulls=keeps_nulls)
    else:
        place(target, loc, source, at)


def renamed(document: Document, sections: Sequence[str], name: str, other: str) -> Document:
    """Return a document whose texts and keys in some sections say `other` for the word `name`.

    What `doc` holds is for people and stays.
    """
    found, reads = fresh_copy(document), re.compile(rf"(?<![\w.]){name}(?!\w)")
    for section in sections:
        if section in found.data:
            found.data[section] = _with_word(found.data[section], reads, other)
    for marks in (found.keys, found.values):
        for loc in [loc for loc in marks if any(reads.search(str(part)) for part in loc[1:])]:
            to = tuple(reads.sub(other, part) if isinstance(part, str) else part for part in loc)
            marks[to] = marks.pop(loc)
    return found


def _with_word(value: Any, reads: re.Pattern[str], other: str) -> Any:
    if isinstance(value, str):
        return reads.sub(other, value)
    if isinstance(value, dict):
        return {
            reads.sub(other, key): held if key == "doc" else _with_word(held, reads, other)
            for key, held in value.items()
        }
    return value
