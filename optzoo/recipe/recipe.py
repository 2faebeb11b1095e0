"""Recipes as people hold them: loaded, checked, overridden, shown, and built into optimizers.

`Recipe` ties the validated YAML, its positions and its overrides together. It imports torch only
when an optimizer is built.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from optzoo.errors import Diagnostic, InputError, Location, did_you_mean
from optzoo.files.documents import Document, load_document, parse_document, validate_document
from optzoo.files.shipped import find_file
from optzoo.program.arithmetic import FloatDomain, NotRealError
from optzoo.program.check import Fault, check_values
from optzoo.program.checked import CheckedScalars
from optzoo.program.domain import initial_memory, kept_memory
from optzoo.program.expressions import (
    Call,
    Expr,
    ExpressionError,
    format_expression,
    parse_expression,
)
from optzoo.program.ir import Loc, Program
from optzoo.program.simplify import specialise
from optzoo.recipe.lower import IMPLICIT_LR, constant_value, lower_recipe
from optzoo.recipe.names import check_names
from optzoo.recipe.ordering import LoweringError
from optzoo.recipe.schedules import parse_observer
from optzoo.recipe.schema import ObserverSpec, RecipeSpec, TrainingSpec
from optzoo.recipe.values import (
    Hyperparameter,
    Value,
    check_total_steps,
    one_number,
    parse_value,
    plain_value,
    why_illegal,
)

if TYPE_CHECKING:
    from optzoo.optimizer import RecipeOptimizer

MAX_CHECKED = 1_000
"""Steps whose scalars are computed before an analysis looks at a recipe."""
STATE_DTYPES = ("float32", "bfloat16")
"""What buffers may be kept in between steps."""


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by name, or a recipe file by path, and check it completely.

    Raises InputError with every mistake of the file, each with line, column and a hint.
    """
    path = find_file(name_or_path)
    spec, document = load_document(path, RecipeSpec, what="recipe")
    return _checked(spec, document)


def parse_recipe(text: str, path: str = "<recipe>") -> Recipe:
    """Load a recipe from YAML text; `path` is what errors call it."""
    document = parse_document(text, path)
    return _checked(validate_document(document, RecipeSpec, what="recipe"), document)


def _checked(spec: RecipeSpec, document: Document) -> Recipe:
    faults = check_names(spec)
    if faults:
        raise _input_error(faults, document)
    recipe = Recipe(spec, document)
    intervals = {n: knob.interval for n, knob in recipe.hyperparameters.items()}
    for name, hyper in spec.hyperparameters.items():
        reason = why_illegal(hyper.default, hyper.interval, intervals)
        if reason is not None:
            value = format_expression(hyper.default)
            message = f"`{name}`: the default {value} {reason}"
            loc: Loc = ("hyperparameters", name, "default")
            faults.append(Fault("out-of-range", message, loc))
    if faults:
        raise _input_error(faults, document)
    recipe.trained_program()
    if isinstance(spec.state_dtype, dict):
        known = [state.name for state in recipe.program().tensor_states]
        for name in spec.state_dtype:
            if name not in known:
                message = f"`{name}` is not a buffer of {spec.name}"
                hint = did_you_mean(name, known, what="buffers")
                fault = Fault("unknown-name", message, ("state_dtype", name), (0, 0), hint, True)
                raise _input_error([fault], document)
    return recipe


def _input_error(faults: Sequence[Fault], document: Document) -> InputError:
    return InputError(*(_diagnostic(fault, document) for fault in faults))


