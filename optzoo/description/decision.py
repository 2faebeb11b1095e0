"""The decision: how many momenta a program has, and whether it is of the form of Eq. (1).

It is taken in exact rationals, at random points, from the response alone: what the optimizer does,
not how many buffers it has.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optzoo.description.draws import DrawnDomain, DrawnInputs
from optzoo.description.response import Response
from optzoo.interpreters.linear import (
    Form,
    LinearDomain,
    LinearRun,
    NotLinearError,
    linear_step,
    run_linear,
)
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD, PARAM, Program

DECISION_STEPS = 9
DRAWS = 2
TRIES = 12


def reads_parameter(program: Program) -> bool:
    """Whether steps have terms in the parameter: a decay written by hand, say.

    The parameter is one source at every step, so that what reaches it through buffers is seen too.
    """
    rng = random.Random(0)
    drawn = DrawnDomain(rng)
    inputs, memory = DrawnInputs(program, rng, DECISION_STEPS), initial_memory(program, drawn)
    old = {s.name: Name(s.name, "prev") for s in program.tensor_states}
    buffers: dict[Name, Any] = {name: Form({name: Fraction(1)}) for name in old.values()}
    for t in range(1, DECISION_STEPS + 1):
        values: dict[Name, Any] = dict(run_scalars(program, drawn, inputs(t), memory))
        memory = kept_memory(program, values)
        values |= {name: Form({name: Fraction(1)}) for name in (PARAM.prev, GRAD)} | buffers
        linear_step(program, LinearDomain(drawn), values)
        moved = values[PARAM]
        if isinstance(moved, Form) and moved.terms.get(PARAM.prev) != 1:
            return True
        buffers = {name: values[Name(state)] for state, name in old.items()}
    return False


@dataclass(frozen=True)
class Decision:
    """How many momenta a program has, whether it is Eq. (1), and what was held fixed for that.

    `momenta` is the rank of the response: 0 when past gradients have no weight. `gap` is a step
    that Eq. (1) cannot represent although the rank would allow it: its gradient never counts again
    though an earlier one does. At the step `cut` the gradient before counts for the last time
    though that step's own does not. `linear` is False when the step
    is not linear in the gradients even with that held fixed: no momenta to speak of.
    """

    momenta: int
    has_form: bool
    held_fixed: tuple[str, ...]
    gap: int | None = None
    cut: int | None = None
    linear: bool = True


def decide(program: Program) -> Decision:
    """Decide the form of a program at random rational points, exactly.

    Schedules over `T` end on the way in one draw and go on in the other. A draw at which nothing
    moves in the middle (RAdam's silent steps) says nothing and is replaced.
    """
    found: list[tuple[Response, LinearRun[Fraction]]] = []
    for seed in range(TRIES):
        rng = random.Random(seed)
        domain: LinearDomain[Fraction] = LinearDomain(DrawnDomain(rng))
        total = DECISION_STEPS * 6 if seed % 2 else None
        inputs = DrawnInputs(program, rng, DECISION_STEPS, total=total)
        try:
            run = run_linear(program, domain, range(1, DECISION_STEPS + 1), inputs)
        except NotLinearError:
            return Decision(0, False, (), linear=False)
        if any(run.moves[DECISION_STEPS // 2 + 1].terms.values()):
            found.append((Response.of(run), run))
        if len(found) == DRAWS:
            break
    responses = [response for response, _ in found]
    gaps = [response.gap() for response in responses]
    cuts = [response.cut() for response in responses]
    held = {gain.kind for _, run in found for gain in run.gains}
    return Decision(
        max((response.rank for response in responses), default=0),
        all(response.coefficients() is not None for response in responses),
        tuple(sorted(held)),
        next(filter(None, gaps), None),
        next(filter(None, cuts), None),
    )
