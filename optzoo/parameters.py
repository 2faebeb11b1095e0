"""What parameters and gradients must be, and which of them can be worked on together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from optzoo.distributed.sharding import Shards, shards_of
from optzoo.errors import Diagnostic, InputError

MASTER, COMPENSATION = "master", "compensation"
"""Keys, in the state of a narrow parameter, of its float32 copy and of what rounding took away."""


def check_param(param: Tensor) -> None:
    """Raise InputError for a parameter that is not real floating point."""
    if param.is_complex() or not param.is_floating_point():
        raise InputError(
            Diagnostic(
                "bad-param",
                f"a parameter has dtype {param.dtype}; optzoo trains real floating point",
                hint="pass `torch.view_as_real(p)` for complex parameters",
            )
        )


def check_grad(param: Tensor) -> None:
    """Raise InputError for a gradient that is sparse or complex."""
    grad = param.grad
    assert grad is not None
    if grad.layout != torch.strided or grad.is_complex():
        kind = "complex" if grad.is_complex() else "sparse"
        hint = "use `nn.Embedding(..., sparse=False)`" if kind == "sparse" else None
        message = f"a gradient is {kind}; optzoo needs dense real gradients"
        raise InputError(Diagnostic("bad-grad", message, hint=hint))


def split_alike(params: list[Tensor]) -> list[list[Tensor]]:
    """Return the parameters in groups of one device, dtype and way of being sharded."""
    groups: dict[tuple[torch.device, torch.dtype, Shards | None], list[Tensor]] = {}
    for param in params:
        groups.setdefault((param.device, param.dtype, shards_of(param)), []).append(param)
    return list(groups.values())


PORTION = 1 << 20
"""Elements that are worked on at a time where new tensors are made of them: a few megabytes."""


def portions(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the parameters in order, in lists of at most `PORTION` elements or one parameter."""
    taken: list[Tensor] = []
    elements = 0
    for param in params:
        if taken and elements + param.numel() > PORTION:
            yield taken
            taken, elements = [], 0
        taken.append(param)
        elements += param.numel()
    if taken:
        yield taken
