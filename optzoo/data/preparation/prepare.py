"""Sources -> tokens on disk, once.

Each split is one pass over its files, in order. A shard is closed after the document that fills it
and noted in `progress.json` with the place it ends at, so a process killed at any moment goes on
from the last shard, and what comes out is what an undisturbed one writes, byte for byte.

    train         every document, or those that `hold_out` leaves
    validation    the documents of a source of its own, or those held out by a hash of their text
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from optzoo.data.manifest import MANIFEST, PROGRESS, Manifest, Split, data_folder, read_manifest
from optzoo.data.preparation.passes import (
    END_OF_TEXT,
    HELD_OUT,
    OFFICIAL_SPLIT,
    OWN_SOURCE,
    Work,
    read_progress,
)
from optzoo.data.preparation.readers import Reading
from optzoo.data.preparation.request import Request, check_request
from optzoo.data.preparation.source_file import STANDARD_INPUT, ChangedSourceError, SourceFile
from optzoo.data.preparation.source_identity import Entry, is_same
from optzoo.data.preparation.sources import find_files, load_tokenizer, read_tokenizer
from optzoo.data.preparation.split_pass import PassState
from optzoo.data.stream_hash import hash_stream
from optzoo.data.token_files import dtype_for
from optzoo.data.tokenizer import FILES, Tokenizer
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError
from optzoo.files.atomic import write_durably
from optzoo.files.lock import locked

OFFICIAL = "validation"
COPY = ".standard-input.partial"


@dataclass(frozen=True)
class Prepared:
    """A complete directory; `already` says that there was nothing to do."""

    manifest: Manifest
    already: bool


def prepare(request: Request, out: Path, *, quiet: bool = False) -> Prepared:
    """Make the prepared directory `out`, or finish one that was begun with the same request.

    Raises InputError for bad sources, tokenizers and documents, for sources that changed since, and
    for a directory that holds something else; RunError when a host stops answering or the disk does
    not take the files.
    """
    out = data_folder(out)
    try:
        if (out / MANIFEST).exists():
            manifest = read_manifest(out)
            skipped = [split.skipped for split in (manifest.train, manifest.validation)]
            check_request(out, manifest.request, request, skipped=any(skipped))
            check_complete(out, request, manifest)
            with contextlib.suppress(OSError):  # left where the last step was broken off
                (out / PROGRESS).unlink()
            return Prepared(manifest, already=True)
        _check_usable(out)
        out.mkdir(parents=True, exist_ok=True)
        taken = Diagnostic("data-in-use", f"another process is preparing data in `{out}`")
        with locked(out, taken):
            return Prepared(_prepare(request, out, quiet=quiet), already=False)
    except OSError as error:
        problem = f"{error.filename or out} could not be written: {error.strerror or error}"
        raise RunError(Diagnostic("unwritable", problem)) from None


def _prepare(request: Request, out: Path, *, quiet: bool) -> Manifest:
    begun = read_progress(out)
    if begun is not None:
        check_request(out, begun.request, request, skipped=begun.has_skipped)
    tokenizer = load_tokenizer(request.tokenizer, request.end_of_document)
    copy = out / COPY
    copy.unlink(missing_ok=True)
    try:
        train_files = find_files(
            request.sources, request.split, shuffle=request.shuffle_files, copy=copy
        )
        validation_files, origin = _find_validation(request, train_files, copy)
        work = Work(request, out, tokenizer, train_files, validation_files, origin)
        if begun is not None:
            work.go_on(begun)
        work.run(quiet=quiet)
    finally:
        copy.unlink(missing_ok=True)
    return _finish(request, out, tokenizer, work.states, origin)


def _finish(
    request: Request,
    out: Path,
    tokenizer: Tokenizer,
    states: Mapping[str, PassState],
    origin: str,
) -> Manifest:
    """Write what makes the directory complete, and remove what is left of the work."""
    dtype = dtype_for(tokenizer.identity.vocabulary)
    splits = {
        name: Split(
            tuple(state.shards),
            tuple(state.files),
            dict(state.skipped),
            hash_stream(out, state.shards, dtype, request.shard_tokens),
        )
        for name, state in states.items()
        if state.shards
    }
    for name in states:
        if name not in splits:
            for path in (out / PROGRESS, *out.glob("*-*.tokens"), *out.glob("*-*.index")):
                path.unlink()  # nothing can come of them: other options may be tried
            raise _no_documents(name, request, origin, is_empty=not splits)
    manifest = Manifest(
        request=request.to_json(),
        tokenizer=tokenizer.identity,
        dtype=dtype,
        train=splits["train"],
        validation=splits["validation"],
        validation_from=origin,
    )
    if tokenizer.content is not None:
        write_durably(out / FILES[tokenizer.identity.kind], tokenizer.content)
    made = {shard.name for split in splits.values() for shard in split.shards}
    for path in (*out.glob(".*.partial"), *out.glob("*-*.tokens"), *out.glob("*-*.index")):
        if path.stem not in made:  # of an earlier attempt that went further
            path.unlink()
    manifest.save(out)
    (out / PROGRESS).unlink()
    return manifest


def check_complete(out: Path, request: Request, manifest: Manifest) -> None:
    """Raise ChangedSourceError where the sources of a complete directory hold something else now.

    Sources that are gone, on the hub, or not to be reached are left alone: there is nothing to do.
    """
    tokenizer = None if request.tokenizer == "bytes" else read_tokenizer(request.tokenizer)[1]
    if tokenizer and hashlib.sha256(tokenizer).hexdigest() != manifest.tokenizer.sha256:
        raise ChangedSourceError(request.tokenizer, f"`{out}` was made")
    held_out = manifest.validation_from in (HELD_OUT, END_OF_TEXT)
    reading = Reading(request.text_field, request.lines)
    unreachable: set[str] = set()
    for split, sources in (
        (manifest.train, request.sources),
        (manifest.validation, request.sources if held_out else request.validation),
    ):
        entries = {entry["name"]: entry for entry in split.files}
        is_cut = any("records" in entry for entry in split.files)
        for file in _find_again(sources):
            entry = entries.get(file.name)
            if entry is None and not is_cut:
                raise ChangedSourceError(file.name, f"`{out}` was made", "was added")
            if entry is not None and not _is_still(file, entry, reading, unreachable):
                raise ChangedSourceError(file.name, f"`{out}` was made")


def _find_again(sources: Sequence[str]) -> Iterator[SourceFile]:
    for source in sources:
        if source in STANDARD_INPUT or source.startswith("hub:"):
            continue
        with contextlib.suppress(InputError):  # it is gone, or is something else now
            yield from find_files([source], OFFICIAL)


def _is_still(file: SourceFile, entry: Entry, reading: Reading, unreachable: set[str]) -> bool:
    """Say whether a file is what it was, as far as can be known; a dead host is asked once."""
    host = urlsplit(file.location).netloc if file.origin == "http" else ""
    if host in unreachable:
        return True
    try:
        return is_same(file, entry, reading)
    except OptzooError as error:
        if host and isinstance(error, RunError):
            unreachable.add(host)
        return bool(host)


def _find_validation(
    request: Request, train_files: list[SourceFile], copy: Path
) -> tuple[list[SourceFile], str]:
    """Return the files to validate on and where they are from."""
    if request.validation:
        return find_files(request.validation, OFFICIAL, copy=copy), OWN_SOURCE
    if request.split == "train" and all(s.startswith("hub:") for s in request.sources):
        from optzoo.data.preparation.hub import list_hub_splits

        official = [s for s in request.sources if OFFICIAL in list_hub_splits(s)]
        if len(official) == len(request.sources):
            return find_files(request.sources, OFFICIAL), OFFICIAL_SPLIT
    is_one_text = [file.format for file in train_files] == ["text"] and not request.lines
    return train_files, END_OF_TEXT if is_one_text else HELD_OUT


def _check_usable(out: Path) -> None:
    """Raise InputError for a folder that holds something that is not prepared data."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(Diagnostic("directory-in-use", f"`{out}` is a file"))
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    if names and PROGRESS not in names:
        raise InputError(
            Diagnostic(
                "directory-in-use",
                f"`{out}` holds something else: {', '.join(sorted(names)[:3])}",
                hint="name a new directory with `--out`",
            )
        )


def _no_documents(split: str, request: Request, origin: str, *, is_empty: bool) -> InputError:
    if is_empty or origin not in (HELD_OUT, END_OF_TEXT):
        return InputError(Diagnostic("no-documents", f"there are no documents for `{split}`"))
    if split == "validation":
        problem = f"nothing is held out: one document in {request.hold_out} would be"
    else:
        problem = "there are no documents to train on; what there is is held out"
    return InputError(
        Diagnostic(
            "no-validation" if split == "validation" else "no-documents",
            problem,
            hint="name documents to validate on with `--validation SOURCE`, take each line of a "
            ".txt for a document with `--lines`, or change `--hold-out`",
        )
    )
