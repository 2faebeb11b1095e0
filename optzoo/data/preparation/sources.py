"""What a user calls a source, and the files it stands for.

    c4/en/c4-train.*.json.gz             files here; a pattern is sorted by name
    https://example.org/text.jsonl.gz    a file there
    hub:allenai/c4:en                    a data set on the Hugging Face hub and its configuration
    hub:allenai/c4:en:validation         a split of it, where it is not the one that is asked for
    hub:allenai/c4@REVISION:en           the same at a commit or tag

The format follows from the name: .json, .jsonl and .ndjson hold one object a line; .txt is one
document; .parquet. All but parquet may end in .gz.
"""

from __future__ import annotations

import glob
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

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


def find_files(
    sources: Sequence[str], split: str, *, shuffle: int | None = None
) -> list[SourceFile]:
    """Return the files that sources stand for, in the order they are read.

    `split` names the split of hub sources. With `shuffle`, the order is one that this seed stands
    for. Raises InputError for a source that is not there, RunError for a hub that does not answer.
    """
    found: list[SourceFile] = []
    for source in sources:
        if source.startswith("hub:"):
            from optzoo.data.preparation.hub import find_hub_files

            found += find_hub_files(source, split)
        elif source.startswith(("http://", "https://")):
            found.append(describe_file(source, source, "http", urlsplit(source).path))
        else:
            found += _find_local(source)
    if shuffle is not None:
        random.Random(shuffle).shuffle(found)
    return found


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


def _find_local(source: str) -> list[SourceFile]:
    paths = [Path(source)] if Path(source).exists() else sorted(map(Path, glob.glob(source)))
    if not paths:
        is_repository = source.count("/") == 1 and not any(c in source for c in "*?[.")
        raise InputError(
            Diagnostic(
                "not-found",
                f"no file is called, and no file matches, `{source}`",
                hint=f"a data set on the hub is written `hub:{source}`" if is_repository else None,
            )
        )
    files = []
    for path in paths:
        if path.is_dir():
            raise InputError(
                Diagnostic(
                    "is-a-folder",
                    f"`{path}` is a folder",
                    hint=f"name its files, for example `{path}/*.json.gz`, in quotes",
                )
            )
        status = path.stat()
        name = path.as_posix()
        stamp = status.st_mtime_ns
        files.append(describe_file(name, name, "local", name, size=status.st_size, stamp=stamp))
    return files
