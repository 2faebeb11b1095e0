"""A byte-level BPE with a few merges, trained on one sentence, as a `tokenizer.json`."""

from __future__ import annotations

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
