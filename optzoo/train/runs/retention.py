"""Which checkpoints of a run stay when a new one has been written.

The newest ones, those of the lowest held-out loss, and the milestones. Those of later steps than
the new one do not count and stay: the run went on from before them, so they are damaged, and must
not push out good ones. The one of step 0 is a rehearsal that shows at once whether checkpoints can
be written; it goes as soon as there is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Keep:
    """How many checkpoints stay: the `last` newest, the `best`, and those of steps `milestones`."""

    last: int = 2
    best: int = 0
    milestones: tuple[int, ...] = ()

    def stays(self, losses: Mapping[int, float | None], newest: int) -> set[int]:
        """Return the steps that stay, of those in `losses`, after that of `newest` is written.

        `losses` are held-out losses by step, None where there was no evaluation. Of equal losses
        the earlier is the better.
        """
        past = sorted((step for step in losses if step <= newest), reverse=True)
        if newest > 0 and 0 not in self.milestones:
            past = [step for step in past if step != 0]
        later = {step for step in losses if step > newest}
        measured = [(loss, step) for step in past if (loss := losses[step]) is not None]
        best = {step for _, step in sorted(measured)[: self.best]}
        return set(past[: self.last]) | best | (set(past) & set(self.milestones)) | later
