"""Orthonormal bases, eigenvectors and powers of stacks of matrices, as torch calls.

What a decomposition leaves open is settled as in `optzoo.program.tensors.elements`: signs by the
diagonal of R or by a vector's first element, columns that say nothing new by unit vectors in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optzoo.program.tensors.elements import DEPENDENT, UNIT_LEFT


def orthonormal(a: Tensor) -> Tensor:
    """Return Q of a = QR, R with a positive diagonal; dependent columns are filled in."""
    nowhere = _nowhere(a)
    a = torch.where(nowhere, 0.0, a)
    basis, sizes = _signed_qr(a)
    least = _least(torch.linalg.vector_norm(a, dim=-2).amax(-1, keepdim=True))
    if a.shape[-1] <= a.shape[-2] and _hold(sizes > least):
        return basis.masked_fill(nowhere, torch.nan)
    pairs = zip(a, least[:, 0].tolist(), strict=True)
    filled = torch.stack([_filled(matrix, smallest) for matrix, smallest in pairs])
    return filled.masked_fill(nowhere, torch.nan)


def eigenbasis(a: Tensor) -> Tensor:
    """Return the eigenvectors of symmetric matrices, those of the largest value first."""
    values, vectors = _eigen(a)
    leading = (vectors.abs() > UNIT_LEFT).long().argmax(-2, keepdim=True)
    vectors = vectors * torch.take_along_dim(vectors, leading, dim=-2).sign()
    said = values > _least(values[..., :1].clamp_min(0))
    return vectors if _hold(said) else orthonormal(vectors * said.unsqueeze(-2))


def symmetric_power(a: Tensor, exponent: float) -> Tensor:
    """Return powers of symmetric matrices; the part of eigenvalues at or below 0 is 0."""
    values, vectors = _eigen(a)
    raised = torch.where(values > 0, values.clamp_min(0).pow(exponent), torch.zeros_like(values))
    return (vectors * raised.unsqueeze(-2)) @ vectors.mT


def _hold(flags: Tensor) -> bool:
    """Return whether all hold; of a tensor without numbers, a fake or a meta one, they do."""
    whole = flags.all()
    return type(whole) is not Tensor or whole.is_meta or bool(whole)


def _nowhere(a: Tensor) -> Tensor:
    """Return which matrices are not finite; what is made of those is no number."""
    return ~a.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)


def _eigen(a: Tensor) -> tuple[Tensor, Tensor]:
    nowhere = _nowhere(a)
    values, vectors = torch.linalg.eigh(torch.where(nowhere, 0.0, a))
    return values.flip(-1), vectors.flip(-1).masked_fill(nowhere, torch.nan)


def _least(largest: Tensor) -> Tensor:
    return DEPENDENT * torch.finfo(largest.dtype).eps * largest


def _signed_qr(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q, and the diagonal of R, which is at or above 0."""
    q, r = torch.linalg.qr(a)
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    signs = torch.where(diagonal < 0, -1.0, 1.0).to(a.dtype)
    return q * signs.unsqueeze(-2), diagonal.abs()


def _filled(a: Tensor, least: float) -> Tensor:
    """Return the basis of one matrix whose columns may depend on one another."""
    size, count = a.shape
    empty = a.new_zeros(size, 0)
    basis, places = _extended(empty, a, least)
    units = torch.eye(size, dtype=a.dtype, device=a.device)
    whole, _ = _extended(basis, units, UNIT_LEFT)
    filled = torch.zeros_like(a)
    free = torch.ones(count, dtype=torch.bool, device=a.device)
    free[places] = False
    gaps = free.nonzero()[:, 0][: size - len(places)]
    filled[:, places] = basis
    filled[:, gaps] = whole[:, len(places) : len(places) + len(gaps)]
    return filled


def _extended(basis: Tensor, columns: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return a basis with the columns that say something new, and which those are.

    As many columns as do so in a row are taken at once, and those that say nothing are left out.
    """
    open_ = torch.arange(columns.shape[1], device=columns.device)
    taken = open_[:0]
    while len(open_) and basis.shape[1] < basis.shape[0]:
        rest = columns[:, open_]
        for _ in range(2):
            rest = rest - basis @ (basis.mT @ rest)
        is_new = torch.linalg.vector_norm(rest, dim=0) > least
        rest, open_ = rest[:, is_new], open_[is_new]
        if not len(open_):
            break
        found, sizes = _signed_qr(rest)
        run = max(1, int((sizes > least).long().cumprod(0).sum()))
        basis = torch.cat([basis, found[:, :run]], dim=1)
        taken, open_ = torch.cat([taken, open_[:run]]), open_[run:]
    return basis, taken
