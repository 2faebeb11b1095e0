"""The checker: what a program must satisfy before any interpreter sees it.

It refuses unbound and rebound names, sort errors, unused lines and buffers, `param` not assigned
exactly once, `.prev` of a name without state, `norm` among the scalars, views that are not linear,
division by something that can be zero on the declared intervals, and what has no finite real value
on them. `check_values` refuses what has none at the values a program is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from typing import Literal

from optzoo.errors import did_you_mean
from optzoo.program.bounds.ranges import Never, divisions, interval_of
from optzoo.program.expressions import (
    POLAR_EPS,
    Call,
    Expr,
    Name,
    Num,
    format_expression,
    names_in,
    walk,
)
from optzoo.program.intervals import EVERYTHING, Interval, apply_interval, point
from optzoo.program.ir import CLOCK_INPUTS, GRAD, MODEL_STEP, PARAM, Line, Loc, Program
from optzoo.program.ops import OPS, Op
from optzoo.program.reading import in_own_names, starts_of
from optzoo.program.tensors.named_sides import FULL, GIVEN, Known, ShapeError, fits, shape_of

Sort = Literal["scalar", "tensor"]


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a program.

    `span` is a place inside the text at `source`; `at_key` points at the key there instead.
    """

    code: str
    message: str
    source: Loc = ()
    span: tuple[int, int] = (0, 0)
    hint: str | None = None
    at_key: bool = False


def check_program(program: Program, *, version: int = 1) -> list[Fault]:
    """Return everything wrong with a program; an empty list means that it is well formed.

    What is said is said in the names of a recipe, as `optzoo.program.reading` has them, and what to
    do in the words of a version of the language.
    """
    return _told(_faults_of(program, version), program)


def _told(faults: list[Fault], program: Program) -> list[Fault]:
    before = {name: start.state for name, start in starts_of(program).items()}
    if not before:
        return faults
    return [replace(fault, message=in_own_names(fault.message, before)) for fault in faults]


def _faults_of(program: Program, version: int) -> list[Fault]:
    faults = _check_names(program)
    if faults:
        return faults
    faults = _check_sorts(program) or _check_shapes(program)
    if faults:
        return faults
    faults = [*_check_views(program), *_check_use(program)]
    values = intervals_of(program)
    unreal = _check_reals(program, values)
    at_fault = {fault.source for fault in unreal}  # a divisor without a value says nothing more
    division = _check_division(program, values, version)
    return [*faults, *unreal, *(f for f in division if f.source not in at_fault)]


def sorts_of(program: Program) -> dict[Name, Sort]:
    """Return the sort of every name that can be read."""
    sorts: dict[Name, Sort] = {Name(h.name): "scalar" for h in program.hypers}
    sorts |= {Name(name): "scalar" for name in CLOCK_INPUTS}
    sorts |= {GRAD: "tensor", PARAM.prev: "tensor", MODEL_STEP: "scalar"}
    sorts |= {Name(state.name, "prev"): state.sort for state in program.states}
    sorts |= {line.target: "scalar" for line in (*program.pooled, *program.scalars)}
    sorts |= {line.target: "tensor" for line in program.step}
    return sorts


def _tensors(program: Program) -> frozenset[Name]:
    return frozenset(name for name, sort in sorts_of(program).items() if sort == "tensor")


def _check_names(program: Program) -> list[Fault]:
    faults: list[Fault] = []
    known = sorts_of(program)
    bound = {name for name in known if name.when == "prev"}
    bound |= {Name(h.name) for h in program.hypers} | {Name(n) for n in CLOCK_INPUTS} | {GRAD}
    bound |= {MODEL_STEP, *(line.target for line in program.pooled)}
    for line in program.lines:
        for name in names_in(line.expr):
            if name not in bound:
                faults.append(_unbound(name, known, line))
        if line.target in bound:
            message = f"`{line.target}` is assigned twice"
            faults.append(Fault("rebound-name", message, line.source))
        bound.add(line.target)
    if PARAM not in {line.target for line in program.step}:
        faults.append(Fault("no-param", "the step never assigns `param`"))
    for state in program.states:
        if Name(state.name) not in bound:
            message = f"`{state.name}.prev` is read, but `{state.name}` is never assigned"
            faults.append(Fault("unbound-name", message))
    for view in program.views:
        for name in names_in(view.expr):
            if name not in bound:
                faults.append(_unbound(name, known, Line(Name(view.name), view.expr, view.source)))
    return faults


