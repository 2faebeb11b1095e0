"""`extends`, `parts` and what routes use, put together before anything is checked.

A recipe that extends another is that recipe with changes: sections are merged key by key, `null`
removes. The result is one document in the same language, so nothing after this knows of it, and
every value keeps its place, so that errors point into the file that is wrong.

How deep: a section, a named hyperparameter, buffer or signal in it, and what that says are merged;
what a key holds (a scalar's formula, a `mix`, the settings of one preconditioner) is replaced
whole, since half of it would mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError, Location, did_you_mean
from optzoo.files.documents import MAX_VALUES, Document, Loc, read_document
from optzoo.files.explanations import shown
from optzoo.files.overlays import (
    fresh_copy,
    holds,
    lay_over,
    part_of_document,
    place,
    remove,
    renamed,
    value_at,
)
from optzoo.files.unchanged import Source
from optzoo.recipe.names import FIXED
from optzoo.recipe.schema import HERE, SECOND_VERSION, RecipeSpec
from optzoo.recipe.sections import PRECONDITIONERS

MAX_ROUTES = 100
"""Routes, and parts, of one recipe: far more than any model has kinds of parameters."""
MAX_FILTERS = 9
"""Recipes in a row that each filter the direction of the one before."""
MAX_CHAIN = 8
"""Recipes that extend or use one another in a row."""

KINDS_OF_NAMES = {
    "hyperparameters": "hyperparameter",
    "scalars": "scalar",
    "model": "scalar",
    "signals": "signal",
    "buffers": "buffer",
}
_DEEP = {"hyperparameters": 3, "signals": 3, "buffers": 3, "observers": 3}
_WITH_EXPRESSIONS = (
    *("scalars", "model", "signals", "buffers", "preconditioner", "update", "weight_decay"),
    *("averaging", "observers", "evaluate", "point"),
)
_OWN = ("name", "version")
"""What a recipe says for itself, whatever it extends."""
_NOT_IN_PARTS = (
    *("name", "version", "extends", "family", "reference", "notes"),
    *("hyperparameters", "observers", "training", "parts", "routes"),
)
_RENAMED = ("hyperparameters", *_WITH_EXPRESSIONS, "direction")
"""Sections that a child's word is looked for in."""
_DIRECTION = re.compile(r"(?<![\w.])direction(?!\w)")


class Assembly:
    """Puts a recipe together with those that it extends and uses, each read and checked once.

    `find` gives the file of a shipped name or of a path, and `check` raises InputError for a recipe
    that is wrong by itself.
    """

    def __init__(
        self, find: Callable[[str | Path], Path], check: Callable[[Document], object]
    ) -> None:
        self.find, self.check = find, check
        self.known: dict[Path, Document] = {}
        self.chain: list[Path] = []
        self.sources: list[Source] = []

    def read(self, path: Path, asked: str | Path | None = None) -> Document:
        """Return the document of a file, put together but not checked."""
        self.chain.append(path.resolve())
        document = read_document(path)
        self.sources.append((asked or path, path, document.text))
        found = self.put_together(document)
        self.chain.pop()
        return found

    def put_together(self, document: Document) -> Document:
        """Return a recipe's document with what it extends and uses written in.

        Raises InputError for others that are not there, are wrong, or do not fit.
        """
        data = document.data
        if not isinstance(data, dict):
            return document
        _check_version(document)
        found, extended = document, data.get("extends")
        if not isinstance(extended, str | None):
            message = f"`extends`: expected text, not {shown(extended)}"
            where, hint = document.location(("extends",)), "one recipe: a shipped name, or a path"
            raise InputError(Diagnostic("bad-value", message, where, hint))
        if extended is not None:
            parent = self.other(extended, ("extends",), document)
            own = fresh_copy(document)
            remove(own, ("extends",))
            parent = _in_words_of_version_2(parent)
            found = _laid_over(parent, own, parent.data["name"], own_keys=_OWN)
            found.values["extends",] = document.values["extends",]  # mistakes may be shown there
        if found.data.get("routes"):
            found = _with_recipes_used(found, lambda use, loc: self.other(use, loc, found))
        if len(found.values) > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} keys and values with what it extends and uses"
            raise InputError(Diagnostic("too-large", message, document.location(())))
        return found

    def other(self, name: str, loc: Loc, document: Document) -> Document:
        """Return the document of a recipe that another one names; paths are relative to its file.

        Raises InputError, at the name, for one that is not there or needs itself.
        """
        where = document.location(loc)
        is_path = name.endswith((".yaml", ".yml")) or "/" in name
        try:
            asked = Path(document.path).parent / name if is_path else name
            path = self.find(asked)
        except InputError as error:
            found = error.diagnostics[0]
            message, hint = found.message, found.hint
            if is_path:
                hint = "a path is read from the folder of the file that names it"
            elif loc[0] == "routes":
                message = f"`{name}` is neither `{HERE}`, nor a part, nor a shipped recipe"
            raise InputError(Diagnostic(found.code, message, where, hint)) from None
        place = path.resolve()
        if place in self.chain:
            circle = [*self.chain[self.chain.index(place) :], place]
            names = " -> ".join(file.name for file in circle)
            raise InputError(Diagnostic("cycle", f"a recipe needs itself: {names}", where))
        if len(self.chain) >= MAX_CHAIN:
            message = f"more than {MAX_CHAIN} recipes need one another in a row"
            raise InputError(Diagnostic("too-deep", message, where))
        if place not in self.known:
            self.known[place] = self.read(path, asked)
            self.check(self.known[place])
        return self.known[place]


