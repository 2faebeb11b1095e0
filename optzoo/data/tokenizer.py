"""Tokenizers: bytes, a `tokenizer.json`, or a SentencePiece model; by file or by hub name.

Words that look like a special token are encoded as the characters they are: the token that ends a
document comes out of a text only where it is an ordinary one. Nothing is added, cut or padded. A
tokenizer that has no such token gets one: the id after its last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from optzoo.data.manifest import TokenizerIdentity
from optzoo.data.token_files import Row
from optzoo.errors import Diagnostic, InputError, did_you_mean

ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eos|>", "[EOS]")
"""What ends a document, in the words of known tokenizers; the first that there is counts."""
HIDDEN = "\ufdd0"
"""A character that is none: Unicode keeps it for the inside of programs."""
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
        words: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self.content: bytes | None = content
        self.identity = _identify(name, "json", content, words, end)
        self._encoder = self._make_encoder(content)
        self._encoder.no_truncation()
        self._encoder.no_padding()
        self._encoder.encode_special_tokens = True

    def _make_encoder(self, content: bytes) -> Any:
        """Return the tokenizer that encodes: its special tokens are words that no text has.

        Models find special tokens in text where they stand in their vocabulary, as T5's does.
        """
        from tokenizers import Tokenizer as Implementation

        try:
            return Implementation.from_str(_hide_special_tokens(content))
        except Exception:  # a model that needs one of them by name
            return Implementation.from_str(content.decode())

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the ids of each text."""
        found = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
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
        self.identity = _identify(name, "sentencepiece", content, words, end)

    def encode(self, texts: Sequence[str]) -> list[Row]:
        """Return the ids of each text."""
        return [np.array(ids, dtype=np.uint32) for ids in self._model.encode(list(texts))]

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the text of ids; control pieces have none."""
        size = int(self._model.get_piece_size())
        text: str = self._model.decode([int(i) for i in ids if i < size])
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


def _identify(
    name: str, kind: str, content: bytes, words: dict[str, int], end: str | None
) -> TokenizerIdentity:
    """Return the identity of a tokenizer with these words.

    Without one that ends a document, named or usual, the id after the last does.
    """
    size = max(words.values(), default=-1) + 1
    if end is not None and end not in words:
        hint = did_you_mean(end, [word for word in ENDS if word in words], what="its usual ones")
        raise InputError(
            Diagnostic(
                "no-end-of-document",
                f"the tokenizer `{name}` has no token `{end}`",
                hint=f"{hint}; without `--end-of-document` one that has none gets an id of its own",
            )
        )
    last = next((words[word] for word in ENDS if word in words), size)
    last = last if end is None else words[end]
    sha256 = hashlib.sha256(content).hexdigest()
    return TokenizerIdentity(name, kind, sha256, max(size, last + 1), last)


def _hide_special_tokens(content: bytes) -> str:
    """Return a `tokenizer.json` in which special tokens have the same ids and other words.

    The word for what is unknown stays, since models look for it, and so does a single character,
    which may be a letter of the alphabet.
    """
    data = json.loads(content)
    model = data["model"]
    vocabulary = model["vocab"]
    hidden = {
        token["content"]: f"{HIDDEN}{token['content']}"
        for token in data["added_tokens"]
        if token["special"]
        and len(token["content"]) > 1
        and token["content"] != model.get("unk_token")
    }
    if isinstance(vocabulary, dict):
        model["vocab"] = {hidden.get(word, word): i for word, i in vocabulary.items()}
    else:
        model["vocab"] = [[hidden.get(word, word), score] for word, score in vocabulary]
    if "merges" in model:  # what text would become one of them by
        pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & hidden.keys()]
    for token in data["added_tokens"]:
        token["content"] = hidden.get(token["content"], token["content"])
    return json.dumps({**data, "post_processor": None})


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
