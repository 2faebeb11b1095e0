"""The evaluation point (and every observer) as a weighted average of the iterates.

With y_t what the parameters hold after step t and e_t the point evaluated there, e_t is a running
average when e_t = (1 - w_t) e_{t-1} + w_t y_t for the same w_t whatever the gradients were. w_t is
read off the present gradient and then verified on all others, exactly: `Connections` paper, section
4.1, has it for Schedule-Free. What is not linear takes a drawn value of
its own in every step. Otherwise the point may be a step ahead or behind: y_{t-1} less a
multiple of the present gradient, as for AGNES and MaSS.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from optzoo.description.forms.symbolic_step import NoClosedFormError, System, is_known
from optzoo.description.forms.symbols import Symbols
from optzoo.description.forms.verify import PASSES, STEPS, TRIES, Point
from optzoo.interpreters.linear import Factor, Form, LinearDomain, NotLinearError, run_linear
from optzoo.interpreters.rational import ONE, ZERO
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name, format_expression
from optzoo.program.ir import GRAD, PARAM, Program, View
from optzoo.program.ratios import Ratio, TooLongError, bounded, combine, invert, multiply, negate

Kind = Literal["parameters", "average", "gradient step", "readout"]


@dataclass(frozen=True)
class EvaluatedPoint:
    """What a view is. `weight` is w_t, of the newest iterate, for an average.

    `buffers` are those that the view reads; `text` is the view as the program computes it.
    """

    view: str
    kind: Kind
    text: str
    buffers: tuple[str, ...] = ()
    weight: Ratio | None = None


def evaluated_points(program: Program, *, constant_lr: bool) -> list[EvaluatedPoint]:
    """Return what each view but the trained one is: the evaluated point first, then observers."""
    views = [view for view in program.views if view.name != "train"]
    try:
        with bounded():
            system = System.of(program, Symbols(program, constant_lr=constant_lr))
            return [_point(program, view, system, constant_lr) for view in views]
    except (NoClosedFormError, TooLongError):
        return [_point(program, view, None, constant_lr) for view in views]


def _point(
    program: Program, view: View, system: System | None, constant_lr: bool
) -> EvaluatedPoint:
    text = format_expression(view.expr)
    if view.expr == PARAM:
        return EvaluatedPoint(view.name, "parameters", text)
    if system is None:
        return EvaluatedPoint(view.name, "readout", text)
    offset = system.views[view.name]
    if not isinstance(offset, Form):
        return EvaluatedPoint(view.name, "readout", text)
    buffers = tuple(s.id for s in offset.terms if isinstance(s, Name))
    weight = _weight(system, offset)
    if all(value.is_zero for value in offset.terms.values()):
        return EvaluatedPoint(view.name, "parameters", text)
    if weight is not None and _agrees(program, view, weight, constant_lr):
        return EvaluatedPoint(view.name, "average", text, buffers, weight)
    kind: Kind = "gradient step" if _agrees(program, view, None, constant_lr) else "readout"
    return EvaluatedPoint(view.name, kind, text, buffers)


def _weight(system: System, offset: Form[Ratio]) -> Ratio | None:
    """Return w_t as the weights of the newest source say, whichever line that is."""
    here, moved = system.expanded(offset).terms, system.expanded(system.move).terms
    if GRAD not in moved or moved[GRAD].is_zero:
        return None
    kept = multiply(here.get(GRAD, ZERO), invert(negate(moved[GRAD])))
    weight = combine(ONE, negate(kept))
    return weight if is_known(weight) else None


def _agrees(program: Program, view: View, weight: Ratio | None, constant_lr: bool) -> bool:
    """Whether a view is the running average with this weight, or without one a gradient step."""
    passes = 0
    for seed in range(TRIES):
        point = Point.draw(program, seed, constant_lr=constant_lr)
        try:
            moves, offsets = _offsets(point, view)
        except NotLinearError:  # at some step, whichever way is gone there
            return False
        if not any(moves[-1].values()):
            continue
        for t in range(2, STEPS + 1):
            now, before, move = offsets[t - 1], offsets[t - 2], moves[t - 1]
            sources = {*now, *before, *move}
            if weight is None:
                if any(now.get(s, 0) + move.get(s, 0) for s in sources if s != t):
                    return False
                continue
            try:
                kept = 1 - point.value(weight, t)
            except (ZeroDivisionError, LookupError):
                continue
            if any(now.get(s, 0) != kept * (before.get(s, 0) - move.get(s, 0)) for s in sources):
                return False
        passes += 1
        if passes == PASSES:
            return True
    return False


def _offsets(point: Point, view: View) -> tuple[list[Any], list[dict[Any, Fraction]]]:
    """Return the move of every step, and what the view adds to the parameters after it."""
    program = point.program
    seen: dict[int, dict[Name, Any]] = {}
    drawn: dict[tuple[int, Factor], Fraction] = {}
    step = 1

    def gain(factor: Factor) -> Fraction:
        """Draw what is held fixed, anew in every step: an average must not depend on it."""
        size = Fraction(point.inputs.rng.randint(50, 150), 100)
        return drawn.setdefault((step, factor), size)

    def assigned(t: int, target: Name, value: Any) -> Any:
        nonlocal step
        seen.setdefault(t, {})[target] = value
        step = t + (target == program.step[-1].target)
        return value

    domain: LinearDomain[Fraction] = LinearDomain(point.domain, gain)
    run = run_linear(program, domain, range(1, STEPS + 1), point.inputs, None, assigned)
    offsets = []
    for t in range(1, STEPS + 1):
        values = {**point.scalars[t], **seen[t], PARAM: Form({}), GRAD: Form({t: Fraction(1)})}
        offsets.append(dict(evaluate(view.expr, domain, values).terms))
    return [move.terms for move in run.moves], offsets