def _diagnostic(fault: Fault, document: Document) -> Diagnostic:
    offset, width = fault.span
    value: Any = document.data
    for part in fault.source:
        known = isinstance(value, dict | list) and (part in value or isinstance(part, int))
        value = value[part] if known else None
    if not isinstance(value, str):
        offset, width = 0, 0
    location: Location = document.location(
        fault.source, key=fault.at_key, offset=offset, width=width
    )
    return Diagnostic(fault.code, fault.message, location, fault.hint)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe with its overrides. Immutable: `with_*` return another one."""

    spec: RecipeSpec
    document: Document = field(repr=False, compare=False)
    overrides: Mapping[str, Expr] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.spec.name

    @property
    def title(self) -> str:
        """The name as the field spells it: `AdEMAMix`; words of `name` where the recipe is mute."""
        words = self.spec.name.split("_")
        return self.spec.title or " ".join(word[:1].upper() + word[1:] for word in words)

    @property
    def text(self) -> str:
        """The YAML source, comments included, without overrides."""
        return self.document.text

    @property
    def training(self) -> TrainingSpec:
        """What the recipe asks of a trainer."""
        return self.spec.training

    @cached_property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """The knobs by name, overrides included; `lr` always exists."""
        knobs = {}
        for name, h in self.spec.hyperparameters.items():
            value = plain_value(self.overrides.get(name, h.default))
            knobs[name] = Hyperparameter(name, value, h.interval, h.doc)
        if "lr" not in knobs:
            value = plain_value(self.overrides.get("lr", parse_expression(1)))
            interval, doc = IMPLICIT_LR.interval, IMPLICIT_LR.doc
            knobs["lr"] = Hyperparameter("lr", value, interval, doc)
        return knobs

    def program(self, **values: Value) -> Program:
        """Lower the recipe to its checked program, with further overrides if given.

        Raises InputError when the program cannot be formed.
        """
        recipe = self.with_overrides(values) if values else self
        return recipe._program

    def undecayed_program(self) -> Program:
        """Return the program without weight decay and what only that reads."""
        return self._lowered(decays=False)

    def trained_program(self, *, decays: bool = True) -> Program:
        """Return the program as it trains at these hyperparameters: what is 0 is folded away.

        Without `decays` the weight decay is left out, as analyses of the momentum want it. Raises
        InputError where it cannot take a first step: a scalar has no finite real value, or a
        hyperparameter that is an expression starts outside its interval.
        """
        return self._trained if decays else self._trained_without_decays

    @cached_property
    def _trained(self) -> Program:
        return self._folded(self._program)

    @cached_property
    def _trained_without_decays(self) -> Program:
        return self._folded(self.undecayed_program())

    def _folded(self, whole: Program) -> Program:
        knobs = self.hyperparameters
        program = specialise(whole, [n for n, h in knobs.items() if h.default == 0])
        faults = [fault for fault in check_values(whole) if fault.code == "out-of-range"]
        faults = faults or check_values(program)
        if faults:
            raise _input_error(faults, self.document)
        return program

    def check_steps(self, last: int, *, total_steps: int) -> None:
        """Check that the scalars have values in the steps from 1 to `last`, at the recipe's own lr.

        Raises InputError for the first that has none. `last` is taken as `MAX_CHECKED` at most.
        """
        check_total_steps(total_steps)
        program = self.trained_program()
        scalars, memory = CheckedScalars(program), initial_memory(program, FloatDomain())
        inputs = {h.name: float(h.value) for h in program.hypers} | {"T": float(total_steps)}
        inputs["lr0"] = inputs.get("lr", 1.0)
        for t in range(1, min(last, MAX_CHECKED) + 1):
            try:
                memory = kept_memory(program, scalars({**inputs, "t": float(t)}, memory))
            except NotRealError as error:
                raise InputError(self.diagnostic(error)) from None

    def diagnostic(self, error: NotRealError) -> Diagnostic:
        """Return what is wrong with a scalar, with the line of this recipe that it comes from."""
        assert error.line is not None  # whoever ran the scalars has placed it
        hint = (
            "scalars are finite real numbers in float64: keep it there with `min`, `max` or an eps"
        )
        if (
            isinstance(error.line.expr, Call)
            and len(text := format_expression(error.line.expr)) < 100
        ):
            hint += f" in `{text}`"
        fault = Fault("not-real", str(error), error.line.source, hint=hint)
        return _diagnostic(fault, self.document)

    @cached_property
    def _program(self) -> Program:
        return self._lowered()

    def _lowered(self, *, decays: bool = True) -> Program:
        try:
            program = lower_recipe(self.spec, self.overrides, decays=decays)
        except LoweringError as error:
            raise _input_error(error.faults, self.document) from None
        lr = self.overrides.get("lr")
        if lr is not None and "lr" not in self.spec.hyperparameters:
            program = program.with_values({"lr": constant_value(lr) or Fraction(0)})
        return program

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the recipe does, hyperparameter values included."""
        return hashlib.sha256(self.program().text().encode()).hexdigest()

    def with_overrides(self, values: Mapping[str, Value]) -> Recipe:
        """Return the recipe with other hyperparameter values.

        A value is a number, or the text of an expression in other knobs, `t` and `T`. Raises
        InputError for an unknown name or a value outside its interval.
        """
        if not values:
            return self
        knobs = self.hyperparameters
        intervals = {n: knob.interval for n, knob in knobs.items()}
        faults: list[Diagnostic] = []
        parsed: dict[str, Expr] = {}
        for name, value in values.items():
            if name not in knobs:
                hint = did_you_mean(name, knobs, what="hyperparameters")
                message = f"`{name}` is not a hyperparameter of {self.name}"
                faults.append(Diagnostic("unknown-name", message, hint=hint))
                continue
            try:
                parsed[name] = parse_value(name, value, knobs)
            except ExpressionError as error:
                message = f"`{name}={value}`: {error.message}"
                faults.append(Diagnostic("bad-value", message, hint=error.hint))
                continue
            reason = why_illegal(parsed[name], knobs[name].interval, intervals)
            if reason is not None:
                message, hint = f"`{name}={value}` {reason}", f"`{name}`: {knobs[name].doc}"
                faults.append(Diagnostic("bad-value", message, hint=hint))
        if faults:
            raise InputError(*faults)
        return replace(self, overrides={**self.overrides, **parsed})

    @property
    def state_dtypes(self) -> dict[str, str]:
        """What each buffer of the program is kept in between steps, by name."""
        wish = self.spec.state_dtype
        by_name = wish if isinstance(wish, dict) else {}
        rest = "float32" if isinstance(wish, dict) else wish
        return {s.name: by_name.get(s.name, rest) for s in self.program().tensor_states}

    def with_state_dtype(self, wish: str | Mapping[str, str] | None) -> Recipe:
        """Return the recipe with its buffers kept in other dtypes between steps.

        `wish` is `bfloat16` or `float32` for all, or dtypes by buffer: a mapping, or a text such as
        `m1=bfloat16,v=float32`. Raises InputError for an unknown buffer or dtype.
        """
        if wish is None:
            return self
        if isinstance(wish, str) and "=" in wish:
            pairs = (part.partition("=") for part in wish.split(","))
            wish = {name.strip(): dtype.strip() for name, _, dtype in pairs}
        known = list(self.state_dtypes)
        faults = []
        for name, dtype in wish.items() if isinstance(wish, Mapping) else [("", wish)]:
            if name and name not in known:
                hint = did_you_mean(name, known, what="buffers")
                message = f"`{name}` is not a buffer of {self.name}"
                faults.append(Diagnostic("unknown-name", message, hint=hint))
            if dtype not in STATE_DTYPES:
                message = f"`{dtype}` is not a dtype that state is kept in"
                hint = f"one of {', '.join(STATE_DTYPES)}, or `BUFFER=DTYPE,...`"
                faults.append(Diagnostic("bad-value", message, hint=hint))
        if faults:
            raise InputError(*faults)
        new = {**self.state_dtypes, **wish} if isinstance(wish, Mapping) else wish
        return replace(self, spec=self.spec.model_copy(update={"state_dtype": new}))

    def with_observers(self, observers: Sequence[str]) -> Recipe:
        """Return the recipe with averages riding along, such as `tail:0.1` and `ema:0.999`.

        Raises InputError for one that is not understood or asked for twice.
        """
        if not observers:
            return self
        added: dict[str, ObserverSpec] = dict(self.spec.observers)
        for text in observers:
            if text in added:
                raise InputError(Diagnostic("rebound-name", f"the observer `{text}` appears twice"))
            added[text] = ObserverSpec(weight=parse_observer(text))
        return replace(self, spec=self.spec.model_copy(update={"observers": added}))

    def with_only_observers(self, names: Sequence[str]) -> Recipe:
        """Return the recipe with these observers and no others; its own ones go by their names.

        Raises InputError for one that is not understood.
        """
        own = self.spec.observers
        observers = {
            name: own.get(name) or ObserverSpec(weight=parse_observer(name)) for name in names
        }
        return replace(self, spec=self.spec.model_copy(update={"observers": observers}))

    def to_yaml(self) -> str:
        """Return the recipe as YAML with its overrides and observers written in."""
        data = copy.deepcopy(self.document.data)
        for name in self.overrides:
            knob = self.hyperparameters[name]
            entry = data["hyperparameters"].setdefault(
                name, {"in": str(knob.interval), "doc": knob.doc}
            )
            entry["default"] = knob.default
        if self.spec.observers:
            data["observers"] = {
                name: {"weight": format_expression(observer.weight)}
                for name, observer in self.spec.observers.items()
            }
        if self.spec.state_dtype != "float32":
            data["state_dtype"] = self.spec.state_dtype
        return yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)

    def build(
        self,
        params: Any,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        **hyperparameters: Any,
    ) -> RecipeOptimizer:
        """Return a `torch.optim.Optimizer` that trains `params` by this recipe.

        `params` is what torch optimizers take: parameters, (name, parameter) pairs, or groups,
        which may carry hyperparameters of their own. `total_steps` is `T`; recipes that mention it
        need it. `state_dtype` is what `with_state_dtype` takes, and `param_rounding` how parameters
        in bfloat16 and float16 are kept (`optzoo.optimizer.precision.ROUNDINGS`). Raises InputError
        for an unknown or illegal hyperparameter, or a missing `T`.
        """
        from optzoo.optimizer import RecipeOptimizer

        lr = hyperparameters.get("lr")
        plain = {k: one_number(k, v) for k, v in hyperparameters.items() if k != "lr"}
        recipe = self.with_observers(observers).with_overrides(plain)
        if lr is not None:
            recipe = recipe.with_overrides({"lr": one_number("lr", lr)})
        return RecipeOptimizer(
            params,
            recipe.with_state_dtype(state_dtype),
            total_steps=total_steps,
            engine=engine,
            lr=lr,
            param_rounding=param_rounding,
            rounding_seed=rounding_seed,
        )
