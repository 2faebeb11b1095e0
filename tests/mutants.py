"""Mutants: every small fault of a program, made without knowing what the program is.

One place is changed at a time, in the coefficients, the tensor lines, the views and the first
values of states: a literal or a hyperparameter grows by a thousandth, `t` or `T` is off by one, a
value is read before or after its update in place of the other, a summand, a factor, a divisor, an
argument of min or max or a whole function is dropped; rows and columns, the ends of a comparison,
the ways of `where`, one reduction and another, or one list of `polar` and another are exchanged.
`swapped_order` exchanges momentum and preconditioner in the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from optzoo.program.check import is_linear, sorts_of
from optzoo.program.expressions import (
    ONE,
    Call,
    Expr,
    Name,
    Num,
    call,
    format_expression,
    names_in,
    num,
    substitute,
    walk,
)
from optzoo.program.ir import CLOCK_INPUTS, GRAD, MODEL_STEP, Program, State
from optzoo.program.ops import OPS
from optzoo.program.parsing import parse_expression
from optzoo.program.tensors.polar_lists import POLAR_LISTS
from optzoo.recipe.lower import lower_recipe
from optzoo.recipe.schema import RecipeSpec
from optzoo.recipe.sections import PreconditionerSpec, SignalSpec, UpdateSpec

NUDGE = Fraction(1001, 1000)
_DROPPED = ("add", "sub", "mul", "div", "neg", "min", "max", "sqrt", "square", "sign", "abs")
_OTHER = {
    "less": ("greater", "equal"),
    "greater": ("less", "equal"),
    "equal": ("less", "greater"),
    "rows": ("cols", "size"),
    "cols": ("rows", "size"),
    "size": ("rows", "cols"),
    "sum": ("mean",),
    "mean": ("sum",),
    "norm": ("sum", "largest"),
    "largest": ("smallest", "mean"),
    "smallest": ("largest", "mean"),
    "row": ("column",),
    "column": ("row",),
    "block": ("row",),
}
"""What may be meant in the place of a word: an operation, a reduction, or a side."""


@dataclass(frozen=True)
class Mutant:
    """A program with one fault, and where it is."""

    fault: str
    program: Program


def mutants_of(program: Program) -> Iterator[Mutant]:
    """Yield every program that differs in one place and is still a program."""
    for block in ("scalars", "pooled", "step", "views"):
        lines = getattr(program, block)
        for i, line in enumerate(lines):
            target = line.name if block == "views" else line.target
            for fault, expr in _changes(line.expr, program):
                changed = (*lines[:i], replace(line, expr=expr), *lines[i + 1 :])
                mutant = _with_states(replace(program, **{block: changed}))
                if _is_well_formed(mutant):
                    yield Mutant(f"{target} := {format_expression(expr)}    ({fault})", mutant)
    for i, state in enumerate(program.states):
        for init in _other_starts(state):
            states = (*program.states[:i], replace(state, init=init), *program.states[i + 1 :])
            yield Mutant(f"{state.name}.prev starts at {init}", replace(program, states=states))


def _other_starts(state: State) -> list[Fraction | str]:
    if isinstance(state.init, str):
        return [Fraction(0)]
    if state.sort == "scalar":
        return [state.init * NUDGE if state.init else Fraction(1, 1000)]
    return [state.init + Fraction(1, 1000), "grad"]


def _changes(expr: Expr, program: Program) -> Iterator[tuple[str, Expr]]:
    """Yield what is left of an expression after one change, with a word for the change."""
    yield from _changes_here(expr, program)
    if isinstance(expr, Call):
        for i, arg in enumerate(expr.args):
            for fault, new in _changes(arg, program):
                yield fault, Call(expr.op, (*expr.args[:i], new, *expr.args[i + 1 :]))


def _changes_here(expr: Expr, program: Program) -> Iterator[tuple[str, Expr]]:
    text = format_expression(expr)
    if isinstance(expr, Num):
        yield f"{text} nudged", Num(expr.value * NUDGE if expr.value else NUDGE - 1)
    elif isinstance(expr, Name):
        yield from _changes_of_name(expr, program)
    elif expr.op not in _DROPPED:
        yield from _changes_of_newer(expr)
    else:
        for i in range(len(expr.args)):
            rest = expr.args[:i] + expr.args[i + 1 :]
            dropped = format_expression(expr.args[i])
            match expr.op, rest:
                case (("neg" | "sqrt" | "square" | "sign" | "abs"), _):
                    yield f"{expr.op} dropped", expr.args[0]
                case "sub", (last,) if i == 0:
                    yield f"{dropped} dropped", call("neg", last)
                case "div", (last,) if i == 0 and expr.args[0] != ONE:
                    yield f"{dropped} dropped", call("div", ONE, last)
                case "div", _ if i == 0:
                    continue
                case _, (last,):
                    yield f"{dropped} dropped", last
                case _:
                    yield f"{dropped} dropped", call(expr.op, *rest)


def _changes_of_newer(expr: Call) -> Iterator[tuple[str, Expr]]:
    """Yield the faults in what version 1 of the language has not, or had for numbers alone."""
    for other in _others(expr.op):
        yield f"{other} for {expr.op}", Call(other, _fitting(other, expr.args))
    match expr.op, expr.args:
        case "where", (condition, yes, no):
            yield "where turned", Call("where", (condition, no, yes))
            yield "always", yes
            yield "never", no
        case (("less" | "greater" | "atan2"), (a, b)):
            yield f"{expr.op} turned", Call(expr.op, (b, a))
        case "matmul", (a, b):
            yield "matmul turned", Call("matmul", (b, a))
            yield f"{format_expression(b)} dropped", a
        case "polar", (a, safety, eps, *numbers):
            yield "polar dropped", a
            yield "a step of polar dropped", Call("polar", (a, safety, eps, *numbers[:-3]))
            for each in POLAR_LISTS.values():
                other = Call("polar", (a, safety, eps, *map(num, each.numbers)))
                if format_expression(other) != format_expression(expr):
                    yield "another list", other
        case (("ratio" | "pow" | "power" | "mod" | "row_take" | "column_take"), (a, b)):
            yield f"{format_expression(b)} dropped", a
        case _ if len(expr.args) == 1:
            yield f"{expr.op} dropped", expr.args[0]


def _others(op: str) -> list[str]:
    """Return the operations that are one word away from one."""
    whole = [*_OTHER.get(op, ()), *(f"{kept}_{op}" for kept in ("row", "column"))]
    kept, _, name = op.partition("_")
    parts = [f"{other}_{name}" for other in _OTHER.get(kept, ())]
    parts += [f"{kept}_{other}" for other in _OTHER.get(name, ())]
    return [other for other in [*whole, *parts, name] if other in OPS and other != op]


def _fitting(op: str, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    return args[: OPS[op].max_args]


def _changes_of_name(name: Name, program: Program) -> Iterator[tuple[str, Expr]]:
    if name.when == "now" and name.id in {h.name for h in program.hypers}:
        yield f"{name} nudged", call("mul", Num(NUDGE), name)
    elif name.id in CLOCK_INPUTS:
        if name.id != "lr0":
            yield f"{name} late", call("add", name, ONE)
            yield f"{name} early", call("sub", name, ONE)
    elif name.when == "now":
        yield f"{name} before its update", name.prev
    else:
        yield f"{name} after its update", Name(name.id)


def _with_states(program: Program) -> Program:
    """Add states for `.prev` values that the original never read; they start at 0."""
    known = {state.name for state in program.states} | {"param"}
    scalars = {line.target.id for line in program.scalars}
    added: dict[str, State] = {}
    for line in (*program.lines, *program.pooled):
        for name in names_in(line.expr):
            if name.when == "prev" and name.id not in known:
                added[name.id] = State(name.id, "scalar" if name.id in scalars else "tensor")
    return replace(program, states=program.states + tuple(added.values()))


def _is_well_formed(program: Program) -> bool:
    """Whether names are assigned before they are read, norms are of tensors, and views linear."""
    sorts = sorts_of(program)
    numbers = {name for name, sort in sorts.items() if sort == "scalar"}
    bound = {name for name in sorts if name.when == "prev"} | {GRAD}
    bound |= {Name(h.name) for h in program.hypers} | {Name(n) for n in CLOCK_INPUTS}
    bound |= {MODEL_STEP, *(line.target for line in program.pooled)}
    for line in (*program.lines, *program.pooled):
        if not bound.issuperset(names_in(line.expr)):
            return False
        bound.add(line.target)
        calls = [node for node in walk(line.expr) if isinstance(node, Call)]
        on_tensors = [call for call in calls if not OPS[call.op].on_scalars]
        if any(numbers.issuperset(names_in(call)) for call in on_tensors):
            return False
        if numbers.issuperset(names_in(line.expr)):
            numbers.add(line.target)
    return all(
        bound.issuperset(names_in(view.expr)) and is_linear(view.expr, sorts)
        for view in program.views
    )


def swapped_order(spec: RecipeSpec, values: Mapping[str, float]) -> Mutant | None:
    """Return the recipe with momentum and preconditioner exchanged, or None without both."""
    pre = PreconditionerSpec(sign=True) if spec.preconditioner == "sign" else spec.preconditioner
    if not isinstance(pre, PreconditionerSpec) or not spec.buffers:
        return None
    normal = Name("preconditioned")
    if spec.order == "momentum_first":
        mixed = [name for name in mixed_names(spec) if name in spec.buffers]
        if not mixed:
            return None
        fed = spec.buffers[mixed[0]].input
        old, new, order, fed_to_pre = fed, normal, "precondition_first", fed
    else:
        fed = pre.input if pre.input is not None else Name("grad")
        old, new, order, fed_to_pre = normal, fed, "momentum_first", None
    swapped = spec.model_copy(
        update={
            "order": order,
            "preconditioner": pre.model_copy(update={"input": fed_to_pre}),
            "buffers": {
                key: b.model_copy(update={"input": _swap(b.input, old, new)})
                for key, b in spec.buffers.items()
            },
            "signals": {
                key: s
                if isinstance(s, SignalSpec) or order == "precondition_first"
                else _swap(s, old, new)
                for key, s in spec.signals.items()
            },
            "update": _swap_mix(spec, old, new),
        }
    )
    overrides = {key: parse_expression(value) for key, value in values.items()}
    overrides = {key: v for key, v in overrides.items() if key in spec.hyperparameters}
    return Mutant(f"order: {order}", lower_recipe(swapped, overrides))


def mixed_names(spec: RecipeSpec) -> list[str]:
    """Return the tensors that the update mixes."""
    mix = spec.update.mix if isinstance(spec.update, UpdateSpec) else spec.update
    if isinstance(mix, dict):
        return [key.partition(".")[0] for key in mix]
    return [name.id for name in names_in(mix)]


def _swap(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    return substitute(expr, lambda name: new if name == old else None)


def _swap_mix(spec: RecipeSpec, old: Expr, new: Expr) -> object:
    update = spec.update
    if not isinstance(update, UpdateSpec):
        return _swap(update, old, new)
    if not isinstance(update.mix, dict):
        return update.model_copy(update={"mix": _swap(update.mix, old, new)})
    before, after = format_expression(old), format_expression(new)
    mix = {after if key == before else key: weight for key, weight in update.mix.items()}
    return update.model_copy(update={"mix": mix})
