"""One file of documents: what it is called, what opens it, and its format.

The format follows from the name: .json, .jsonl and .ndjson hold one object a line, or one array of
objects; .txt is one document; .csv, .tsv, .parquet and .arrow are tables. All but the last two are
read as lines and may be compressed, which their content says
(`optzoo.data.preparation.compression`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from optzoo.errors import Diagnostic, InputError

Format = Literal["json", "text", "parquet", "arrow", "csv", "tsv"]
Origin = Literal["local", "http", "hub"]
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
LINES = ("json", "text", "csv", "tsv")
"""Formats that are read as lines; of the others any part."""
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
STANDARD_INPUT = ("-", "/dev/stdin")


@dataclass(frozen=True)
class SourceFile:
    """One file of documents.

    `name` is what messages and manifests call it, `location` what opens it. `compression` is one of
    `COMPRESSIONS` where the name says so. `size` and `identity` are what its host says of its
    content.
    """

    name: str
    location: str
    origin: Origin
    format: Format
    compression: str = ""
    size: int | None = None
    identity: str | None = None


class DamagedSourceError(InputError):
    """A source is not whole: what was read of it may be wrong, so nothing made of it is kept."""

    def __init__(
        self, source: SourceFile, problem: str, hint: str = "mend it, or fetch it again"
    ) -> None:
        super().__init__(Diagnostic("damaged-source", f"`{source.name}` {problem}", hint=hint))
        self.source = source


class ChangedSourceError(InputError):
    """A source is no longer what it was when a part of the result was made from it."""

    def __init__(self, name: str, since: str, what: str = "changed") -> None:
        super().__init__(
            Diagnostic(
                "changed-source",
                f"`{name}` {what} since {since}",
                hint="put the source files back as they were, or prepare them as they are now "
                "with another `--out`",
            )
        )


def describe_file(
    name: str,
    location: str,
    origin: Origin,
    path: str,
    *,
    size: int | None = None,
    identity: str | None = None,
) -> SourceFile:
    """Return a source file; its format follows from `path`. Raises InputError for another one."""
    pure = PurePosixPath(path.lower())
    compression = pure.suffix if pure.suffix in COMPRESSIONS else ""
    kind = FORMATS.get(PurePosixPath(pure.stem).suffix if compression else pure.suffix)
    if kind is None or (compression and kind not in LINES):
        raise InputError(
            Diagnostic(
                "unknown-format",
                f"`{name}`: a file of this name is of no format that optzoo reads",
                hint=f"known endings: {', '.join(FORMATS)}; after all but .parquet and .arrow "
                f"also {', '.join(COMPRESSIONS)}",
            )
        )
    return SourceFile(name, location, origin, kind, compression, size, identity)
