"""Names: what every name in a recipe's expressions refers to, and what is wrong with it.

Walks the sections of a recipe and reports all unknown names, tensors where a number is wanted,
and misuses of `.prev` and `.next`, each at the very characters at fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from optzoo.errors import did_you_mean
from optzoo.program.check import Fault, Sort
from optzoo.program.expressions import (
    SIZES,
    ZERO,
    Call,
    Expr,
    Name,
    add,
    mul,
    names_in,
    substitute,
    walk,
)
from optzoo.program.ir import CLOCK_INPUTS, Loc
from optzoo.program.ops import OPS
from optzoo.program.parsing import parse_expression
from optzoo.recipe.fields import STARTS, Section
from optzoo.recipe.ordering import LoweringError
from optzoo.recipe.schema import RecipeSpec
from optzoo.recipe.sections import (
    BufferSpec,
    DirectionSpec,
    PointSpec,
    PreconditionerSpec,
    RefreshedSpec,
    RunningSpec,
    ScheduleSpec,
    SignalSpec,
)

IDENTITY = Name("identity")
"""In what a buffer starts as: the identity matrix of its sides."""
MAX_NAMES = 150
"""Names that a recipe defines, and entries of its `mix`: far more than any method has."""
MAX_REPORTED = 100
"""Faults of a recipe's names that are told apart."""

FIXED = ("direction", "moved", *SIZES, IDENTITY.id)
"""Names with a meaning of their own, from version 2 on."""

Wanted = Literal["scalar", "tensor", "view", "pure"]
"""What may stand in an expression: numbers; tensors too; a view; pure functions of t."""


@dataclass(frozen=True)
class Use:
    """An expression of a recipe, where it stands, and what may stand in it."""

    loc: Loc
    expr: Expr
    wanted: Wanted


@dataclass
class NameScope:
    """The names a recipe defines, by sort."""

    hyperparameters: set[str] = field(default_factory=set)
    scalars: set[str] = field(default_factory=set)
    tensors: set[str] = field(default_factory=set)

    def sort(self, name: str) -> Sort | None:
        """Return the sort of a name, or None when the recipe does not define it."""
        if name in self.hyperparameters or name in self.scalars or name in CLOCK_INPUTS:
            return "scalar"
        return "tensor" if name in self.tensors else None

    @property
    def all(self) -> set[str]:
        """Every name that an expression may mention."""
        return self.hyperparameters | self.scalars | self.tensors | set(CLOCK_INPUTS)


def scope_of(spec: RecipeSpec) -> NameScope:
    """Collect the names a recipe defines."""
    scope = NameScope(set(spec.hyperparameters) | {"lr"}, {*spec.scalars, *spec.model})
    scope.tensors = {"grad", "param", *spec.buffers, *spec.signals}
    if spec.version > 1:
        scope.tensors |= set(SIZES)
    if isinstance(spec.preconditioner, PreconditionerSpec) and spec.preconditioner.rms:
        scope.tensors.add(spec.preconditioner.rms.buffer)
    if spec.order == "precondition_first":
        scope.tensors.add("preconditioned")
    if spec.averaging is not None:
        scope.tensors.add(spec.averaging.buffer)
    if spec.direction is not None:
        scope.tensors.add("direction")
    if spec.version > 1 and (spec.averaging is None or spec.point is not None):
        scope.tensors.add("moved")
    return scope


