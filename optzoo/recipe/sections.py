"""Sections of a recipe: hyperparameters, scalars, signals, buffers, preconditioner, update.

`optzoo.recipe.schema` makes a whole recipe of them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from optzoo.files.explanations import bad_value
from optzoo.program.expressions import Expr, constant_value
from optzoo.program.intervals import Interval, parse_interval
from optzoo.program.tensors.polar_lists import POLAR_LISTS, PolarList
from optzoo.recipe.fields import (
    INIT_SCHEMA,
    Expression,
    Identifier,
    Section,
    mapping_kind,
    parse_coefficients,
    parse_init,
)


class HyperparameterSpec(Section):
    """A knob. `default` is a number, or an expression in other knobs, `t` and `T` (a schedule)."""

    written = '{default: 0.9, in: "[0, 1)", doc: what it is}'

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
    start: Expression | None = Field(
        default=None,
        description="what `.prev` is at the first step: a number, or an expression (version 2)",
    )

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

    written = "{every: 10, input: EXPRESSION}"

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

    written = "{input: grad, decay: DECAY, gain: 1 - DECAY}"

    @model_validator(mode="before")
    @classmethod
    def _is_fed(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.keys() & _FED:
            message = "a buffer says `input`, `decay` and `gain`, or `refresh`"
            raise bad_value(message, hint=f"write it as `{cls.written}`")
        return value

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

    written = "{of: grad, decay: beta2, eps: eps}"

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

    written = "{coefficients: jordan}"

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
    blocks: Expression | None = Field(
        default=None,
        description="into how many blocks of rows a matrix is cut, each with a factor of its own: "
        "heads, or 3 for queries, keys and values in one",
    )

    @field_validator("eps")
    @classmethod
    def _is_above_0(cls, eps: Expr | None) -> Expr | None:
        value = constant_value(eps) if eps is not None else None
        if value is not None and value <= 0:
            hint = f"gradients may be 0, and so their norm: such as {POLAR_LISTS['jordan'].eps}"
            raise bad_value("must be above 0", hint=hint)
        return eps

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
