"""Setups: everything about a training run that is not the optimizer, as YAML.

A setup names the model, data, batch, budget, learning-rate schedule and cadences; a recipe names
the optimizer. The learning rate itself is the recipe's: a setup only multiplies it by a schedule.

Nothing in a setup depends on the machine but `execution.threads: auto`, which a run replaces by the
number it used: threads decide the order of sums, and so the last bits of a result.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from optzoo.errors import InputError, nearest
from optzoo.files.documents import load_document, read_document
from optzoo.files.explanations import bad_value
from optzoo.files.shipped import find_file, path_is, shipped
from optzoo.program.expressions import mul, num
from optzoo.recipe.schedules import LR_KINDS, LrMultiplier, make_lr_factor
from optzoo.recipe.schema import Kind, RecipeSpec
from optzoo.recipe.values import MAX_STEPS
from optzoo.train.setup.provenance import Sources, check_sources

Count = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
DECAY = 0.2  # of a run, in `wsd`
SEEN = 1000
"""Steps at which an expression as a schedule is evaluated on loading: the first, and of all."""
MOST_THREADS = 4096
"""Threads beyond which OpenMP ends a process, with a crash."""


class SetupSection(BaseModel):
    """A mapping of a setup; unknown keys are errors and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Drop what is null by default; a null that was asked for stays."""
        fields = type(self).model_fields
        data: dict[str, Any] = handler(self)
        return {k: v for k, v in data.items() if v is not None or fields[k].default is not None}


class ModelSection(SetupSection):
    """Shape of the decoder-only transformer; what all of them share is in `optzoo.train.model`."""

    width: Count
    layers: Count
    heads: Count
    hidden: Count
    rope_base: Annotated[float, Field(gt=1.0)] = 10_000.0
    qk_norm: bool = True
    vocabulary_multiple: Count = 8

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise bad_value(
                f"`model.width` {self.width} is not a multiple of twice `model.heads` {self.heads}",
                hint="rotary positions turn pairs of channels, so each head has an even width",
            )
        return self

    def vocabulary_rows(self, vocabulary: int) -> int:
        """Return the rows of embedding and head: the vocabulary, rounded up to the multiple."""
        return -(-vocabulary // self.vocabulary_multiple) * self.vocabulary_multiple


class DataSection(SetupSection):
    """Which text: the embedded corpus (`corpus`), or what `optzoo data prepare` made (`path`).

    A setup with a `path` may say what the directory is made from: the command that makes it is then
    part of the message when it is missing, and a directory with another `vocabulary` is refused.
    """

    corpus: Literal["stdlib"] | None = None
    path: str | None = None
    source: list[str] | None = None
    validation: str | None = None
    tokenizer: str | None = None
    vocabulary: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_corpus(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {key for key, value in data.items() if value is not None}
        if {"corpus", "path"} <= given:
            raise ValueError("give one of `data.corpus` and `data.path`")
        about = sorted(given & {"source", "validation", "tokenizer", "vocabulary"})
        if about and "path" not in given:
            raise bad_value(
                f"`data.{about[0]}` is about prepared data, and `data.path` is not given",
                hint="`data.path` is a directory that `optzoo data prepare` made",
            )
        return data if given & {"corpus", "path"} else {**data, "corpus": "stdlib"}

    def prepare_command(self, tokens: int) -> str:
        """Return the command that makes `path`, with at least `tokens` targets to train on."""
        words = ["optzoo", "data", "prepare", *(self.source or ["SOURCE"])]
        words += ["--tokenizer", self.tokenizer or "bytes"]
        if self.validation is not None:
            words += ["--validation", self.validation]
        words += ["--max-tokens", str(tokens + 1), "--out", self.path or "DIR"]
        return shlex.join(words)


class BatchSection(SetupSection):
    """Size of the global batch; `micro_sequences` rows are in memory at a time."""

    sequences: Count
    sequence_length: Count
    micro_sequences: Count | None = None

    @model_validator(mode="after")
    def _micro_divides(self) -> Self:
        if self.sequences % (self.micro_sequences or 1):
            raise ValueError(
                f"`batch.micro_sequences` {self.micro_sequences} does not divide "
                f"`batch.sequences` {self.sequences}"
            )
        return self

    @property
    def tokens(self) -> int:
        """Targets in a global batch."""
        return self.sequences * self.sequence_length


class BudgetSection(SetupSection):
    """How long: optimizer steps, or target tokens rounded up to whole steps."""

    steps: Count | None = None
    tokens: Count | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.steps is None) == (self.tokens is None):
            raise ValueError("give exactly one of `budget.steps` and `budget.tokens`")
        return self


def _check_kind(kind: str) -> str:
    """Refuse what is neither a schedule by name nor an expression in t and T."""
    if kind == "auto":
        return kind
    try:
        make_lr_factor(kind, 2, warmup=0, start=0.0, final=0.0, decay=1)
    except InputError as error:
        known = ("auto", *LR_KINDS)
        near = nearest(kind, known)
        hint = f"did you mean `{near}`?" if near else f"write {', '.join(known)}, or an expression"
        raise bad_value(error.diagnostics[0].message, hint=hint) from None
    return kind


class ScheduleSection(SetupSection):
    """What the recipe's learning rate is multiplied by, as `optzoo.recipe.schedules` has it.

    `kind` is a schedule by name or an expression in `t`, from 1, and `T`, such as `1/sqrt(t)`; the
    warmup multiplies it. `auto` is what the recipe asks for, else cosine. `decay` is how much of
    the run `wsd` falls over, a fifth if left out. `scale` suits the recipe's learning rate to the
    model: defaults are for hundreds of millions of parameters, and small models want more.
    """

    kind: Annotated[
        str,
        AfterValidator(_check_kind),
        Field(
            description="auto, constant, linear, cosine, wsd, or an expression in t and T",
            examples=["auto", *LR_KINDS, "1/sqrt(t)"],
        ),
    ] = "auto"
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    decay_steps: Count | None = None
    decay_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    scale: Annotated[float, Field(gt=0.0)] = 1.0
    start_fraction: Fraction = 0.1
    final_fraction: Fraction = 0.1

    @model_validator(mode="after")
    def _one_warmup_and_one_decay(self) -> Self:
        if (self.warmup_steps is None) == (self.warmup_fraction is None):
            raise ValueError(
                "give exactly one of `schedule.warmup_steps` and `schedule.warmup_fraction`"
            )
        given = [name for name in ("decay_steps", "decay_fraction") if getattr(self, name)]
        if len(given) == 2:
            raise ValueError("give one of `schedule.decay_steps` and `schedule.decay_fraction`")
        if given and self.kind != "wsd":
            raise ValueError(f"`schedule.{given[0]}` belongs to `schedule.kind: wsd`")
        return self


class ObjectiveSection(SetupSection):
    """The loss that is differentiated: cross-entropy + z_loss * mean(logsumexp ** 2)."""

    z_loss: Annotated[float, Field(ge=0.0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0.0)] | None = 1.0


class WeightDecaySection(SetupSection):
    """Kinds of parameters that the recipe's weight decay leaves alone."""

    none_for: list[Kind] = ["norm"]


