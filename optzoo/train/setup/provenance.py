"""Who says so: the source of each field of a setup.

A source is one line, `MARK, WHERE`. The mark is `paper` (arXiv 2502.02431 states it), `code`
(read in public code of the same authors), `assumed` (nobody says so) or `changed` (by `--set`).
It is kept under the dotted path of the field, or of a section whose fields all share it; the
longest path that covers a field counts. A setup has a source for every field, or none at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from optzoo.files.explanations import bad_value

MARKS = ("paper", "code", "assumed", "changed")


def _check_source(text: str) -> str:
    mark, _, where = text.partition(", ")
    if mark not in MARKS or not where.strip():
        raise bad_value(
            f"`{text}` is not a source",
            hint="write `paper, WHERE`, `code, WHERE` or `assumed, WHY`",
        )
    return text


Sources = dict[str, Annotated[str, AfterValidator(_check_source)]]
CHANGED = "changed, --set"


def leaf_paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted path and value of every field; a list is one value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaf_paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def source_of(path: str, sources: Mapping[str, str]) -> str | None:
    """Return the source of a field: its own, or that of the nearest section around it."""
    while path:
        if path in sources:
            return sources[path]
        path = path.rpartition(".")[0]
    return None


def check_sources(sources: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Raise ValueError naming fields without a source, and sources without a field."""
    paths = [path for path, _ in leaf_paths(values)]
    bare = [path for path in paths if source_of(path, sources) is None]
    if bare:
        raise bad_value(
            f"`sources` lacks {', '.join(f'`{path}`' for path in bare)}",
            hint="give each field, or its section, `paper, WHERE`, `code, WHERE` or `assumed, WHY`",
        )
    idle = [key for key in sources if not any((path + ".").startswith(key + ".") for path in paths)]
    if idle:
        raise ValueError(
            f"`sources` names {', '.join(f'`{key}`' for key in idle)}, "
            "which this setup does not set"
        )


def annotate(values: Mapping[str, Any], sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row for each field: `field`, `value`, `mark` and `where` (both None without one)."""
    rows = []
    for path, value in leaf_paths(values):
        mark, _, where = (source_of(path, sources) or "").partition(", ")
        rows.append({"field": path, "value": value, "mark": mark or None, "where": where or None})
    return rows