def _unbound(name: Name, known: dict[Name, Sort], line: Line) -> Fault:
    hint = did_you_mean(str(name), [str(n) for n in known])
    if name in known:
        message = f"`{name}` is read before it is assigned"
    else:
        message = f"`{name}` is not a name of this program"
    return Fault("unknown-name", message, line.source, name.span, hint)


def _check_sorts(program: Program) -> list[Fault]:
    faults: list[Fault] = []
    sorts = sorts_of(program)

    def sort(expr: Expr, line: Line) -> Sort:
        if isinstance(expr, Num):
            return "scalar"
        if isinstance(expr, Name):
            return sorts[expr]
        op = OPS[expr.op]
        sorts_of_args = [sort(arg, line) for arg in expr.args]
        result: Sort = "tensor" if "tensor" in sorts_of_args else "scalar"
        allowed = op.on_tensors if result == "tensor" else op.on_scalars
        if not allowed:
            wanted = "numbers" if result == "tensor" else "a tensor"
            message = f"`{op.text}` takes {wanted}, not a {result}"
            faults.append(Fault("sort-mismatch", message, line.source, expr.span))
        elif _has_numbers(op) and (sorts_of_args[0] == "scalar" or "tensor" in sorts_of_args[1:]):
            message = f"`{op.text}` takes a tensor, then numbers of the host"
            faults.append(Fault("sort-mismatch", message, line.source, expr.span))
        return result

    for line in program.scalars:
        if sort(line.expr, line) == "tensor":
            message = f"`{line.target}` is a number, but its expression is a tensor"
            hint = "numbers are made of hyperparameters, t, T, lr and other scalars; tensors go "
            hint += "in `signals`"
            if line.source[:1] == ("model",):
                hint = "a number of the whole model is a sum over it: `sum(x, model)`"
            faults.append(Fault("sort-mismatch", message, line.source, hint=hint))
    for line in program.step:
        sort(line.expr, line)
    for line in program.pooled:
        if sort(line.expr, line) == "scalar" and not faults:
            message = f"`{format_expression(line.expr)}` is a number, and a sum over all "
            hint = "the elements of all parameters are counted by `sum(size, model)`"
            place = (line.source, _span(line.expr), hint)
            faults.append(Fault("sort-mismatch", message + "parameters is of a tensor", *place))
    return faults


def _span(expr: Expr) -> tuple[int, int]:
    return expr.span if isinstance(expr, Name | Call) else (0, 0)


def _has_numbers(op: Op) -> bool:
    """Whether an operation takes a tensor first, and numbers of the host after it."""
    return op.kept == "block" or op.name in ("polar", "block_polar", "power")


