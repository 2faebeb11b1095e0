"""The manifest of a prepared directory: what it holds, what it was made from, and its identity.

    manifest.json     there only when the directory is complete
    progress.json     there only while it is not
    tokenizer.json    the tokenizer, where it is not bytes, as it was read
    SPLIT-NNNNN.tokens, SPLIT-NNNNN.index     see `optzoo.data.token_files`

The fingerprint is a hash of what training sees: tokens, document boundaries, bytes, vocabulary,
separator and tokenizer. Where the text came from, and when, is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError, check_version
from optzoo.files.atomic import to_json, write_durably

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Shard:
    """One token file and its index."""

    name: str
    tokens: int
    documents: int
    bytes: int
    tokens_sha256: str
    index_sha256: str


@dataclass(frozen=True)
class Split:
    """The shards of `train` or `validation`, the files they were read from, what was left out."""

    shards: tuple[Shard, ...]
    files: tuple[Mapping[str, Any], ...]
    skipped: Mapping[str, int]

    @property
    def tokens(self) -> int:
        """Tokens, separators included."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def documents(self) -> int:
        """Documents."""
        return sum(shard.documents for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of original UTF-8 text."""
        return sum(shard.bytes for shard in self.shards)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Split:
        """Read what `asdict` and JSON made of a split."""
        shards = tuple(Shard(**shard) for shard in data["shards"])
        return cls(shards, tuple(data["files"]), dict(data["skipped"]))


@dataclass(frozen=True)
class TokenizerIdentity:
    """A tokenizer by name, content and what a reader of tokens needs to know."""

    name: str
    kind: str
    sha256: str
    vocabulary: int
    end_of_document: int


@dataclass(frozen=True)
class Manifest:
    """A complete prepared directory."""

    request: Mapping[str, Any]
    tokenizer: TokenizerIdentity
    dtype: str
    train: Split
    validation: Split
    validation_from: str

    @property
    def fingerprint(self) -> str:
        """The sha256 of everything that training sees."""
        splits = {"train": self.train, "validation": self.validation}
        content = {
            "format_version": FORMAT_VERSION,
            "tokenizer": {**asdict(self.tokenizer), "name": None},
            "dtype": self.dtype,
            "splits": {
                name: [[shard.tokens_sha256, shard.index_sha256] for shard in split.shards]
                for name, split in splits.items()
            },
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def title(self) -> str:
        """What the text is, in a few words."""
        sources = ", ".join(self.request["sources"])
        return f"{sources}, tokens of {self.tokenizer.name}"

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        totals = {
            name: {"tokens": split.tokens, "documents": split.documents, "bytes": split.bytes}
            for name, split in (("train", self.train), ("validation", self.validation))
        }
        return {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            **asdict(self),
            "totals": totals,
        }

    def save(self, folder: Path) -> None:
        """Write the manifest: from here on the directory is complete."""
        write_durably(folder / MANIFEST, to_json(self.to_json()))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a prepared directory.

    Raises InputError when there is none, when it is newer than this program, or when it was
    changed: its fingerprint must be that of what it lists.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        check_version(f"{path} has format", data["format_version"], FORMAT_VERSION)
        manifest = Manifest(
            request=data["request"],
            tokenizer=TokenizerIdentity(**data["tokenizer"]),
            dtype=data["dtype"],
            train=Split.from_json(data["train"]),
            validation=Split.from_json(data["validation"]),
            validation_from=data["validation_from"],
        )
        unchanged = manifest.fingerprint == data["fingerprint"]
    except OSError:
        raise _missing(folder) from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        unchanged = False
    if not unchanged:
        raise InputError(
            Diagnostic(
                "bad-manifest",
                f"{path} is damaged: it is not what `optzoo data prepare` wrote",
                hint="prepare the data again in another directory",
            )
        )
    return manifest


def _missing(folder: Path) -> InputError:
    if (folder / PROGRESS).exists():
        return InputError(
            Diagnostic(
                "unfinished-data",
                f"the data in {folder} is not complete",
                hint="give the same `optzoo data prepare` command again: it goes on where it was",
            )
        )
    return InputError(
        Diagnostic(
            "no-data",
            f"there is no prepared data at {folder}",
            hint="a prepared directory has a `manifest.json`; `optzoo data prepare` makes one",
        )
    )
