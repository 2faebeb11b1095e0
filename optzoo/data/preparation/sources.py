"""What a user calls a source, and the files it stands for.

    c4/en/c4-train.*.json.gz             files here; a pattern is sorted by name
    https://example.org/text.jsonl.gz    a file there
    hub:allenai/c4:en                    a data set on the Hugging Face hub and its configuration
    hub:allenai/c4:en:validation         a split of it, where it is not the one that is asked for
    hub:allenai/c4@REVISION:en           the same at a commit or tag

And what a user calls a tokenizer: `bytes`, a file, or a hub name.
"""

from __future__ import annotations

import glob
import random
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from optzoo.data.preparation.source_file import SourceFile, describe_file
from optzoo.data.tokenizer import FILES, ByteTokenizer, Tokenizer, make_tokenizer
from optzoo.errors import Diagnostic, InputError

HUB_NAMES = {
    "t5-base": "google-t5/t5-base",
    "t5-small": "google-t5/t5-small",
    "gpt2": "openai-community/gpt2",
    "gpt-neox-20b": "EleutherAI/gpt-neox-20b",
}
"""Short names, and the repository whose `tokenizer.json` they stand for."""


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


def load_tokenizer(name: str, end: str | None = None) -> Tokenizer:
    """Return a tokenizer: `bytes`, a file, a folder with a `tokenizer.json`, or a hub name.

    `end` is the word of the token that ends a document, where it is not one of the usual ones.
    Raises InputError when it is none of them, RunError when the hub cannot be reached.
    """
    if name == "bytes":
        return ByteTokenizer()
    path = Path(name)
    if path.is_dir():
        path = path / FILES["json"]
    if path.is_file():
        kind = "sentencepiece" if path.suffix == ".model" else "json"
        return make_tokenizer(kind, name, path.read_bytes(), end)
    if path.suffix in (".json", ".model") or name.startswith((".", "/", "~")):
        raise InputError(
            Diagnostic(
                "not-found",
                f"no such tokenizer file: `{name}`",
                hint="give `bytes`, a tokenizer.json, a SentencePiece .model or a hub name such as "
                f"{', '.join(HUB_NAMES)}",
            )
        )
    from optzoo.data.preparation.hub import fetch_tokenizer

    return make_tokenizer("json", name, fetch_tokenizer(name, HUB_NAMES.get(name, name)), end)
