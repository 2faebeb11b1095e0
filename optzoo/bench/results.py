"""What a benchmark found, and the arithmetic on it: rates, shares, ratios. No torch.

GB/s counts the bytes that a method must move, from the cost interpreter, whatever the optimizer
measured does move: 10^9 bytes a second. Only torch's fused AdamW is known to move no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optzoo.bench.measure import Timing

COPY, YARDSTICK_KIND = "copy", "yardstick"


@dataclass(frozen=True)
class Result:
    """One contender: how long a step takes, and how many bytes it must move."""

    name: str
    kind: str  # copy | yardstick | engine | package
    timing: Timing
    moved: int
    state_bytes: float = 0.0
    extra_bytes: int = 0

    @property
    def rate(self) -> float:
        """GB/s."""
        return self.moved / self.timing.median / 1e9


@dataclass(frozen=True)
class Group:
    """A recipe and all that was measured beside it, in turn."""

    recipe: str
    params: int
    passes: int
    flops: int
    rows: Sequence[Result]
    notes: Sequence[str] = ()

    def one(self, kind: str) -> Result:
        """Return the copy or the yardstick."""
        return next(row for row in self.rows if row.kind == kind)

    def some(self, kind: str) -> list[Result]:
        """Return the engines or the packages; the yardstick is torch's AdamW in its own group."""
        rows = [row for row in self.rows if row.kind == kind]
        if kind == "package" and self.recipe == "adamw":
            rows.insert(0, self.one(YARDSTICK_KIND))
        return rows

    def share_of(self, row: Result, kind: str) -> float:
        """Return a row's GB/s as a share of the copy's or the yardstick's, paired by round."""
        other = self.one(kind)
        return row.moved / other.moved / row.timing.ratio(other.timing)

    def speedups(self, engine: Result) -> dict[str, float]:
        """Return how many times as fast as each package's optimizer an engine is."""
        return {row.name: row.timing.ratio(engine.timing) for row in self.some("package")}

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "recipe": self.recipe,
            "passes": self.passes,
            "flops_per_parameter": self.flops,
            "rows": [self._row(row) for row in self.rows],
            "counterparts": [row.name for row in self.some("package")],
            "notes": list(self.notes),
        }

    def _row(self, row: Result) -> dict[str, Any]:
        low, high = row.timing.quartiles
        return {
            "name": row.name,
            "kind": row.kind,
            "seconds": {
                "median": row.timing.median,
                "quartiles": [low, high],
                "best": min(row.timing.rounds),
                "rounds": list(row.timing.rounds),
            },
            "startup_seconds": row.timing.startup,
            "bytes_per_parameter": row.moved / self.params,
            "gb_per_s": row.rate,
            "share_of_copy": self.share_of(row, COPY),
            "share_of_adamw_fused": self.share_of(row, YARDSTICK_KIND),
            "state_bytes_per_parameter": row.state_bytes,
            "extra_bytes": row.extra_bytes,
            "times_as_fast": self.speedups(row) if row.kind == "engine" else {},
        }


@dataclass(frozen=True)
class Report:
    """A whole run: where, with what settings, and the groups."""

    environment: dict[str, Any]
    settings: dict[str, Any]
    skipped: Sequence[str]
    groups: Sequence[Group]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "environment": self.environment,
            "settings": self.settings,
            "skipped_packages": list(self.skipped),
            "groups": [group.to_json() for group in self.groups],
        }
