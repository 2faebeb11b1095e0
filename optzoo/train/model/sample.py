"""Text drawn from a model. Random numbers come from a generator of its own."""

from __future__ import annotations

import torch

from optzoo.data.corpus import Corpus
from optzoo.train.model.transformer import Transformer


@torch.no_grad()
def draw_text(
    model: Transformer,
    corpus: Corpus,
    *,
    prompt: str,
    num_bytes: int,
    temperature: float,
    seed: int,
    window: int,
) -> str:
    """Return the prompt and about `num_bytes` bytes that the model continues it with.

    The text starts a document and ends early where the model ends it. At most the last `window`
    tokens are looked at. Bytes that are not UTF-8 show as the replacement character. Raises
    InputError where the corpus's tokenizer cannot be opened.
    """
    device = model.head.weight.device
    generator = torch.Generator("cpu").manual_seed(seed)
    tokenizer = corpus.open_tokenizer()
    start = tokenizer.encode([prompt])[0].tolist() if prompt else []
    tokens = [corpus.separator, *start]
    target = len(prompt.encode()) + num_bytes
    text = tokenizer.decode(tokens[1:])
    while len(text) < target and len(tokens) <= len(start) + num_bytes:
        context = torch.tensor([tokens[-window:]], device=device)
        logits = model(context)[0, -1, : corpus.vocabulary].float().cpu()
        chances = torch.softmax(logits / temperature, dim=-1)
        token = int(torch.multinomial(chances, 1, generator=generator))
        if token == corpus.separator:
            break
        tokens.append(token)
        text = tokenizer.decode(tokens[1:])
    return text.decode("utf-8", errors="replace")
