"""The response h(t, s), the weight of gradient s in step t, and the decision taken from it.

Eq. (1) of the Connections paper says

    h(t,t) = -(alpha_a(t) + eta_a(t)),   h(t,s) = -eta_a(t) beta_a(s+1) ... beta_a(t)   for s < t.

A response is of that form if and only if its blocks have rank one at most, a gradient counts after
its step whenever an earlier one does (no `gap`), and the gradient before, where it counts in a step
whose own gradient counts later, counts later too (no `cut`): docs/derivations.md, section 1.

All arithmetic is in rationals and every test is `==`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optzoo.interpreters.linear import (
    Form,
    LinearDomain,
    LinearRun,
    NotLinearError,
    linear_step,
    run_linear,
)
from optzoo.interpreters.random_point import DrawnDomain, DrawnInputs
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD, PARAM, Program

ZERO = Fraction(0)


@dataclass(frozen=True)
class Response:
    """`rows[t-1][s-1]` is h(t, s) for s <= t."""

    rows: tuple[tuple[Fraction, ...], ...]

    @classmethod
    def of(cls, run: LinearRun[Fraction]) -> Response:
        """Read the response off a run of the linear interpreter."""
        rows = [
            tuple(move.terms.get(s, ZERO) for s in range(1, t + 1))
            for t, move in enumerate(run.moves, start=1)
        ]
        return cls(tuple(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, t: int, s: int) -> Fraction:
        """Return h(t, s); 0 for s > t."""
        return self.rows[t - 1][s - 1] if s <= t else ZERO

    @property
    def rank(self) -> int:
        """The number of momenta: the largest rank of the blocks h(t > k, s <= k)."""
        size = len(self)
        return max(
            matrix_rank([[self.at(t, s) for s in range(1, k + 1)] for t in range(k + 1, size + 1)])
            for k in range(1, size)
        )

    def tail_is_zero(self, s: int) -> bool:
        """Whether gradient s has no weight in any later step."""
        return all(self.at(t, s) == 0 for t in range(s + 1, len(self) + 1))

    def gap(self) -> int | None:
        """Return a step whose gradient never comes back although an earlier one does later.

        There Eq. (1), where every gradient enters the momentum with weight 1, has no
        coefficients. None when there is no such step.
        """
        size = len(self)
        for s in range(2, size):
            if self.tail_is_zero(s) and any(
                self.at(t, r) != 0 for r in range(1, s) for t in range(s + 1, size + 1)
            ):
                return s
        return None

    def cut(self) -> int | None:
        """Return a step that reads the gradient before and then forgets it, but not its own.

        There beta_a would have to be 0 for later steps, and must not be 0 for this one.
        """
        for s in range(2, len(self)):
            kept = not self.tail_is_zero(s)
            after = range(s + 1, len(self) + 1)
            if self.at(s, s - 1) != 0 and kept and not any(self.at(t, s - 1) for t in after):
                return s
        return None

    def coefficients(self) -> AccelSequence | None:
        """Return beta_a, eta_a, alpha_a of Eq. (1), or None when the response has no such form.

        beta_a(1) is immaterial and written 0; where beta_a(t) = 0 only eta_a + alpha_a is
        determined, and eta_a is written 0. Where gradient t counts in no later step (the momentum
        dies after it) beta_a(t) is free, and written 1 if step t reads the momentum.
        """
        if self.rank > 1 or self.gap() is not None or self.cut() is not None:
            return None
        size = len(self)
        beta, eta, alpha = [ZERO], [ZERO], [-self.at(1, 1)]
        for t in range(2, size + 1):
            b = self._ratio(t)
            e = -self.at(t, t - 1) / b if b != 0 else ZERO
            beta.append(b)
            eta.append(e)
            alpha.append(-self.at(t, t) - e)
        result = AccelSequence(tuple(beta), tuple(eta), tuple(alpha))
        exact = range(1, size)  # the last beta_a shows only from the step after it
        return result if all(result.matches(self, t) for t in exact) else None

    def _ratio(self, s: int) -> Fraction:
        """Return beta_a(s): h(t, s-1)/h(t, s) at any later t where that is defined."""
        for t in range(s + 1, len(self) + 1):
            if self.at(t, s) != 0:
                return self.at(t, s - 1) / self.at(t, s)
        return ZERO if self.at(s, s - 1) == 0 else Fraction(1)


@dataclass(frozen=True)
class AccelSequence:
    """Coefficients of Eq. (1) step by step; element t-1 is that of step t."""

    beta: Sequence[Fraction]
    eta: Sequence[Fraction]
    alpha: Sequence[Fraction]

    def weight(self, t: int, s: int) -> Fraction:
        """Return h(t, s) as Eq. (1) makes it."""
        if s == t:
            return -(self.alpha[t - 1] + self.eta[t - 1])
        product = -self.eta[t - 1]
        for r in range(s + 1, t + 1):
            product *= self.beta[r - 1]
        return product

    def matches(self, response: Response, t: int, first: int = 1) -> bool:
        """Whether row t is that of the response, from gradient `first` on."""
        return all(self.weight(t, s) == response.at(t, s) for s in range(first, t + 1))


def matrix_rank(matrix: Sequence[Sequence[Fraction]]) -> int:
    """Return the rank of a matrix of rationals, by exact elimination."""
    rows = [list(row) for row in matrix]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        top = rows[rank]
        for i in range(rank + 1, len(rows)):
            if rows[i][column] != 0:
                factor = rows[i][column] / top[column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], top, strict=True)]
        rank += 1
    return rank


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
