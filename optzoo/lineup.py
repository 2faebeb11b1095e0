"""Lineups: which parameters take a step together, remembered from one step to the next.

Finding out who shares a clock, a device and a dtype, and gathering their state, is most of what a
step costs the host when tensors are many and small. It is done anew only when other parameters
have gradients, when other tensors hold the state, or when parameters are spread over processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from torch import Tensor

from optzoo.clocks import Clock
from optzoo.engine import Batch
from optzoo.parameters import MASTER
from optzoo.program.ir import Program


@dataclass(frozen=True)
class Part:
    """Parameters of one device and dtype, the states they had, and their batch."""

    params: list[Tensor]
    states: list[dict[str, Any]]
    batch: Batch

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
