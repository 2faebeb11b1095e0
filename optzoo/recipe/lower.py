"""Lowering: a recipe becomes a program, one function per section.

Everything a recipe can say is turned into straight-line assignments here, and nowhere else. The
averaging rule follows the canonical storage b = x_old - z_new (docs/language.md, "Averaging").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from optzoo.program.check import Fault, check_program, sorts_of
from optzoo.program.expressions import (
    ONE,
    ZERO,
    Call,
    Expr,
    Name,
    add,
    call,
    constant_value,
    div,
    mul,
    names_in,
    num,
    one_minus,
    sub,
    substitute,
    walk,
)
from optzoo.program.intervals import parse_interval
from optzoo.program.ir import GRAD, MODEL_STEP, PARAM, Hyper, Init, Line, Loc, Program, State, View
from optzoo.program.ops import OPS
from optzoo.program.simplify import drop_unused
from optzoo.program.tensors.named_sides import FULL, Known, Shape, kept_shapes
from optzoo.program.tensors.repeated import with_whole_operands
from optzoo.recipe.names import IDENTITY, mix_of, uses_of
from optzoo.recipe.next_values import expand_next
from optzoo.recipe.ordering import MOVED, LoweringError, ordered, ordered_sums
from optzoo.recipe.schedules import lower_scalar
from optzoo.recipe.schema import AveragingSpec, RecipeSpec
from optzoo.recipe.section_lines import LR, Lines, T, init_value
from optzoo.recipe.sections import (
    BufferSpec,
    DirectionSpec,
    PointSpec,
    PreconditionerSpec,
    RefreshedSpec,
    RefreshSpec,
    RunningSpec,
    SignalSpec,
    UpdateSpec,
)

AT_FIRST = call("equal", T, ONE)
IMPLICIT_LR = Hyper("lr", Fraction(1), parse_interval("[0, inf)"), "multiplies the whole step")


def lower_recipe(
    spec: RecipeSpec, values: Mapping[str, Expr] | None = None, *, decays: bool = True
) -> Program:
    """Lower a recipe whose names have been checked; `values` replaces hyperparameter defaults.

    A hyperparameter whose value is a number stays a hyperparameter of the program; one whose
    value is an expression becomes a scalar. Without `decays` the weight decay is left out, and
    what only it reads. Raises LoweringError with all faults found.
    """
    if not decays:
        spec = spec.model_copy(update={"weight_decay": None})
    program = lower_unchecked(spec, values or {})
    program = program if decays else drop_unused(program)
    faults = check_program(program, version=spec.version)
    faults = faults or check_version(program, spec.version)
    if faults:
        raise LoweringError(faults)
    return with_whole_operands(program) if spec.version > 1 else program


def check_version(program: Program, version: int) -> list[Fault]:
    """Return operations on tensors that the version of a recipe has on numbers alone."""
    sorts, faults = sorts_of(program), []
    for line in program.step if version == 1 else ():
        for node in walk(line.expr):
            if not isinstance(node, Call) or OPS[node.op].tensors_since == 1:
                continue
            if any(sorts[name] == "tensor" for name in names_in(node)):
                message = f"`{OPS[node.op].text}` takes numbers, not a tensor"
                hint = "with `version: 2` at the top it takes tensors too"
                faults.append(Fault("sort-mismatch", message, line.source, node.span, hint))
    return faults


def check_polar_dtype(spec: RecipeSpec, programs: Sequence[Program]) -> list[Fault]:
    """Return a dtype of `polar` that none of a recipe's rules has a use for."""
    nodes = (node for program in programs for line in program.step for node in walk(line.expr))
    is_read = any(isinstance(node, Call) and node.op == "polar" for node in nodes)
    if is_read or "polar_dtype" not in spec.model_fields_set:
        return []
    message = "`polar_dtype` is read by `polar`, and nothing here is polar"
    return [Fault("bad-value", message, ("polar_dtype",), hint="remove it: `polar_dtype: null`")]


def lower_unchecked(spec: RecipeSpec, values: Mapping[str, Expr]) -> Program:
    """Lower a recipe to a program that is not complete yet, such as a rule in other names."""
    return _Lowering(spec, dict(values)).run()


