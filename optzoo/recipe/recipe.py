"""Recipes as people hold them: loaded, checked, overridden, shown, and built into optimizers.

`Recipe` ties the validated YAML, its positions and its overrides together. It imports torch only
when an optimizer is built.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.files.documents import Document, parse_document, validate_document
from optzoo.files.shipped import find_file
from optzoo.files.unchanged import WhileUnchanged
from optzoo.program.arithmetic import FloatDomain, NotRealError
from optzoo.program.bounds.checked import CheckedScalars
from optzoo.program.check import Fault, check_values
from optzoo.program.domain import initial_memory, kept_memory
from optzoo.program.expressions import Call, Expr, constant_value, format_expression
from optzoo.program.ir import Loc, Program
from optzoo.program.parsing import parse_expression
from optzoo.program.reading import in_own_names, starts_of
from optzoo.program.simplify import specialise
from optzoo.recipe.inheritance import Assembly
from optzoo.recipe.lower import IMPLICIT_LR, check_polar_dtype, lower_recipe
from optzoo.recipe.names import check_names
from optzoo.recipe.ordering import LoweringError
from optzoo.recipe.routes import Routing, Rule, error_of_rule, routing_of
from optzoo.recipe.rules import rule_program
from optzoo.recipe.schedules import parse_observer
from optzoo.recipe.schema import HERE, ObserverSpec, RecipeSpec, StateDtype, TrainingSpec
from optzoo.recipe.values import (
    STATE_DTYPES,
    Hyperparameter,
    Value,
    check_total_steps,
    one_number,
    plain_value,
    read_overrides,
    read_state_dtypes,
    unknown_in_state_dtype,
    why_illegal,
)

if TYPE_CHECKING:
    from torch.nn import Module

    from optzoo.optimizer import RecipeOptimizer

MAX_CHECKED = 1_000
"""Steps whose scalars are computed before an analysis looks at a recipe."""
MOST_VARIANTS = 16
"""Settings of one recipe that are kept with their programs."""
_loaded: WhileUnchanged[Recipe] = WhileUnchanged(find_file)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by name, or a recipe file by path, and check it completely.

    Raises InputError with every mistake of the file, each with line, column and a hint; a mistake
    of a recipe that it extends or uses is one of that file.
    """
    path = find_file(name_or_path)
    found = _loaded.get(path)
    if found is None:
        assembly = Assembly(find_file, _checked)
        found = _checked(assembly.read(path))
        _loaded.put(path, assembly.sources, found)
    return found


def parse_recipe(text: str, path: str = "<recipe>") -> Recipe:
    """Load a recipe from YAML text; `path` is what errors call it."""
    return _checked(Assembly(find_file, _checked).put_together(parse_document(text, path)))


def _checked(document: Document) -> Recipe:
    spec = validate_document(document, RecipeSpec, what="recipe")
    faults = check_names(spec)
    if faults:
        raise error_of_rule(faults, document)
    recipe = Recipe(spec, document, routing=routing_of(spec, document))
    intervals = {n: knob.interval for n, knob in recipe.hyperparameters.items()}
    for name, hyper in spec.hyperparameters.items():
        reason = why_illegal(hyper.default, hyper.interval, intervals)
        if reason is not None:
            value = format_expression(hyper.default)
            message = f"`{name}`: the default {value} {reason}"
            loc: Loc = ("hyperparameters", name, "default")
            faults.append(Fault("out-of-range", message, loc))
    if faults:
        raise error_of_rule(faults, document)
    for rule in recipe.rules:
        rule.trained_program()
    faults = check_polar_dtype(spec, [rule.program() for rule in recipe.rules])
    if faults and document.location(faults[0].source).path == document.path:  # not inherited
        raise error_of_rule(faults, document)
    faults = unknown_in_state_dtype(spec, recipe.buffers)
    if faults:
        raise error_of_rule(faults, document)
    return recipe