def uses_of(spec: RecipeSpec) -> Iterator[Use]:
    """Yield every expression of a recipe."""
    for name, hyper in spec.hyperparameters.items():
        yield Use(("hyperparameters", name, "default"), hyper.default, "pure")
    for name, scalar in spec.scalars.items():
        if isinstance(scalar, ScheduleSpec | RunningSpec):
            yield from _fields(scalar, ("scalars", name), "scalar")
        else:
            yield Use(("scalars", name), scalar, "scalar")
    for name, number in spec.model.items():
        if isinstance(number, ScheduleSpec | RunningSpec):
            yield from _fields(number, ("model", name), "scalar", tensors=("expr", "sum", "max"))
        else:
            yield Use(("model", name), number, "tensor")
    for name, signal in spec.signals.items():
        if isinstance(signal, SignalSpec):
            yield from _fields(signal, ("signals", name), "scalar", tensors=("input",))
        else:
            yield Use(("signals", name), signal, "tensor")
    for name, buffer in spec.buffers.items():
        yield from _buffer_uses(buffer, ("buffers", name))
    pre = spec.preconditioner
    if isinstance(pre, PreconditionerSpec):
        yield from _fields(pre, ("preconditioner",), "scalar", tensors=("input",))
        if pre.rms is not None:
            yield from _fields(pre.rms, ("preconditioner", "rms"), "scalar", tensors=("of",))
        if pre.polar is not None:
            loc = ("preconditioner", "polar")
            yield from _fields(pre.polar, loc, "scalar", tensors=("scale",))
    if spec.direction is not None:
        yield from _mix_uses(spec.direction, "direction")
    yield from _mix_uses(spec.update, "update")
    if isinstance(spec.point, PointSpec):
        yield Use(("point", "input"), spec.point.input, "tensor")
        if spec.point.refresh is not None:
            refresh = spec.point.refresh
            yield from _fields(refresh, ("point", "refresh"), "scalar", tensors=("input",))
    elif spec.point is not None:
        yield Use(("point",), spec.point, "tensor")
    for section in ("weight_decay", "averaging"):
        value = getattr(spec, section)
        if value is not None:
            yield from _fields(value, (section,), "scalar")
    for name, observer in spec.observers.items():
        yield from _fields(observer, ("observers", name), "scalar")
    if spec.evaluate is not None and spec.evaluate != Name("average"):
        yield Use(("evaluate",), spec.evaluate, "view")


def _buffer_uses(buffer: BufferSpec | RefreshedSpec, loc: Loc) -> Iterator[Use]:
    yield from _fields(buffer, loc, "scalar", tensors=("input", "first"), skip=("init",))
    if isinstance(buffer.init, Expr):
        known = substitute(buffer.init, lambda n: ZERO if n == IDENTITY else None)
        yield Use((*loc, "init"), known, "tensor")
    if buffer.refresh is not None:
        yield from _fields(buffer.refresh, (*loc, "refresh"), "scalar", tensors=("input",))


def _mix_uses(mixed: Expr | DirectionSpec, section: str) -> Iterator[Use]:
    if not isinstance(mixed, DirectionSpec):
        yield Use((section,), mixed, "tensor")
        return
    if isinstance(mixed.mix, dict):
        for key, weight in mixed.mix.items():
            yield Use((section, "mix", key), weight, "scalar")
    else:
        yield Use((section, "mix"), mixed.mix, "tensor")
    yield from _fields(mixed, (section,), "scalar", skip=("mix",))


def _fields(
    section: Section,
    loc: Loc,
    wanted: Wanted,
    *,
    tensors: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
) -> Iterator[Use]:
    for key in type(section).model_fields:
        value = getattr(section, key)
        if key not in skip and isinstance(value, Expr):
            yield Use((*loc, key), value, "tensor" if key in tensors else wanted)


def check_names(spec: RecipeSpec) -> list[Fault]:
    """Return everything wrong with the names of a recipe."""
    faults = _check_counts(spec)
    if faults:
        return faults
    scope = scope_of(spec)
    faults = [*_check_version(spec), *_check_definitions(spec)]
    for section in ("direction", "update"):
        mixed = getattr(spec, section)
        if isinstance(mixed, DirectionSpec) and isinstance(mixed.mix, dict):
            faults += _check_mix_keys(mixed.mix, scope, (section, "mix"))
    faults += _check_sums_over_all(spec)
    reads = ((name, use) for use in uses_of(spec) for name in names_in(use.expr))
    unfit = (_check_name(name, use, scope) for name, use in reads)
    faults += islice(filter(None, unfit), MAX_REPORTED)
    if spec.evaluate == Name("average") and spec.averaging is None:
        hint = "add `averaging: {weight: 1/t}`, or leave `evaluate` out"
        faults.append(
            Fault("unknown-name", "there is no `averaging` to evaluate", ("evaluate",), hint=hint)
        )
    if spec.point is not None and spec.averaging is not None:
        message = "`point` replaces the point after the step, and `averaging` has two of them"
        faults.append(Fault("bad-value", message, ("point",), at_key=True))
    if spec.weight_decay is not None and spec.weight_decay.at != "param" and not spec.averaging:
        message = f"decay at `{spec.weight_decay.at}` needs an `averaging` section"
        faults.append(Fault("unknown-name", message, ("weight_decay", "at")))
    return faults + _check_unread(spec)