class ExecutionSection(SetupSection):
    """Where and how to compute. `threads: auto` is torch's own choice, recorded in the run.

    `parallel` is how several processes share the work: `auto` is ddp; one process needs nothing.
    `compile` is torch.compile, `activation_checkpointing` computes each block a second time in the
    backward pass instead of keeping its activations. `state_dtype` is what the optimizer's buffers
    are kept in, if not as the recipe says (`bfloat16`, or `m1=bfloat16,v=float32`).
    """

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    engine: str = "auto"
    state_dtype: str | None = None
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | Literal["auto"] = "auto"
    parallel: Literal["auto", "none", "ddp", "fsdp"] = "auto"
    compile: bool = False
    activation_checkpointing: bool = False


class EvaluationSection(SetupSection):
    """How often, and on how many held-out sequences, spread evenly over the held-out text."""

    every: Count
    sequences: Count


class CheckpointSection(SetupSection):
    """How often to save, and what to keep.

    Kept are the `keep_last` newest, the `keep_best` of lowest held-out loss among those saved right
    after an evaluation, and those after the steps of `milestones`, which are saved in any case.
    """

    every: Count
    keep_last: Count = 2
    keep_best: Annotated[int, Field(ge=0)] = 1
    milestones: list[Count] = []

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, data: Any) -> Any:
        """Read `keep`, as runs of format 1 have it."""
        if isinstance(data, dict) and "keep" in data and "keep_last" not in data:
            return {"keep_last" if key == "keep" else key: v for key, v in data.items()}
        return data


class MetricsSection(SetupSection):
    """What is measured beside the losses, every so many steps, and who else is told."""

    every: Count = 10
    track: list[Literal["tensorboard", "wandb", "trackio"]] = []


class SampleSection(SetupSection):
    """Text drawn from the trained model at the end: how many bytes, after which words."""

    bytes: Annotated[int, Field(ge=0)] = 300
    prompt: str = ""
    temperature: Annotated[float, Field(gt=0.0)] = 0.8