def part_of_recipe(document: Document, name: str) -> Document:
    """Return a flattened recipe with one of its parts laid over it, without parts and routes.

    Raises InputError for what a part cannot say and for names that mean something else already.
    """
    base, part = _rule_of(document), part_of_document(document, ("parts", name))
    faults = []
    for key in part.data:
        if key in _NOT_IN_PARTS:
            message = f"`{key}` cannot be changed by the part `{name}`"
            hint = f"a part changes what a step does; `{key}` is the recipe's"
            if key == "hyperparameters":
                hint = "declare it in the recipe, and give it another value in a route's `set`"
            where = part.location((key,), key=True)
            faults.append(Diagnostic("unknown-key", message, where, hint))
    if faults:
        raise InputError(*faults)
    return _laid_over(base, part, document.data.get("name", "the recipe"))


def _check_version(document: Document) -> None:
    version = document.data.get("version")
    if not isinstance(version, int) or version >= 2:
        return
    faults = [
        Diagnostic(
            "later-version",
            f"`{key}` needs `version: 2`, and this recipe has {version}",
            document.location((key,), key=True),
            "write `version: 2` at the top: all else means what it meant",
        )
        for key in SECOND_VERSION
        if key in document.data
    ]
    if faults:
        raise InputError(*faults)


def _in_words_of_version_2(document: Document) -> Document:
    """Return a recipe with other names for what it calls as version 2 calls something else."""
    defined = {name: loc for name, _, loc in _names_of(document)}
    for name in FIXED if document.data["version"] == 1 else ():
        if name in defined:
            other = f"{name}_"
            while other in defined:
                other += "_"
            document = renamed(document, _RENAMED, name, other)
    return document


# ------------------------------------------------------------------ merging


def _laid_over(
    parent: Document, child: Document, parent_name: str, *, own_keys: tuple[str, ...] = ()
) -> Document:
    """Return the parent's document with the child's changes, as a document of the child's file."""
    found = fresh_copy(parent)
    found.path, found.text = child.path, child.text
    faults = [
        *_collisions(parent, child, parent_name),
        *_vain_removals(parent, child, parent_name),
    ]
    if faults:
        raise InputError(*faults)
    for key in own_keys:
        remove(found, (key,))
    for section in KINDS_OF_NAMES:  # what an earlier child has removed is gone already
        held, there = child.data.get(section), parent.data.get(section) or {}
        names = list(held) if isinstance(held, dict) else []
        for name in (n for n in names if held[n] is None and n not in there):
            remove(child, (section, name))
    filters = _reads_direction(child)
    if filters:
        child = _filtering(found, child)
    chosen = value_at(child, ("preconditioner",))
    if isinstance(chosen, dict) and any(method in chosen for method in PRECONDITIONERS):
        for method in PRECONDITIONERS:
            if isinstance(value_at(found, ("preconditioner",)), dict):
                remove(found, ("preconditioner", method))
    parts = part_of_document(child, ("parts",)) if holds(child, ("parts",)) else None
    remove(child, ("parts",))
    lay_over(found, (), child, (), lambda loc: _DEEP.get(str(loc[0]), 2) if loc else 1)
    if parts is not None:
        _lay_parts_over(found, parts)
    if filters:
        _keep_scale(found, parent)
    faults = list(_still_read(found, parent, child))
    if faults:
        raise InputError(*faults)
    order = {key: i for i, key in enumerate(RecipeSpec.model_fields)}
    found.data = dict(sorted(found.data.items(), key=lambda item: order.get(item[0], len(order))))
    return found


