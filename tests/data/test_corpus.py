"""The embedded corpus: what it is, how it is split, and that tokens are the bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import optzoo
from optzoo.data.corpus import (
    MINIMUM_BYTES,
    SEPARATOR,
    Corpus,
    is_held_out,
    join_documents,
    read_standard_library,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_standard_library()


def test_the_size_of_the_library(corpus: Corpus) -> None:
    total = corpus.train.num_bytes + corpus.held_out.num_bytes
    assert total > MINIMUM_BYTES
    assert 0.03 < corpus.held_out.num_bytes / total < 0.25
    assert corpus.train.num_documents + corpus.held_out.num_documents > 200


def test_every_byte_is_a_token(corpus: Corpus) -> None:
    for stream in (corpus.train, corpus.held_out):
        separators = int(np.count_nonzero(stream.tokens == SEPARATOR))
        assert separators == stream.num_documents + 1
        assert len(stream.tokens) == stream.num_bytes + separators
        assert stream.count_bytes(np.array([0]), len(stream.tokens) - 1) == stream.num_bytes
        blocks = np.arange(0, 40)
        targets = stream.tokens[1:2001]
        assert stream.count_bytes(blocks, 50) == np.count_nonzero(targets != SEPARATOR)


def test_documents_are_kept_whole_and_in_order() -> None:
    texts = [b"one", b"\xff\x00two", b"3"]
    stream = join_documents(texts)
    assert stream.tokens.tolist() == [
        SEPARATOR,
        *b"one",
        SEPARATOR,
        *b"\xff\x00two",
        SEPARATOR,
        *b"3",
        SEPARATOR,
    ]
    with pytest.raises(ValueError, match="read-only"):
        stream.tokens[0] = 1


def test_the_split_depends_on_the_path_alone(corpus: Corpus) -> None:
    assert is_held_out("json/decoder.py") == is_held_out("json/decoder.py")
    share = np.mean([is_held_out(f"package/module{i}.py") for i in range(5000)])
    assert 0.08 < share < 0.12


def library(root: Path, files: dict[str, bytes]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return root


def test_what_is_left_out(tmp_path: Path) -> None:
    files = {
        "a.py": b"x = 1\n",
        "b/c.py": b"y = 2\n",
        "b/test/d.py": b"no\n",
        "site-packages/e.py": b"no\n",
        "f.txt": b"no\n",
        "empty.py": b"",
    }
    found = read_standard_library(library(tmp_path, files), minimum_bytes=1)
    assert found.train.num_bytes + found.held_out.num_bytes == 12


def test_the_fingerprint_sees_a_byte_a_path_and_a_size(tmp_path: Path) -> None:
    base = {"a.py": b"x = 1\n", "b.py": b"y = 2\n"}
    variants = [
        base,
        {**base, "a.py": b"x = 2\n"},
        {"c.py": b"x = 1\n", "b.py": b"y = 2\n"},
        {**base, "a.py": b"x = 1\n\n"},
    ]
    prints = {
        read_standard_library(library(tmp_path / str(i), files), minimum_bytes=1).fingerprint
        for i, files in enumerate(variants)
    }
    assert len(prints) == len(variants)


def test_a_stripped_library_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(optzoo.InputError, match="needs 2,000,000 bytes of Python sources") as error:
        read_standard_library(library(tmp_path, {"a.py": b"x = 1\n"}))
    assert "hint: this Python comes without the sources" in str(error.value)