@dataclass(frozen=True)
class Recipe:
    """A checked recipe with its overrides. Immutable: `with_*` return another one."""

    spec: RecipeSpec
    document: Document = field(repr=False, compare=False)
    overrides: Mapping[str, Expr] = field(default_factory=dict)
    routing: Routing = field(default=Routing(), repr=False)
    label: str = HERE
    polar_dtype: StateDtype | None = None

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
    def is_routed(self) -> bool:
        """Whether parameters go different ways."""
        return bool(self.routing.rules)

    def at(self, label: str) -> Recipe:
        """Return the recipe whose program is that of a rule; KeyError for an unknown label."""
        if label != HERE and label not in self.routing.rules:
            raise KeyError(label)
        return self if label == self.label else replace(self, label=label)

    @cached_property
    def rules(self) -> tuple[Recipe, ...]:
        """The recipe at each of its rules that a route leads to, in the order of the routes."""
        return tuple(self.at(label) for label in dict.fromkeys(r.rule for r in self.routing.routes))

    @property
    def buffers(self) -> list[str]:
        """The buffers of all rules, by name."""
        return list(dict.fromkeys(s.name for r in self.rules for s in r.program().tensor_states))

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
        program = specialise(whole, [h.name for h in whole.hypers if knobs[h.name].default == 0])
        faults = [fault for fault in check_values(whole) if fault.code == "out-of-range"]
        faults = faults or check_values(program)
        if faults:
            raise error_of_rule(faults, self.document, self._rule)
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
        before = {name: start.state for name, start in starts_of(self._program).items()}
        hint = (
            "scalars are finite real numbers in float64: keep it there with `min`, `max` or an eps"
        )
        text = format_expression(error.line.expr)
        if isinstance(error.line.expr, Call) and len(text) < 100:
            hint += f" in `{in_own_names(text, before)}`"
        message = in_own_names(str(error), before)
        fault = Fault("not-real", message, error.line.source, hint=hint)
        return error_of_rule([fault], self.document, self._rule).diagnostics[0]

    @property
    def _rule(self) -> Rule | None:
        return self.routing.rules.get(self.label)

    @cached_property
    def _program(self) -> Program:
        return self._lowered()

    def _lowered(self, *, decays: bool = True) -> Program:
        try:
            if self.label == HERE:
                program = lower_recipe(self.spec, self.overrides, decays=decays)
            else:
                assert self._rule is not None
                program = rule_program(self.spec, self._rule, self.overrides, decays=decays)
        except LoweringError as error:
            raise error_of_rule(error.faults, self.document, self._rule) from None
        lr = self.overrides.get("lr")
        if lr is not None and "lr" not in self.spec.hyperparameters:
            program = program.with_values({"lr": constant_value(lr) or Fraction(0)})
        if self.polar_dtype is not None:
            program = replace(program, polar_dtype=self.polar_dtype)
        return program

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the recipe does, hyperparameter values included."""
        return hashlib.sha256(self.identity(values=True).encode()).hexdigest()

    @property
    def program_digest(self) -> str:
        """SHA-256 (hex) of what the recipe does without the values of hyperparameters."""
        return hashlib.sha256(self.identity().encode()).hexdigest()

    def identity(self, *, values: bool = False) -> str:
        """Return what the recipe does as text: its program, or its routes and all their programs.

        `values` shows hyperparameters.
        """
        if not self.is_routed:
            return self.program().text(values=values)
        rows = [f"  route    {route.asked} -> {route.rule}" for route in self.routing.routes]
        programs = [rule.program().text(values=values) for rule in self.rules]
        return "\n".join([f"recipe {self.name}", *rows, *programs])

    def with_overrides(self, values: Mapping[str, Value]) -> Recipe:
        """Return the recipe with other hyperparameter values.

        A value is a number, or the text of an expression in other knobs, `t` and `T`. Raises
        InputError for an unknown name or a value outside its interval.
        """
        if not values:
            return self
        parsed = read_overrides(values, self.hyperparameters, self.name)
        key = tuple(parsed.items())
        found = self._variants.pop(key, None)
        if found is None:
            found = replace(self, overrides={**self.overrides, **parsed})
        self._variants[key] = found  # the latest last
        if len(self._variants) > MOST_VARIANTS:
            del self._variants[next(iter(self._variants))]
        return found

    @cached_property
    def _variants(self) -> dict[tuple[tuple[str, Expr], ...], Recipe]:
        """What `with_overrides` has returned, so that it is lowered once."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what the recipe is, without what has been made of it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        """Return the recipe: it never changes."""
        return self

    @property
    def state_dtypes(self) -> dict[str, str]:
        """What each buffer of the program is kept in between steps, by name."""
        wish = self.spec.state_dtype
        if wish == "float32" and self._rule is not None:  # not asked for: as the rule has it
            wish = self._rule.spec.state_dtype
        by_name = wish if isinstance(wish, dict) else {}
        rest = "float32" if isinstance(wish, dict) else wish
        return {s.name: by_name.get(s.name, rest) for s in self.program().tensor_states}

    @property
    def kept_dtypes(self) -> dict[str, str]:
        """What the buffers of all rules are kept in, as `RULE.BUFFER` where there are routes."""
        if not self.is_routed:
            return self.state_dtypes
        return {f"{r.label}.{n}": d for r in self.rules for n, d in r.state_dtypes.items()}

    def with_state_dtype(self, wish: str | Mapping[str, str] | None) -> Recipe:
        """Return the recipe with its buffers kept in other dtypes between steps.

        `wish` is `bfloat16` or `float32` for all, or dtypes by buffer: a mapping, or a text such as
        `m1=bfloat16,v=float32`. Raises InputError for an unknown buffer or dtype.
        """
        if wish is None:
            return self
        wish = read_state_dtypes(wish, self.buffers, self.name)
        kept = {name: dtype for rule in self.rules for name, dtype in rule.state_dtypes.items()}
        new = {**kept, **wish} if isinstance(wish, Mapping) else wish
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

    def with_polar_dtype(self, wish: str | None) -> Recipe:
        """Return the recipe with the products inside `polar` in this dtype; None leaves it be.

        Float64 parameters stay in float64. Raises InputError but for "float32" and "bfloat16".
        """
        if wish is None or wish in STATE_DTYPES:
            return self if wish is None else replace(self, polar_dtype=cast(StateDtype, wish))
        hint = did_you_mean(str(wish), STATE_DTYPES, what="dtypes")
        message = f"`polar_dtype={wish}`: products cannot be computed so"
        raise InputError(Diagnostic("bad-value", message, hint=hint))

    def build(
        self,
        params: Any,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        observers: Sequence[str] = (),
        state_dtype: str | Mapping[str, str] | None = None,
        polar_dtype: str | None = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
        model: Module | None = None,
        **hyperparameters: Any,
    ) -> RecipeOptimizer:
        """Return a `torch.optim.Optimizer` that trains `params` by this recipe.

        `params` is a model, or what torch optimizers take: parameters, (name, parameter) pairs, or
        groups, which may carry hyperparameters of their own. A model tells routes the kinds of its
        parameters; `model` is the one that groups are of. `total_steps` is `T`; recipes that
        mention it need it. `state_dtype` is what `with_state_dtype` takes, `polar_dtype` what
        `with_polar_dtype` takes, and `param_rounding` how
        parameters in bfloat16 and float16 are kept (`optzoo.optimizer.precision.ROUNDINGS`). Raises
        InputError for an unknown or illegal hyperparameter, a missing `T`, or a parameter that no
        route takes.
        """
        from optzoo.optimizer import RecipeOptimizer

        lr = hyperparameters.get("lr")
        plain = {k: one_number(k, v) for k, v in hyperparameters.items() if k != "lr"}
        recipe = self.with_observers(observers).with_overrides(plain)
        if lr is not None:
            recipe = recipe.with_overrides({"lr": one_number("lr", lr)})
        return RecipeOptimizer(
            params,
            recipe.with_state_dtype(state_dtype).with_polar_dtype(polar_dtype),
            total_steps=total_steps,
            engine=engine,
            lr=lr,
            param_rounding=param_rounding,
            rounding_seed=rounding_seed,
            model=model,
        )
