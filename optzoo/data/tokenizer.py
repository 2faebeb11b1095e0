"""Tokenizers: bytes, a `tokenizer.json`, or a SentencePiece model; by file or by hub name.

Text never contains the end of a document: words that look like a special token are encoded as the
characters they are. Nothing is added, cut or padded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from optzoo.data.manifest import TokenizerIdentity
from optzoo.data.token_files import Row
from optzoo.errors import Diagnostic, InputError

ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eos|>", "[EOS]")
"""What ends a document, in the words of known tokenizers; the first that there is counts."""
FILES = {"json": "tokenizer.json", "sentencepiece": "tokenizer.model"}
"""What the copy of a tokenizer is called in a prepared directory, by kind."""


class Tokenizer(Protocol):
    """Text to ids and back. `content` is the file the tokenizer was made of, if any."""

    identity: TokenizerIdentity
    content: bytes | None

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the ids of each text."""

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the text of ids as UTF-8, as nearly as the tokenizer can."""


class ByteTokenizer:
    """A token is a byte of UTF-8, and 256 ends a document."""

    content: bytes | None = None
    identity = TokenizerIdentity(
        name="bytes",
        kind="bytes",
        sha256=hashlib.sha256(b"bytes, 256 ends a document").hexdigest(),
        vocabulary=257,
        end_of_document=256,
    )

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the bytes of each text."""
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the bytes; the end of a document has none."""
        return bytes(token for token in ids if token < 256)


class JsonTokenizer:
    """A Hugging Face `tokenizer.json`. Needs the package `tokenizers`."""

    def __init__(self, name: str, content: bytes, end: str | None = None) -> None:
        _need("tokenizers", f"the tokenizer `{name}`")
        from tokenizers import Tokenizer as Implementation

        try:
            self._tokenizer: Any = Implementation.from_str(content.decode())
        except Exception as error:  # the package raises plain Exception
            raise _not_a_tokenizer(name, str(error)) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        words: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self.content: bytes | None = content
        self.identity = TokenizerIdentity(
            name=name,
            kind="json",
            sha256=hashlib.sha256(content).hexdigest(),
            vocabulary=max(words.values(), default=-1) + 1,
            end_of_document=_find_end(name, words, end),
        )

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the ids of each text."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in found]

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the text of ids; special tokens have none."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.encode()


class SentencePieceTokenizer:
    """A SentencePiece `.model`. Needs the package `sentencepiece`."""

    def __init__(self, name: str, content: bytes, end: str | None = None) -> None:
        _need("sentencepiece", f"the tokenizer `{name}`")
        from sentencepiece import SentencePieceProcessor

        try:
            self._model: Any = SentencePieceProcessor(model_proto=content)
        except RuntimeError as error:
            raise _not_a_tokenizer(name, str(error)) from None
        size = int(self._model.get_piece_size())
        words = {self._model.id_to_piece(i): i for i in range(size)}
        self.content: bytes | None = content
        self.identity = TokenizerIdentity(
            name=name,
            kind="sentencepiece",
            sha256=hashlib.sha256(content).hexdigest(),
            vocabulary=size,
            end_of_document=_find_end(name, words, end),
        )

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the ids of each text."""
        return [np.array(ids, dtype=np.uint32) for ids in self._model.encode(list(texts))]

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the text of ids; control pieces have none."""
        text: str = self._model.decode([int(i) for i in ids])
        return text.encode()


def make_tokenizer(
    kind: str, name: str, content: bytes | None, end: str | None = None
) -> Tokenizer:
    """Return the tokenizer of a kind that a manifest names, from the content of its file."""
    if kind == "bytes" or content is None:
        return ByteTokenizer()
    if kind == "sentencepiece":
        return SentencePieceTokenizer(name, content, end)
    return JsonTokenizer(name, content, end)


def _find_end(name: str, words: dict[str, int], end: str | None) -> int:
    for word in ENDS if end is None else (end,):
        if word in words:
            return words[word]
    known = "none of the usual tokens that end a document" if end is None else f"no token `{end}`"
    raise InputError(
        Diagnostic(
            "no-end-of-document",
            f"the tokenizer `{name}` has {known}",
            hint="name the token with `--end-of-document TOKEN`",
        )
    )


def _not_a_tokenizer(name: str, why: str) -> InputError:
    return InputError(
        Diagnostic(
            "bad-tokenizer",
            f"`{name}` is not a tokenizer: {why.splitlines()[0] if why else 'unreadable'}",
            hint="give a Hugging Face tokenizer.json or a SentencePiece .model",
        )
    )


def _need(package: str, what: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise InputError(
            Diagnostic(
                "missing-package",
                f"{what} needs the package `{package}`, which is not installed",
                hint="pip install 'optzoo[tokenizers]', or use `--tokenizer bytes`",
            )
        )