def _check_shapes(program: Program) -> list[Fault]:
    """Return sides that do not fit, line by line; what a line at fault makes fits anything.

    A buffer of which nothing is known counts as one like the parameter. What does not fit for that
    alone is told where nothing else is wrong.
    """
    faults: list[Fault] = []
    doubtful: list[Fault] = []
    shapes: dict[Name, Known] = dict(GIVEN)
    shapes |= {Name(state.name, "prev"): state.shape for state in program.tensor_states}
    homes = {PARAM: FULL, **{Name(s.name): s.shape for s in program.tensor_states}}
    for line in program.step:
        home, is_patient = homes.get(line.target), bool(faults or doubtful)
        try:
            shape = shape_of(line.expr, shapes, is_patient=is_patient)
        except ShapeError as error:
            taken = [n for n in names_in(line.expr) if n.when == "prev" and shapes.get(n) == FULL]
            guesses = {n: None for n in taken if n not in GIVEN}
            shapes[line.target] = None
            try:
                shapes[line.target] = shape_of(line.expr, {**shapes, **guesses}, is_patient=True)
                doubtful.append(_misfit(line, error, shapes))
                homes = {n: home for n, home in homes.items() if n.prev not in guesses}
            except ShapeError as sure:
                faults.append(_misfit(line, sure, shapes))
            continue
        if home is not None and shape is not None and not fits(shape, home):
            message = f"`{line.target}` is {home.words}, and this is {shape.words}"
            faults.append(Fault("side-mismatch", message, line.source))
        shapes[line.target] = shape if home is None else home
    for line in program.pooled:
        try:
            shape_of(line.expr, shapes)
        except ShapeError as error:
            place = (line.source, error.expr.span)
            faults.append(Fault("side-mismatch", error.message, *place, hint=error.hint))
    for view in program.views:
        for name in names_in(view.expr):
            shape = homes.get(name)
            if shape is not None and shape != FULL:
                message = f"the view `{view.name}` reads `{name}`, which is {shape.words}"
                faults.append(Fault("side-mismatch", message, view.source, name.span))
    return faults or doubtful


def _misfit(line: Line, error: ShapeError, shapes: Mapping[Name, Known]) -> Fault:
    """Return what is wrong with the sides of a line; of the last one, with those of the step."""
    known = {name: shapes.get(name) for name in names_in(line.expr)}
    odd = [s for s in known.values() if s is not None and not fits(s, FULL)]
    if line.target == PARAM and odd:
        message = f"the step is {odd[0].words}, and the parameter is {FULL}"
        hint = "let the sides that are left be rows, then cols: see `@`, `.T`"
        return Fault("side-mismatch", message, line.source, hint=hint)
    return Fault("side-mismatch", error.message, line.source, error.expr.span, error.hint)


def _check_views(program: Program) -> list[Fault]:
    sorts = sorts_of(program)
    faults = []
    readable = {h.name for h in program.hypers} | {s.name for s in program.states}
    readable |= {"param", "t", "T", "lr0"}
    for view in program.views:
        for name in names_in(view.expr):
            if name.when != "now" or name.id not in readable:
                message = f"the view `{view.name}` reads `{name}`, which is not kept between steps"
                faults.append(Fault("not-kept", message, view.source, name.span))
        if not is_linear(view.expr, sorts):
            message = f"the view `{view.name}` is not linear in `param` and the buffers"
            hint = "write `param` plus or minus coefficients times buffers"
            faults.append(Fault("not-linear", message, view.source, hint=hint))
    return faults


def is_linear(expr: Expr, sorts: dict[Name, Sort]) -> bool:
    """Whether an expression is a sum of scalar coefficients times tensors."""

    def is_scalar(e: Expr) -> bool:
        return all(sorts[name] == "scalar" for name in names_in(e))

    if isinstance(expr, Name):
        return sorts[expr] == "tensor"
    if isinstance(expr, Num):
        return expr.value == 0
    match expr.op:
        case "add" | "sub" | "neg":
            return all(is_linear(arg, sorts) for arg in expr.args)
        case "mul":
            a, b = expr.args
            return (is_scalar(a) and is_linear(b, sorts)) or (is_linear(a, sorts) and is_scalar(b))
        case "div":
            return is_linear(expr.args[0], sorts) and is_scalar(expr.args[1])
    return False


def _check_use(program: Program) -> list[Fault]:
    faults = []
    read = set(program.names())
    stored = {state.name for state in program.states}
    for line in program.lines:
        name = line.target
        used = name in read or name == PARAM or (name.id in stored and name.prev in read)
        if not used:
            message = f"`{name}` is computed but never used"
            hint = "use it in `update`, or remove it"
            faults.append(Fault("unused-name", message, line.source, hint=hint))
    for state in program.tensor_states:
        others = [
            line
            for line in (*program.step, *program.pooled)
            if line.target.id != state.name
            and any(name.id == state.name for name in names_in(line.expr))
        ]
        viewed = any(n.id == state.name for v in program.views for n in names_in(v.expr))
        if not others and not viewed:
            source = next((ln.source for ln in program.step if ln.target.id == state.name), ())
            message = f"the buffer `{state.name}` never reaches `param` or a view"
            hint = "give it a weight in `update`, or remove it"
            faults.append(Fault("unused-buffer", message, source, hint=hint))
    return faults


