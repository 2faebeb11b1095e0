"""What is differentiated.

The objective of one target is its cross-entropy plus z_loss * logsumexp(logits) ** 2.

With a large vocabulary the logits of a batch dwarf everything else: 32 sequences of 1024 tokens
and 32,128 rows are 4.2 GB in float32. Above `LOGITS_LIMIT` elements the loss is therefore computed
a slice of targets at a time: the logits of a slice are turned into their own gradient at once and
let go, so nothing of size (targets, vocabulary) is kept for the backward pass, and no matrix
product is done twice.

Shape suffixes: N targets, C targets of a slice, D width, V vocabulary rows.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from optzoo.train.setup.size import LOGITS_LIMIT


def linear_objective(
    h_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, z_loss: float, limit: int = LOGITS_LIMIT
) -> tuple[Tensor, Tensor]:
    """Return the summed objective and the cross-entropy of each target in nats, for h @ weight.T.

    The first is a scalar that can be differentiated once, the second float32 of N without gradient.
    Matrix products are in the dtype of the autocast region, everything else in float32.
    """
    num_rows = max(1, limit // weight_VD.shape[0])
    if len(h_ND) <= num_rows:
        return plain_objective(nn.functional.linear(h_ND, weight_VD), targets_N, z_loss)
    device = h_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h_ND.dtype
    found = _Sliced.apply(h_ND, weight_VD, targets_N, z_loss, num_rows, dtype)  # type: ignore[no-untyped-call]
    return cast("tuple[Tensor, Tensor]", found)


def plain_objective(logits_NV: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Return the same from all logits at once."""
    logits_NV = logits_NV.float()
    nats_N = nn.functional.cross_entropy(logits_NV, targets_N, reduction="none")
    objective = nats_N.sum()
    if z_loss:
        objective = objective + z_loss * torch.logsumexp(logits_NV, dim=-1).square().sum()
    return objective, nats_N.detach()


class _Sliced(torch.autograd.Function):
    """The objective over slices of `num_rows` targets; forward computes the gradient as well."""

    @staticmethod
    def forward(
        ctx: Any,
        h_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        z_loss: float,
        num_rows: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad)
        objective = torch.zeros((), device=h_ND.device, dtype=torch.float32)
        nats: list[Tensor] = []
        dh: list[Tensor] = []
        dweight_VD = torch.zeros_like(weight_VD) if wanted else None
        narrow_VD = weight_VD.to(dtype)
        slices = zip(torch.split(h_ND, num_rows), torch.split(targets_N, num_rows))
        with torch.autocast(h_ND.device.type, enabled=False):
            for h_CD, targets_C in slices:
                narrow_CD = h_CD.to(dtype)
                part, nats_C, g_CV = _slice_gradient(narrow_CD @ narrow_VD.T, targets_C, z_loss)
                objective += part
                nats.append(nats_C)
                if dweight_VD is not None:
                    g_CV = g_CV.to(dtype)
                    dh.append((g_CV @ narrow_VD).to(h_ND.dtype))
                    dweight_VD += g_CV.T @ narrow_CD
        if dweight_VD is not None:
            ctx.save_for_backward(torch.cat(dh), dweight_VD)
        nats_N = torch.cat(nats)
        ctx.mark_non_differentiable(nats_N)
        return objective, nats_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        dh_ND, dweight_VD = ctx.saved_tensors
        return dh_ND * upstream, dweight_VD * upstream, None, None, None, None


def _slice_gradient(
    logits_CV: Tensor, targets_C: Tensor, z_loss: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the objective of a slice, its cross-entropies and its gradient to the logits."""
    x_CV = logits_CV.float()
    lse_C1 = torch.logsumexp(x_CV, dim=-1, keepdim=True)
    nats_C = (lse_C1 - x_CV.gather(1, targets_C[:, None])).squeeze(1)
    objective = nats_C.sum() + z_loss * lse_C1.square().sum()
    g_CV = (x_CV - lse_C1).exp_().mul_(1.0 + 2.0 * z_loss * lse_C1)
    g_CV.scatter_add_(1, targets_C[:, None], torch.full_like(lse_C1, -1.0))
    return objective, nats_C, g_CV
