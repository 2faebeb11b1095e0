"""Two tokenizers, each as a `tokenizer.json`: a byte-level BPE with few merges, and letters."""

from __future__ import annotations

import json
import string
from typing import Any

TEXT = ["words and more words, held out words, naïve words: more and more"] * 4


def tokenizer_json(end: str | None = "<|endoftext|>", size: int = 300) -> bytes:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[end] if end else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer.to_str().encode()


def unigram_json() -> bytes:
    """A Unigram model of letters whose special tokens are in its vocabulary, as T5's are."""
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [[word, 0.0] for word in special]
    pieces += [["\u2581", -2.0], *([letter, -4.0] for letter in string.ascii_lowercase + "</>")]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    space: dict[str, Any] = {"type": "Metaspace", "replacement": "\u2581", "split": True}
    space["prepend_scheme"] = "always"
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": word, "special": True, **plain} for i, word in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": space,
        "post_processor": None,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    }
    return json.dumps(data).encode()