def _lay_parts_over(found: Document, parts: Document) -> None:
    """Merge parts by name: they are changes themselves, so that a `null` inside is kept."""
    if not isinstance(parts.data, dict) or not isinstance(found.data.get("parts"), dict):
        place(found, ("parts",), parts, ())
        return
    for name, part in parts.data.items():
        at: Loc = ("parts", name)
        if part is None:
            remove(found, at)
        else:
            lay_over(found, at, parts, (name,), lambda loc: len(loc) + 1, keeps_nulls=True)


def _collisions(parent: Document, child: Document, parent_name: str) -> Iterator[Diagnostic]:
    """Yield names that the child gives to things of another kind than the parent does."""
    there = {name: (section, loc) for name, section, loc in _names_of(parent)}
    for name, section, loc in _names_of(child):
        section_there, loc_there = there.get(name, (section, loc))
        if section_there == section:
            continue
        is_gone = holds(child, loc_there) and value_at(child, loc_there) is None
        if is_gone or (section_there not in KINDS_OF_NAMES and section_there in child.data):
            continue
        before = parent.location(loc_there, key=True)
        what, was = (KINDS_OF_NAMES.get(s, f"buffer of `{s}`") for s in (section, section_there))
        message = f"`{name}` would be a {what}, and is a {was} of {parent_name} ({before})"
        hint = "give it another name: one name has one meaning"
        if section_there in KINDS_OF_NAMES:
            hint += f"; or take the other away, `{section_there}: {{{name}: null}}`"
        yield Diagnostic("rebound-name", message, child.location(loc, key=True), hint)


def _names_of(document: Document) -> Iterator[tuple[str, str, Loc]]:
    """Yield the names that a document defines, the section of each, and its place."""
    for section in KINDS_OF_NAMES:
        held = document.data.get(section)
        for name, value in held.items() if isinstance(held, dict) else ():
            if value is not None:
                yield name, section, (section, name)
    rms, averaging = value_at(document, ("preconditioner", "rms")), document.data.get("averaging")
    for section, held, assumed in (("preconditioner", rms, "v"), ("averaging", averaging, "b")):
        if isinstance(held, dict):
            yield str(held.get("buffer", assumed)), section, (section,)


def _vain_removals(parent: Document, child: Document, parent_name: str) -> Iterator[Diagnostic]:
    """Yield names that the child removes, or changes a part of, and the parent does not have."""
    for section, kind in KINDS_OF_NAMES.items():
        held, there = child.data.get(section), parent.data.get(section) or {}
        for name, value in held.items() if isinstance(held, dict) else ():
            mark = child.location((section, name), key=True)
            if name in there or mark.path != child.path:
                continue
            message = f"`{name}` is no {kind} of {parent_name}: there is nothing to "
            is_half = isinstance(value, dict) and not {"default", "in", "doc"} <= {*value}
            if value is None or (is_half and section == "hyperparameters"):
                message += "remove" if value is None else "change, and a new one has all its keys"
                hint = did_you_mean(name, there, what=f"{kind}s of {parent_name}")
                yield Diagnostic("unknown-name", message, mark, hint)


def _still_read(found: Document, parent: Document, child: Document) -> Iterator[Diagnostic]:
    """Yield names that the child removes while something of the parent reads them."""
    defined = {name for name, _, _ in _names_of(found)}
    for section in KINDS_OF_NAMES:
        held = child.data.get(section)
        for name, value in held.items() if isinstance(held, dict) else ():
            if value is not None or name in defined:
                continue
            reads = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)")
            where = next(
                (mark for mark, text in _inherited_texts(found, parent) if reads.search(text)), None
            )
            if where is not None:
                message = f"`{name}` is removed here, and {where} still reads it"
                removal = child.location((section, name), key=True)
                yield Diagnostic("unknown-name", message, removal)


