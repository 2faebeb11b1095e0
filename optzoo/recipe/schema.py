"""The recipe schema: pydantic models of what a YAML recipe may say.

It checks shape, types and the syntax of expressions. What the names in expressions refer to is
settled by `optzoo.recipe.names`, and what a recipe means by `optzoo.recipe.lower`. It imports no
interpreter and no torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from optzoo.errors import UPGRADE
from optzoo.files.explanations import bad_value, shown
from optzoo.program.expressions import (
    Expr,
    ExpressionError,
    format_expression,
    parse_expression,
)
from optzoo.program.intervals import Interval, parse_interval

RECIPE_VERSION = 1
MAX_NAME = 100
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""A name, by `fullmatch`; of `MAX_NAME` characters at most."""
STARTS = ("zeros", "grad", "param")
"""What a buffer may start as, beside a number."""
RESERVED = frozenset(
    [
        "t",
        "T",
        "lr0",
        "grad",
        "param",
        "preconditioned",
        "params",
        "total_steps",
        "engine",
        "observers",
        "self",
        "inf",
        "nan",
    ]
)


def _parse(value: Any) -> Any:
    if not isinstance(value, str | int | float):  # already parsed, or not an expression at all
        if isinstance(value, Expr):
            return value
        kind = {"dict": "a mapping", "list": "a list", "NoneType": "nothing"}
        name = kind.get(type(value).__name__, type(value).__name__)
        raise bad_value(f"expected a number or an expression, not {name}")
    try:
        return parse_expression(value)
    except ExpressionError as error:
        raise bad_value(
            error.message, hint=error.hint, offset=error.offset, width=error.width
        ) from None


def _parse_init(value: Any) -> Any:
    try:
        return value if value in STARTS else float(value)
    except (TypeError, ValueError):
        pass
    message = f"a buffer starts as `zeros`, a number, `grad` or `param`, not as {shown(value)}"
    hint = (
        "a first value that is computed comes in through the first step: a decay of 0 there, with "
        "`later: min(1, t - 1)` among the scalars and `decay: later*beta`"
    )
    raise bad_value(message, hint=hint)


Expression = Annotated[
    Any,
    BeforeValidator(_parse),
    PlainSerializer(lambda expr: format_expression(expr)),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]
"""A number, or the text of an expression; held as parsed nodes."""


def _check_identifier(name: str) -> str:
    if not IDENTIFIER.fullmatch(name):
        shown = name[:MAX_NAME].replace("\n", "\\n")
        raise ValueError(f"`{shown}` is not a name: use letters, digits and `_`, a letter first")
    if len(name) > MAX_NAME:
        raise ValueError(f"`{name[:20]}...` has {len(name):,} characters: at most {MAX_NAME}")
    if name in RESERVED:
        raise ValueError(f"`{name}` has a fixed meaning and cannot be redefined")
    return name


def _check_observer_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][\w.:-]{,99}", name) or name in ("train", "eval"):
        raise ValueError(
            f"`{name}` cannot name an observer: use letters, digits and `_.:-`, a letter first"
        )
    return name