class _Lowering(Lines):
    def run(self) -> Program:
        self.lower_hyperparameters()
        for name, scalar in self.spec.scalars.items():
            self.add_scalar(name, lower_scalar(name, scalar), ("scalars", name))
            self.lower_scalar_start(name, scalar, ("scalars", name, "start"))
        self.lower_coupled_decay()
        self.lower_model()
        self.lower_signals()
        self.lower_buffers()
        base = self.lower_update()
        step = self.lower_weight_decay(base)
        self.lower_averaging(step)
        self.lower_observers()
        self.lower_evaluate()
        return self.assemble()

    # -------------------------------------------------------------- sections

    def lower_hyperparameters(self) -> None:
        for name, hyper in self.spec.hyperparameters.items():
            value = constant_value(self.values[name])
            if value is None:
                source: Loc = ("hyperparameters", name, "default")
                self.add_scalar(name, self.values[name], source, hyper.interval)
            else:
                self.hypers.append(Hyper(name, value, hyper.interval, hyper.doc))
        if "lr" not in self.spec.hyperparameters:
            self.hypers.append(IMPLICIT_LR)

    def lower_scalar_start(self, name: str, scalar: Any, source: Loc) -> None:
        """Let a scalar with memory start where its section says."""
        if not isinstance(scalar, RunningSpec):
            return
        start = constant_value(scalar.start) if scalar.start is not None else None
        if start is None and scalar.start is not None:
            before = self.fresh(f"{name}_before")
            self.begun[Name(name, "prev")] = before
            self.inits[name] = Fraction(1)  # nobody reads it
            is_first = call("equal", MODEL_STEP if source[0] == "model" else T, ONE)
            chosen = call("where", is_first, scalar.start, Name(name, "prev"))
            self.add_scalar(before.id, chosen, source)
        else:
            self.inits[name] = Fraction(scalar.product is not None) if start is None else start

    def lower_model(self) -> None:
        """Lower the numbers of the whole model: scalars, whose sums are lines of their own."""
        for name, number in self.spec.model.items():
            source: Loc = ("model", name)
            expr = self.pooled_in(lower_scalar(name, number), name)
            expr = substitute(expr, lambda n: MODEL_STEP if n == T else None)
            self.add_scalar(name, expr, source)
            self.lower_scalar_start(name, number, (*source, "start"))

    def pooled_in(self, expr: Expr, name: str) -> Expr:
        """Return an expression with names for its sums over all parameters, which are added."""
        if not isinstance(expr, Call):
            return expr
        if expr.op == "model_sum":
            target = self.fresh(f"{name}_sum")
            line = Line(target, self.tensor(self.pooled_in(expr.args[0], name)), ("model", name))
            self.pooled[target] = line
            return target
        return Call(expr.op, tuple(self.pooled_in(a, name) for a in expr.args), expr.span)

    def lower_coupled_decay(self) -> None:
        decay = self.spec.weight_decay
        if decay is None or decay.kind != "coupled":
            return
        source: Loc = ("weight_decay",)
        decayed = add(GRAD, mul(decay.amount, self.point(decay.at)))
        self.grad = self.add_line(self.fresh("g"), decayed, source)

    def point(self, at: str) -> Expr:
        """Return the point that decays, as it is on entry to the step."""
        if at == "param" or self.spec.averaging is None:
            return PARAM.prev
        rule = self.spec.averaging
        beta = rule.beta if rule.beta is not None else num(0)
        if not self.is_fixed(beta):
            beta = self.moving_beta(beta).prev  # the point on entry was formed with it
        old = mul(one_minus(self.average_weight().prev), Name(rule.buffer, "prev"))
        if at == "base":
            return sub(PARAM.prev, mul(beta, old))
        return add(PARAM.prev, mul(one_minus(beta), old))

    def lower_signals(self) -> None:
        for name, signal in self.spec.signals.items():
            source: Loc = ("signals", name)
            if isinstance(signal, SignalSpec):
                raw = self.tensor(signal.input)
                expr = self.clipped(raw, name, signal.clip_norm, signal.clip_value, source)
            else:
                expr = self.tensor(signal)
            self.add_line(Name(name), expr, source)

    def lower_buffers(self) -> None:
        for name, buffer in self.spec.buffers.items():
            self.add_line(Name(name), self.buffer_value(Name(name), buffer), ("buffers", name))
            if isinstance(buffer.init, Expr):
                self.lower_start(Name(name), buffer.init)
            else:
                self.inits[name] = init_value(buffer.init)
        self.inits[self.grad.id] = init_value(self.spec.grad_prev_init)
        if self.spec.order == "precondition_first" and isinstance(self.pre, PreconditionerSpec):
            fed = self.pre.input if self.pre.input is not None else GRAD
            expr = self.precondition(self.tensor(fed))
            self.add_line(Name("preconditioned"), expr, ("preconditioner",))

    def buffer_value(self, buffer: Name, spec: BufferSpec | RefreshedSpec) -> Expr:
        """Return what a buffer becomes in a step."""
        value: Expr = buffer.prev
        if isinstance(spec, BufferSpec):
            value = add(mul(spec.decay, buffer.prev), mul(spec.gain, self.tensor(spec.input)))
        if spec.refresh is not None:
            value = self.refreshed(value, spec.refresh)
        if spec.first is not None:
            value = call("where", AT_FIRST, self.tensor(spec.first), value)
        return value

    def refreshed(self, value: Expr, refresh: RefreshSpec) -> Expr:
        """Return a value that is another one at the steps which refresh it."""
        since = T if refresh.offset is None else sub(T, refresh.offset)
        is_due = call("equal", call("mod", since, refresh.every), ZERO)
        return call("where", is_due, self.tensor(refresh.input), value)

    def lower_start(self, buffer: Name, init: Expr) -> None:
        """Let the previous value of a buffer be `init` at a parameter's first step.

        Everybody who reads it reads a line that chooses; see `assemble`.
        """
        like = call("identity", buffer.prev)
        start = substitute(self.tensor(init), lambda n: like if n == IDENTITY else None)
        source: Loc = ("buffers", buffer.id, "init")
        name = self.fresh(f"{buffer.id}_before")
        self.begun[buffer.prev] = name
        self.add_line(name, call("where", AT_FIRST, start, buffer.prev), source)

    def lower_update(self) -> Expr:
        """Return the step before decay: scale times the direction."""
        update = self.spec.update
        spec = update if isinstance(update, UpdateSpec) else UpdateSpec(mix=update)
        source: Loc = ("update",)
        if self.spec.direction is None:
            direction = self.direction_of(spec, source)
        else:
            self.lower_direction(self.spec.direction)
            direction = self.tensor(mix_of(spec))
            direction = self.clipped(direction, "u", spec.clip_norm, spec.clip_value, source)
        return mul(spec.scale if spec.scale is not None else LR, self.named(direction, "u", source))

    def direction_of(self, spec: DirectionSpec, source: Loc) -> Expr:
        """Return a mix as it is preconditioned and clipped."""
        direction = self.tensor(mix_of(spec))
        if self.spec.order == "momentum_first" and isinstance(self.pre, PreconditionerSpec):
            direction = self.precondition(direction)
        return self.clipped(direction, "u", spec.clip_norm, spec.clip_value, source)

    def lower_direction(self, direction: Expr | DirectionSpec) -> None:
        """Name the direction that the update filters."""
        spec = direction if isinstance(direction, DirectionSpec) else DirectionSpec(mix=direction)
        source: Loc = ("direction",)
        self.add_line(Name("direction"), self.direction_of(spec, source), source)

    def point_after(self, step: Expr) -> Expr:
        """Return the point after the step: `moved`, where that is read, or what `point` makes."""
        moved, point = sub(PARAM.prev, step), self.spec.point
        spec = point if isinstance(point, PointSpec | type(None)) else PointSpec(input=point)
        uses = {n for use in uses_of(self.spec) for n in names_in(use.expr)}
        if self.spec.version > 1 and MOVED in uses:
            moved = self.add_line(MOVED, moved, ("update",))
        if spec is None:
            return moved
        value = self.tensor(spec.input)
        return value if spec.refresh is None else self.refreshed(value, spec.refresh)

    def lower_weight_decay(self, base: Expr) -> Expr:
        """Return the whole step, decay included: param := param.prev - step."""
        decay = self.spec.weight_decay
        if decay is None or decay.kind == "coupled":
            return base
        rate = mul(LR, decay.amount) if decay.times_lr else decay.amount
        match decay.kind:
            case "after":
                return add(mul(one_minus(rate), base), mul(rate, PARAM.prev))
            case "proximal":
                return div(add(base, mul(rate, PARAM.prev)), add(ONE, rate))
        point = self.point(decay.at)
        if decay.times_lr and isinstance(base, Call) and base.args[0] == LR:
            return mul(LR, add(base.args[1], mul(decay.amount, point)))
        return add(base, mul(rate, point))

    def average_weight(self) -> Name:
        """Return the scalar that is the averaging weight c, adding it on first use."""
        rule = self.spec.averaging
        assert rule is not None
        if self.is_scalar_now(rule.weight):
            return rule.weight
        if not hasattr(self, "_weight"):
            self._weight = self.fresh("c")
            self.add_scalar(self._weight.id, rule.weight, ("averaging", "weight"))
        return self._weight

    def moving_beta(self, beta: Expr) -> Name:
        """Return the scalar that is a beta which moves, adding it on first use."""
        if self.is_scalar_now(beta):
            return beta
        if not hasattr(self, "_beta"):
            self._beta = self.fresh("beta_y")
            self.add_scalar(self._beta.id, beta, ("averaging", "beta"))
        return self._beta

    def lower_averaging(self, step: Expr) -> None:
        rule = self.spec.averaging
        source: Loc = ("averaging",)
        if rule is None:
            self.add_line(PARAM, self.point_after(step), ("update",))
            return
        s = self.named(step, "s", ("update",))
        b, c = Name(rule.buffer), self.average_weight()
        self.add_line(b, add(mul(one_minus(c.prev), b.prev), s), source)
        move, self.average = self.averaged_move(rule, s, b, c)
        self.add_line(PARAM, sub(PARAM.prev, move), source)

    def averaged_move(self, rule: AveragingSpec, s: Name, b: Name, c: Name) -> tuple[Expr, Expr]:
        """Return the move of the gradient point y, and the average x as a readout."""
        if rule.beta is None:
            return s, add(PARAM, mul(one_minus(c), b))
        if self.is_fixed(rule.beta):
            beta: Expr = rule.beta
            pull: Expr = mul(mul(beta, c), b)
            move = add(pull, mul(one_minus(beta), s))
        else:  # beta moves: what formed the current point is the previous beta
            beta = name = self.moving_beta(rule.beta)
            kept = add(mul(one_minus(name.prev), s), mul(name.prev, b))
            move = sub(kept, mul(mul(beta, one_minus(c)), b))
        return move, add(PARAM, mul(mul(one_minus(beta), one_minus(c)), b))

    def lower_observers(self) -> None:
        for name, observer in self.spec.observers.items():
            source: Loc = ("observers", name)
            word = re.sub(r"\W", "_", name)
            c, b = self.fresh(f"{word}_weight"), self.fresh(f"{word}_offset")
            self.add_scalar(c.id, observer.weight, source)
            moved = sub(PARAM.prev, PARAM)
            self.add_line(b, add(mul(one_minus(c.prev), b.prev), moved), source)
            self.views.append(View(name, add(PARAM, mul(one_minus(c), b)), source))

    def lower_evaluate(self) -> None:
        evaluate = self.spec.evaluate
        if evaluate == Name("average") or (evaluate is None and self.spec.averaging is not None):
            expr: Expr = self.average
        else:
            expr = evaluate if evaluate is not None else PARAM
        self.views[:0] = [View("train", PARAM), View("eval", expr, ("evaluate",))]

    # -------------------------------------------------------------- putting it together

    def assemble(self) -> Program:
        if self.begun:
            choosers = set(self.begun.values())
            for lines in (self.scalars, self.step, self.pooled):
                for target, line in lines.items():
                    if target not in choosers:
                        lines[target] = replace(line, expr=substitute(line.expr, self.begun.get))
        expand_next(self.scalars, [*self.step.values(), *self.views])
        scalars, step = ordered(self.scalars), ordered(self.step)
        pooled = ordered_sums(self.pooled, scalars, step)
        read = {n for line in (*scalars, *step, *pooled) for n in names_in(line.expr)}
        viewed = {n for view in self.views for n in names_in(view.expr)}
        # between steps a scheduler may move lr: a view reads the lr of the last step, as a state
        given = {h.name for h in self.hypers if h.name != "lr"} | {"param", "t", "T", "lr0"}
        kept = {n.id for n in read if n.when == "prev"} - {"param"}
        kept |= {n.id for n in viewed if n.id not in given}
        is_scalar: Callable[[str], bool] = lambda name: (  # noqa: E731
            Name(name) in self.scalars or name in given or name == "lr"
        )
        names = self.state_order(kept)
        shapes = self.kept_shapes(step, [name for name in names if not is_scalar(name)])
        states = [
            State(name, "tensor", self.init_of(name), shapes[name])
            if name in shapes
            else State(name, "scalar", self.init_of(name))
            for name in names
        ]
        return Program(
            self.spec.name,
            tuple(self.hypers),
            tuple(states),
            scalars,
            step,
            tuple(self.views),
            self.spec.polar_dtype,
            pooled,
        )

    def kept_shapes(self, step: Sequence[Line], names: Sequence[str]) -> dict[str, Shape]:
        """Return the shape of each buffer: that of its input, and in version 1 the parameter's."""
        if self.spec.version == 1:
            return dict.fromkeys(names, FULL)
        is_full = {name: isinstance(self.init_of(name), str) or name == GRAD.id for name in names}
        starts: dict[str, Known] = {name: FULL if is_full[name] else None for name in names}
        return kept_shapes([(line.target, line.expr) for line in step], starts)

    def init_of(self, name: str) -> Init:
        return self.inits.get(name, Fraction(0))

    def state_order(self, kept: set[str]) -> list[str]:
        order = [n.id for n in self.scalars] + [n.id for n in self.step]
        return [n for n in order if n in kept] + sorted(kept - set(order))
