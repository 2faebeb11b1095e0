"""One file of documents: what it is called, what opens it, and its format.

The format follows from the name: .json, .jsonl and .ndjson hold one object a line; .txt is one
document; .parquet, .arrow, .csv and .tsv are tables. What is read line by line may be compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from optzoo.errors import Diagnostic, InputError

Format = Literal["json", "text", "parquet", "arrow", "csv", "tsv"]
FORMATS: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".txt": "text",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
}
LINES = ("json", "text")
"""Formats that are read line by line; the others are tables."""
COMPRESSIONS = (".gz", ".bz2", ".xz")


@dataclass(frozen=True)
class SourceFile:
    """One file of documents.

    `name` is what messages and manifests call it, `location` what opens it. `identity` is what its
    host says of its content, `stamp` changes when a local file does.
    """

    name: str
    location: str
    origin: Literal["local", "http", "hub"]
    format: Format
    compressed: bool
    size: int | None = None
    identity: str | None = None
    stamp: int | None = None

    @property
    def compression(self) -> str:
        """One of `COMPRESSIONS`, or nothing."""
        path = urlsplit(self.location).path if self.origin == "http" else self.location
        return PurePosixPath(path).suffix if self.compressed else ""


def describe_file(
    name: str,
    location: str,
    origin: Literal["local", "http", "hub"],
    path: str,
    *,
    size: int | None = None,
    identity: str | None = None,
    stamp: int | None = None,
) -> SourceFile:
    """Return a source file; its format follows from `path`. Raises InputError for another one."""
    pure = PurePosixPath(path)
    compressed = pure.suffix in COMPRESSIONS
    suffix = PurePosixPath(pure.stem).suffix if compressed else pure.suffix
    kind = FORMATS.get(suffix.lower())
    if kind is None or (compressed and kind not in LINES):
        raise InputError(
            Diagnostic(
                "unknown-format",
                f"`{name}`: a file of this name is of no format that optzoo reads",
                hint=f"known endings: {', '.join(FORMATS)}; after those of lines of text, not of "
                f"tables, {', '.join(COMPRESSIONS)}",
            )
        )
    return SourceFile(name, location, origin, kind, compressed, size, identity, stamp)
