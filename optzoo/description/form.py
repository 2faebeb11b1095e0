"""Describe a recipe: is it of the form of Eq. (1), and with which coefficients?

Everything is read off the program by the linear interpreter: the form is decided in exact rationals
at random points, the coefficients are computed in float64 at the recipe's own values. Weight decay
is left out, and what is not linear (preconditioner, sign, clips) is held fixed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optzoo.description.draws import DrawnDomain, DrawnInputs
from optzoo.description.response import Response
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import LinearDomain, run_linear
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.ir import Program
from optzoo.program.numbers import FloatDomain
from optzoo.zoo import Recipe

DECISION_STEPS = 7
DRAWS = 2
ASSUMED_TOTAL_STEPS = 10_000
_FLOATS = FloatDomain()


@dataclass(frozen=True)
class Decision:
    """How many momenta a program has, whether it is Eq. (1), and what was held fixed for that.

    `momenta` is the rank of the response: 0 when past gradients have no weight. `gap` is a step
    that Eq. (1) cannot represent although the rank would allow it.
    """

    momenta: int
    has_form: bool
    held_fixed: tuple[str, ...]
    gap: int | None = None


@dataclass(frozen=True)
class Coefficients:
    """beta_a(t), eta_a(t) and alpha_a(t) of Eq. (1) at one step."""

    t: int
    beta_a: float
    eta_a: float
    alpha_a: float


def decide(program: Program) -> Decision:
    """Decide the form of a program at random rational points, exactly."""
    ranks, gaps, matched, held = [], [], [], set()
    for seed in range(DRAWS):
        rng = random.Random(seed)
        domain: LinearDomain[Fraction] = LinearDomain(DrawnDomain(rng))
        inputs = DrawnInputs(program, rng, DECISION_STEPS)
        run = run_linear(program, domain, range(1, DECISION_STEPS + 1), inputs)
        response = Response.of(run)
        ranks.append(response.rank)
        gaps.append(response.gap())
        matched.append(response.coefficients() is not None)
        held |= {gain.kind for gain in run.gains}
    return Decision(max(ranks), all(matched), tuple(sorted(held)), next(filter(None, gaps), None))


@dataclass(frozen=True)
class Description:
    """What `describe` found. The coefficients are methods of the step, which counts from 1."""

    recipe: Recipe
    program: Program
    decision: Decision
    total_steps: int
    at: tuple[int, ...]

    @property
    def form(self) -> bool:
        """Whether the recipe is of the form of Eq. (1)."""
        return self.decision.has_form

    @property
    def order(self) -> int:
        """The number of momenta."""
        return self.decision.momenta

    @property
    def state_bytes_per_parameter(self) -> int:
        """Bytes of float32 state per parameter."""
        return 4 * len(self.program.tensor_states)

    def beta_a(self, t: int) -> float:
        """Return the decay of the momentum at step t; at step 1 it is immaterial and 0."""
        return self.coefficients(t).beta_a

    def eta_a(self, t: int) -> float:
        """Return the weight of the momentum at step t, learning rate included."""
        return self.coefficients(t).eta_a

    def alpha_a(self, t: int) -> float:
        """Return the weight of the current gradient at step t, learning rate included."""
        return self.coefficients(t).alpha_a

    def coefficients(self, t: int) -> Coefficients:
        """Return all three at step t.

        Where no past gradient reaches step t only eta_a + alpha_a is determined, and all of it is
        given as alpha_a. Raises InputError when the recipe has no such form.
        """
        if not self.form:
            message = f"{self.recipe.name} has no Eq. (1) form: it has {self.order} momenta"
            raise InputError(Diagnostic("no-form", message))
        if t < 1:
            raise InputError(Diagnostic("bad-value", f"`t={t}`: steps count from 1"))
        return self._read(t)

    def _read(self, t: int) -> Coefficients:
        """Read the response to the gradients of steps t - 1 and t in steps t and t + 1.

        Before step 1 a step like step 1 is imagined, so that its momentum has a weight there too.
        """
        start = max(1, t - 1)
        memory = self._memory(start - 1)
        steps = (0, 1, 2) if t == 1 else (t - 1, t, t + 1)
        domain: LinearDomain[float] = LinearDomain(_FLOATS)
        run = run_linear(self.program, domain, steps, lambda s: self._inputs(max(1, s)), memory)
        before, now = steps[0], steps[1]
        last, after = run.moves[1].terms, run.moves[2].terms
        fed = after.get(now, 0.0)
        beta = after.get(before, 0.0) / fed if fed != 0 else 0.0
        eta = -last.get(before, 0.0) / beta if beta != 0 else 0.0
        alpha = -last.get(now, 0.0) - eta
        return Coefficients(t, beta if t > 1 else 0.0, eta, alpha)

    def _inputs(self, t: int) -> dict[str, float]:
        given = {h.name: float(h.value) for h in self.program.hypers}
        lr0 = given.get("lr", 1.0)
        return {**given, "t": float(t), "T": float(self.total_steps), "lr0": lr0}

    def _memory(self, t: int) -> dict[str, float]:
        """Return what the scalar states hold after t steps at a constant learning rate."""
        memory = initial_memory(self.program, _FLOATS)
        for s in range(1, t + 1) if memory else ():
            values = run_scalars(self.program, _FLOATS, self._inputs(s), memory)
            memory = kept_memory(self.program, values)
        return memory

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the coefficients are null without an Eq. (1) form."""
        rows = [self.coefficients(t) for t in self.at] if self.form else []
        return {
            "recipe": self.recipe.name,
            "form": self.form,
            "order": self.order,
            "held_fixed": list(self.decision.held_fixed),
            "t": list(self.at),
            "beta_a": [row.beta_a for row in rows] or None,
            "eta_a": [row.eta_a for row in rows] or None,
            "alpha_a": [row.alpha_a for row in rows] or None,
            "state_bytes_per_parameter": self.state_bytes_per_parameter,
        }


def describe(
    recipe: Recipe,
    *,
    total_steps: int | None = None,
    at: Sequence[int] = (1, 10, 100, 1000),
    **hyperparameters: float | str,
) -> Description:
    """Describe a recipe at these hyperparameters and a constant learning rate.

    `total_steps` is `T`, 10,000 if left out. Raises InputError for unknown hyperparameters.
    """
    chosen = recipe.with_overrides(hyperparameters)
    program = chosen.trained_program()
    steps = ASSUMED_TOTAL_STEPS if total_steps is None else total_steps
    return Description(chosen, program, decide(program), steps, tuple(at))
