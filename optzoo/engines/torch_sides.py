"""How torch's tensors are matrices: a parameter's rows are its first side, columns all others."""

from __future__ import annotations

from torch import Tensor

from optzoo.program.tensors.named_sides import FULL, Shape


def sides_of(tensor: Tensor) -> tuple[int, int]:
    """Return the rows and columns of a tensor: a vector is a column, a number 1 x 1."""
    if tensor.dim() == 0:
        return 1, 1
    rows = tensor.shape[0]
    return rows, tensor.numel() // rows if rows else 1


def buffer_shape(shape: Shape, param: Tensor) -> tuple[int, ...]:
    """Return the shape of a buffer beside a parameter: like it, or as its sides say."""
    if shape == FULL:
        return tuple(param.shape)
    rows, cols = sides_of(param)
    sizes = {"1": 1, "rows": rows, "cols": cols}
    return sizes[shape.rows], sizes[shape.cols]
