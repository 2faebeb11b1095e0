"""The recipe schema: pydantic models of what a YAML recipe may say.

It checks shape, types and the syntax of expressions. What the names in expressions refer to is
settled by `optzoo.recipe.names`, and what a recipe means by `optzoo.recipe.lower`. It imports no
interpreter and no torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from optzoo.errors import UPGRADE
from optzoo.files.explanations import bad_value, shown
from optzoo.program.tensors.polar_lists import POLAR_LISTS
from optzoo.recipe.fields import (
    MAX_NAME,
    Expression,
    Identifier,
    ObserverName,
    Section,
    mapping_kind,
)
from optzoo.recipe.sections import (
    BufferSpec,
    DirectionSpec,
    HyperparameterSpec,
    PointSpec,
    PolarSpec,
    PreconditionerSpec,
    RefreshedSpec,
    RmsSpec,
    ScalarSpec,
    SignalSpec,
    UpdateSpec,
    _buffer_kind,
)

RECIPE_VERSION = 2
"""The newest version that is read. What a key of `SECOND_VERSION` says, version 1 cannot say."""
SECOND_VERSION = ("model", "extends", "direction", "point", "parts", "routes")
Kind = Literal["matrix", "embedding", "head", "norm", "bias"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a parameter may be to a route and to the rules of a trainer."""
HERE = "here"
"""What a route calls the rule of the recipe itself."""


class WeightDecaySpec(Section):
    """Weight decay: its amount, its kind, the point it acts at, and whether lr multiplies it."""

    written = "{amount: weight_decay, kind: decoupled}"

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

    written = "{weight: 1/t}"

    weight: Expression = Field(description="c: weight of the newest iterate")
    beta: Expression | None = Field(default=None, description="interpolation of the gradient point")
    buffer: Identifier = Field(default="b", description="name of the buffer b = x_old - z_new")


class ObserverSpec(Section):
    """An average that rides along and never touches the trajectory."""

    written = "{weight: 1/t}"

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


def _check_pattern(pattern: str) -> str:
    """Return a pattern of names; one whose bracket stays open would match nothing but itself."""
    if not pattern:
        raise bad_value("an empty pattern fits no name", hint="`*` fits any name")
    if re.search(r"\[(?!!?\]?[^\]]*\])", pattern):
        raise bad_value("a `[` of this pattern is not closed", hint="`[abc]` is one of a, b and c")
    return pattern


class RouteSpec(Section):
    """Which parameters take which rule; those that meet everything that is said here."""

    written = "{kind: matrix, use: here}"

    kind: (
        Annotated[list[Kind], BeforeValidator(_listed), _one_or_list({"enum": list(KINDS)})] | None
    ) = Field(default=None, description=f"one or more of {', '.join(KINDS)}")
    name: (
        Annotated[
            list[Annotated[str, AfterValidator(_check_pattern)]],
            BeforeValidator(_listed),
            _one_or_list({"type": "string"}),
        ]
        | None
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


def _check_word(word: Any) -> Any:
    """Return the word that is a preconditioner; those with settings are told how to say them."""
    settings: dict[str, type[Section]] = {"polar": PolarSpec, "rms": RmsSpec}
    if isinstance(word, str) and word in settings:
        hint = f"write `preconditioner: {{{word}: {settings[word].written}}}`"
        raise bad_value(f"`{word}` needs its settings", hint=hint)
    if isinstance(word, str) and word in POLAR_LISTS:
        hint = f"write `preconditioner: {{polar: {{coefficients: {word}}}}}`"
        raise bad_value(f"`{word}` is a list of coefficients of `polar`", hint=hint)
    return word


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
    title: str = Field(
        default="", max_length=MAX_NAME, description="the name as the field spells it: `AdEMAMix`"
    )
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
    model: dict[Identifier, ScalarSpec] = Field(
        default_factory=dict,
        description="scalars that may read sums over all parameters: `sum(x, model)`, "
        "`dot(x, y, model)` (version 2)",
    )
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
        Annotated[Literal["none", "sign"], BeforeValidator(_check_word), Tag("[word]")]
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

    @field_validator("routes", mode="before")
    @classmethod
    def _are_listed(cls, routes: Any) -> Any:
        if isinstance(routes, list | tuple):
            return routes
        hint = f"a line for each, in order: `- {RouteSpec.written}`"
        raise bad_value(f"expected a list, not {shown(routes)}", hint=hint)

    @field_validator("version")
    @classmethod
    def _readable(cls, version: int) -> int:
        if not 1 <= version <= RECIPE_VERSION:
            raise bad_value(
                f"this optzoo reads recipe versions 1 to {RECIPE_VERSION}, not {version}",
                hint=UPGRADE if version > 0 else None,
            )
        return version