def _check_unread(spec: RecipeSpec) -> list[Fault]:
    """Return what is said and would never be read: a number left out without a word is wrong."""
    pre = spec.preconditioner
    if not isinstance(pre, PreconditionerSpec):
        return []
    faults = []
    if pre.input is not None and spec.order == "momentum_first":
        message = "`input` is read with `order: precondition_first` only"
        hint = "with `momentum_first` the mix of `update` is what is preconditioned"
        faults.append(Fault("bad-value", message, ("preconditioner", "input"), hint=hint))
    if pre.rms is not None and pre.rms.mix is not None and pre.rms.eps_place == "before_debias":
        message = "`mix` is a weight of the debiased mean, and `before_debias` adds eps before that"
        hint = "leave `mix` out, or choose another `eps_place`"
        faults.append(Fault("bad-value", message, ("preconditioner", "rms", "mix"), hint=hint))
    return faults


def _check_counts(spec: RecipeSpec) -> list[Fault]:
    count = 0
    for section in ("hyperparameters", "scalars", "model", "signals", "buffers", "observers"):
        count += len(getattr(spec, section))
        if count > MAX_NAMES:
            message = f"{count:,} names are defined up to here: a recipe has at most {MAX_NAMES}"
            return [Fault("too-large", message, (section,), at_key=True)]
    for section in ("direction", "update"):
        mix = getattr(getattr(spec, section), "mix", None)
        if isinstance(mix, dict) and len(mix) > MAX_NAMES:
            message = f"`mix` has {len(mix):,} entries: at most {MAX_NAMES}"
            return [Fault("too-large", message, (section, "mix"), at_key=True)]
    return []


def _check_sums_over_all(spec: RecipeSpec) -> list[Fault]:
    """Return sums over all parameters that stand elsewhere than under `model`."""
    message = "a sum over all parameters is a number of the whole model"
    hint = "name it under `model`, and read that name here"
    return [
        Fault("bad-value", message, use.loc, node.span, hint)
        for use in uses_of(spec)
        if use.loc[0] != "model"
        for node in walk(use.expr)
        if isinstance(node, Call) and node.op == "model_sum"
    ]


def _check_version(spec: RecipeSpec) -> list[Fault]:
    """Return what a recipe says that its version of the language does not have."""
    if spec.version > 1:
        return []
    found: list[tuple[str, Loc, tuple[int, int]]] = []
    for use in uses_of(spec):
        for node in walk(use.expr):
            if isinstance(node, Call) and OPS[node.op].since > 1:
                found.append((f"`{OPS[node.op].text}`", use.loc, node.span))
                break  # one of an expression: what is to do is the same for all
    for name, buffer in spec.buffers.items():
        for key in ("first", "refresh"):
            if getattr(buffer, key) is not None:
                found.append((f"`{key}`", ("buffers", name, key), (0, 0)))
        if isinstance(buffer.init, Expr):
            found.append(("an expression as `init`", ("buffers", name, "init"), (0, 0)))
    if isinstance(spec.preconditioner, PreconditionerSpec) and spec.preconditioner.polar:
        found.append(("`polar`", ("preconditioner", "polar"), (0, 0)))
    if "polar_dtype" in spec.model_fields_set:
        found.append(("`polar_dtype`", ("polar_dtype",), (0, 0)))
    hint = "write `version: 2` at the top: all else means what it meant"
    return [
        Fault("later-version", f"{what} is of version 2 of the language", loc, span, hint)
        for what, loc, span in found[:MAX_REPORTED]
    ]


def _check_definitions(spec: RecipeSpec) -> list[Fault]:
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    sections = ("hyperparameters", "scalars", "model", "signals", "buffers")
    pairs = [(s, name) for s in sections for name in getattr(spec, s)]
    if spec.version > 1:
        for section, name in pairs:
            if name in FIXED:
                message = f"`{name}` has a fixed meaning and cannot be redefined"
                faults.append(Fault("bad-value", message, (section, name), at_key=True))
    if isinstance(spec.preconditioner, PreconditionerSpec) and spec.preconditioner.rms:
        pairs.append(("preconditioner", spec.preconditioner.rms.buffer))
    if spec.averaging is not None:
        pairs.append(("averaging", spec.averaging.buffer))
    for section, name in pairs:
        if name in seen:
            message = f"`{name}` is already defined under `{seen[name]}`"
            faults.append(Fault("rebound-name", message, (section, name), at_key=True))
        seen.setdefault(name, section)
    return faults


