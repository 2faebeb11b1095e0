"""Prepared data as a corpus to train on. Nothing is tokenised here, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from optzoo.data.corpus import Corpus, TokenStream, open_corpus
from optzoo.data.manifest import MANIFEST, PROGRESS, Manifest, read_manifest
from optzoo.data.prepared import open_index, open_tokenizer, open_tokens
from optzoo.errors import Diagnostic, InputError
from optzoo.train.setup.schema import Setup


def open_data(setup: Setup) -> Corpus:
    """Return the text that a setup trains on.

    Raises InputError when prepared data is not where the setup says, not complete, or has another
    vocabulary than the setup is for; nothing else is read instead.
    """
    if setup.data.path is None:
        return open_corpus(setup.data.corpus or "stdlib")
    folder = Path(setup.data.path)
    if not (folder / MANIFEST).exists() and not (folder / PROGRESS).exists():
        raise _missing(setup, folder)
    manifest = read_manifest(folder)
    _check_vocabulary(setup, folder, manifest)
    return Corpus(
        name="prepared",
        title=manifest.title,
        vocabulary=manifest.tokenizer.vocabulary,
        separator=manifest.tokenizer.end_of_document,
        train=TokenStream(
            open_tokens(folder, manifest.train, manifest),
            manifest.train.documents,
            manifest.train.bytes,
        ),
        held_out=TokenStream(
            open_tokens(folder, manifest.validation, manifest),
            manifest.validation.documents,
            manifest.validation.bytes,
            open_index(folder, manifest.validation),
        ),
        fingerprint=manifest.fingerprint,
        open_tokenizer=lambda: open_tokenizer(folder, manifest),
    )


def _check_vocabulary(setup: Setup, folder: Path, manifest: Manifest) -> None:
    asked, found = setup.data.vocabulary, manifest.tokenizer.vocabulary
    if asked is not None and asked != found:
        name = setup.data.tokenizer
        raise InputError(
            Diagnostic(
                "other-vocabulary",
                f"{folder} has a vocabulary of {found:,} (`{manifest.tokenizer.name}`), and setup "
                f"`{setup.name}` is for {asked:,}{f' (`{name}`)' if name else ''}",
                hint=f"train on it all the same with `--set data.vocabulary={found}`",
            )
        )


def _missing(setup: Setup, folder: Path) -> InputError:
    command = setup.data.prepare_command(setup.num_steps * setup.batch.tokens)
    return InputError(
        Diagnostic(
            "no-data",
            f"there is no prepared data at {folder}",
            hint=f"make it: `{command}`, or give another place: `--set data.path=DIR`",
        )
    )
