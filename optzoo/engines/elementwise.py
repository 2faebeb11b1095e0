"""Operations on elements as torch calls: tensors that broadcast, and numbers of the host.

At least one argument is a tensor. Engines that have a cheaper way for some keep their own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

Operand = float | Tensor
Rule = Callable[..., Tensor]


def _tensors(*values: Operand) -> list[Tensor]:
    """Return numbers as tensors of the dtype that the tensors among them have."""
    like = next(value for value in values if isinstance(value, Tensor))
    return [
        v if isinstance(v, Tensor) else torch.tensor(v, dtype=like.dtype, device=like.device)
        for v in values
    ]


def _on_tensors(function: Callable[..., Tensor]) -> Rule:
    return lambda *args: function(*_tensors(*args))


def _compared(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    def rule(a: Operand, b: Operand) -> Tensor:
        x, y = _tensors(a, b)
        return function(x, y).to(x.dtype)

    return rule


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    zero = b == 0
    return torch.where(zero, torch.zeros_like(a), a / torch.where(zero, torch.ones_like(b), b))


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition != 0, a, b)


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    return lambda *args: reduce(function, _tensors(*args))


NEWER: dict[str, Rule] = {
    "pow": _on_tensors(torch.pow),
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "atan2": _on_tensors(torch.atan2),
    "ratio": _on_tensors(_ratio),
    "positive": lambda a: (a > 0).to(a.dtype),
    "less": _compared(torch.lt),
    "greater": _compared(torch.gt),
    "equal": _compared(torch.eq),
    "where": _on_tensors(_where),
}
"""What version 2 of the language has on tensors."""

ELEMENTWISE: dict[str, Rule] = {
    "add": _on_tensors(torch.add),
    "sub": _on_tensors(torch.sub),
    "mul": _on_tensors(torch.mul),
    "div": _on_tensors(torch.div),
    "neg": torch.neg,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "min": _fold(torch.minimum),
    "max": _fold(torch.maximum),
    **NEWER,
}
"""Every operation on elements."""