def _check_mix_keys(mix: dict[str, Expr], scope: NameScope, place: Loc) -> list[Fault]:
    faults = []
    for key in mix:
        name = mix_name(key)
        if name is None or scope.sort(name.id) != "tensor" or name.when == "next":
            message = f"`{key}` is not a buffer, a signal or `grad`"
            hint = did_you_mean(key, scope.tensors, what="tensors")
            faults.append(Fault("unknown-name", message, (*place, key), hint=hint, at_key=True))
    return faults


def mix_name(key: str) -> Name | None:
    """Return the name that a key of `mix` stands for, or None."""
    try:
        expr = parse_expression(key)
    except ValueError:
        return None
    return expr if isinstance(expr, Name) else None


def mix_of(update: Expr | DirectionSpec) -> Expr:
    """Return the direction of the step, before it is preconditioned and clipped, as one sum."""
    mix = update.mix if isinstance(update, DirectionSpec) else update
    if not isinstance(mix, dict):
        return mix
    total: Expr | None = None
    for key, weight in mix.items():
        name = mix_name(key)
        assert name is not None  # checked by check_names
        term = mul(weight, name)
        total = term if total is None else add(total, term)
    if total is None:
        raise LoweringError([Fault("bad-value", "`mix` is empty", ("update", "mix"))])
    return total


def _check_name(name: Name, use: Use, scope: NameScope) -> Fault | None:
    sort = scope.sort(name.id)
    if sort is None:
        message = f"`{name.id}` is not a hyperparameter, scalar, buffer or signal of this recipe"
        if name.id == "preconditioned":
            hint = "it exists with `order: precondition_first` and a preconditioner"
        elif name == IDENTITY:
            hint = (
                "from `version: 2` on buffers start as it; elsewhere it is `identity(x)`, of the "
            )
            hint += "sides of a square x"
        elif name.id in FIXED:
            hint = "it exists in recipes of `version: 2`"
            if name.id == "moved":
                hint += " without `averaging`"
            elif name.id == "direction":
                hint += " that extend another, or have a section `direction`"
        else:
            hint = did_you_mean(name.id, scope.all)
        if use.loc[-1] == "init" and hint.startswith("known"):
            hint = f"a buffer starts as {', '.join(STARTS)}, a number or an expression; {hint}"
        return Fault("unknown-name", message, use.loc, name.span, hint)
    if sort == "tensor" and use.wanted in ("scalar", "pure"):
        message = f"`{name}` is a tensor, and a number is wanted here"
        hint = "numbers are made of hyperparameters, `t`, `T`, `lr` and scalars"
        if name.id in SIZES:
            message = f"`{name}` is another for each parameter, and one number is wanted here"
            hint = "sizes stand in expressions of tensors: `input`, `signals`, `update`"
        return Fault("sort-mismatch", message, use.loc, name.span, hint)
    if use.wanted == "pure" and (name.id not in {*scope.hyperparameters, "t", "T"}):
        message = f"a default may read hyperparameters, `t` and `T`, not `{name}`"
        return Fault("sort-mismatch", message, use.loc, name.span)
    if name.when == "next" and (sort == "tensor" or name.id in (*CLOCK_INPUTS, "lr")):
        message = f"`{name}`: only a scalar made of `t`, `T` and hyperparameters has a next value"
        return Fault("no-next", message, use.loc, name.span)
    if name.when == "prev" and name.id in CLOCK_INPUTS:
        hint = "write `t - 1`" if name.id == "t" else f"write `{name.id}`"
        return Fault("no-prev", f"`{name}` has no previous value", use.loc, name.span, hint)
    if use.wanted == "view" and name.when != "now":
        message = f"`{name}`: between steps a buffer has one value"
        return Fault("no-prev", message, use.loc, name.span, f"write `{name.id}`")
    return None
