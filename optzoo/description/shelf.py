"""The shipped recipes at a glance: a line for each, from the index beside their pages.

`optzoo describe --all docs/recipes` writes the index with the pages. An entry counts while its
recipe has the hash that it names; a recipe without one is looked at anew, so that an old index, or
none, costs time only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optzoo.files.shipped import index_file, shipped

if TYPE_CHECKING:
    from optzoo.description.description import Description


@dataclass(frozen=True)
class ShelfEntry:
    """What `optzoo list` says of a recipe, at its default hyperparameters.

    `eq1` is whether it has the form of Eq. (1) and `bytes` its state per float32 parameter, each of
    them for every rule where rules differ, in the order of the routes. `lr` is the learning rate to
    start at and `lr_scale` what that multiplies (`optzoo.description.learning_rate`);
    `learning_rate` says both in a sentence.
    """

    name: str
    title: str
    family: str
    order: str
    eq1: str
    bytes: int | str
    lr: float | str
    lr_scale: str
    reference: str
    summary: str
    learning_rate: str
    sha256: str


def entry_of(path: Path, rules: Sequence[Description] = ()) -> ShelfEntry:
    """Return the entry of a recipe, computed; `rules` are the descriptions of its rules."""
    from optzoo.description.description import describe_rules
    from optzoo.description.learning_rate import lr_sentence, lr_summary
    from optzoo.recipe.recipe import load_recipe

    rules = rules or describe_rules(load_recipe(path))
    forms = ["yes" if d.form else f"no, {d.order} momenta" for d in rules]
    sizes = list(dict.fromkeys(d.state_bytes_per_parameter for d in rules))
    found = rules[0]
    recipe, spec = found.recipe, found.recipe.spec
    return ShelfEntry(
        name=recipe.name,
        title=recipe.title,
        family=spec.family,
        order=spec.order if spec.preconditioner != "none" else "-",
        eq1=" / ".join(dict.fromkeys(forms)),
        bytes=sizes[0] if len(sizes) == 1 else " / ".join(map(str, sizes)),
        lr=recipe.hyperparameters["lr"].default,
        lr_scale=lr_summary(found),
        reference=spec.reference,
        summary=spec.summary,
        learning_rate=lr_sentence(found),
        sha256=_hash(path),
    )


def shelf() -> list[ShelfEntry]:
    """Return the entries of all shipped recipes, by name."""
    known = _indexed()
    return [known.get(_hash(path)) or entry_of(path) for path in shipped().values()]


def shelf_entry(path: Path) -> ShelfEntry:
    """Return the entry of one shipped recipe."""
    return _indexed().get(_hash(path)) or entry_of(path)


def index_text(entries: Iterable[ShelfEntry]) -> str:
    """Return the index: JSON, a line for each recipe."""
    lines = ",\n".join(json.dumps(asdict(entry)) for entry in entries)
    return f"[\n{lines}\n]\n"


def _indexed() -> dict[str, ShelfEntry]:
    """Return the entries of the index by the hash of their recipe; none where it is no index."""
    names = {field.name for field in fields(ShelfEntry)}
    try:
        rows: Any = json.loads(index_file().read_text(encoding="utf-8"))
        return {row["sha256"]: ShelfEntry(**row) for row in rows if row.keys() == names}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


_OTHERS = re.compile(rb"\b(?:extends|use): *(\w+)")
"""What a recipe names that it is put together with."""


def _hash(path: Path) -> str:
    """Return the hash of a recipe and of the shipped ones that it is put together with."""
    known, found, waiting = shipped(), dict[str, bytes](), [path]
    while waiting:
        text = waiting.pop().read_bytes()
        names = {name.decode() for name in _OTHERS.findall(text)} & known.keys()
        for name in names - found.keys():
            found[name] = known[name].read_bytes()
            waiting.append(known[name])
    parts = [path.read_bytes(), *(found[name] for name in sorted(found))]
    return hashlib.sha256(b"".join(parts)).hexdigest()