class Setup(SetupSection):
    """A whole setup file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    model: ModelSection
    data: DataSection = DataSection()
    batch: BatchSection
    budget: BudgetSection
    schedule: ScheduleSection
    objective: ObjectiveSection = ObjectiveSection()
    weight_decay: WeightDecaySection = WeightDecaySection()
    execution: ExecutionSection = ExecutionSection()
    evaluation: EvaluationSection
    checkpoint: CheckpointSection
    metrics: MetricsSection = MetricsSection()
    sample: SampleSection = SampleSection()
    recipes: dict[str, dict[str, float | str]] = Field(
        default_factory=dict,
        description="hyperparameters, by recipe name, that suit a run of this length; a recipe of "
        "that name takes them where the user says nothing else",
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sources: Sources = Field(
        default_factory=dict,
        description="who says so, by field or section: `paper, WHERE`, `code, WHERE` or "
        "`assumed, WHY`; none, or one for every field",
    )

    @model_validator(mode="after")
    def _every_field_has_a_source(self) -> Self:
        if self.sources:
            check_sources(self.sources, self.values())
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_steps and self.warmup_steps >= self.num_steps:
            raise bad_value(
                f"the warmup of {self.warmup_steps:,} steps is no shorter than the run of "
                f"{self.num_steps:,}",
                hint="shorten it (`--set schedule.warmup_fraction=0.1`), or train longer",
            )
        return self

    @model_validator(mode="after")
    def _schedule_has_values(self) -> Self:
        steps = self.num_steps
        if self.schedule.kind == "wsd" and not 1 <= self.decay_steps <= steps - self.warmup_steps:
            raise ValueError(
                f"the last {self.decay_steps:,} steps of `schedule.kind: wsd` do not fit after the "
                f"warmup of {self.warmup_steps:,}, in a run of {steps:,}"
            )
        if self.schedule.kind in ("auto", *LR_KINDS):
            return self
        schedule = self.lr_schedule()
        try:
            for t in {*range(1, min(steps, SEEN) + 1), *range(1, steps, 1 + steps // SEEN), steps}:
                schedule.at(t)
        except InputError as error:
            raise ValueError(f"`schedule.kind`: {error.diagnostics[0].message}") from None
        return self

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the run."""
        if self.budget.steps is not None:
            return self.budget.steps
        assert self.budget.tokens is not None
        return -(-self.budget.tokens // self.batch.tokens)

    @property
    def warmup_steps(self) -> int:
        """Steps over which the learning rate rises."""
        if self.schedule.warmup_steps is not None:
            return self.schedule.warmup_steps
        assert self.schedule.warmup_fraction is not None
        return int(self.schedule.warmup_fraction * self.num_steps)

    @property
    def decay_steps(self) -> int:
        """Steps at the end over which the learning rate of `wsd` falls."""
        if self.schedule.decay_steps is not None:
            return self.schedule.decay_steps
        share = DECAY if self.schedule.decay_fraction is None else self.schedule.decay_fraction
        return int(num(share).value * self.num_steps)

    def lr_schedule(self, asked: str | None = None) -> LrMultiplier:
        """Return what the learning rate is multiplied by; `asked` is what the recipe wants."""
        wish = self.schedule
        kind = wish.kind if wish.kind != "auto" else (asked or "cosine")
        factor = make_lr_factor(
            kind,
            self.num_steps,
            warmup=self.warmup_steps,
            start=wish.start_fraction,
            final=wish.final_fraction,
            decay=self.decay_steps,
        )
        return LrMultiplier(kind, mul(num(wish.scale), factor), self.num_steps)

    def values(self) -> dict[str, Any]:
        """Return the fields as plain values, without the name and the sources."""
        return self.model_dump(mode="json", exclude={"name", "sources"})

    def with_threads(self, threads: int) -> Setup:
        """Return the setup with `auto` threads replaced by a number."""
        if self.execution.threads != "auto":
            return self
        execution = self.execution.model_copy(update={"threads": threads})
        return self.model_copy(update={"execution": execution})

    def with_absolute_path(self) -> Setup:
        """Return the setup with the place of prepared data independent of the working folder."""
        if self.data.path is None:
            return self
        path = Path(os.path.expanduser(self.data.path)).absolute()
        data = self.data.model_copy(update={"path": str(path)})
        return self.model_copy(update={"data": data})

    def to_yaml(self) -> str:
        """Return YAML text that loads as this setup."""
        data = self.model_dump(mode="json")
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def load_setup(name_or_path: str) -> Setup:
    """Read a setup by shipped name or by path. Raises InputError with positions."""
    path = find_file(name_or_path, kind="setups", what="setup")
    return load_document(path, Setup, what="setup")[0]


def is_setup(name_or_path: str) -> bool:
    """Say whether a name or a file is a setup rather than a recipe: a file by the keys it has.

    A file that cannot be read is none: whoever reads it as a recipe says what is wrong.
    """
    if not path_is(Path.is_file, name_or_path):
        return name_or_path in shipped("setups") and name_or_path not in shipped()
    try:
        data = read_document(name_or_path).data
    except InputError:
        return False
    keys = set(data) if isinstance(data, dict) else set()
    of_recipes = set(RecipeSpec.model_fields) - {"model"}  # a recipe with that has others as well
    return len(keys & set(Setup.model_fields)) > len(keys & of_recipes)
