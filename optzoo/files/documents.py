"""YAML documents with positions: text -> plain values -> a validated pydantic model.

`load_document` reports every mistake of a file at once, each with file, line, column and a caret.
It is used for recipes, setups and sweeps alike and knows nothing of their meaning.

Bounds: 1 MiB of text, 40 levels of nesting, 20,000 keys and values, as many values after aliases
are expanded, 200 characters in a key and 300 in a number. YAML is read as YAML 1.2 would: only
`true` and `false` are booleans, and `1e-3` is a number.
"""

from __future__ import annotations

import math
import os
import re
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from optzoo.errors import CONTROLS, Diagnostic, InputError, Location, did_you_mean, nearest
from optzoo.files.cut_values import CutValue, cut_values
from optzoo.files.explanations import explain, shown
from optzoo.files.known_keys import field_names, fields_at, homes_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_KEY = 200
MAX_NUMBER = 300
MAX_REPORTED = 100
"""Mistakes of one file that are told apart; there is no use in more."""
MAX_HOMES = 2
"""Sections that have a key of the same name, told where it stands in another."""

Loc = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where YAML ends a line; `str.splitlines` knows more places."""
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf")}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass
class Document:
    """The values of a YAML file and where each of them stands.

    `keys` and `values` map a path such as `("buffers", "m", "decay")` to the position of the key
    and of the value.
    """

    path: str
    text: str
    data: Any = None
    keys: dict[Loc, Location] = field(default_factory=dict)
    values: dict[Loc, Location] = field(default_factory=dict)
    cuts: dict[Loc, Diagnostic] = field(default_factory=dict)
    """What is wrong where a comma has cut a value in two, by the places of its parts."""

    def location(self, loc: Loc, *, key: bool = False, offset: int = 0, width: int = 0) -> Location:
        """Return where `loc` stands, or the nearest enclosing place that has a position.

        `offset` and `width` select characters inside a one-line value.
        """
        marks = self.keys if key else self.values
        if loc not in marks:
            loc = self.known_prefix(loc)
            marks = marks if loc in marks else self.values if loc in self.values else self.keys
        mark = marks.get(loc) or Location(self.path, 1, 1, 1, self._line(1))
        if offset or width:
            quoted = mark.text[mark.column - 1 : mark.column] in "'\""
            column = mark.column + offset + (1 if quoted else 0)
            return Location(mark.path, mark.line, column, width or 1, mark.text)
        return mark

    def known_prefix(self, loc: Loc) -> Loc:
        """Return the longest part of a path that the document has, tags of unions left out."""
        known: Loc = ()
        for part in loc:  # pydantic puts the tags of unions between the real keys: skip them
            if (*known, part) in self.values:
                known = (*known, part)
        return known

    @cached_property
    def _lines(self) -> list[str]:
        return _LINE_BREAK.split(self.text)

    def _line(self, number: int) -> str:
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""


def read_document(path: str | Path) -> Document:
    """Read a YAML file into plain values with positions.

    Raises InputError when it cannot be read, is too large, or is not the YAML described above.
    """
    return parse_document(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """Return the text of a regular file of at most `MAX_BYTES` in UTF-8.

    Raises InputError for anything else, before it is read.
    """
    try:
        return _bounded_bytes(path).decode()
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 text (byte {error.start})"
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
    raise InputError(Diagnostic("unreadable", message))


def _bounded_bytes(path: str | Path) -> bytes:
    # without waiting: opening a pipe that nobody writes to would wait for ever
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise InputError(Diagnostic("unreadable", f"{path}: is {kind}, not a file"))
        data = bytearray()
        while status.st_size <= MAX_BYTES and len(data) <= MAX_BYTES:
            part = os.read(handle, MAX_BYTES + 1 - len(data))
            if not part:
                return bytes(data)
            data += part
        message = f"{path}: {max(status.st_size, len(data)):,} bytes; a recipe or setup has at most"
        hint = "is this the right file?"
        raise InputError(Diagnostic("too-large", f"{message} {MAX_BYTES:,}", hint=hint))
    finally:
        os.close(handle)


def parse_document(text: str, path: str) -> Document:
    """Parse YAML text; see `read_document`."""
    document = Document(path, text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        message = f"{path}: character {error.start} is half of a surrogate pair, not text"
        raise InputError(Diagnostic("unreadable", message)) from None
    if size > MAX_BYTES:
        raise InputError(Diagnostic("too-large", f"{path}: more than {MAX_BYTES:,} bytes"))
    try:
        root = _BoundedLoader(document).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = _mark_location(document, mark) if mark else None
        message = f"not valid YAML: {error.problem or error.context}"
        raise InputError(Diagnostic("bad-yaml", message, location, _quoting(error))) from None
    except yaml.YAMLError as error:
        raise InputError(Diagnostic("bad-yaml", f"{path}: not valid YAML: {error}")) from None
    except InputError:
        raise
    except (ValueError, OverflowError):  # an escape beyond the last character of Unicode
        message = f"{path}: not valid YAML: an escape stands for no character"
        raise InputError(Diagnostic("bad-yaml", message)) from None
    if root is None:
        raise InputError(Diagnostic("empty", f"{path}: the file is empty"))
    document.data = _Builder(document).build(root, ())
    return document


def _quoting(error: yaml.MarkedYAMLError) -> str | None:
    """Return a hint where the fault may be an interval or a list of arguments without quotes."""
    if "flow" not in (error.context or ""):
        return None
    return 'inside braces quote what has commas or brackets: `in: "[0, inf)"`'


class _BoundedLoader(yaml.BaseLoader):
    """Reads YAML into nodes; what is nested too deep or holds too many values ends it."""

    def __init__(self, document: Document) -> None:
        super().__init__(document.text)
        self.document = document
        self.depth = self.nodes = 0

    def get_event(self) -> Any:
        """Take the next event, of which every node is composed: no recursion runs ahead of it."""
        event = super().get_event()  # type: ignore[no-untyped-call]
        self.nodes += isinstance(event, yaml.NodeEvent)
        self.depth += isinstance(event, yaml.CollectionStartEvent)
        self.depth -= isinstance(event, yaml.CollectionEndEvent)
        if self.depth > MAX_DEPTH:
            raise _too_deep(_mark_location(self.document, event.start_mark))
        if self.nodes > MAX_VALUES:
            raise _too_many(_mark_location(self.document, event.start_mark))
        return event


def _too_deep(where: Location) -> InputError:
    return InputError(Diagnostic("too-deep", f"nested more than {MAX_DEPTH} levels deep", where))


def _too_many(where: Location) -> InputError:
    message = f"more than {MAX_VALUES:,} keys and values, or values once aliases are expanded"
    return InputError(Diagnostic("too-large", message, where))


def load_document(path: str | Path, model: type[M], *, what: str = "file") -> tuple[M, Document]:
    """Read and validate a YAML file; every mistake is reported in one InputError."""
    document = read_document(path)
    return validate_document(document, model, what=what), document


def validate_document(document: Document, model: type[M], *, what: str = "file") -> M:
    """Validate the values of a document; every mistake is reported in one InputError."""
    if not isinstance(document.data, dict):
        raise InputError(
            Diagnostic(
                "not-a-mapping",
                f"a {what} is a mapping of keys to values",
                document.location(()),
                hint=f"known keys: {', '.join(field_names(model))}",
            )
        )
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise InputError(*_diagnostics(error, document, model)) from None


def _mark_location(document: Document, mark: Any, width: int = 1) -> Location:
    line = document._line(mark.line + 1)
    return Location(document.path, mark.line + 1, mark.column + 1, width, line)


class _Builder:
    """Turn a composed YAML node into plain values, noting where each one stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0
        self.active: set[int] = set()

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        self.count += 1
        where = self._locate(node)
        if self.count > MAX_VALUES:
            raise _too_many(where)
        if len(loc) > MAX_DEPTH:  # through aliases
            raise _too_deep(where)
        self.document.values[loc] = where
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        if id(node) in self.active:
            raise InputError(Diagnostic("bad-yaml", "an alias refers to itself", where))
        self.active.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            result: Any = [self.build(item, (*loc, i)) for i, item in enumerate(node.value)]
        else:
            assert isinstance(node, yaml.MappingNode)
            result = self._mapping(node, loc)
        self.active.discard(id(node))
        return result

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            where = self._locate(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(Diagnostic("bad-yaml", "a key must be a word", where))
            key = _text(key_node.value, where)
            if len(key) > MAX_KEY:
                message = f"a key of {len(key):,} characters: at most {MAX_KEY}"
                raise InputError(Diagnostic("too-large", message, where))
            if key in result:
                message = f"the key `{key}` appears twice"
                raise InputError(Diagnostic("duplicate-key", message, where))
            self.document.keys[(*loc, key)] = where
            result[key] = self.build(value_node, (*loc, key))
        for cut in cut_values(node, self.document.text):
            parts = [(*loc, key) for key in (cut.key, *cut.rests)]
            self.document.cuts |= dict.fromkeys(parts, self._cut(cut))
        return result

    def _cut(self, cut: CutValue) -> Diagnostic:
        ended, whole = shown(cut.value.value), " ".join(cut.text.split())
        message = f"`{cut.key}`: inside braces a comma ends the value, here after {ended}"
        hint = "quote what has a comma"
        if len(whole) <= MAX_KEY:
            hint += f': `{cut.key}: "{whole}"`'
        return Diagnostic("bad-value", message, self._locate(cut.value, len(whole)), hint)

    def _locate(self, node: yaml.Node, width: int = 0) -> Location:
        start, end = node.start_mark, node.end_mark
        same_line = start.line == end.line
        width = width or (end.column - start.column if same_line else 1)
        return _mark_location(self.document, start, max(1, width))

    def _scalar(self, node: yaml.ScalarNode, where: Location) -> Any:
        text = _text(node.value, where)
        if node.style is not None:  # quoted or block text stays text
            return text
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if text.lower() in _SPECIAL:
            return _SPECIAL[text.lower()]
        is_int = _INT.fullmatch(text) is not None
        if not is_int and not _FLOAT.fullmatch(text):
            return text
        if len(text) > MAX_NUMBER:
            message = f"a number of {len(text):,} characters: at most {MAX_NUMBER}"
            raise InputError(Diagnostic("bad-value", message, where))
        return int(text.replace("_", "")) if is_int else number_or_text(text.replace("_", ""))


def number_or_text(text: str) -> float | str:
    """Return the number that a text is, else the text.

    What float64 would make 0 or infinite stays text, for others to refuse as it was written.
    """
    try:
        value = float(text)
    except ValueError:
        return text
    vanishes = value == 0 and any(c in "123456789" for c in text.lower().partition("e")[0])
    overflows = math.isinf(value) and any(c.isdigit() for c in text)
    return text if vanishes or overflows else value


def _text(text: str, where: Location) -> str:
    """Return the text of a node. Raises InputError where it would act on a terminal, or is none."""
    match = CONTROLS.search(text)
    if match is not None:
        message = f"the character U+{ord(match[0]):04X} is not text"
        hint = "control characters, and halves of surrogate pairs, stand for nothing here"
        raise InputError(Diagnostic("bad-value", message, where, hint))
    return text


def _diagnostics(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> list[Diagnostic]:
    found: dict[tuple[str, Loc], Diagnostic] = {}
    items = error.errors()[:MAX_REPORTED]
    misspelt = {
        (*loc[:-1], nearest(str(loc[-1]), fields_at(model, loc[:-1])))
        for loc in (item["loc"] for item in items if item["type"] == "extra_forbidden")
    }
    for item in items:
        if item["type"] == "missing" and item["loc"] in misspelt:
            continue  # it is there under another name, and that is what is told
        loc: Loc = tuple(item["loc"])
        kind = item["type"]
        if kind == "extra_forbidden":
            diagnostic = _unknown_key(loc, document, model)
        elif kind == "missing":
            diagnostic = _missing_key(loc, document, model)
        else:
            diagnostic = _bad_value(loc, dict(item), document)
        # the branches of a union each complain: one message per place is enough
        place = loc if kind == "missing" else document.known_prefix(loc)
        diagnostic = document.cuts.get(place, diagnostic)
        found.setdefault((diagnostic.code, place), diagnostic)
    return sorted(
        dict.fromkeys(found.values()),  # what a comma has cut is one mistake in several places
        key=lambda d: (d.location.line, d.location.column) if d.location else (0, 0),
    )


def _unknown_key(loc: Loc, document: Document, model: type[BaseModel]) -> Diagnostic:
    name = str(loc[-1])
    message = f"`{name}` is not a key of {_place(document.known_prefix(loc[:-1]))}"
    known, homes = fields_at(model, loc[:-1]), homes_of(name, model)
    hint = f"`{name}` is a key of {' and '.join(homes)}" if 0 < len(homes) <= MAX_HOMES else ""
    if not hint or nearest(name, known) is not None:
        hint = f"{did_you_mean(name, known, what='known keys')} {hint}".strip()
    return Diagnostic("unknown-key", message, document.location(loc, key=True), hint)


def _missing_key(loc: Loc, document: Document, model: type[BaseModel]) -> Diagnostic:
    name = str(loc[-1])
    parent = document.known_prefix(loc[:-1])
    message = f"{_place(parent)} lacks the key `{name}`"
    doc = fields_at(model, loc[:-1]).get(name)
    hint = f"`{name}`: {doc}" if doc else None
    where = document.location(parent, key=parent in document.keys)
    return Diagnostic("missing-key", message, where, hint)


def _bad_value(loc: Loc, item: dict[str, Any], document: Document) -> Diagnostic:
    context = item.get("ctx") or {}
    message, hint = explain(item)
    if item["type"] == "literal_error":
        message = f"`{item['input']}` is not allowed here"
        hint = f"write {context['expected']}"
    is_key = bool(loc) and loc[-1] == "[key]"
    known = document.known_prefix(loc)
    label = ".".join(str(part) for part in known)
    if label and label not in message and not is_key:
        message = f"`{label}`: {message[0].lower()}{message[1:]}"
    where = document.location(
        known, key=is_key, offset=context.get("offset", 0), width=context.get("width", 0)
    )
    return Diagnostic("bad-value", message, where, hint)


def _place(loc: Loc) -> str:
    return f"`{'.'.join(str(part) for part in loc)}`" if loc else "the file"