ObserverName = Annotated[str, BeforeValidator(lambda v: _check_observer_name(str(v)))]
Identifier = Annotated[str, BeforeValidator(lambda v: _check_identifier(str(v)))]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class HyperparameterSpec(Section):
    """A knob. `default` is a number, or an expression in other knobs, `t` and `T` (a schedule)."""

    default: Expression = Field(description="value when nothing else is asked for")
    interval: Interval = Field(alias="in", description="allowed values, such as `[0, 1)`")
    doc: str = Field(min_length=1, description="one line on what it does")

    @field_validator("interval", mode="before")
    @classmethod
    def _interval(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_interval(value)
        except ValueError as error:
            raise bad_value(str(error), hint="write it like `[0, 1)` or `(0, inf)`") from None

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        schema = handler(core)
        schema = handler.resolve_ref_schema(schema)
        schema["properties"]["in"] = {"type": "string", "description": "such as `[0, 1)`"}
        return schema


class ScheduleSpec(Section):
    """A named schedule. `over` is the number of steps it takes; it stays at `end` afterwards."""

    schedule: Literal[
        "constant",
        "linear",
        "half_life",
        "cosine",
        "power",
        "inverse_time",
        "one_minus_inverse_time",
    ]
    start: Expression | None = None
    end: Expression | None = None
    over: Expression | None = None
    value: Expression | None = None
    exponent: Expression | None = None
    k: Expression | None = None

    @model_validator(mode="after")
    def _keys(self) -> ScheduleSpec:
        wanted = SCHEDULE_KEYS[self.schedule]
        given = {
            key
            for key in ("start", "end", "over", "value", "exponent", "k")
            if getattr(self, key) is not None
        }
        if missing := sorted(wanted - given):
            raise ValueError(f"a {self.schedule} schedule also needs `{'`, `'.join(missing)}`")
        if extra := sorted(given - wanted):
            raise bad_value(
                f"a {self.schedule} schedule has no `{'`, `'.join(extra)}`",
                hint=f"its keys are {', '.join(sorted(wanted))}",
            )
        return self


SCHEDULE_KEYS = {
    "constant": {"value"},
    "linear": {"start", "end", "over"},
    "half_life": {"start", "end", "over"},
    "cosine": {"start", "end", "over"},
    "power": {"exponent"},
    "inverse_time": {"k"},
    "one_minus_inverse_time": {"k"},
}


class RunningSpec(Section):
    """A scalar with memory: a running sum, product or maximum, or a recurrence in `NAME.prev`."""

    expr: Expression | None = None
    sum: Expression | None = None
    product: Expression | None = None
    max: Expression | None = None
    start: float | None = Field(default=None, description="what `.prev` is at the first step")

    @model_validator(mode="after")
    def _one(self) -> RunningSpec:
        given = [k for k in ("expr", "sum", "product", "max") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `expr`, `sum`, `product`, `max`, `schedule`")
        return self


def _scalar_kind(value: Any) -> str:
    if isinstance(value, ScheduleSpec) or (isinstance(value, dict) and "schedule" in value):
        return "[schedule]"
    return "[running]" if isinstance(value, dict | RunningSpec) else "[expression]"


ScalarSpec = Annotated[
    Annotated[Expression, Tag("[expression]")]
    | Annotated[ScheduleSpec, Tag("[schedule]")]
    | Annotated[RunningSpec, Tag("[running]")],
    Discriminator(_scalar_kind),
]


def _mapping_kind(value: Any) -> str:
    return "[mapping]" if isinstance(value, dict | Section) else "[word]"


class SignalSpec(Section):
    """A named tensor of this step, optionally clipped."""

    input: Expression
    clip_norm: Expression | None = Field(
        default=None, description="largest L2 norm of each whole tensor"
    )
    clip_value: Expression | None = Field(
        default=None, description="largest magnitude of each element"
    )


class BufferSpec(Section):
    """A momentum buffer: `new = decay * prev + gain * input`."""

    input: Expression
    decay: Expression
    gain: Expression = Field(description="1 makes a sum, `1 - decay` makes an average")
    init: Annotated[float | Literal["zeros", "grad", "param"], BeforeValidator(_parse_init)] = (
        Field(default="zeros", description="the previous value at the first step")
    )


class RmsSpec(Section):
    """Divide by the root of a running mean of squares."""

    of: Expression | None = Field(
        default=None, description="what is squared; the gradient if left out"
    )
    decay: Expression
    gain: Expression | None = Field(default=None, description="`1 - decay` if left out")
    debias: bool = Field(
        default=True, description="divide the mean by the mass it has gathered so far"
    )
    eps: Expression = Field(description="keeps the divisor away from 0")
    eps_place: Literal["after_sqrt", "before_debias", "inside_sqrt", "max"] = "after_sqrt"
    read: Literal["new", "prev"] = Field("new", description="the value after or before this step")
    mix: Expression | None = Field(
        default=None, description="weight of the mean; the rest is this step's square (QHAdam)"
    )
    gate: Expression | None = Field(
        default=None,
        description="weight of the preconditioned value; the rest is the raw one (RAdam)",
    )
    init: float = Field(default=0.0, description="the mean of squares before the first step")
    buffer: Identifier = Field(default="v", description="name of the buffer")


class PreconditionerSpec(Section):
    """A preconditioner and, for `precondition_first`, what it is applied to."""

    rms: RmsSpec | None = None
    sign: Literal[True] | None = None
    input: Expression | None = Field(
        default=None, description="what `preconditioned` is made of; the gradient if left out"
    )
    clip_value: Expression | None = Field(
        default=None, description="largest magnitude of each element"
    )

    @model_validator(mode="after")
    def _one(self) -> PreconditionerSpec:
        if (self.rms is None) == (self.sign is None):
            raise ValueError("give exactly one of `rms` and `sign`")
        return self


class UpdateSpec(Section):
    """The direction of the step: a mix of buffers and gradient, times `scale`."""

    mix: Annotated[
        Annotated[Expression, Tag("[word]")] | Annotated[dict[str, Expression], Tag("[mapping]")],
        Discriminator(_mapping_kind),
    ] = Field(description="weights by name, or a sum")
    scale: Expression | None = Field(
        default=None, description="`lr` if left out; 1 where the mix has its own rate in it"
    )
    clip_norm: Expression | None = None
    clip_value: Expression | None = None


class WeightDecaySpec(Section):
    """Weight decay: its amount, its kind, the point it acts at, and whether lr multiplies it."""

    amount: Expression
    kind: Literal["coupled", "decoupled", "after", "proximal"] = Field(
        description="coupled: added to the gradient; decoupled: added to the step; after: the "
        "updated point shrinks by the factor 1 - rate; proximal: it is divided by 1 + rate"
    )
    at: Literal["param", "base", "average"] = Field(
        default="param",
        description="the point that decays; base and average exist with `averaging`",
    )
    times_lr: bool = True

    @model_validator(mode="after")
    def _point(self) -> WeightDecaySpec:
        if self.at != "param" and self.kind in ("after", "proximal"):
            raise ValueError(f"{self.kind} decay acts at `param`, not at `{self.at}`")
        return self


class AveragingSpec(Section):
    """The one averaging rule: x <- (1 - c) x + c z, and the gradient point y = (1-beta) z + beta x.

    beta 0 (left out) is ordinary weight averaging; otherwise Schedule-Free and GPA.
    """

    weight: Expression = Field(description="c: weight of the newest iterate")
    beta: Expression | None = Field(default=None, description="interpolation of the gradient point")
    buffer: Identifier = Field(default="b", description="name of the buffer b = x_old - z_new")


class ObserverSpec(Section):
    """An average that rides along and never touches the trajectory."""

    weight: Expression = Field(description="c: weight of the newest iterate")


class TrainingSpec(Section):
    """What the recipe asks of a trainer."""

    lr_schedule: Literal["constant", "cosine", "linear"] | None = None


StateDtype = Literal["float32", "bfloat16"]


class RecipeSpec(Section):
    """A whole recipe."""

    name: Identifier
    title: str = Field(
        default="", max_length=MAX_NAME, description="the name as the field spells it: `AdEMAMix`"
    )
    version: int = Field(description=f"{RECIPE_VERSION}: pins what everything here means")
    summary: str = Field(min_length=1, description="one sentence: what it is")
    family: str = Field(default="", description="for `optzoo list`")
    reference: str = Field(min_length=1, description="paper, section, equation")
    notes: list[str] = Field(
        default_factory=list, description="one reading of an ambiguous line each"
    )
    hyperparameters: dict[Identifier, HyperparameterSpec]
    scalars: dict[Identifier, ScalarSpec] = Field(default_factory=dict)
    signals: dict[
        Identifier,
        Annotated[
            Annotated[Expression, Tag("[word]")] | Annotated[SignalSpec, Tag("[mapping]")],
            Discriminator(_mapping_kind),
        ],
    ] = Field(default_factory=dict)
    buffers: dict[Identifier, BufferSpec] = Field(default_factory=dict)
    grad_prev_init: Literal["zeros", "grad"] = Field(
        default="zeros", description="what `grad.prev` is at the first step"
    )
    preconditioner: Annotated[
        Annotated[Literal["none", "sign"], Tag("[word]")]
        | Annotated[PreconditionerSpec, Tag("[mapping]")],
        Discriminator(_mapping_kind),
    ] = "none"
    order: Literal["momentum_first", "precondition_first"] = "momentum_first"
    update: Annotated[
        Annotated[Expression, Tag("[word]")] | Annotated[UpdateSpec, Tag("[mapping]")],
        Discriminator(_mapping_kind),
    ]
    weight_decay: WeightDecaySpec | None = None
    averaging: AveragingSpec | None = None
    observers: dict[ObserverName, ObserverSpec] = Field(default_factory=dict)
    evaluate: Expression | None = Field(
        default=None, description="`param`, `average`, or `param` plus coefficients times buffers"
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    state_dtype: Annotated[
        Annotated[StateDtype, Tag("[word]")]
        | Annotated[dict[Identifier | Literal["grad"], StateDtype], Tag("[mapping]")],
        Discriminator(_mapping_kind),
    ] = Field(
        default="float32",
        description="what buffers are kept in between steps: one dtype, or a dtype by buffer; "
        "`grad` is the kept previous gradient",
    )

    @field_validator("version")
    @classmethod
    def _readable(cls, version: int) -> int:
        if not 1 <= version <= RECIPE_VERSION:
            raise bad_value(
                f"this optzoo reads recipe version {RECIPE_VERSION}, not {version}",
                hint=UPGRADE if version > 0 else None,
            )
        return version
