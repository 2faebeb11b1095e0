"""Tokenizers by file: ids as the package gives them, and text that looks like a special token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import optzoo
from optzoo.data.manifest import read_manifest
from optzoo.data.preparation.prepare import Request, prepare
from optzoo.data.preparation.sources import load_tokenizer
from optzoo.data.prepared import draw_sample, open_index, open_tokenizer, open_tokens
from optzoo.data.token_files import dtype_for
from optzoo.data.tokenizer import ByteTokenizer

pytest.importorskip("tokenizers")
from tiny_tokenizer import tokenizer_json, unigram_json

TEXTS = ["more words", "naïve <|endoftext|> words", "ünknown"]


def save(folder: Path, **options: object) -> str:
    path = folder / "tokenizer.json"
    path.write_bytes(tokenizer_json(**options))  # type: ignore[arg-type]
    return str(path)


def test_bytes_are_bytes() -> None:
    tokenizer = load_tokenizer("bytes")
    assert isinstance(tokenizer, ByteTokenizer)
    assert [row.tolist() for row in tokenizer.encode(["é", "a"])] == [[0xC3, 0xA9], [97]]
    assert tokenizer.decode([97, 256, 98]) == b"ab"


def test_a_file_or_its_folder(tmp_path: Path) -> None:
    by_file = load_tokenizer(save(tmp_path))
    by_folder = load_tokenizer(str(tmp_path))
    assert by_file.identity.sha256 == by_folder.identity.sha256
    assert by_file.identity.vocabulary <= 300
    for text, ids in zip(TEXTS, by_file.encode(TEXTS)):
        assert by_file.decode(ids.tolist()) == text.encode()
        assert by_file.identity.end_of_document not in ids
    assert len(by_file.encode(["words and more words"])[0]) < 10


def test_the_whole_path_with_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i, text in enumerate(TEXTS):
        (tmp_path / "in" / f"{i}.txt").write_text(text, encoding="utf-8")
    name, source = save(tmp_path), str(tmp_path / "in" / "*.txt")
    out = tmp_path / "out"
    prepare(Request((source,), name, validation=(source,)), out, quiet=True)
    manifest, tokenizer = read_manifest(out), load_tokenizer(name)
    row, index = open_tokens(out, manifest.train, manifest), open_index(out, manifest.train)
    end = tokenizer.identity.end_of_document
    expected = [end]
    for ids in tokenizer.encode(TEXTS):
        expected += [*ids.tolist(), end]
    assert row[np.arange(len(row))].tolist() == expected
    assert index.byte_ends[-1] == sum(len(text.encode()) for text in TEXTS)
    assert "more words" in draw_sample(out)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(optzoo.InputError, match=r"tokenizer\.json` changed since"):
        prepare(Request((source,), name, validation=(source,)), out, quiet=True)
    path.unlink()  # the directory has its own copy
    assert prepare(Request((source,), name, validation=(source,)), out, quiet=True).already
    assert "more words" in draw_sample(out)
    (out / "tokenizer.json").write_bytes(path.with_name("in").joinpath("0.txt").read_bytes())
    with pytest.raises(optzoo.InputError, match="is not the tokenizer of these tokens"):
        open_tokenizer(out, manifest)


@pytest.mark.parametrize("end", ["<stop>", None])
def test_a_tokenizer_without_an_end_gets_one(end: str | None, tmp_path: Path) -> None:
    name = save(tmp_path, end=end)
    (tmp_path / "a.txt").write_text("more words")
    source = (str(tmp_path / "a.txt"),)
    prepare(Request(source, name, validation=source), tmp_path / "out", quiet=True)
    tokenizer, manifest = load_tokenizer(name), read_manifest(tmp_path / "out")
    identity = manifest.tokenizer
    assert identity.end_of_document == identity.vocabulary - 1 > tokenizer.encode(["z"])[0].max()
    row = open_tokens(tmp_path / "out", manifest.train, manifest)
    assert row[np.array([0, len(row) - 1])].tolist() == [identity.end_of_document] * 2
    assert draw_sample(tmp_path / "out") == "more words"
    assert open_tokenizer(tmp_path / "out", manifest).identity == identity


def test_the_end_can_be_named(tmp_path: Path) -> None:
    name = save(tmp_path, end="<stop>")
    assert load_tokenizer(name, "<stop>").identity.end_of_document == 0
    with pytest.raises(optzoo.InputError, match="has no token `<end>`"):
        load_tokenizer(name, "<end>")


def test_an_ordinary_token_that_ends_documents_may_be_in_them(tmp_path: Path) -> None:
    name = save(tmp_path)
    (tmp_path / "a.txt").write_text("zzz")
    source = (str(tmp_path / "a.txt"),)
    request = Request(source, name, validation=source, end_of_document="z")
    prepare(request, tmp_path / "out", quiet=True)
    index = open_index(tmp_path / "out", read_manifest(tmp_path / "out").train)
    assert index.ends.tolist() == [5]


def test_special_tokens_are_not_merged_out_of_text(tmp_path: Path) -> None:
    """Tokenizers that were SentencePiece models have merges for every word of the vocabulary."""
    data = json.loads(tokenizer_json("</s>")) | {"pre_tokenizer": None}
    model = data["model"]
    size = len(model["vocab"])
    model["vocab"] |= {"</": size, "s>": size + 1}
    model["merges"] += [["<", "/"], ["s", ">"], ["</", "s>"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.encode(["</s>"])[0].tolist() == [size, size + 1]
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    path.write_text(json.dumps(data))
    assert load_tokenizer(str(path)).encode(["</s>"])[0].tolist() == [size, size + 1]


def test_special_tokens_of_a_vocabulary_are_not_found_in_text(tmp_path: Path) -> None:
    """T5's are entries of its vocabulary: there the model itself would find them."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(unigram_json())
    tokenizer = load_tokenizer(str(path))
    end = tokenizer.identity.end_of_document
    plain, struck, padded = tokenizer.encode(["a s b", "a </s> b", "<pad>"])
    assert end not in struck
    assert 0 not in padded
    assert tokenizer.decode(struck.tolist()) == b"a </s> b"
    assert plain.tolist() == [3, 4, 3, 22, 3, 5]


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"model": 3}')
    with pytest.raises(optzoo.InputError, match=r"a\.json` is not a tokenizer"):
        load_tokenizer(str(tmp_path / "a.json"))
    with pytest.raises(optzoo.InputError, match="no such tokenizer file"):
        load_tokenizer("nowhere/tokenizer.json")


def test_the_narrowest_type_that_holds_every_id() -> None:
    assert dtype_for(257) == dtype_for(65_536) == "<u2"
    assert dtype_for(65_537) == "<u4"


def test_sentencepiece(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "in.txt").write_text("words and more words\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "in.txt"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = load_tokenizer(str(tmp_path / "spiece.model"))
    ids = tokenizer.encode(["more words", "words"])
    assert tokenizer.decode(ids[0].tolist()) == b"more words"
    assert tokenizer.identity.end_of_document not in ids[0]
