"""What a prepared directory is, whether it is still what was written, and a look at its text."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from optzoo.data.manifest import MANIFEST, Manifest, Shard, Split, read_manifest
from optzoo.data.stream_hash import hash_stream
from optzoo.data.token_files import BLOCK, ENTRY, DocumentIndex, ShardedTokens, hash_block
from optzoo.data.tokenizer import FILES, Tokenizer, make_tokenizer
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError, printable

SAMPLE_TOKENS = 120
CHECKED_IN_FULL = 1 << 26  # bytes of a split that are hashed whenever it is opened


def verify(folder: Path) -> Manifest:
    """Hash every file again and return the manifest.

    Raises InputError where there is no prepared data, RunError naming every damaged file.
    """
    manifest = read_manifest(folder)
    damage = [
        Diagnostic("damaged-data", f"{folder / name}: {problem}")
        for split in (manifest.train, manifest.validation)
        for name, problem in _check_split(folder, split, manifest)
    ]
    content = read_tokenizer_file(folder, manifest)
    if content is not None and hashlib.sha256(content).hexdigest() != manifest.tokenizer.sha256:
        path = folder / FILES[manifest.tokenizer.kind]
        damage.append(
            Diagnostic("damaged-data", f"{path}: it is not the tokenizer of these tokens")
        )
    if damage:
        last = damage[-1]
        hint = "prepare the data again in another directory; its fingerprint will be the same"
        raise RunError(*damage[:-1], Diagnostic(last.code, last.message, hint=hint))
    return manifest


def describe(folder: Path) -> dict[str, Any]:
    """Return what a prepared directory holds, as JSON values.

    Raises InputError where there is none.
    """
    manifest = read_manifest(folder)
    return {
        "path": printable(str(folder)),
        "fingerprint": manifest.fingerprint,
        "tokenizer": printable(manifest.tokenizer.name),
        "vocabulary": manifest.tokenizer.vocabulary,
        "end_of_document": manifest.tokenizer.end_of_document,
        "dtype": "uint16" if manifest.dtype == "<u2" else "uint32",
        "validation_from": manifest.validation_from,
        "splits": {
            name: {
                "documents": split.documents,
                "tokens": split.tokens,
                "bytes": split.bytes,
                "bytes_per_token": split.bytes / split.tokens,
                "shards": len(split.shards),
                "files": [file["name"] for file in split.files],
                "skipped": dict(split.skipped),
            }
            for name, split in (("train", manifest.train), ("validation", manifest.validation))
        },
    }


def draw_sample(folder: Path, tokens: int = SAMPLE_TOKENS) -> str:
    """Return the text of the first tokens to train on, or why it cannot be shown."""
    manifest = read_manifest(folder)
    try:
        tokenizer = open_tokenizer(folder, manifest)
    except OptzooError as error:
        return f"(no sample: {error.diagnostics[0].message})"
    row = open_tokens(folder, manifest.train, manifest)
    ids = row[np.arange(1, min(tokens, len(row)))]
    return tokenizer.decode(ids.tolist()).decode(errors="replace")


def open_tokenizer(folder: Path, manifest: Manifest) -> Tokenizer:
    """Return the tokenizer of a prepared directory. Raises InputError where it cannot be made."""
    identity = manifest.tokenizer
    content, end = read_tokenizer_file(folder, manifest), manifest.request["end_of_document"]
    if content is not None and hashlib.sha256(content).hexdigest() != identity.sha256:
        path = folder / FILES[identity.kind]
        raise _damaged(folder, f"{path} is not the tokenizer of these tokens")
    return make_tokenizer(identity.kind, identity.name, content, end)


def read_tokenizer_file(folder: Path, manifest: Manifest) -> bytes | None:
    """Return the tokenizer's file, None for bytes. Raises InputError when it is missing."""
    if manifest.tokenizer.kind == "bytes":
        return None
    try:
        return (folder / FILES[manifest.tokenizer.kind]).read_bytes()
    except OSError as error:
        raise _unreadable(folder, error) from None


