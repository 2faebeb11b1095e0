"""Sweep files: which methods, over which grids, on which setup, with which seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from optzoo.errors import UPGRADE, InputError
from optzoo.files.documents import bad_value, load_document, read_document
from optzoo.files.shipped import find_file, path_is, shipped

SWEEP_VERSION = 1
MAX_RUNS = 100_000
Value = float | int | bool | str
Settings = dict[str, Value]


class SweepSection(BaseModel):
    """A mapping of a sweep; unknown keys are errors and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MethodSpec(SweepSection):
    """One method: a recipe, what is the same in all its runs, and its grid.

    `set` and `grid` name what `--set` does: hyperparameters of the recipe, and fields of the setup
    by dotted path. A grid is the full product of its lists.
    """

    recipe: Annotated[str, Field(description="a shipped recipe or a YAML file")]
    name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z][\w .,+=-]*$", description="what tables call it, if not the recipe"
        ),
    ] = None
    set: Settings = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Value], Field(min_length=1)]] = Field(default_factory=dict)
    observe: list[str] = Field(default_factory=list, description="averages: tail:0.1, ema:0.999")
    view: Annotated[str, Field(description="whose held-out loss counts")] = "eval"

    @property
    def label(self) -> str:
        """What tables and figures call the method."""
        return self.name or Path(self.recipe).stem

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        for name in self.grid:
            if name in self.set:
                raise bad_value(f"`{name}` stands in `set` and in `grid`", hint="leave one out")
            values = list(map(str, self.grid[name]))
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                raise bad_value(f"`grid.{name}` has {twice[0]} twice")
        return self


class ClaimSpec(SweepSection):
    """An ordering that somebody claims: one method better than another, or the same as it."""

    better: str | None = None
    than: str | None = None
    same: str | None = None
    as_: Annotated[str | None, Field(alias="as")] = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _one_claim(self) -> Self:
        given = {name for name in ("better", "than", "same", "as_") if getattr(self, name)}
        if given not in ({"better", "than"}, {"same", "as_"}):
            raise bad_value("write `{better: A, than: B}` or `{same: A, as: B}`")
        return self

    @property
    def labels(self) -> tuple[str, str]:
        """Both methods, the one that is claimed to be better first."""
        first, second = self.better or self.same, self.than or self.as_
        assert first is not None
        assert second is not None
        return first, second

    @property
    def text(self) -> str:
        """The claim in words."""
        first, second = self.labels
        return f"{first} {'better than' if self.better else 'the same as'} {second}"


class SweepSpec(SweepSection):
    """A whole sweep file.

    `baseline` is the method that others are compared with, the first one if left out.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: int = SWEEP_VERSION
    summary: Annotated[str, Field(max_length=200)]
    reference: str = "none"
    notes: list[str] = Field(default_factory=list)
    setup: Annotated[str, Field(description="a shipped setup or a YAML file")]
    set: Settings = Field(default_factory=dict)
    methods: Annotated[list[MethodSpec], Field(min_length=1, max_length=200)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    baseline: str | None = None
    claims: list[ClaimSpec] = Field(
        default_factory=list, description="orderings to look for: `{better: A, than: B}`"
    )

    @field_validator("version")
    @classmethod
    def _readable(cls, version: int) -> int:
        if not 1 <= version <= SWEEP_VERSION:
            hint = UPGRADE if version > 0 else None
            raise bad_value(f"this optzoo reads sweep version {SWEEP_VERSION}", hint=hint)
        return version

    @model_validator(mode="after")
    def _methods_differ(self) -> Self:
        labels = [method.label for method in self.methods]
        twice = [label for label, count in Counter(labels).items() if count > 1]
        if twice:
            raise bad_value(
                f"two methods are called `{twice[0]}`", hint="give one another name: `name: ...`"
            )
        if self.baseline is not None and self.baseline not in labels:
            raise bad_value(
                f"`baseline: {self.baseline}` is none of the methods",
                hint=f"one of {', '.join(labels)}",
            )
        for claim in self.claims:
            unknown = sorted(set(claim.labels) - set(labels))
            if unknown:
                raise bad_value(f"`claims`: `{unknown[0]}` is none of the methods")
        if len(set(self.seeds)) < len(self.seeds):
            raise bad_value("a seed stands twice in `seeds`")
        if self.num_runs > MAX_RUNS:
            raise bad_value(f"{self.num_runs:,} runs: a sweep has at most {MAX_RUNS:,}")
        return self

    @property
    def num_runs(self) -> int:
        """How many runs the grids ask for."""
        total = 0
        for method in self.methods:
            cells = 1
            for values in method.grid.values():
                cells *= len(values)
            total += cells * len(self.seeds)
        return total

    @property
    def chosen_baseline(self) -> str:
        """The label of the method that others are compared with."""
        return self.baseline or self.methods[0].label


def load_sweep(name_or_path: str | Path) -> SweepSpec:
    """Read a sweep by shipped name or by path. Raises InputError with positions."""
    path = find_file(name_or_path, kind="sweeps", what="sweep")
    return load_document(path, SweepSpec, what="sweep")[0]


def with_seeds(spec: SweepSpec, count: int) -> SweepSpec:
    """Return the sweep with `count` seeds: its own first, then the next numbers."""
    seeds = list(spec.seeds)[:count]
    following = max(spec.seeds) + 1
    seeds += range(following, following + count - len(seeds))
    return spec.model_copy(update={"seeds": seeds})


def is_sweep(name_or_path: str) -> bool:
    """Say whether a name or a file is a sweep, by the keys that only sweeps have.

    A file that cannot be read is none: whoever reads it as a recipe says what is wrong.
    """
    if not path_is(Path.is_file, name_or_path):
        return name_or_path in shipped("sweeps") and name_or_path not in shipped()
    try:
        data: Any = read_document(name_or_path).data
    except InputError:
        return False
    return isinstance(data, Mapping) and bool({"methods", "grid"} & set(data))
