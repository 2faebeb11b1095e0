"""Held-out loss and the identity of weights, at any view of the optimizer.

Evaluation reads a fixed set of held-out sequences in a fixed order and draws no random numbers; it
leaves parameters, gradients and optimizer as they were. The same weights, setup and thread count
give the same loss to the last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optzoo.data.batches import read_blocks
from optzoo.data.corpus import Corpus
from optzoo.distributed.sharding import whole
from optzoo.distributed.world import World
from optzoo.errors import InputError
from optzoo.optimizer import RecipeOptimizer
from optzoo.train.model.transformer import Transformer


@dataclass(frozen=True)
class Loss:
    """Mean held-out loss: nats per target token, and bits per byte of the original text."""

    nats_per_token: float
    bits_per_byte: float


@dataclass(frozen=True)
class HeldOut:
    """The held-out sequences of an evaluation.

    `num_sequences` blocks spread evenly over the held-out stream, or all of it where it has fewer;
    `rows` of them are in memory at a time.
    """

    corpus: Corpus
    num_sequences: int
    length: int
    rows: int

    def __post_init__(self) -> None:
        if self.available < 1:
            raise InputError(
                f"the held-out text has {len(self.corpus.held_out.tokens):,} tokens, fewer than "
                f"one sequence of {self.length:,}",
                hint="make `batch.sequence_length` smaller, or hold out more text",
            )

    @property
    def available(self) -> int:
        """Sequences in the held-out stream."""
        return (len(self.corpus.held_out.tokens) - 1) // self.length

    @property
    def num_batches(self) -> int:
        """Batches of an evaluation."""
        return -(-min(self.num_sequences, self.available) // self.rows)

    def batch(self, index: int) -> tuple[Tensor, float]:
        """Return rows of `length` + 1 tokens, and the bytes of text their targets stand for."""
        stream = self.corpus.held_out
        number = min(self.num_sequences, self.available)
        blocks = np.arange(number, dtype=np.int64) * self.available // number
        chosen = blocks[index * self.rows : (index + 1) * self.rows]
        rows = torch.from_numpy(read_blocks(stream.tokens, chosen, self.length))
        return rows, stream.count_bytes(chosen, self.length)


@torch.no_grad()
def measure_loss(
    model: Transformer,
    held_out: HeldOut,
    *,
    proceed: Callable[[], None] = lambda: None,
    world: World | None = None,
) -> Loss:
    """Return the held-out loss of the parameters as they are now.

    Sums are kept in float64 and divided by the real number of targets, and of bytes. `proceed` is
    called between batches and may raise to stop. The processes of a `world` take batches in turn,
    equally many each, and their sums are added in the order of the batches: the loss is the same
    to the last bit however many there are.
    """
    world = world or World()
    device = model.head.weight.device
    sums: list[float] = []
    for start in range(0, held_out.num_batches, world.size):
        proceed()
        index = start + world.rank
        rows, size = held_out.batch(index if index < held_out.num_batches else 0)
        target = rows[:, 1:]
        _, nats_N = model(rows[:, :-1].to(device), target.to(device))
        found = (float(nats_N.double().sum()), target.numel(), size)
        sums += found if index < held_out.num_batches else (0.0, 0, 0)
    parts = np.array(world.gather(sums)).reshape(world.size, -1, 3).swapaxes(0, 1).reshape(-1, 3)
    nats, targets, num_bytes = (sum(column) for column in parts.T.tolist())
    return Loss(nats / targets, nats / math.log(2.0) / max(1.0, num_bytes))


def measure_views(
    model: Transformer,
    optimizer: RecipeOptimizer,
    held_out: HeldOut,
    views: Iterable[str],
    *,
    proceed: Callable[[], None] = lambda: None,
    world: World | None = None,
) -> dict[str, tuple[Loss, str]]:
    """Return loss and sha256 of the weights of each view; equal weights are evaluated once."""
    known: dict[str, Loss] = {}
    found = {}
    for view in views:
        with optimizer.evaluation(view=view):
            identity = hash_weights(model)
            if identity not in known:
                known[identity] = measure_loss(model, held_out, proceed=proceed, world=world)
        found[view] = (known[identity], identity)
    return found


def hash_weights(model: Transformer) -> str:
    """Return the sha256 hex of every parameter's name, shape, dtype and bytes, in name order.

    Every process that holds shards of them must ask.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        value = whole(parameter.detach()).cpu().contiguous()
        digest.update(f"{name} {list(value.shape)} {value.dtype}\n".encode())
        digest.update(value.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
