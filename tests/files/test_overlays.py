"""Documents laid over one another: what is merged, and that every value keeps its place."""

from __future__ import annotations

from optzoo.files.documents import Document, Loc, parse_document
from optzoo.files.overlays import (
    fresh_copy,
    holds,
    lay_over,
    part_of_document,
    place,
    remove,
    value_at,
)

BASE = parse_document("a: {x: 1, y: {p: 2, q: 3}}\nb: [1, 2]\nc: word\n", "base.yaml")
OVER = parse_document("a:\n  y: {q: 4}\n  z: 5\nb: [6]\nc: null\nd: {e: null}\n", "over.yaml")


def laid(levels: int, *, keeps_nulls: bool = False) -> Document:
    found = fresh_copy(BASE)
    lay_over(found, (), OVER, (), lambda loc: levels, keeps_nulls=keeps_nulls)
    return found


def where(document: Document, *loc: str | int) -> str:
    mark = document.location(loc)
    return f"{mark.path}:{mark.line}:{mark.column}"


def test_mappings_are_merged_as_deep_as_is_said() -> None:
    assert laid(3).data == {
        "a": {"x": 1, "y": {"p": 2, "q": 4}, "z": 5},
        "b": [6],
        "d": {"e": None},
    }
    assert laid(2).data["a"] == {"x": 1, "y": {"q": 4}, "z": 5}
    assert laid(1).data["a"] == {"y": {"q": 4}, "z": 5}
    assert laid(3, keeps_nulls=True).data["c"] is None
    assert BASE.data["a"] == {"x": 1, "y": {"p": 2, "q": 3}}


def test_every_value_keeps_its_place() -> None:
    found = laid(3)
    assert where(found, "a", "x") == "base.yaml:1:8"
    assert where(found, "a", "y", "p") == "base.yaml:1:18"
    assert where(found, "a", "y", "q") == "over.yaml:2:10"
    assert where(found, "b", 0) == "over.yaml:4:5"
    assert ("b", 1) not in found.values
    assert ("c",) not in found.keys


def test_what_is_placed_takes_its_positions_along() -> None:
    found = fresh_copy(BASE)
    place(found, ("b",), OVER, ("a",))
    assert value_at(found, ("b", "y", "q")) == 4
    assert where(found, "b", "y", "q") == "over.yaml:2:10"
    part = part_of_document(found, ("b", "y"))
    assert (part.data, where(part, "q")) == ({"q": 4}, "over.yaml:2:10")
    remove(found, ("b", "y"))
    assert found.data["b"] == {"z": 5}
    assert not any(loc[:2] == ("b", "y") for loc in found.values)


def test_null_is_said_too() -> None:
    places: list[Loc] = [("c",), ("d", "e"), ("d", "f"), ("b", 0, "x")]
    assert [holds(OVER, loc) for loc in places] == [True, True, False, False]
    assert value_at(OVER, ("a", "nothing", "here")) is None