def _inherited_texts(found: Document, parent: Document) -> Iterator[tuple[Location, str]]:
    """Yield what a parent's expressions say, and the keys of a mix, with their places."""
    inherited = {*parent.values.values(), *parent.keys.values()}
    for loc, mark in found.values.items():
        is_default = loc[:1] == ("hyperparameters",) and loc[-1:] == ("default",)
        if loc and (is_default or loc[0] in (*_WITH_EXPRESSIONS, "direction")):
            text = value_at(found, loc)
            if isinstance(text, str) and mark in inherited:
                yield mark, text
            if loc[-2:-1] == ("mix",) and found.keys[loc] in inherited:
                yield found.keys[loc], str(loc[-1])


# ------------------------------------------------------------------ the parent's direction


def _filtering(found: Document, child: Document) -> Document:
    """Return the child with `direction` meaning the update of `found`, which is set aside there.

    What `found` calls `direction` itself keeps that name; its update, which filters that already,
    becomes a signal that the child reads.
    """
    update = part_of_document(found, ("update",))
    scale = value_at(update, ("scale",))
    remove(update, ("scale",))
    if "direction" not in found.data:
        place(found, ("direction",), update, ())
        name = "direction"
    else:
        signals = found.data.setdefault("signals", {})
        # as long as `direction`, so that carets still point at what the child wrote
        names = [f"filtered{i}" for i in range(1, MAX_FILTERS + 1)]
        name = next((name for name in names if name not in signals), "")
        if not name:
            message = f"more than {MAX_FILTERS} recipes filter one another's direction"
            raise InputError(Diagnostic("too-deep", message, child.location(())))
        place(found, ("signals", name), update, ())
        if isinstance(update.data, dict):
            _mix_as_input(found, ("signals", name))
        child = renamed(child, _RENAMED, "direction", name)
    mark = found.values.get(("update",))
    remove(found, ("update",))
    found.data["update"] = name if scale is None else {"mix": name, "scale": scale}
    if mark is not None:
        found.values[("update",)] = mark
    return child


def _mix_as_input(found: Document, loc: Loc) -> None:
    held = value_at(found, loc)
    mix = held.pop("mix")
    if isinstance(mix, dict):
        mix = " + ".join(f"({weight})*{name}" for name, weight in mix.items())
    held["input"] = mix


def _keep_scale(found: Document, parent: Document) -> None:
    """Let a filtered direction be scaled as it was, where the child says nothing of that."""
    scale = value_at(parent, ("update", "scale"))
    if scale is None or isinstance(found.data.get("update"), dict | type(None)):
        return
    own = part_of_document(found, ("update",))
    remove(found, ("update",))
    found.data["update"] = {}
    for marks, held in ((found.keys, own.keys), (found.values, own.values)):
        marks.update({("update", *loc): mark for loc, mark in held.items()})
    place(found, ("update", "mix"), own, ())
    place(found, ("update", "scale"), parent, ("update", "scale"))


def _reads_direction(document: Document) -> bool:
    defined = {name for name, _, _ in _names_of(document)}
    texts = (t for s in _WITH_EXPRESSIONS for t in _texts(document.data.get(s)))
    return "direction" not in defined and any(map(_DIRECTION.search, texts))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from _texts(held)


# ------------------------------------------------------------------ what routes use


def _rule_of(document: Document) -> Document:
    """Return a recipe's own rule: all of it but where its parameters go."""
    rule = fresh_copy(document)
    for key in ("parts", "routes"):
        remove(rule, (key,))
    return rule


def _with_recipes_used(document: Document, load: Callable[[str, Loc], Document]) -> Document:
    """Return a document whose routes hold the recipes that they use, but for its own parts."""
    found, known = fresh_copy(document), document.data.get("parts") or {}
    routes = document.data["routes"] if isinstance(known, dict) else ()
    for held, what in ((routes, "routes"), (known, "parts")):
        if isinstance(held, list | dict) and len(held) > MAX_ROUTES:
            message = f"{len(held):,} {what}: at most {MAX_ROUTES}"
            raise InputError(Diagnostic("too-large", message, document.location((what,), key=True)))
    for i, route in enumerate(routes if isinstance(routes, list) else ()):
        use = route.get("use") if isinstance(route, dict) else None
        if isinstance(use, str) and use != HERE and use not in known:
            loc: Loc = ("routes", i, "use")
            place(found, loc, _rule_of(load(use, loc)), ())
    return found
