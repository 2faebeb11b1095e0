"""The manifest of a prepared directory: what it holds, what it was made from, and its identity.

    manifest.json     there only when the directory is complete
    progress.json     there only while it is not
    tokenizer.json    the tokenizer, where it is not bytes, as it was read
    SPLIT-NNNNN.tokens, SPLIT-NNNNN.index     see `optzoo.data.token_files`

The fingerprint is a hash of what training sees: tokens, document boundaries, bytes, vocabulary,
separator and tokenizer. Where the text came from, and when, is not part of it; the seal of the
manifest covers that too, and all numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optzoo.errors import Diagnostic, InputError, check_version, printable
from optzoo.files.atomic import write_durably
from optzoo.files.sealed import SEAL, DamagedFileError, read_object, seal, unseal

FORMAT_VERSION = 2
_FINGERPRINT_VERSION = 1  # part of every fingerprint: a change is another name for the same text
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
CHANGED = "it is not what `optzoo data prepare` wrote"


_NAME = re.compile(r"(train|validation)-\d{5,}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One token file and its index. `blocks` are short hashes of the parts of the token file."""

    name: str
    tokens: int
    documents: int
    bytes: int
    tokens_sha256: str
    index_sha256: str
    blocks: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shard:
        """Read what JSON made of a shard. Raises ValueError and TypeError for what is none."""
        shard = cls(**{**data, "blocks": tuple(data.get("blocks", ()))})
        counts = (shard.tokens, shard.documents, shard.bytes)
        hashes = (shard.tokens_sha256, shard.index_sha256)
        if not _NAME.fullmatch(shard.name) or not all(map(_HASH.fullmatch, hashes)):
            raise ValueError(shard.name)
        if not all(type(count) is int and count > 0 for count in counts):
            raise ValueError(counts)
        return shard


@dataclass(frozen=True)
class Split:
    """The shards of `train` or `validation`, the files they were read from, what was left out.

    `stream` identifies the row of tokens: see `optzoo.data.stream_hash`.
    """

    shards: tuple[Shard, ...]
    files: tuple[Mapping[str, Any], ...]
    skipped: Mapping[str, int]
    stream: tuple[tuple[str, str], ...]

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
        """Read what `asdict` and JSON made of a split, or an older optzoo, without `stream`."""
        shards = tuple(Shard.from_json(shard) for shard in data["shards"])
        files = tuple(data["files"])
        if not shards or not all(isinstance(file["name"], str) for file in files):
            raise ValueError("a split without files")
        hashes = data.get("stream", [(s.tokens_sha256, s.index_sha256) for s in shards])
        stream = tuple((tokens, index) for tokens, index in hashes)
        return cls(shards, files, dict(data["skipped"]), stream)


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
            "format_version": _FINGERPRINT_VERSION,
            "tokenizer": {**asdict(self.tokenizer), "name": None},
            "dtype": self.dtype,
            "splits": {
                name: [list(hashes) for hashes in split.stream] for name, split in splits.items()
            },
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def title(self) -> str:
        """What the text is, in a few words."""
        sources = ", ".join(self.request["sources"])
        return printable(f"{sources}, tokens of {self.tokenizer.name}")

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
        write_durably(folder / MANIFEST, seal(self.to_json()))


def data_folder(path: str | Path) -> Path:
    """Return the folder that a path stands for, `~` for the home folder.

    Raises InputError for one that the system cannot look into.
    """
    folder = Path(os.path.expanduser(path))
    try:
        (folder / MANIFEST).exists()
    except OSError as error:
        problem = f"{folder} cannot be read: {error.strerror or error}"
        raise InputError(Diagnostic("unreadable", problem)) from None
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a prepared directory.

    Raises InputError when there is none, when it is newer than this program, or when it was
    changed: its seal and its fingerprint must be those of what it lists.
    """
    path = folder / MANIFEST
    try:
        data = read_object(path)
        version = int(data["format_version"])
        check_version(f"{path} has format", version, FORMAT_VERSION)
        if version > 1 or SEAL in data:  # the first version had none
            data = unseal(data, MANIFEST)
        manifest = _parse(data)
        fault = None if manifest.fingerprint == data["fingerprint"] else CHANGED
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(folder) from None
    except OSError as error:
        raise InputError(
            Diagnostic("unreadable", f"{path} cannot be read: {error.strerror or error}")
        ) from None
    except (DamagedFileError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        fault = str(error) if isinstance(error, DamagedFileError) else CHANGED
    if fault is not None:
        raise InputError(
            Diagnostic(
                "bad-manifest",
                f"{path} is damaged: {fault}",
                hint="prepare the data again in another directory",
            )
        )
    return manifest


def _parse(data: Mapping[str, Any]) -> Manifest:
    """Return the manifest in JSON values. Raises KeyError, TypeError, ValueError for none."""
    tokenizer = TokenizerIdentity(**data["tokenizer"])
    manifest = Manifest(
        request=data["request"],
        tokenizer=tokenizer,
        dtype=data["dtype"],
        train=Split.from_json(data["train"]),
        validation=Split.from_json(data["validation"]),
        validation_from=data["validation_from"],
    )
    if not 0 <= tokenizer.end_of_document < tokenizer.vocabulary <= 1 << 32:
        raise ValueError(tokenizer.end_of_document)
    if manifest.dtype not in ("<u2", "<u4") or not {"sources", "end_of_document"} <= set(
        manifest.request
    ):
        raise ValueError(manifest.dtype)
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
