"""What of a setup makes a run the run it is, and what may change while it is under way.

Where and how it is computed may change, and so may how long it trains, how often it looks at itself
and what it keeps. Everything else decides the numbers, and is fixed when a run begins. Every change
is recorded in the run. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from optzoo.files.explanations import explain
from optzoo.files.sealed import DamagedFileError, hash_values
from optzoo.train.setup.provenance import CHANGED, leaf_paths
from optzoo.train.setup.schema import Setup

PLACE = (
    *("data.path", "batch.micro_sequences", "execution.device", "execution.engine"),
    *("execution.threads", "execution.parallel", "execution.compile"),
    "execution.activation_checkpointing",
)
"""Fields about where and how a run is computed: they decide the last bits at most."""

COURSE = ("budget", "evaluation.every", "checkpoint", "metrics", "sample")
"""Sections and fields about how long a run goes on, and what it does beside training."""

MAY_CHANGE = (
    "`budget`, `evaluation.every`, `checkpoint`, `metrics`, `sample`, `data.path`, and where and "
    "how it is computed (`execution.threads`, `execution.device`, `batch.micro_sequences`, ...)"
)


@dataclass(frozen=True)
class FieldChange:
    """A field with another value than before; None where there is none."""

    path: str
    before: Any
    after: Any

    @property
    def is_free(self) -> bool:
        """Whether a run that has begun may take it."""
        return _is_under(self.path, (*PLACE, *COURSE))

    def __str__(self) -> str:
        return f"`{self.path}` {_shown(self.before)} -> {_shown(self.after)}"


def setup_changes(before: Setup, after: Setup) -> list[FieldChange]:
    """Return the fields in which two setups differ, the name among them, sources not."""
    old, new = _leaves(before), _leaves(after)
    paths = [*old, *(path for path in new if path not in old)]
    return [
        FieldChange(path, old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path)
    ]


def hash_setup(setup: Setup) -> str:
    """Return the sha256 (hex) of what is fixed when a run begins."""
    fixed = {k: v for k, v in _leaves(setup).items() if not _is_under(k, (*PLACE, *COURSE))}
    return hash_values(fixed)


def recorded_values(setup: Setup) -> dict[str, Any]:
    """Return what a run records of its setup: all but the sources."""
    return {"name": setup.name, **setup.values()}


def recorded_setup(values: Mapping[str, Any]) -> Setup:
    """Return the setup of recorded values; fields that are newer than they have their defaults.

    Raises DamagedFileError where they are no setup.
    """
    try:
        return Setup.model_validate(values)
    except ValidationError as error:
        message, _ = explain(error.errors()[0])
        raise DamagedFileError(f"its setup is none: {message}") from None


def with_place_of(setup: Setup, other: Setup) -> Setup:
    """Return the setup computed where and how `other` is."""
    return _with_fields_of(setup, other, PLACE)


def with_course_of(setup: Setup, other: Setup) -> Setup:
    """Return the setup with the course of `other`, and its data; it becomes no shorter by that."""
    shorter = other.num_steps < setup.num_steps
    kept = ("budget",) if shorter else ()
    return _with_fields_of(setup, other, ("data.path", *(p for p in COURSE if p not in kept)))


def _with_fields_of(setup: Setup, other: Setup, prefixes: tuple[str, ...]) -> Setup:
    """Return the setup with fields of another; a field that becomes another says so."""
    data = setup.model_dump()
    ours, theirs = _leaves(setup), _leaves(other)
    paths = [path for path in {**ours, **theirs} if _is_under(path, prefixes)]
    for path in paths:
        section, _, name = path.partition(".")
        data[section].pop(name, None)
        if path in theirs:
            data[section][name] = theirs[path]
    changed = {path: CHANGED for path in paths if ours.get(path) != theirs.get(path)}
    same_fields = all((path in ours) == (path in theirs) for path in paths)
    data["sources"] = {**setup.sources, **changed} if setup.sources and same_fields else {}
    return Setup.model_validate(data)


def _leaves(setup: Setup) -> dict[str, Any]:
    return dict(leaf_paths(recorded_values(setup)))


def _is_under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any((path + ".").startswith(prefix + ".") for prefix in prefixes)


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
