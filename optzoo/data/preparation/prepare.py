"""Sources -> tokens on disk, once.

Each split is one pass over its files, in order. A shard is closed after the document that fills it
and noted in `progress.json` with the place it ends at, so a process killed at any moment goes on
from the last shard, and what comes out is what an undisturbed one writes, byte for byte.

    train         every document, or those that `hold_out` leaves
    validation    the documents of a source of its own, or those held out by a hash of their text
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optzoo.data.manifest import MANIFEST, PROGRESS, Manifest, Split, read_manifest
from optzoo.data.preparation.readers import Reading
from optzoo.data.preparation.source_file import SourceFile
from optzoo.data.preparation.sources import find_files, load_tokenizer
from optzoo.data.preparation.split_pass import Bar, Limits, PassState, SplitPass
from optzoo.data.token_files import dtype_for
from optzoo.data.tokenizer import FILES, Tokenizer
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.files.atomic import to_json, write_durably
from optzoo.files.lock import locked

OFFICIAL = "validation"
SHARD_TOKENS = 1 << 26
VALIDATION_TOKENS = 10_000_000
HOLD_OUT = 100


@dataclass(frozen=True)
class Request:
    """What is asked for: everything that the result is a function of, beside the sources' content.

    `validation` empty: the hub's own validation split, and for other sources one document in
    `hold_out` by a hash of its text.
    """

    sources: tuple[str, ...]
    tokenizer: str = "bytes"
    split: str = "train"
    validation: tuple[str, ...] = ()
    text_field: str = "text"
    lines: bool = False
    max_tokens: int | None = None
    max_documents: int | None = None
    max_validation_tokens: int = VALIDATION_TOKENS
    hold_out: int = HOLD_OUT
    skip_bad: bool = False
    end_of_document: str | None = None
    shuffle_files: int | None = None
    shard_tokens: int = SHARD_TOKENS

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON gives it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data


@dataclass(frozen=True)
class Prepared:
    """A complete directory; `already` says that there was nothing to do."""

    manifest: Manifest
    already: bool


def prepare(request: Request, out: Path, *, quiet: bool = False) -> Prepared:
    """Make the prepared directory `out`, or finish one that was begun with the same request.

    Raises InputError for bad sources, tokenizers and documents, and for a directory that holds
    something else; RunError when a host stops answering or the disk does not take the files.
    """
    if (out / MANIFEST).exists():
        manifest = read_manifest(out)
        _check_same(out, dict(manifest.request), request)
        return Prepared(manifest, already=True)
    try:
        _check_usable(out)
        out.mkdir(parents=True, exist_ok=True)
        taken = Diagnostic("data-in-use", f"another process is preparing data in `{out}`")
        with locked(out, taken):
            return Prepared(_prepare(request, out, quiet=quiet), already=False)
    except OSError as error:
        problem = f"{out} could not be written: {error.strerror or error}"
        raise RunError(Diagnostic("unwritable", problem)) from None


def _prepare(request: Request, out: Path, *, quiet: bool) -> Manifest:
    begun = _read_progress(out)
    if begun is not None:
        _check_same(out, begun["request"], request)
    tokenizer = load_tokenizer(request.tokenizer, request.end_of_document)
    train_files = find_files(request.sources, request.split, shuffle=request.shuffle_files)
    validation_files, origin = _find_validation(request, train_files)
    inputs = {
        "tokenizer": asdict(tokenizer.identity),
        "train": [asdict(file) for file in train_files],
        "validation": [asdict(file) for file in validation_files],
    }
    if begun is not None and begun["inputs"] != inputs:
        raise _changed_inputs(out, begun["inputs"], inputs)
    states = {
        name: PassState.from_json(begun["splits"].get(name) if begun else None)
        for name in ("train", "validation")
    }

    def save() -> None:
        splits = {name: state.to_json() for name, state in states.items()}
        progress = {"request": request.to_json(), "inputs": inputs, "splits": splits}
        write_durably(out / PROGRESS, to_json(progress))

    save()
    held_out = request.hold_out if origin == "held out" else None
    reading = Reading(request.text_field, request.lines)
    limits = {
        "train": Limits(request.max_tokens, request.max_documents),
        "validation": Limits(request.max_validation_tokens, None),
    }
    for name, files in (("train", train_files), ("validation", validation_files)):
        share = None if held_out is None else (held_out, name == "validation")
        with Bar(name, files, limits[name].tokens, states[name], quiet=quiet) as bar:
            SplitPass(
                out,
                name,
                tokenizer,
                files,
                reading,
                limits[name],
                share,
                skip_bad=request.skip_bad,
                shard_tokens=request.shard_tokens,
            ).run(states[name], save, bar)
    return _finish(request, out, tokenizer, states, origin)


def _finish(
    request: Request,
    out: Path,
    tokenizer: Tokenizer,
    states: Mapping[str, PassState],
    origin: str,
) -> Manifest:
    """Write what makes the directory complete, and remove what is left of the work."""
    splits = {
        name: Split(tuple(state.shards), tuple(state.files), dict(state.skipped))
        for name, state in states.items()
    }
    for name, split in splits.items():
        if not split.documents:
            for path in (out / PROGRESS, *out.glob("*-*.tokens"), *out.glob("*-*.index")):
                path.unlink()  # nothing can come of them: other options may be tried
            raise _no_documents(name, request, origin)
    manifest = Manifest(
        request=request.to_json(),
        tokenizer=tokenizer.identity,
        dtype=dtype_for(tokenizer.identity.vocabulary),
        train=splits["train"],
        validation=splits["validation"],
        validation_from=origin,
    )
    if tokenizer.content is not None:
        write_durably(out / FILES[tokenizer.identity.kind], tokenizer.content)
    for partial in out.glob(".*.partial"):
        partial.unlink()
    manifest.save(out)
    (out / PROGRESS).unlink()
    return manifest


def _find_validation(
    request: Request, train_files: list[SourceFile]
) -> tuple[list[SourceFile], str]:
    """Return the files to validate on and where they are from."""
    if request.validation:
        return find_files(request.validation, OFFICIAL), "its own source"
    if request.split == "train" and all(s.startswith("hub:") for s in request.sources):
        from optzoo.data.preparation.hub import list_hub_splits

        official = [s for s in request.sources if OFFICIAL in list_hub_splits(s)]
        if len(official) == len(request.sources):
            return find_files(request.sources, OFFICIAL), "official split"
    return train_files, "held out"


def _read_progress(out: Path) -> dict[str, Any] | None:
    """Return what was noted when a shard was finished; None before the first."""
    try:
        data: dict[str, Any] = json.loads((out / PROGRESS).read_bytes())
        is_begun = any(split["shards"] for split in data["splits"].values())
        return data if is_begun and {"request", "inputs"} <= data.keys() else None
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None


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


def _check_same(out: Path, begun: Mapping[str, Any], request: Request) -> None:
    asked = request.to_json()
    other = [key for key in asked if begun.get(key) != asked[key]]
    if other:
        lines = [f"{key}: {begun.get(key)} there, {asked[key]} now" for key in other]
        raise InputError(
            Diagnostic(
                "other-request",
                f"`{out}` was made with other options ({'; '.join(lines)})",
                hint="give the options it was made with, or another `--out`",
            )
        )


def _changed_inputs(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> InputError:
    what = "the tokenizer" if begun["tokenizer"] != now["tokenizer"] else "the source files"
    return InputError(
        Diagnostic(
            "changed-source",
            f"{what} changed since `{out}` was begun",
            hint="put them back as they were, or begin again with another `--out`",
        )
    )


def _no_documents(split: str, request: Request, origin: str) -> InputError:
    if split == "validation" and origin == "held out":
        return InputError(
            Diagnostic(
                "no-validation",
                f"none of the documents is held out: one in {request.hold_out} would be",
                hint="name documents to validate on with `--validation SOURCE`, or lower "
                "`--hold-out`",
            )
        )
    return InputError(Diagnostic("no-documents", f"there are no documents for `{split}`"))
