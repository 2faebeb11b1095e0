"""The exception tree and the way a mistake is shown.

    OptzooError
      InputError     the user's input is at fault: recipe, setup, flag, checkpoint, data   exit 2
      RunError       the input was fine and the run failed: a non-finite loss, a full disk exit 1

An error carries one or more `Diagnostic`s. Each names the file, line and column where it can, says
what is wrong with the user's own words in backticks, shows the line with a caret and, after a blank
line, what to do. Nothing here depends on colour.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_SHOWN = 100
"""Characters of a source line that a message shows."""
MAX_KNOWN = 300
"""Names among which the nearest is looked for; of more, a hint says nothing."""
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that act on a terminal instead of being shown, and halves of surrogate pairs."""


def printable(text: str) -> str:
    """Return a text in which what would act on a terminal is written as an escape."""
    return CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


@dataclass(frozen=True)
class Location:
    """A place in a text file. Lines and columns count from 1."""

    path: str
    line: int
    column: int = 1
    width: int = 1
    text: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: a stable `code` (`unknown-name`), a message, where it is, and a hint."""

    code: str
    message: str
    location: Location | None = None
    hint: str | None = None

    def render(self) -> str:
        """Return the text a person reads, without a trailing line feed."""
        if self.location is None:
            lines = [printable(f"error: {self.message}")]
        else:
            lines = [printable(f"error: {self.location}: {self.message}")]
            if self.location.text:
                text, column, width = _window(self.location)
                gutter = f"{self.location.line:5d}"
                lines.append(f"{gutter} | {text}")
                lines.append(f"{' ' * len(gutter)} | {' ' * column}{'^' * width}")
        if self.hint:
            lines += ["", printable(f"hint: {self.hint}")]
        return "\n".join(lines)


def _window(location: Location) -> tuple[str, int, int]:
    """Return the part of a line to show, where the caret starts in it, and how wide it is."""
    text, column = CONTROLS.sub("\N{REPLACEMENT CHARACTER}", location.text), location.column - 1
    start = max(0, column - MAX_SHOWN // 2) if len(text) > MAX_SHOWN else 0
    shown = text[start : start + MAX_SHOWN]
    lead, tail = "..." if start else "", "..." if start + MAX_SHOWN < len(text) else ""
    width = min(max(1, location.width), max(1, start + len(shown) - column))
    return lead + shown + tail, column - start + len(lead), width


class OptzooError(Exception):
    """Base of every error that optzoo raises on purpose."""

    exit_code = 1

    def __init__(self, *diagnostics: Diagnostic | str, hint: str | None = None) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(
            d if isinstance(d, Diagnostic) else Diagnostic("error", d, hint=hint)
            for d in diagnostics
        )
        super().__init__("\n\n".join(d.render() for d in self.diagnostics))


class InputError(OptzooError, ValueError):
    """What the user gave is wrong; nothing was changed."""

    exit_code = 2


class RunError(OptzooError, RuntimeError):
    """A run with good input failed; what was saved before is still there."""

    exit_code = 1


UPGRADE = "upgrade optzoo: pip install -U optzoo"
"""What to do with a file of a later format."""


def check_version(what: str, version: int, newest: int) -> None:
    """Raise InputError where `version` is beyond the `newest` that is read.

    `what` begins the message: a path, and which of its formats the version is of.
    """
    if version > newest:
        raise InputError(
            Diagnostic(
                "newer-format",
                f"{what} {version}; this optzoo reads up to {newest}",
                hint=UPGRADE,
            )
        )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like `word`, or None when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str], *, what: str = "known names") -> str:
    """Return a hint: the nearest known word, or the list of all of them."""
    names = sorted(known)
    if len(names) > MAX_KNOWN:
        return f"there are {len(names):,} {what} here, and this is none of them"
    match = nearest(word, names)
    if match is not None:
        return f"did you mean `{match}`?"
    return f"{what}: {', '.join(names)}" if names else f"there are no {what} here"
