"""One file of documents: what it is called, what opens it, and its format.

The format follows from the name: .json, .jsonl and .ndjson hold one object a line; .txt is one
document; .parquet. All but parquet may end in .gz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from optzoo.errors import Diagnostic, InputError

Format = Literal["json", "text", "parquet"]
FORMATS: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".txt": "text",
    ".parquet": "parquet",
}


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
    compressed = pure.suffix == ".gz"
    suffix = PurePosixPath(pure.stem).suffix if compressed else pure.suffix
    kind = FORMATS.get(suffix.lower())
    if kind is None or (compressed and kind == "parquet"):
        raise InputError(
            Diagnostic(
                "unknown-format",
                f"`{name}`: a file of this name is of no format that optzoo reads",
                hint=f"known endings: {', '.join(FORMATS)}, and .json.gz, .jsonl.gz, .txt.gz",
            )
        )
    return SourceFile(name, location, origin, kind, compressed, size, identity, stamp)
