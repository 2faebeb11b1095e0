"""What is differentiated, and how its gradient is clipped."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def objective_sums(logits_NV: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Return summed cross-entropy in nats, and z_loss * summed logsumexp ** 2, over N targets."""
    cross_entropy = nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")
    if z_loss == 0.0:
        return cross_entropy, torch.zeros_like(cross_entropy)
    return cross_entropy, z_loss * torch.logsumexp(logits_NV, dim=-1).square().sum()


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float | None) -> float:
    """Scale all gradients so that their joint L2 norm is at most `limit`; return it as it was.

    Gradients whose norm is not finite are left as they are.
    """
    parameters = list(parameters)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None and bool(torch.isfinite(norm)):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)
