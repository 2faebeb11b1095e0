"""Arithmetic on stacks of matrices: floats, and tensors of matrices x rows x columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from optzoo.engines.elementwise import ELEMENTWISE
from optzoo.engines.matrices.decompositions import eigenbasis, orthonormal, symmetric_power
from optzoo.program.arithmetic import IEEE
from optzoo.program.ops import OPS
from optzoo.program.tensors.elements import row_blocks

Value = float | Tensor


class MatrixDomain:
    """Floats, and tensors of matrices x rows x columns; products of `polar` are in `dtype`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def number(self, value: Fraction) -> Value:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[Any]) -> Value:
        """Apply an operation to numbers on the host, or to tensors and numbers."""
        if not any(isinstance(arg, Tensor) for arg in args):
            return IEEE[op](*args)  # of the host, or sizes
        if op in ELEMENTWISE:
            return ELEMENTWISE[op](*args)
        if op == "polar":
            return _polar(self.dtype, *args)
        if op == "block_polar":
            return _block_polar(self.dtype, *args)
        known = OPS[op]
        if known.kept == "block":
            return _block(known.reduces or "", *args)
        if known.reduces is not None:
            return _REDUCTIONS[known.reduces](args[0], _DIMS[known.kept])
        return _MATRICES[op](*args)


_DIMS = {"whole": (-2, -1), "row": (-1,), "column": (-2,)}


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "sum": lambda a, dims: a.sum(dims, keepdim=True),
    "mean": lambda a, dims: a.mean(dims, keepdim=True),
    "norm": lambda a, dims: torch.linalg.vector_norm(a, dim=dims, keepdim=True),
    "largest": lambda a, dims: a.amax(dims, keepdim=True),
    "smallest": lambda a, dims: a.amin(dims, keepdim=True),
}


def _block(name: str, a: Tensor, count: float) -> Tensor:
    """Reduce each block of rows, and repeat the result for its rows."""
    found = []
    for begin, end in row_blocks(a.shape[-2], count):
        part = _REDUCTIONS[name](a[..., begin:end, :], (-2, -1))
        found.append(part.expand(-1, end - begin, -1))
    return torch.cat(found, dim=-2)


def _polar(dtype: torch.dtype, a: Tensor, safety: float, eps: float, *numbers: float) -> Tensor:
    """Return the polar factor by Newton-Schulz steps, on the smaller side, in `dtype`.

    A tall matrix is multiplied from the right, and no matrix is turned: copies of turned ones cost
    as much as a product.
    """
    is_tall = a.shape[-2] > a.shape[-1]
    size = torch.linalg.vector_norm(a, dim=(-2, -1), keepdim=True)
    x = (a / (safety * size + eps)).to(dtype)
    for k in range(0, len(numbers), 3):
        first, third, fifth = numbers[k : k + 3]
        gram = _product(x.mT, x) if is_tall else _product(x, x.mT)
        mixed = _product_and(gram, third, gram, gram, fifth)
        x = _product_and(x, first, *((x, mixed) if is_tall else (mixed, x)))
    found: Tensor = x.to(a.dtype)
    return found


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return products of stacks; one matrix alone takes half the time where it is no stack."""
    return (a[0] @ b[0]).unsqueeze(0) if len(a) == len(b) == 1 else a @ b


def _product_and(c: Tensor, beta: float, a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    """Return beta*c + alpha*a @ b."""
    if len(c) == 1:
        return torch.addmm(c[0], a[0], b[0], beta=beta, alpha=alpha).unsqueeze(0)
    return torch.baddbmm(c, a, b, beta=beta, alpha=alpha)


def _block_polar(dtype: torch.dtype, a: Tensor, count: float, *numbers: float) -> Tensor:
    """Return the polar factor of each block of rows, equal blocks as matrices of one stack."""
    blocks = row_blocks(a.shape[-2], count)
    if len({end - begin for begin, end in blocks}) == 1:
        apart = a.reshape(len(a) * len(blocks), -1, a.shape[-1])
        return _polar(dtype, apart, *numbers).reshape(a.shape)
    parts = [_polar(dtype, a[..., begin:end, :], *numbers) for begin, end in blocks]
    return torch.cat(parts, dim=-2)


def _identity(a: Tensor) -> Tensor:
    return torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a)


def _order(a: Tensor) -> Tensor:
    return torch.argsort(a, dim=-2, descending=True, stable=True).to(a.dtype)


def _places(numbers: Tensor, count: int) -> Tensor:
    return numbers.nan_to_num(0.0).clamp(0, count - 1).long()


def _side(side: Callable[[Tensor], int]) -> Callable[[Tensor], float]:
    return lambda a: float(side(a))


_MATRICES: dict[str, Callable[..., Value]] = {
    "rows": _side(lambda a: a.shape[-2]),
    "cols": _side(lambda a: a.shape[-1]),
    "size": _side(lambda a: a.shape[-2] * a.shape[-1]),
    "matmul": _product,
    "transpose": lambda a: a.mT,
    "identity": _identity,
    "diagonal": lambda a: a.diagonal(dim1=-2, dim2=-1).unsqueeze(-1),
    "orthonormal": orthonormal,
    "eigenbasis": eigenbasis,
    "power": symmetric_power,
    "order": _order,
    "row_take": lambda a, p: torch.take_along_dim(a, _places(p, a.shape[-2]), dim=-2),
    "column_take": lambda a, p: torch.take_along_dim(a, _places(p, a.shape[-1]).mT, dim=-1),
}