def open_tokens(folder: Path, split: Split, manifest: Manifest) -> ShardedTokens:
    """Map the tokens of a split, and check them: all that are few, and of many a sample.

    Raises InputError for a missing file, one of another size, or one with other content.
    """
    size = np.dtype(manifest.dtype).itemsize
    try:
        for shard in split.shards:
            found = (folder / f"{shard.name}.tokens").stat().st_size
            if found != shard.tokens * size:
                raise _damaged(
                    folder,
                    f"{folder / shard.name}.tokens has {found:,} bytes, and its manifest says "
                    f"{shard.tokens * size:,}",
                )
        for shard in _find_damage(folder, split, size):
            raise _damaged(folder, f"{folder / shard.name}.tokens is not what was written")
    except OSError as error:
        raise _unreadable(folder, error) from None
    return ShardedTokens.open(folder, split.shards, manifest.dtype, manifest.tokenizer.vocabulary)


def _find_damage(folder: Path, split: Split, itemsize: int) -> Iterator[Shard]:
    """Yield shards with other content than was written.

    Small splits are hashed in full. Of larger ones each shard has one of its blocks hashed, another
    one at each start; where an older optzoo noted no blocks, one shard is hashed in full.
    """
    draw = random.SystemRandom()
    if split.tokens * itemsize <= CHECKED_IN_FULL:
        whole, sampled = list(split.shards), []
    else:
        sampled = [shard for shard in split.shards if shard.blocks]
        whole = [] if sampled else [draw.choice(split.shards)]
    for shard in whole:
        with (folder / f"{shard.name}.tokens").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.tokens_sha256:
                yield shard
    for shard in sampled:
        number = draw.randrange(len(shard.blocks))
        with (folder / f"{shard.name}.tokens").open("rb") as file:
            file.seek(number * BLOCK)
            if hash_block(file.read(BLOCK)) != shard.blocks[number]:
                yield shard


def open_index(folder: Path, split: Split) -> DocumentIndex:
    """Read the document index of a split. Raises InputError where it is missing or damaged."""
    parts = []
    try:
        for number, shard in enumerate(split.shards):
            data = (folder / f"{shard.name}.index").read_bytes()
            if hashlib.sha256(data).hexdigest() != shard.index_sha256:
                raise _damaged(folder, f"{folder / shard.name}.index is not what was written")
            parts.append(DocumentIndex.from_bytes(data, start=int(number == 0)))
    except OSError as error:
        raise _unreadable(folder, error) from None
    return DocumentIndex.join(parts)


def _check_split(folder: Path, split: Split, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield what is damaged of a split: the name of a file and what is wrong with it."""
    size = np.dtype(manifest.dtype).itemsize
    damage = [found for shard in split.shards for found in _check_shard(folder, shard, size)]
    yield from damage
    by_file = tuple((shard.tokens_sha256, shard.index_sha256) for shard in split.shards)
    if not damage and split.stream != by_file:
        asked = manifest.request["shard_tokens"]
        if hash_stream(folder, split.shards, manifest.dtype, asked) != split.stream:
            yield MANIFEST, "its fingerprint is not that of the token files"


def _check_shard(folder: Path, shard: Shard, itemsize: int) -> Iterator[tuple[str, str]]:
    for name, size, sha256 in (
        (f"{shard.name}.tokens", shard.tokens * itemsize, shard.tokens_sha256),
        (f"{shard.name}.index", shard.documents * 2 * ENTRY.itemsize, shard.index_sha256),
    ):
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                length = file.seek(0, 2)
        except OSError as error:
            yield name, error.strerror or str(error)
            continue
        if length != size:
            yield name, f"{length:,} bytes where {size:,} were written"
        elif found != sha256:
            yield name, "its content is not what was written"


def _damaged(folder: Path, problem: str) -> InputError:
    hint = f"`optzoo data verify {folder}` finds all that is damaged"
    return InputError(Diagnostic("damaged-data", problem, hint=hint))


def _unreadable(folder: Path, error: OSError) -> InputError:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        problem = f"{error.filename or folder}: {error.strerror}"
        hint = "allow more open files: `ulimit -n 1024`"
        return InputError(Diagnostic("unreadable", problem, hint=hint))
    return _damaged(folder, f"{error.filename or folder}: {error.strerror or error}")
