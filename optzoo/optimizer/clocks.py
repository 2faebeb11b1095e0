"""Clocks: each parameter's own count of updates, and the scalars with memory that go with it.

t is 1 at a parameter's first update, so a layer unfrozen at step 1000 starts its own bias
correction, schedules and averages. Parameters that have always been updated together share one
`Clock` and one evaluation of the scalar block, which is the usual case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

STEP = "step"
"""Key of t in a parameter's state, as torch's own optimizers call it."""


class Clock:
    """The time of some parameters: `t`, and what each scalar state held after the last step."""

    def __init__(self, t: int = 0, memory: Mapping[str, float] | None = None) -> None:
        self.t = t
        self.memory: dict[str, float] = dict(memory or {})
        self._tensors: dict[str, Tensor] = {}

    def copy(self) -> Clock:
        """Return a clock that shows the same time and goes on by itself."""
        return Clock(self.t, self.memory)

    def tensors(self) -> dict[str, Tensor]:
        """Return the time as 0-d float64 CPU tensors, one object per clock."""
        for name, value in {STEP: float(self.t), **self.memory}.items():
            self._tensors[name] = torch.tensor(value, dtype=torch.float64)
        return self._tensors

    def key(self) -> tuple[float, ...]:
        """Return what two clocks must share to be one."""
        return (self.t, *(value for _, value in sorted(self.memory.items())))


def split_by_clock(
    params: Sequence[Tensor], clocks: dict[Tensor, Clock], everyone: Iterable[Tensor]
) -> list[tuple[Clock, list[Tensor]]]:
    """Return the clocks of the parameters about to be updated, each with its parameters.

    A clock that others share who are not updated now is split first, so that they keep their time.
    `everyone` are all parameters that may share these clocks.
    """
    groups: dict[int, tuple[Clock, list[Tensor]]] = {}
    for param in params:
        clock = clocks[param]
        groups.setdefault(id(clock), (clock, []))[1].append(param)
    updated = set(params)
    left_behind = {id(clocks[p]) for p in everyone if p not in updated}
    result = []
    for clock, members in groups.values():
        if id(clock) in left_behind:
            clock = clock.copy()
            clocks.update(dict.fromkeys(members, clock))
        result.append((clock, members))
    return result
