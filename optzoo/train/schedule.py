"""The learning-rate schedule: a pure function of the step, so that any step can be asked for.

A schedule is a multiplier of each parameter group's own learning rate, as in torch's LambdaLR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from optzoo.train.setup.schema import Setup

Kind = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """A rise over `warmup` steps, then a constant or a fall until step `steps`."""

    kind: Kind
    steps: int
    warmup: int
    start_fraction: float
    final_fraction: float
    scale: float = 1.0

    @classmethod
    def from_setup(cls, setup: Setup, asked: Kind | None) -> Self:
        """Return a setup's schedule; `asked` is what the recipe wants where the setup is `auto`."""
        wish = setup.schedule
        kind = wish.kind if wish.kind != "auto" else (asked or "cosine")
        return cls(
            kind,
            setup.num_steps,
            setup.warmup_steps,
            wish.start_fraction,
            wish.final_fraction,
            wish.scale,
        )

    def multiplier(self, step: int) -> float:
        """Return what the learning rate of step `step`, counted from 0, is multiplied by.

        `scale` times this: linear from `start_fraction` at step 0 to 1 at step `warmup`; from there
        constant, or down to `final_fraction`, which the step after the last one would have.
        """
        return self.scale * self._shape(step)

    def _shape(self, step: int) -> float:
        if step < self.warmup:
            return self.start_fraction + (1.0 - self.start_fraction) * step / self.warmup
        if self.kind == "constant":
            return 1.0
        progress = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        height = 1.0 - progress
        if self.kind == "cosine":
            height = 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.final_fraction + (1.0 - self.final_fraction) * height
