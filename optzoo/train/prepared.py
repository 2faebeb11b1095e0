"""Prepared data as a corpus to train on. Nothing is tokenised here, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from optzoo.errors import Diagnostic, InputError
from optzoo.train.corpus import Corpus, open_corpus
from optzoo.train.setup import Setup


def open_data(setup: Setup) -> Corpus:
    """Return the text that a setup trains on.

    Raises InputError when prepared data is not where the setup says; nothing else is read instead.
    """
    data = setup.data
    if data.path is None:
        return open_corpus(data.corpus or "stdlib")
    path = Path(data.path)
    tokens = setup.num_steps * setup.batch.tokens
    raise InputError(
        Diagnostic(
            "no-data",
            f"there is no prepared data at {path}",
            hint=f"make it: `{data.prepare_command(tokens)}`",
        )
    )
