"""Lineups: which parameters take a step together, remembered from one step to the next.

Finding out who shares a clock, a device and a dtype, and gathering their state, is most of what a
step costs the host when tensors are many and small. It is done anew only when other parameters
have gradients, when other tensors hold the state, or when parameters are spread over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor

from optzoo.optimizer.clocks import Clock
from optzoo.engine import Batch
from optzoo.optimizer.parameters import MASTER
from optzoo.program.ir import Program


@dataclass(frozen=True)
class Part:
    """Parameters of one device and dtype, the states they had, and their batch as it is kept.

    `places` are their positions in the optimizer.
    """

    params: list[Tensor]
    states: list[dict[str, Any]]
    batch: Batch
    places: list[int]

    @property
    def has_narrow_params(self) -> bool:
        """Whether the parameters are narrower than the arithmetic."""
        return self.params[0].dtype not in (torch.float32, torch.float64)

    @property
    def is_narrow(self) -> bool:
        """Whether some buffer is narrower than the arithmetic."""
        wide = torch.float64 if self.params[0].dtype == torch.float64 else torch.float32
        return any(tensors[0].dtype != wide for tensors in self.batch.buffers.values())

    def portions(
        self, cut: Callable[[list[Tensor]], Iterator[list[Tensor]]]
    ) -> Iterator[list[int]]:
        """Yield which parameters to work on together where what is narrow is copied.

        All at once where they are spread over processes, which must meet in the same order.
        """
        if self.batch.shards is not None:
            yield list(range(len(self.params)))
            return
        start = 0
        for portion in cut(self.params):
            yield list(range(start, start + len(portion)))
            start += len(portion)

    def holds(self, state: Mapping[Tensor, dict[str, Any]]) -> bool:
        """Return whether the state of these parameters is still in the tensors of the batch."""
        if self.batch.shards is not None:
            return False
        if not all(map(is_, map(state.get, self.params), self.states)):
            return False
        wide = [kept.get(MASTER, p) for kept, p in zip(self.states, self.params, strict=True)]
        if not all(map(is_, wide, self.batch.params)):
            return False
        return all(
            all(map(is_, (kept.get(name) for kept in self.states), tensors))
            for name, tensors in self.batch.buffers.items()
        )


@dataclass(frozen=True)
class Lineup:
    """The parameters of one group that step now, by the clock they share."""

    program: Program
    params: list[Tensor]
    parts: list[tuple[Clock, list[Part]]]

    def fits(
        self,
        program: Program,
        params: Sequence[Tensor],
        state: Mapping[Tensor, dict[str, Any]],
    ) -> bool:
        """Return whether these parameters, with this state, would line up like this again."""
        return (
            self.program is program
            and len(self.params) == len(params)
            and all(map(is_, self.params, params))
            and all(part.holds(state) for _, parts in self.parts for part in parts)
        )