# ------------------------------------------------------------------ values

_UNIT = Interval(0.0, 1.0)
_UNIT_OPEN = Interval(0.0, 1.0, False, True)
_NONNEGATIVE = Interval(0.0, float("inf"), False, True)
_POSITIVE = Interval(0.0, float("inf"), True, True)
STEPS = Interval(1.0, float("inf"), False, True)
"""Where t and T lie."""
MAX_LOOKS = 50
"""Passes over a program in search of what its states may hold."""
_INVARIANTS = (_UNIT_OPEN, _UNIT, _POSITIVE, _NONNEGATIVE, EVERYTHING)


def intervals_of(program: Program) -> dict[Name, Interval]:
    """Return an interval for every name, over all steps and all legal hyperparameters.

    What a state may hold is the tightest of a few candidates that its first value satisfies and
    that every step preserves.
    """
    inputs: dict[Name, Interval] = {Name(h.name): h.interval for h in program.hypers}
    inputs[Name("t")] = inputs[Name("T")] = STEPS
    inputs[Name("lr0")] = inputs.get(Name("lr"), _NONNEGATIVE)
    inputs |= {GRAD: EVERYTHING, PARAM.prev: EVERYTHING}
    inputs |= {MODEL_STEP: STEPS, **{line.target: EVERYTHING for line in program.pooled}}
    rank, tensors = {s.name: 0 for s in program.states}, _tensors(program)
    for looking in count():
        values = dict(inputs)
        for state in program.states:
            values[Name(state.name, "prev")] = _INVARIANTS[rank[state.name]]
        for line in program.lines:
            values[line.target] = _line_interval(line, values, tensors)
        for line in program.pooled:
            if set(names_in(line.expr)) <= values.keys():  # else it is given, and may be anything
                summed = interval_of(line.expr, values, tensors=tensors)
                values[line.target] = apply_interval("model_sum", [summed])
        for line in program.lines if program.pooled else ():
            values[line.target] = _line_interval(line, values, tensors)
        loosened = False
        for state in program.states:
            invariant = _INVARIANTS[rank[state.name]]
            starts = isinstance(state.init, Fraction) and float(state.init) in invariant
            holds = starts and invariant.includes(values[Name(state.name)])
            if not holds and invariant != EVERYTHING:
                rank[state.name] += 1
                loosened = True
        if not loosened:
            return values
        if looking == MAX_LOOKS:  # a long chain of states: know nothing of any
            rank = dict.fromkeys(rank, len(_INVARIANTS) - 1)
    raise AssertionError("a state that may be anything holds")


def _line_interval(line: Line, values: dict[Name, Interval], tensors: frozenset[Name]) -> Interval:
    """Return what a line may hold; what it must lie in is checked when it is computed."""
    interval = interval_of(line.expr, values, tensors=tensors)
    if line.within is None:
        return interval
    return interval.meet(line.within) or line.within


def _check_reals(program: Program, values: dict[Name, Interval]) -> list[Fault]:
    """Return what has no finite real value at any step, whatever the hyperparameters are."""
    faults, tensors = [], _tensors(program)
    for line in (*program.lines, *program.pooled):
        never: Never = []
        interval_of(line.expr, values, never, tensors)
        faults += [_not_real(line, node, reason) for node, reason in never[:1]]
    return faults


def _not_real(line: Line, node: Call, reason: str, when: str = "") -> Fault:
    message = f"`{format_expression(node)}` has no value{when}: {reason}"
    hint = "scalars are finite real numbers in float64: keep it there with `min`, `max` or an eps"
    return Fault("not-real", message, line.source, node.span, hint)


