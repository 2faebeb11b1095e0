"""What a user calls a source, and the files it stands for.

    c4/en/c4-train.*.json.gz             files here; a pattern is sorted by name
    https://example.org/text.jsonl.gz    a file there
    hub:allenai/c4:en                    a data set on the Hugging Face hub and its configuration
    hub:allenai/c4:en:validation         a split of it, where it is not the one that is asked for
    hub:allenai/c4@REVISION:en           the same at a commit or tag
    -                                    standard input, copied first, since a source is read again

And what a user calls a tokenizer: `bytes`, a file, or a hub name.
"""

from __future__ import annotations

import glob
import os
import random
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from optzoo.data.preparation.readers import guess_format, unreadable
from optzoo.data.preparation.source_file import STANDARD_INPUT, SourceFile, describe_file
from optzoo.data.tokenizer import FILES, ByteTokenizer, Tokenizer, make_tokenizer
from optzoo.errors import Diagnostic, InputError, printable

HUB_NAMES = {
    "t5-base": "google-t5/t5-base",
    "t5-small": "google-t5/t5-small",
    "gpt2": "openai-community/gpt2",
    "gpt-neox-20b": "EleutherAI/gpt-neox-20b",
}
"""Short names, and the repository whose `tokenizer.json` they stand for."""


def find_files(
    sources: Sequence[str], split: str, *, shuffle: int | None = None, copy: Path | None = None
) -> list[SourceFile]:
    """Return the files that sources stand for, in the order they are read.

    `split` names the split of hub sources, `copy` is where standard input goes. With `shuffle`, the
    order is one that this seed stands for. Raises InputError for a source that is not there,
    RunError for a hub that does not answer.
    """
    found: list[SourceFile] = []
    for source in sources:
        if source in STANDARD_INPUT:
            found.append(_copy_standard_input(copy))
        elif source.startswith("hub:"):
            from optzoo.data.preparation.hub import find_hub_files

            found += find_hub_files(source, split)
        elif source.startswith(("http://", "https://")):
            found.append(describe_file(source, source, "http", urlsplit(source).path))
        else:
            found += _find_local(os.path.expanduser(source))
    if shuffle is not None:
        random.Random(shuffle).shuffle(found)
    return found


def _find_local(source: str) -> list[SourceFile]:
    files = []
    for path in _match(source):
        name = printable(path).replace("\n", "\\n")
        try:
            status = os.stat(path)
        except OSError as error:
            if os.path.islink(path) and not os.path.exists(path):
                problem = f"`{name}` is a link to `{os.readlink(path)}`, which cannot be followed"
                raise InputError(Diagnostic("not-found", problem)) from None
            raise unreadable(name, error) from None
        if stat.S_ISDIR(status.st_mode):
            if "**" in source and path != source:
                continue  # the pattern has the files below it
            raise InputError(
                Diagnostic(
                    "is-a-folder",
                    f"`{name}` is a folder",
                    hint=f"name its files, for example `{name}/*.json.gz`, in quotes",
                )
            )
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                Diagnostic(
                    "not-a-file",
                    f"`{name}` is a pipe, a socket or a device, and sources are read more than "
                    "once",
                    hint=f"give it as standard input: `optzoo data prepare - ... < {name}`",
                )
            )
        files.append(describe_file(name, path, "local", path, size=status.st_size))
    return files


def _match(source: str) -> list[str]:
    """Return the paths that a source stands for, sorted."""
    if os.path.lexists(source):
        return [PurePath(source).as_posix()]
    found = {PurePath(path).as_posix() for path in glob.glob(source, recursive=True)}
    if found:
        return sorted(found)
    is_repository = source.count("/") == 1 and not any(c in source for c in "*?[.")
    raise InputError(
        Diagnostic(
            "not-found",
            f"no file is called, and no file matches, `{printable(source)}`",
            hint=f"a data set on the hub is written `hub:{source}`" if is_repository else None,
        )
    )


def _copy_standard_input(copy: Path | None) -> SourceFile:
    """Copy standard input to a file and say what it is, by what it begins with."""
    if copy is None or copy.exists():
        raise InputError("`-`, standard input, can be read once only")
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "`-` is standard input, and nothing is fed to it",
            hint="for example: `zstdcat text.jsonl.zst | optzoo data prepare - --out DIR`",
        )
    with copy.open("xb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    size = copy.stat().st_size
    return SourceFile(STANDARD_INPUT[0], str(copy), "local", guess_format(copy), size=size)


def read_tokenizer(name: str) -> tuple[Path, bytes | None]:
    """Return the file that a tokenizer's name stands for and its content, None for no file here.

    Raises InputError for one that cannot be read.
    """
    path = Path(os.path.expanduser(name))
    try:
        if path.is_dir():
            path = path / FILES["json"]
        return path, path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise unreadable(name, error) from None


def load_tokenizer(name: str, end: str | None = None) -> Tokenizer:
    """Return a tokenizer: `bytes`, a file, a folder with a `tokenizer.json`, or a hub name.

    `end` is the word of the token that ends a document, where it is not one of the usual ones.
    Raises InputError when it is none of them, RunError when the hub cannot be reached.
    """
    if name == "bytes":
        return ByteTokenizer()
    path, content = read_tokenizer(name)
    if content is not None:
        kind = "sentencepiece" if path.suffix == ".model" else "json"
        return make_tokenizer(kind, name, content, end)
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
