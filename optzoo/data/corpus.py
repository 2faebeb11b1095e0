"""Where text comes from: documents -> two token streams, one to train on and one held out.

The embedded corpus is the Python standard library's own sources and documentation, read from the
running interpreter. Tokens are bytes; the id 256, which no text contains, separates documents.
Nothing is normalised, so bits per byte are exact.

Invariants: documents are ordered by relative path with `/` separators; which of the two streams a
document goes to depends on its path alone; the fingerprint changes when a path, a size, a byte or
a rule does. This is not C4: losses say how optimizers compare on this text and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from optzoo.data.token_files import DocumentIndex, Positions, ShardedTokens
from optzoo.data.tokenizer import ByteTokenizer, Tokenizer
from optzoo.errors import Diagnostic, InputError

Tokens = npt.NDArray[np.uint16] | ShardedTokens

RULE_VERSION = 1  # counts changes of the rules below; part of the fingerprint
SEPARATOR = 256
VOCABULARY = 257
HELD_OUT_IN = 10  # one document in ten, by a hash of its path
MINIMUM_BYTES = 2_000_000  # below this a distribution has left out most of its library
LEFT_OUT = frozenset(
    {
        *("test", "tests", "idle_test", "lib2to3"),
        *("site-packages", "dist-packages", "__pycache__"),
    }
)


@dataclass(frozen=True)
class TokenStream:
    """Documents as one row of tokens: a separator, then each document and a separator.

    Every byte of every document, and the end of every document, is therefore a target. `documents`
    is there for a stream that is evaluated.
    """

    tokens: Tokens
    num_documents: int
    num_bytes: int
    documents: DocumentIndex | None = None

    def count_bytes(self, blocks: Positions, length: int) -> float:
        """Return the bytes of original text that the targets of blocks of `length` stand for."""
        assert self.documents is not None  # a stream that is only trained on has no index
        return self.documents.count_bytes(blocks * length + 1, length)


@dataclass(frozen=True)
class Corpus:
    """A training stream, a held-out stream, and what identifies them.

    `open_tokenizer` makes what turns text into ids and back; training does without it.
    """

    name: str
    title: str
    vocabulary: int
    separator: int
    train: TokenStream
    held_out: TokenStream
    fingerprint: str
    open_tokenizer: Callable[[], Tokenizer] = ByteTokenizer


def open_corpus(name: str) -> Corpus:
    """Return the corpus that a setup names in `data.corpus`."""
    if name != "stdlib":
        raise InputError(f"`{name}` is not a corpus", hint="known corpora: stdlib")
    return read_standard_library()


def read_standard_library(
    root: str | Path | None = None, minimum_bytes: int = MINIMUM_BYTES
) -> Corpus:
    """Read the embedded corpus from `root`, by default the running interpreter's library.

    Raises InputError when fewer than `minimum_bytes` bytes of source are found there.
    """
    root = Path(sysconfig.get_path("stdlib") if root is None else root)
    documents = _read_documents(root)
    size = sum(len(text) for _, text in documents)
    if size < minimum_bytes:
        raise InputError(
            Diagnostic(
                "corpus-too-small",
                f"the embedded corpus needs {minimum_bytes:,} bytes of Python sources, and "
                f"{root} has {size:,} in {len(documents):,} files",
                hint="this Python comes without the sources of its standard library (a stripped "
                "image, a zipped library, or Debian's python3-minimal); run optzoo under a full "
                "Python, such as one from python.org, uv or conda",
            )
        )
    held_out = [item for item in documents if is_held_out(item[0])]
    train = [item for item in documents if not is_held_out(item[0])]
    return Corpus(
        name="stdlib",
        title=f"Python {platform.python_version()} standard library, as bytes",
        vocabulary=VOCABULARY,
        separator=SEPARATOR,
        train=join_documents([text for _, text in train]),
        held_out=join_documents([text for _, text in held_out]),
        fingerprint=compute_fingerprint(documents),
    )


def is_held_out(path: str) -> bool:
    """Say whether the document at this relative path is held out. Depends on nothing else."""
    digest = hashlib.sha256(path.encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_IN == 0


def join_documents(texts: Sequence[bytes]) -> TokenStream:
    """Return the token stream of the documents, in the order given."""
    num_bytes = sum(len(text) for text in texts)
    tokens = np.full(num_bytes + len(texts) + 1, SEPARATOR, dtype=np.uint16)
    position = 1
    for text in texts:
        tokens[position : position + len(text)] = np.frombuffer(text, dtype=np.uint8)
        position += len(text) + 1
    tokens.flags.writeable = False
    sizes = [len(text) for text in texts]
    return TokenStream(tokens, len(texts), num_bytes, DocumentIndex.from_sizes(sizes, sizes))


def compute_fingerprint(documents: Sequence[tuple[str, bytes]]) -> str:
    """Return the sha256 hex of the rules' version and every path, size and content."""
    digest = hashlib.sha256(
        f"stdlib rule {RULE_VERSION} separator {SEPARATOR} held out 1/{HELD_OUT_IN}\n".encode()
    )
    for path, text in documents:
        content = hashlib.sha256(text).hexdigest()
        digest.update(f"{path}\0{len(text)}\0{content}\n".encode())
    return digest.hexdigest()


def _read_documents(root: Path) -> list[tuple[str, bytes]]:
    documents = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in files:
            if name.endswith(".py"):
                path = Path(folder, name)
                try:
                    text = path.read_bytes()
                except OSError as error:
                    raise InputError(
                        f"{path}: cannot be read: {error.strerror or error}",
                        hint="the embedded corpus needs every source file of the library",
                    ) from None
                if text:
                    documents.append((path.relative_to(root).as_posix(), text))
    return sorted(documents)
