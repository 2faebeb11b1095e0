"""A rule as a program over the hyperparameters of the recipe whose routes use it.

A rule of another recipe has hyperparameters of its own. Each becomes what the route sets, or this
recipe's hyperparameter of that name, or its own default where there is none; so one lr, and one
schedule, drives all, and every interpreter gets an ordinary program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from optzoo.program.check import Fault, check_program
from optzoo.program.expressions import (
    Expr,
    Name,
    constant_value,
    names_in,
    number_expression,
    substitute,
)
from optzoo.program.ir import Hyper, Line, Program, State, View
from optzoo.program.simplify import drop_unused
from optzoo.program.tensors.repeated import with_whole_operands
from optzoo.recipe.lower import IMPLICIT_LR, lower_recipe, lower_unchecked
from optzoo.recipe.ordering import LoweringError, ordered
from optzoo.recipe.routes import Rule
from optzoo.recipe.schema import ObserverSpec, RecipeSpec

_OURS = "@"
"""Ends names of the recipe with the routes while both sets of names are in one expression."""


def rule_program(
    spec: RecipeSpec, rule: Rule, values: Mapping[str, Expr] | None = None, *, decays: bool = True
) -> Program:
    """Return the program of a rule; `values` replaces hyperparameter defaults of `spec`.

    Raises LoweringError: faults at `routes` are of the document of `spec`, others of the rule's.
    """
    observed = rule.spec.model_copy(update={"observers": spec.observers})
    if rule.spec.hyperparameters == spec.hyperparameters and not rule.sets:
        program = lower_recipe(observed, values, decays=decays)
        return program if rule.spec is spec else replace(program, name=_name(spec, rule))
    if not decays:
        observed = observed.model_copy(update={"weight_decay": None})
    ours = _Ours.of(spec, values or {})
    observed = observed.model_copy(update={"observers": ours.observers(spec, rule)})
    program = _Transposed(ours, rule, observed).program
    program = replace(program if decays else drop_unused(program), name=_name(spec, rule))
    faults = check_program(program, version=rule.spec.version)
    if faults:
        raise LoweringError(faults)
    return with_whole_operands(program) if rule.spec.version > 1 else program


def _name(spec: RecipeSpec, rule: Rule) -> str:
    return f"{spec.name}_{rule.label}"


@dataclass(frozen=True)
class _Ours:
    """The hyperparameters of the recipe with the routes: plain ones, and those that follow."""

    plain: Mapping[str, Hyper]
    formulas: Mapping[str, Expr]

    @classmethod
    def of(cls, spec: RecipeSpec, values: Mapping[str, Expr]) -> _Ours:
        plain: dict[str, Hyper] = {}
        formulas: dict[str, Expr] = {}
        for name, hyper in spec.hyperparameters.items():
            expr = values.get(name, hyper.default)
            value = constant_value(expr)
            if value is None:
                formulas[name] = expr
            else:
                plain[name] = Hyper(name, value, hyper.interval, hyper.doc)
        plain.setdefault("lr", IMPLICIT_LR)
        return cls(plain, formulas)

    def spelt_out(self, expr: Expr) -> Expr:
        """Return an expression in plain hyperparameters, `t` and `T`."""
        for _ in self.formulas:  # a formula may read another; a circle is the recipe's own fault
            expr = substitute(expr, lambda name: self.formulas.get(name.id))
        return expr

    def observers(self, spec: RecipeSpec, rule: Rule) -> dict[str, ObserverSpec]:
        """Return the recipe's observers for a rule of another one, in which they have no scalars.

        Raises LoweringError for one that reads more than hyperparameters, `t` and `T`.
        """
        found = {}
        for name, observer in spec.observers.items():
            weight = self.spelt_out(observer.weight)
            for read in names_in(weight):
                if read.when != "now" or read.id not in {*self.plain, "t", "T"}:
                    message = f"the observer `{name}` reads `{read}`, and {rule.source} has no such"
                    raise LoweringError([Fault("unknown-name", message, ("observers", name))])
            found[name] = ObserverSpec(weight=substitute(weight, _as_ours))
        return found


def _as_ours(name: Name) -> Expr | None:
    return None if name.id in ("t", "T") else Name(name.id + _OURS)


class _Transposed:
    def __init__(self, ours: _Ours, rule: Rule, spec: RecipeSpec) -> None:
        self.ours, self.rule = ours, rule
        self.given = self.values_given(spec)
        lowered = lower_unchecked(spec, self.values_for_lowering(spec))
        self.read = {name.id for name in lowered.names()}
        self.kept = {state.name for state in lowered.states}
        self.taken = {*ours.plain, *ours.formulas}
        self.rename_own(lowered)
        self.lines: dict[Name, Line] = {}
        self.replaced: dict[str, Expr] = {}
        for hyper in lowered.hypers:
            self.replace_hyper(hyper)
        self.program = self.transpose(lowered)

    def values_given(self, spec: RecipeSpec) -> dict[str, Expr]:
        """Return what the rule's hyperparameters are in ours; those left out keep their default."""
        known = {*self.ours.plain, *self.ours.formulas}
        given: dict[str, Expr] = {
            name: Name(name) for name in spec.hyperparameters if name in known
        }
        given["lr"] = Name("lr")
        given |= self.rule.sets
        return {name: self.ours.spelt_out(expr) for name, expr in given.items()}

    def values_for_lowering(self, spec: RecipeSpec) -> dict[str, Expr]:
        """Return values that make a hyperparameter plain, or a formula where it moves with time."""
        values: dict[str, Expr] = {}
        for name in spec.hyperparameters:
            if name not in self.given:
                continue
            expr = self.given[name]
            moves = {n.id for n in names_in(expr)} & {"t", "T", "lr"}
            value = constant_value(expr)
            if moves and name != "lr":
                values[name] = substitute(expr, _as_ours)
            else:
                values[name] = number_expression(value if value is not None else Fraction(0))
        return values

    def rename_own(self, lowered: Program) -> None:
        """Give another name to what is called as a hyperparameter of ours."""
        own = dict.fromkeys(line.target.id for line in (*lowered.pooled, *lowered.lines))
        self.names = {name: self.fresh(name) for name in own if name in self.taken}
        self.taken |= own.keys()

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def replace_hyper(self, hyper: Hyper) -> None:
        """Decide what stands for a plain hyperparameter of the rule."""
        name = hyper.name
        expr = self.given.get(name, number_expression(hyper.value))
        if name == "lr" and expr != Name("lr"):
            self.replaced["lr0"] = substitute(expr, {Name("lr"): Name("lr0")}.get)
        if isinstance(expr, Name) and expr.id in self.ours.plain:
            fits = hyper.interval.includes(self.ours.plain[expr.id].interval)
            if fits and (expr.id == name or name not in self.kept):
                self.replaced[name] = expr
                return
        if constant_value(expr) is not None and name not in self.kept:
            self.replaced[name] = expr
            return
        if name in self.read:
            target = Name(self.fresh(f"{name}_{self.rule.label}" if name in self.taken else name))
            loc = (*self.rule.loc, "set", name) if name in self.rule.sets else self.rule.loc
            self.lines[target] = Line(target, expr, loc, hyper.interval)
            self.replaced[name] = target

    def is_spelt_out(self, target: Name) -> bool:
        """Whether a line is the next value of a hyperparameter that is a number now."""
        held = self.replaced.get(target.id)
        return held is not None and not isinstance(held, Name)

    def transpose(self, lowered: Program) -> Program:
        def read(name: Name) -> Expr | None:
            if name.id.endswith(_OURS):
                return Name(name.id.removesuffix(_OURS), name.when)
            found = self.replaced.get(name.id)
            if found is not None:
                return Name(found.id, name.when) if isinstance(found, Name) else found
            return Name(self.names[name.id], name.when) if name.id in self.names else None

        def line(old: Line) -> Line:
            held = self.replaced.get(old.target.id)  # the next value of a hyperparameter
            own = (
                held.id if isinstance(held, Name) else self.names.get(old.target.id, old.target.id)
            )
            return replace(old, target=Name(own, old.target.when), expr=substitute(old.expr, read))

        def state(old: State) -> State:
            held = self.replaced.get(old.name)
            own = held.id if isinstance(held, Name) else self.names.get(old.name, old.name)
            return replace(old, name=own)

        def view(old: View) -> View:
            return replace(old, expr=substitute(old.expr, read))

        scalars = [line(old) for old in lowered.scalars if not self.is_spelt_out(old.target)]
        step = tuple(line(old) for old in lowered.step)
        views = tuple(view(old) for old in lowered.views)
        lines = {**self.lines, **{ln.target: ln for ln in scalars}}
        found = replace(
            lowered,
            hypers=(),
            states=tuple(state(old) for old in lowered.states),
            scalars=ordered(lines),
            step=step,
            views=views,
            pooled=tuple(line(old) for old in lowered.pooled),
        )
        used = {name.id for name in found.names()} | {"lr"}
        hypers = tuple(h for n, h in self.ours.plain.items() if n in used)
        return replace(found, hypers=hypers)
