"""The decoder-only transformer of the paper's experiments.

Pre-norm blocks, rotary positions, one LayerNorm over the whole of q and of k (QK-norm; can be left
out), GELU, LayerNorm with weight and without bias, no biases, no dropout, a head of its own. Sizes
and initialisation follow the public code of the paper's group (hlzhang109/critical-batch-size).

Called with targets, a model gives the loss instead of logits and need not hold all logits at once;
see `optzoo.train.model.loss`. Everything a step needs is inside one call, so wrappers that act on
calls (torch.compile, DDP, FSDP2) see all of it.

Shape suffixes: B sequences, T positions, D width, H heads, K head width (D / H), F hidden width of
the MLP, V vocabulary rows. Logits at position t depend on tokens 0..t only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import cast, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from optzoo.optimizer.kinds import subjects_of
from optzoo.recipe.schema import Kind
from optzoo.train.model.loss import linear_objective

NORM_EPS = 1e-5
TRUNCATION = 3.0  # in standard deviations


class Transformer(nn.Module):
    """Map tokens (B, T) to logits (B, T, V), or with targets to the loss.

    `activation_checkpointing` keeps one tensor a block for the backward pass and computes the
    block again; gradients are the same.
    """

    rope: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        max_length: int,
        rope_base: float = 10_000.0,
        qk_norm: bool = True,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, qk_norm=qk_norm) for _ in range(layers)
        )
        self.norm = make_norm(width)
        self.head = make_linear(width, vocabulary)
        rope = rotary_table(max_length, width // heads, rope_base)
        self.register_buffer("rope", rope, persistent=False)

    @overload
    def forward(self, tokens_BT: Tensor) -> Tensor: ...

    @overload
    def forward(
        self, tokens_BT: Tensor, targets_BT: Tensor, z_loss: float = ...
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self, tokens_BT: Tensor, targets_BT: Tensor | None = None, z_loss: float = 0.0
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits; T is at most `max_length`.

        With targets return the summed objective, which is differentiated, and the cross-entropy of
        each target in nats, float32 of B * T, which is not.
        """
        x_BTD = self.embedding(tokens_BT)
        rope_2TK = self.rope[:, : tokens_BT.shape[1]]
        for block in self.blocks:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x_BTD = checkpoint(block, x_BTD, rope_2TK, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, rope_2TK)
        x_BTD = self.norm(x_BTD)
        if targets_BT is None:
            return cast(Tensor, self.head(x_BTD))
        return linear_objective(
            x_BTD.flatten(0, 1), self.head.weight, targets_BT.flatten(), z_loss=z_loss
        )

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw the weights: `mitchell` (experiments of the paper's group, OLMo code).

        Truncated normal of standard deviation 1 / sqrt(fan-in), cut at 3; what a block adds to
        the residual stream is further divided by sqrt(2 (layer + 1)), layers from 0. Each
        parameter has its own stream of random numbers, keyed by the seed and its name, so neither
        the order of parameters nor the global generator matters.
        """
        for name, kind, parameter in self.classified_parameters():
            if kind == "norm":
                parameter.fill_(1.0)
                continue
            fan_in = parameter.shape[1]  # the embedding's too: its rows have D entries
            std = 1.0 / math.sqrt(fan_in)
            parts = name.split(".")
            if parts[-2] in ("attention_out", "mlp_down"):
                std /= math.sqrt(2 * (int(parts[1]) + 1))
            key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator("cpu").manual_seed(int.from_bytes(key[:8], "big") >> 1)
            value = torch.empty(parameter.shape, dtype=torch.float32)
            cut = TRUNCATION * std
            nn.init.trunc_normal_(value, 0.0, std, -cut, cut, generator=generator)
            parameter.copy_(value)

    def classified_parameters(self) -> Iterator[tuple[str, Kind, nn.Parameter]]:
        """Yield (name, kind, parameter): the kinds that routes and a setup's decay rule name."""
        for subject, parameter in subjects_of(self):
            kind, *others = subject.kinds
            assert subject.name is not None
            assert not others  # its modules are known
            yield subject.name, cast(Kind, kind), parameter

    def count_parameters(self, *kinds: Kind) -> int:
        """Return the number of parameters of these kinds, or of all."""
        return sum(
            parameter.numel()
            for _, kind, parameter in self.classified_parameters()
            if not kinds or kind in kinds
        )


class Block(nn.Module):
    """Attention, then MLP, each added to its own input."""

    def __init__(self, width: int, heads: int, hidden: int, *, qk_norm: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = make_norm(width)
        self.attention_qkv = make_linear(width, 3 * width)
        self.q_norm = make_norm(width) if qk_norm else nn.Identity()
        self.k_norm = make_norm(width) if qk_norm else nn.Identity()
        self.attention_out = make_linear(width, width)
        self.mlp_norm = make_norm(width)
        self.mlp_up = make_linear(width, hidden)
        self.mlp_down = make_linear(hidden, width)

    def forward(self, x_BTD: Tensor, rope_2TK: Tensor) -> Tensor:
        """Return the residual stream after this block."""
        x_BTD = x_BTD + self.attend(self.attention_norm(x_BTD), rope_2TK)
        h_BTF = nn.functional.gelu(self.mlp_up(self.mlp_norm(x_BTD)))
        return cast(Tensor, x_BTD + self.mlp_down(h_BTF))

    def attend(self, x_BTD: Tensor, rope_2TK: Tensor) -> Tensor:
        """Return causal self-attention of the normed stream."""
        B, T, D = x_BTD.shape
        q_BTD, k_BTD, v_BTD = self.attention_qkv(x_BTD).chunk(3, dim=-1)
        split = (B, T, self.heads, D // self.heads)
        q_BHTK = rotate(self.q_norm(q_BTD).view(split).transpose(1, 2), rope_2TK)
        k_BHTK = rotate(self.k_norm(k_BTD).view(split).transpose(1, 2), rope_2TK)
        v_BHTK = v_BTD.view(split).transpose(1, 2)
        y_BHTK = nn.functional.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        return cast(Tensor, self.attention_out(y_BHTK.transpose(1, 2).reshape(B, T, D)))


def make_norm(width: int) -> nn.LayerNorm:
    """Return a LayerNorm with weight and without bias."""
    return nn.LayerNorm(width, eps=NORM_EPS, bias=False)


def make_linear(fan_in: int, fan_out: int) -> nn.Linear:
    """Return a linear map without bias."""
    return nn.Linear(fan_in, fan_out, bias=False)


def rotary_table(length: int, head_width: int, base: float) -> Tensor:
    """Return cosines and signed sines, shape (2, T, K), computed in float64, kept in float32.

    The two halves of a head are the real and imaginary parts; the sine of the first half is
    negated, so that a rotation is x * cos + swap(x) * sin.
    """
    frequency = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    cos, sin = angle.cos(), angle.sin()
    table = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)])
    return table.to(torch.float32)


def rotate(x_BHTK: Tensor, rope_2TK: Tensor) -> Tensor:
    """Rotate each pair of a head by its position, in float32 at least."""
    cos_TK, sin_TK = rope_2TK
    x32 = x_BHTK.float()
    swapped = torch.roll(x32, x32.shape[-1] // 2, dims=-1)
    turned: Tensor = x32 * cos_TK + swapped * sin_TK
    return turned.type_as(x_BHTK)
