"""The passes of a preparation, and the note that it goes on from when it was stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optzoo.data.manifest import PROGRESS
from optzoo.data.preparation.bar import Bar
from optzoo.data.preparation.readers import Reading
from optzoo.data.preparation.request import Request
from optzoo.data.preparation.source_file import (
    ChangedSourceError,
    DamagedSourceError,
    SourceFile,
)
from optzoo.data.preparation.source_identity import check_sources, is_place
from optzoo.data.preparation.split_pass import Limits, PassState, Share, SplitPass
from optzoo.data.token_files import dtype_for
from optzoo.data.tokenizer import Tokenizer
from optzoo.errors import Diagnostic, InputError
from optzoo.files.atomic import write_durably
from optzoo.files.sealed import DamagedFileError, read_object, seal, unseal

OWN_SOURCE = "its own source"
OFFICIAL_SPLIT = "official split"
HELD_OUT = "held out"
END_OF_TEXT = "the end of the text"


@dataclass(frozen=True)
class Begun:
    """What was noted when a shard was finished; `inputs` is what an older optzoo noted.

    `origin` says where the validation text was from, None in an older note.
    """

    request: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    origin: str | None
    states: Mapping[str, PassState]
    inputs: Mapping[str, Any]

    @property
    def has_skipped(self) -> bool:
        """Whether anything was left out so far."""
        return any(state.skipped for state in self.states.values())


def read_progress(out: Path) -> Begun | None:
    """Return how far a directory has come; None before its first shard.

    Raises InputError where the note is damaged.
    """
    path = out / PROGRESS
    try:
        data = read_object(path)
        if "inputs" not in data:  # those of an older optzoo had no seal
            data = unseal(data, PROGRESS)
        states = {name: PassState.from_json(split) for name, split in data["splits"].items()}
        inputs = data.get("inputs", {})
        tokenizer = inputs["tokenizer"] if inputs else data["tokenizer"]
        begun = Begun(data["request"], tokenizer, data.get("origin"), states, inputs)
    except FileNotFoundError:
        return None
    except (DamagedFileError, ValueError, AttributeError, KeyError, TypeError):
        raise InputError(
            Diagnostic(
                "damaged-data",
                f"{path} is damaged: it is not what `optzoo data prepare` wrote",
                hint=f"remove `{out}` and begin again, or name another `--out`",
            )
        ) from None
    return begun if any(state.shards for state in states.values()) else None


@dataclass
class Work:
    """Both passes, over their files. `origin` says where the validation text is from."""

    request: Request
    out: Path
    tokenizer: Tokenizer
    train_files: list[SourceFile]
    validation_files: list[SourceFile]
    origin: str

    def __post_init__(self) -> None:
        self.files = {"train": self.train_files, "validation": self.validation_files}
        self.states = {name: PassState() for name in self.files}
        self.reading = Reading(self.request.text_field, self.request.lines)

    def go_on(self, begun: Begun) -> None:
        """Take up what was done. Raises ChangedSourceError where it was made of something else."""
        since = f"`{self.out}` was begun"
        if begun.tokenizer != asdict(self.tokenizer.identity):
            raise ChangedSourceError(self.request.tokenizer, since)
        if begun.origin not in (None, self.origin):  # a second text beside a single one, say
            raise ChangedSourceError(", ".join(self.request.sources), since)
        self.states |= begun.states
        for name, files in self.files.items():
            state = self.states[name]
            state.keep_first(self._count_whole(state))
            check_sources(files, state.files, self.reading, since)
            place = state.place
            if state.done:
                if len(files) > len(state.files) and not state.is_cut:
                    raise ChangedSourceError(files[len(state.files)].name, since, "was added")
            elif place.record:
                old = begun.inputs[name][place.file] if begun.inputs else None
                known = place.opened or old or {}
                if place.file >= len(files) or not is_place(files[place.file], known, old):
                    raise ChangedSourceError(known.get("name", "a source"), since)

    def run(self, *, quiet: bool) -> None:
        """Make what is not made yet.

        What was made of a source that turns out to be damaged is not kept: its text may be wrong.
        """
        self._save()
        try:
            for name in self.files:
                self._run_pass(name, quiet=quiet)
        except DamagedSourceError as error:
            for name, files in self.files.items():
                if error.source in files:
                    self.states[name].forget(files.index(error.source))
            self._save()
            raise

    def _run_pass(self, name: str, *, quiet: bool) -> None:
        request, files = self.request, self.files[name]
        limits = {
            "train": Limits(request.max_tokens, request.max_documents),
            "validation": Limits(request.max_validation_tokens, None),
        }[name]
        share = None
        if self.origin in (HELD_OUT, END_OF_TEXT):
            is_end = self.origin == END_OF_TEXT
            share = Share(request.hold_out, name == "validation", inside=is_end)
        before = self.states["train"].files if share and name == "validation" else []
        with Bar(name, files, limits.tokens, self.states[name].tokens, quiet=quiet) as bar:
            SplitPass(
                self.out,
                name,
                self.tokenizer,
                files,
                self.reading,
                limits,
                share,
                before,
                skip_bad=request.skip_bad,
                shard_tokens=request.shard_tokens,
            ).run(self.states[name], self._save, bar)

    def _count_whole(self, state: PassState) -> int:
        """Return how many shards are on the disk, up to the first that is not."""
        size = int(dtype_for(self.tokenizer.identity.vocabulary)[-1])
        for number, shard in enumerate(state.shards):
            for kind, length in (("tokens", size * shard.tokens), ("index", 16 * shard.documents)):
                path = self.out / f"{shard.name}.{kind}"
                if not path.exists() or os.path.getsize(path) != length:
                    return number
        return len(state.shards)

    def _save(self) -> None:
        data = {
            "request": self.request.to_json(),
            "tokenizer": asdict(self.tokenizer.identity),
            "origin": self.origin,
            "splits": {name: state.to_json() for name, state in self.states.items()},
        }
        write_durably(self.out / PROGRESS, seal(data))
