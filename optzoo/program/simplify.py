"""Passes: program to program, value preserved.

`specialise` folds hyperparameters that are exactly 0 and drops what no longer matters, so that
AdEMAMix at beta1 = 0 has no fast buffer and weight decay 0 costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from optzoo.program.expressions import (
    ONE,
    POLAR_EPS,
    ZERO,
    Call,
    Expr,
    Name,
    Num,
    call,
    names_in,
    substitute,
    walk,
)
from optzoo.program.ir import GRAD, MODEL_STEP, PARAM, Line, Program, State
from optzoo.program.ops import OPS
from optzoo.program.tensors.named_sides import NUMBER, Known, shape_of
from optzoo.program.tensors.repeated import SIZES, WholeOperands

_ZERO_AT_ZERO = frozenset(
    [
        *("neg", "square", "sqrt", "abs", "sign", "tanh", "positive"),
        *("transpose", "polar", "block_polar", "diagonal"),
    ]
)
"""Operations that are 0 where their first argument is."""

KEPT = frozenset({"lr"})
"""Hyperparameters that are never folded: the learning rate is 0 at times, and moves."""


def specialise(program: Program, zeros: Collection[str]) -> Program:
    """Return the program for hyperparameters that are exactly 0, smaller where that allows."""
    gone = set(zeros) - KEPT
    known: dict[Name, Expr] = {Name(name): ZERO for name in gone}

    meant: dict[Name, Known] = dict(WholeOperands(program).shapes)
    homes = {Name(state.name): state.shape for state in program.tensor_states}
    made = WholeOperands(program)

    intervals = {hyper.name: hyper.interval for hyper in program.hypers}

    def fits(name: Name, line: Line) -> bool:
        """Whether a hyperparameter lies where the line must: else that is looked at in a step."""
        own = intervals.get(name.id)
        return line.within is None or own is None or line.within.includes(own)

    def fold_block(lines: tuple[Line, ...]) -> tuple[Line, ...]:
        folded = []
        for line in lines:
            expr = _folded(line.expr, known, meant, made)
            if lines is program.step:
                made.note(line.target, expr)
                meant[line.target] = homes.get(line.target, shape_of(line.expr, meant))
            is_copy = isinstance(expr, Name) and expr.when == "now" and fits(expr, line)
            if line.target != PARAM and (expr in (ZERO, ONE) or is_copy):
                known[line.target] = expr
            folded.append(replace(line, expr=expr))
        return tuple(folded)

    scalars, step = fold_block(program.scalars), fold_block(program.step)
    pooled = tuple(
        replace(
            line,
            expr=made.operand(_folded(line.expr, known, meant, made), shape_of(line.expr, meant)),
        )
        for line in program.pooled
    )
    stored = {state.name for state in program.states}
    views = tuple(
        replace(
            view,
            expr=_simplify(
                substitute(view.expr, lambda n: None if n.id in stored else known.get(n))
            ),
        )
        for view in program.views
    )
    hypers = tuple(h for h in program.hypers if h.name not in gone)
    folded = replace(program, hypers=hypers, scalars=scalars, step=step, views=views)
    return drop_unused(replace(folded, pooled=pooled))


def with_given_sums(program: Program) -> Program:
    """Return a program whose sums over all parameters are given, as analyses of one parameter want.

    What only they read is left out: they are numbers of the step, whatever they are made of.
    """
    if not program.pooled:
        return program
    known: dict[Name, Expr] = {MODEL_STEP: Name("t")}
    scalars = tuple(
        replace(line, expr=substitute(line.expr, known.get)) for line in program.scalars
    )
    bare = drop_unused(replace(program, scalars=scalars, pooled=()))
    read = {name for line in bare.scalars for name in names_in(line.expr)}
    kept = []
    for line in reversed(program.pooled):  # a sum may stand in a later one
        if line.target in read:
            kept.append(line)
            read |= set(names_in(line.expr))
    return replace(bare, pooled=tuple(reversed(kept)))


def without_polar_eps(program: Program) -> Program:
    """Return a program whose `polar` does not see the size of a matrix: its eps is 0.

    Without any `polar` it is the program itself.
    """

    def bare(expr: Expr) -> Expr:
        if not isinstance(expr, Call):
            return expr
        args = [bare(arg) for arg in expr.args]
        if expr.op in POLAR_EPS:
            args[POLAR_EPS[expr.op]] = ZERO
        return Call(expr.op, tuple(args), expr.span)

    step = tuple(replace(line, expr=bare(line.expr)) for line in program.step)
    return program if step == program.step else replace(program, step=step)


def conditions_of(program: Program) -> tuple[Expr, ...]:
    """Return the conditions in tensor lines that are numbers of the host, known before a step."""
    tensors = {GRAD, PARAM.prev, *(line.target for line in program.step)}
    tensors |= {Name(state.name, "prev") for state in program.tensor_states}
    found: dict[Expr, None] = {}
    for line in program.step:
        for node in walk(line.expr):
            match node:
                case Call("where", (condition, *_)) if tensors.isdisjoint(names_in(condition)):
                    found[condition] = None
    return tuple(found)


def decided(program: Program, known: Mapping[Expr, bool]) -> tuple[Line, ...]:
    """Return the tensor lines of a step in which these conditions hold or do not.

    What neither the parameter nor a buffer then depends on is left out. A line that has become a
    copy of another name is read in its place.
    """
    copies: dict[Name, Expr] = {}
    stores = {PARAM, *(Name(state.name) for state in program.tensor_states)}
    lines = []
    for line in program.step:
        expr = substitute(_chosen(line.expr, known), copies.get)
        if isinstance(expr, Name) and line.target not in stores:
            copies[line.target] = expr
        else:
            lines.append(replace(line, expr=expr))
    by_target = {line.target: line for line in lines}
    needed, stack = set[Name](), list(stores)
    while stack:
        name = stack.pop()
        if name in by_target and name not in needed:
            needed.add(name)
            stack.extend(names_in(by_target[name].expr))
    return tuple(line for line in lines if line.target in needed)


def _chosen(expr: Expr, known: Mapping[Expr, bool]) -> Expr:
    if not isinstance(expr, Call):
        return expr
    if expr.op == "where" and expr.args[0] in known:
        return _chosen(expr.args[1 if known[expr.args[0]] else 2], known)
    return Call(expr.op, tuple(_chosen(arg, known) for arg in expr.args), expr.span)


def drop_unused(program: Program) -> Program:
    """Remove lines and states that reach neither `param` nor a view."""
    lines = {line.target: line for line in (*program.lines, *program.pooled)}
    needed: set[Name] = set()
    stack: list[Name] = [PARAM, *(n for view in program.views for n in names_in(view.expr))]
    while stack:
        name = stack.pop()
        if name in needed:
            continue
        needed.add(name)
        if name.when == "prev" and name != PARAM.prev:
            stack.append(Name(name.id))
        elif name in lines:
            stack.extend(names_in(lines[name].expr))
    states: tuple[State, ...] = tuple(
        s for s in program.states if Name(s.name, "prev") in needed or _is_viewed(program, s)
    )
    return replace(
        program,
        states=states,
        scalars=tuple(line for line in program.scalars if line.target in needed),
        step=tuple(line for line in program.step if line.target in needed),
        pooled=tuple(line for line in program.pooled if line.target in needed),
    )


def _is_viewed(program: Program, state: State) -> bool:
    return any(n.id == state.name for view in program.views for n in names_in(view.expr))


def _folded(
    expr: Expr, known: Mapping[Name, Expr], meant: Mapping[Name, Known], made: WholeOperands
) -> Expr:
    """Fold an expression, and keep what is reduced or multiplied in the shape that was `meant`.

    Folding may leave a number, or a row, where every element of a matrix has the same; a sum over
    it still goes over the matrix. One of a single element is that, up to its sign. `made` knows
    what has been folded so far.
    """
    if not isinstance(expr, Call):
        return _simplify(substitute(expr, known.get))
    args = [_folded(arg, known, meant, made) for arg in expr.args]
    folded = _simplified(Call(expr.op, tuple(args), expr.span))
    if OPS[expr.op].on_scalars or not isinstance(folded, Call):
        return folded
    shapes = [shape_of(arg, meant) for arg in expr.args]
    if OPS[expr.op].reduces is not None and shapes[0] == NUMBER:
        return call("abs", args[0]) if OPS[expr.op].reduces == "norm" else args[0]
    whole = [made.operand(arg, shape) for arg, shape in zip(args, shapes, strict=True)]
    if expr.op not in SIZES:
        whole[:] = [
            made.as_tensor(arg) if i in _operands(expr) else arg for i, arg in enumerate(whole)
        ]
    return Call(expr.op, tuple(whole), expr.span)


def _operands(expr: Call) -> tuple[int, ...]:
    """Return which arguments are tensors, and no numbers of the host."""
    return (0, 1) if expr.op in ("matmul", "row_take", "column_take") else (0,)


def _simplify(expr: Expr) -> Expr:
    """Remove additions of 0 and multiplications by 0 and 1, bottom up."""
    if not isinstance(expr, Call):
        return expr
    return _simplified(Call(expr.op, tuple(_simplify(arg) for arg in expr.args), expr.span))


def _simplified(expr: Call) -> Expr:
    """Remove what this operation does not need of its arguments."""
    args = expr.args
    match expr.op, args:
        case "add", (a, b):
            if a == ZERO:
                return b
            if b == ZERO:
                return a
        case "sub", (a, b):
            if b == ZERO:
                return a
            if a == ZERO:
                return Call("neg", (b,))
        case "mul", (a, b):
            if ZERO in (a, b):
                return ZERO
            if a == ONE:
                return b
            if b == ONE:
                return a
        case "div", (a, b):
            if a == ZERO:
                return ZERO
            if b == ONE:
                return a
        case "pow", (a, b):
            if b == ZERO:
                return ONE
            if a == ZERO and b == Name("t"):  # t counts from 1
                return ZERO
        case "where", (condition, a, b):
            if isinstance(condition, Num):
                return a if condition != ZERO else b
            if a == b:
                return a
        case "matmul", (a, b) if ZERO in (a, b):
            return ZERO
        case (("row_take" | "column_take"), (a, _)) if isinstance(a, Num):
            return a
        case _ if expr.op in _ZERO_AT_ZERO or OPS[expr.op].reduces:
            if args[0] == ZERO:
                return ZERO
    return expr