def check_values(program: Program) -> list[Fault]:
    """Return what has no value, or an illegal one, at the first step of a program as it stands.

    Hyperparameters are at their values, but the learning rate, which a scheduler may move, and T.
    """
    values: dict[Name, Interval] = {Name(h.name): point(float(h.value)) for h in program.hypers}
    rates = [h.interval for h in program.hypers if h.name == "lr"]
    values[Name("lr")] = values[Name("lr0")] = rates[0] if rates else _NONNEGATIVE
    values |= {Name("t"): point(1.0), Name("T"): STEPS, GRAD: EVERYTHING, PARAM.prev: EVERYTHING}
    values |= {MODEL_STEP: point(1.0), **{line.target: EVERYTHING for line in program.pooled}}
    for state in program.states:
        known = isinstance(state.init, Fraction) and state.sort == "scalar"
        first = point(float(state.init)) if known else EVERYTHING
        values[Name(state.name, "prev")] = first
    faults, tensors = [], _tensors(program)
    for line in (*program.lines, *program.pooled):
        never: Never = []
        interval = interval_of(line.expr, values, never, tensors)
        values.setdefault(line.target, _line_interval(line, values, tensors))
        if never:
            faults.append(_not_real(line, *never[0], " at step 1"))
        elif line.within is not None and interval.meet(line.within) is None:
            text = format_expression(line.expr)
            held = f"{interval.low:.6g}" if interval.low == interval.high else f"in {interval}"
            message = f"`{line.target}` is `{text}`: {held} at step 1, outside {line.within}"
            faults.append(Fault("out-of-range", message, line.source))
    return _told(faults, program)


def _check_division(program: Program, values: dict[Name, Interval], version: int) -> list[Fault]:
    faults, tensors = [], _tensors(program)
    for line in (*program.lines, *program.pooled):
        for node in walk(line.expr):
            if isinstance(node, Call) and node.op in POLAR_EPS:
                eps = node.args[POLAR_EPS[node.op]]
                faults += _check_guard(line, node, eps, interval_of(eps, values))
        for node, interval in divisions(line.expr, values, tensors):
            if 0 in interval:
                divisor = node.args[1]
                text = format_expression(divisor)
                message = f"division by `{text}`, which can be 0: it lies in {interval}"
                hint = _instead(node, interval, tensors, version)
                place = (line.source, _span(divisor), hint)
                faults.append(Fault("zero-division", message, *place))
    return faults


def _check_guard(line: Line, node: Call, given: Expr, eps: Interval) -> list[Fault]:
    """Return an eps of `polar` that does not keep the norm it is added to away from 0."""
    if eps.low >= 0 and 0 not in eps:
        return []
    text = format_expression(given)
    where = "is not above 0" if eps.low == eps.high else f"lies in {eps}"
    message = f"`polar` divides by a norm plus its eps, and `{text}` {where}"
    hint = "gradients may be 0: give it an eps above that, such as 1e-7"
    return [Fault("zero-division", message, line.source, node.span, hint)]


def _instead(node: Call, divisor: Interval, tensors: frozenset[Name], version: int) -> str:
    """Return what may stand for a division by what can be 0: `ratio`, which tensors have later."""
    above, below = (not tensors.isdisjoint(names_in(arg)) for arg in node.args)
    if below:
        kept = "`a/(b + eps)`, or `a/max(b, eps)`" if divisor.low >= 0 else "`a/(abs(b) + eps)`"
        own = "by an eps" if divisor.low >= 0 else "by its size and an eps"
        also = "; or write `ratio(a, b)`, which is 0 where b is" if version > 1 else ""
        return f"keep a tensor away from 0 {own}: {kept}{also}"
    rest = "narrow an interval under `hyperparameters`, add an eps, or use "
    return f"{rest}`a*ratio(1, b)`" if above and version == 1 else f"{rest}`ratio(a, b)`"
