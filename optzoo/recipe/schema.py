"""The recipe schema: pydantic models of what a YAML recipe may say.

It checks shape, types and the syntax of expressions. What the names in expressions refer to is
settled by `optzoo.recipe.names`, and what a recipe means by `optzoo.recipe.lower`. It imports no
interpreter and no torch.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import (
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
from optzoo.program.intervals import Interval, parse_interval
from optzoo.program.tensors.polar_lists import POLAR_LISTS, PolarList
from optzoo.recipe.fields import (
    INIT_SCHEMA,
    Expression,
    Identifier,
    ObserverName,
    Section,
    mapping_kind,
    parse_coefficients,
    parse_init,
)

RECIPE_VERSION = 2
"""The newest version that is read. What a key of `SECOND_VERSION` says, version 1 cannot say."""
SECOND_VERSION = ("extends", "direction", "point", "parts", "routes")
Kind = Literal["matrix", "embedding", "head", "norm", "bias"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a parameter may be to a route and to the rules of a trainer."""
HERE = "here"
"""What a route calls the rule of the recipe itself."""


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


class SignalSpec(Section):
    """A named tensor of this step, optionally clipped."""

    input: Expression
    clip_norm: Expression | None = Field(
        default=None, description="largest L2 norm of each whole tensor"
    )
    clip_value: Expression | None = Field(
        default=None, description="largest magnitude of each element"
    )


class RefreshSpec(Section):
    """What a buffer becomes at some of a parameter's steps: those where t - offset is a multiple
    of `every`.
    """

    every: Expression = Field(description="steps between two refreshments")
    offset: Expression | None = Field(default=None, description="0 if left out")
    input: Expression = Field(description="what the buffer becomes")


class PointSpec(Section):
    """What a parameter becomes in a step, and at some of its steps (version 2)."""

    input: Expression = Field(description="such as `moved`, the point after the step")
    refresh: RefreshSpec | None = None


class StartSpec(Section):
    """How a buffer begins, and what it becomes at some steps."""

    init: Annotated[Any, BeforeValidator(parse_init), WithJsonSchema(INIT_SCHEMA)] = Field(
        default="zeros",
        description="the previous value at the first step: zeros, grad, param, a number, or an "
        "expression (version 2), such as `eps*identity`",
    )
    first: Expression | None = Field(
        default=None, description="the value after the first step, instead (version 2)"
    )
    refresh: RefreshSpec | None = Field(default=None, description="(version 2)")


class BufferSpec(StartSpec):
    """A momentum buffer: `new = decay * prev + gain * input`."""

    input: Expression
    decay: Expression
    gain: Expression = Field(description="1 makes a sum, `1 - decay` makes an average")


class RefreshedSpec(StartSpec):
    """A buffer that keeps its value between the steps at which it is refreshed (version 2)."""

    refresh: RefreshSpec


def _buffer_kind(value: Any) -> str:
    if isinstance(value, StartSpec):
        return "[refreshed]" if isinstance(value, RefreshedSpec) else "[buffer]"
    is_refreshed = isinstance(value, dict) and "refresh" in value
    return "[refreshed]" if is_refreshed and not value.keys() & _FED else "[buffer]"


_FED = {"input", "decay", "gain"}


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


class PolarSpec(Section):
    """Replace a matrix by its polar factor, by Newton-Schulz steps (version 2)."""

    coefficients: Annotated[
        Any,
        BeforeValidator(parse_coefficients),
        PlainSerializer(
            lambda c: c if isinstance(c, str) else [[float(n) for n in step] for step in c]
        ),
        WithJsonSchema(
            {"anyOf": [{"enum": [*POLAR_LISTS]}, {"type": "array", "items": {"type": "array"}}]}
        ),
    ] = Field(description=f"{', '.join(POLAR_LISTS)}, or a list of steps [a, b, c]")
    eps: Expression | None = Field(
        default=None, description="added to the norm that is divided by; the list's if left out"
    )
    scale: Expression | None = Field(
        default=None, description="factor of the result; may read `rows`, `cols`, `size`"
    )

    @property
    def numbers(self) -> tuple[Fraction, ...]:
        """The coefficients, three a step."""
        if isinstance(self.coefficients, str):
            return POLAR_LISTS[self.coefficients].numbers
        return tuple(number for step in self.coefficients for number in step)

    @property
    def guard(self) -> PolarList | None:
        """The list that says how the norm is guarded, or None for one without a name."""
        return POLAR_LISTS.get(self.coefficients) if isinstance(self.coefficients, str) else None


PRECONDITIONERS = ("rms", "sign", "polar")
"""The preconditioners, of which there is one."""


class PreconditionerSpec(Section):
    """A preconditioner and, for `precondition_first`, what it is applied to."""

    rms: RmsSpec | None = None
    sign: Literal[True] | None = None
    polar: PolarSpec | None = None
    input: Expression | None = Field(
        default=None, description="what `preconditioned` is made of; the gradient if left out"
    )
    clip_value: Expression | None = Field(
        default=None, description="largest magnitude of each element"
    )

    @model_validator(mode="after")
    def _one(self) -> PreconditionerSpec:
        if sum(getattr(self, method) is not None for method in PRECONDITIONERS) != 1:
            raise ValueError("give exactly one of `rms`, `sign` and `polar`")
        return self


class DirectionSpec(Section):
    """A mix of buffers and gradient, which the preconditioner acts on and clips bound."""

    mix: Annotated[
        Annotated[Expression, Tag("[word]")] | Annotated[dict[str, Expression], Tag("[mapping]")],
        Discriminator(mapping_kind),
    ] = Field(description="weights by name, or a sum")
    clip_norm: Expression | None = None
    clip_value: Expression | None = None


