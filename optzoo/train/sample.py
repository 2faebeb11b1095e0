"""Text drawn from a model of bytes. Random numbers come from a generator of its own."""

from __future__ import annotations

import torch

from optzoo.train.corpus import SEPARATOR
from optzoo.train.model import Transformer


@torch.no_grad()
def draw_text(
    model: Transformer,
    *,
    prompt: str,
    num_bytes: int,
    temperature: float,
    seed: int,
    window: int,
) -> str:
    """Return the prompt and up to `num_bytes` bytes that the model continues it with.

    The text starts a document and ends early where the model ends it. At most the last `window`
    tokens are looked at. Bytes that are not UTF-8 show as the replacement character.
    """
    device = model.head.weight.device
    generator = torch.Generator("cpu").manual_seed(seed)
    tokens = [SEPARATOR, *prompt.encode()]
    for _ in range(num_bytes):
        context = torch.tensor([tokens[-window:]], device=device)
        logits = model(context)[0, -1, : SEPARATOR + 1].float().cpu()
        chances = torch.softmax(logits / temperature, dim=-1)
        token = int(torch.multinomial(chances, 1, generator=generator))
        if token == SEPARATOR:
            break
        tokens.append(token)
    return bytes(tokens[1:]).decode("utf-8", errors="replace")