class UpdateSpec(DirectionSpec):
    """The direction of the step: a mix of buffers and gradient, times `scale`."""

    scale: Expression | None = Field(
        default=None, description="`lr` if left out; 1 where the mix has its own rate in it"
    )


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


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _one_or_list(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item}]})


def _check_use(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, dict) and "name" in value):
        return value
    raise bad_value(
        f"expected `{HERE}`, a part or a recipe, not {shown(value)}",
        hint=f"`use: {HERE}`, a name under `parts`, a shipped recipe, or a path",
    )


class RouteSpec(Section):
    """Which parameters take which rule; those that meet everything that is said here."""

    kind: (
        Annotated[list[Kind], BeforeValidator(_listed), _one_or_list({"enum": list(KINDS)})] | None
    ) = Field(default=None, description=f"one or more of {', '.join(KINDS)}")
    name: (
        Annotated[list[str], BeforeValidator(_listed), _one_or_list({"type": "string"})] | None
    ) = Field(default=None, description="patterns of names, such as `*q_proj*`; one must fit")
    rank: (
        Annotated[
            list[Annotated[int, Field(ge=0)]],
            BeforeValidator(_listed),
            _one_or_list({"type": "integer", "minimum": 0}),
        ]
        | None
    ) = Field(default=None, description="numbers of axes")
    use: Annotated[str | dict[str, Any], BeforeValidator(_check_use)] = Field(
        description=f"`{HERE}`, a part, or a recipe"
    )
    set: dict[str, Expression] = Field(
        default_factory=dict,
        description="hyperparameters of that rule, as expressions in those of this recipe",
    )


def _may_extend(schema: dict[str, Any]) -> None:
    """Let a recipe that extends another say a part of everything, and `null` to remove."""
    whole = {"properties": schema["properties"], "required": schema["required"]}
    known = {
        key: {"description": value["description"]} if "description" in value else {}
        for key, value in schema["properties"].items()
    }
    schema |= {"properties": known, "required": ["name", "version"]}
    schema |= {"if": {"required": ["extends"]}, "then": {}, "else": whole}


class RecipeSpec(Section):
    """A whole recipe."""

    model_config = ConfigDict(json_schema_extra=_may_extend)

    name: Identifier
    version: int = Field(
        description="1, or 2 for what only that can say: pins what everything here means"
    )
    extends: str | None = Field(
        default=None, description="a recipe that this one changes: a shipped name, or a path"
    )
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
            Discriminator(mapping_kind),
        ],
    ] = Field(default_factory=dict)
    buffers: dict[
        Identifier,
        Annotated[
            Annotated[BufferSpec, Tag("[buffer]")] | Annotated[RefreshedSpec, Tag("[refreshed]")],
            Discriminator(_buffer_kind),
        ],
    ] = Field(default_factory=dict)
    grad_prev_init: Literal["zeros", "grad"] = Field(
        default="zeros", description="what `grad.prev` is at the first step"
    )
    preconditioner: Annotated[
        Annotated[Literal["none", "sign"], Tag("[word]")]
        | Annotated[PreconditionerSpec, Tag("[mapping]")],
        Discriminator(mapping_kind),
    ] = "none"
    order: Literal["momentum_first", "precondition_first"] = "momentum_first"
    direction: (
        Annotated[
            Annotated[Expression, Tag("[word]")] | Annotated[DirectionSpec, Tag("[mapping]")],
            Discriminator(mapping_kind),
        ]
        | None
    ) = Field(
        default=None,
        description="what is preconditioned and clipped; `update` then reads `direction`",
    )
    update: Annotated[
        Annotated[Expression, Tag("[word]")] | Annotated[UpdateSpec, Tag("[mapping]")],
        Discriminator(mapping_kind),
    ]
    weight_decay: WeightDecaySpec | None = None
    point: (
        Annotated[
            Annotated[Expression, Tag("[word]")] | Annotated[PointSpec, Tag("[mapping]")],
            Discriminator(mapping_kind),
        ]
        | None
    ) = Field(default=None, description="takes the place of `moved`, the point after the step")
    averaging: AveragingSpec | None = None
    observers: dict[ObserverName, ObserverSpec] = Field(default_factory=dict)
    evaluate: Expression | None = Field(
        default=None, description="`param`, `average`, or `param` plus coefficients times buffers"
    )
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    polar_dtype: StateDtype = Field(
        default="float32",
        description="what the products inside `polar` are rounded to for parameters of float32 "
        "and narrower (version 2)",
    )
    state_dtype: Annotated[
        Annotated[StateDtype, Tag("[word]")]
        | Annotated[dict[Identifier | Literal["grad"], StateDtype], Tag("[mapping]")],
        Discriminator(mapping_kind),
    ] = Field(
        default="float32",
        description="what buffers are kept in between steps: one dtype, or a dtype by buffer; "
        "`grad` is the kept previous gradient",
    )

    parts: dict[Identifier, dict[str, Any]] = Field(
        default_factory=dict, description="changes to this recipe by name, for routes to use"
    )
    routes: list[RouteSpec] = Field(
        default_factory=list, description="which parameters take which rule; the first that fits"
    )

    @field_validator("version")
    @classmethod
    def _readable(cls, version: int) -> int:
        if not 1 <= version <= RECIPE_VERSION:
            raise bad_value(
                f"this optzoo reads recipe versions 1 to {RECIPE_VERSION}, not {version}",
                hint=UPGRADE if version > 0 else None,
            )
        return version
