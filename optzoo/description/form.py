"""Describe a recipe: is it of the form of Eq. (1), and with which coefficients?

Everything is read off the program by the linear interpreter: the form is decided in exact rationals
at random points, the coefficients are computed in decimals at the recipe's own values and rounded
once. Weight decay is left out, and what is not linear (preconditioner, sign, clips) is held fixed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

from optzoo.description.decimals import DecimalDomain, precisely
from optzoo.description.draws import DrawnDomain, DrawnInputs
from optzoo.description.lr_schedules import parse_lr_schedule
from optzoo.description.response import Response
from optzoo.description.scalars import ScalarTable
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.cost import Cost, cost
from optzoo.interpreters.linear import LinearDomain, LinearRun, run_linear
from optzoo.program.expressions import Expr
from optzoo.program.ir import Program
from optzoo.zoo import Recipe

DECISION_STEPS = 7
DRAWS = 2
ASSUMED_TOTAL_STEPS = 10_000
DUST = Decimal("1e-30")
"""What rounding in the 50th digit leaves of a difference that is 0."""


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
    """What `describe` found. The coefficients are methods of the step, which counts from 1.

    `lr_factor` is what the learning rate is multiplied by at step t.
    """

    recipe: Recipe
    program: Program
    decision: Decision
    total_steps: int
    at: tuple[int, ...]
    lr_factor: Expr
    lr_schedule: str = "constant"

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
        return self.cost.state_bytes()

    @cached_property
    def cost(self) -> Cost:
        """What a step reads, writes and keeps."""
        return cost(self.program)

    @cached_property
    def scalars(self) -> ScalarTable:
        """The scalars of the program at any step."""
        return ScalarTable(self.program, self.lr_factor, self.total_steps)

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
        """Return all three at step t, each correct to about 1e-15 relative.

        Where no past gradient reaches step t only eta_a + alpha_a is determined, and all of it is
        given as alpha_a. Raises InputError when the recipe has no such form, or when a running
        scalar cannot be followed as far as t.
        """
        if not self.form:
            message = f"{self.recipe.name} has no Eq. (1) form: it has {self.order} momenta"
            raise InputError(Diagnostic("no-form", message))
        checked_step(t)
        with precisely():
            return self._read(t)

    def run(self, steps: Sequence[int]) -> LinearRun[Decimal]:
        """Return what these consecutive steps do with their own gradients, in decimals.

        Before step 1 steps like step 1 are imagined, so that its momentum has a weight there too.
        """
        memory = self.scalars.memory(max(1, steps[0]) - 1)
        domain: LinearDomain[Decimal] = LinearDomain(DecimalDomain())
        with precisely():
            return run_linear(self.program, domain, steps, self.scalars.inputs, memory)

    def _read(self, t: int) -> Coefficients:
        """Read the response to the gradients of steps t - 1 and t in steps t and t + 1."""
        before, now = t - 1, t
        moves = self.run((t - 1, t, t + 1)).moves
        zero = Decimal(0)
        last, after = moves[1].terms, moves[2].terms
        fed = after.get(now, zero)
        beta = after.get(before, zero) / fed if fed else zero
        eta = -last.get(before, zero) / beta if beta else zero
        total = -last.get(now, zero)
        alpha = total - eta
        if abs(alpha) < DUST * abs(total):
            alpha = zero
        beta = beta if t > 1 else zero
        return Coefficients(t, *(float(x) + 0.0 for x in (beta, eta, alpha)))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the coefficients are null without an Eq. (1) form."""
        rows = [self.coefficients(t) for t in self.at] if self.form else []
        return {
            "recipe": self.recipe.name,
            "form": self.form,
            "order": self.order,
            "held_fixed": list(self.decision.held_fixed),
            "total_steps": self.total_steps,
            "lr_schedule": self.lr_schedule,
            "t": list(self.at),
            "beta_a": [row.beta_a for row in rows] or None,
            "eta_a": [row.eta_a for row in rows] or None,
            "alpha_a": [row.alpha_a for row in rows] or None,
            "state_bytes_per_parameter": self.state_bytes_per_parameter,
            "tensors_read": self.cost.tensors_read,
            "tensors_written": self.cost.tensors_written,
        }


def checked_step(t: int) -> int:
    """Return a step; InputError when it is none."""
    if t < 1:
        raise InputError(Diagnostic("bad-value", f"`t={t}`: steps count from 1"))
    return t


def describe(
    recipe: Recipe,
    *,
    total_steps: int | None = None,
    at: Sequence[int] = (1, 10, 100, 1000),
    lr_schedule: str = "constant",
    **hyperparameters: float | str,
) -> Description:
    """Describe a recipe at these hyperparameters.

    `total_steps` is `T`, 10,000 if left out; `lr_schedule` one of
    `optzoo.description.lr_schedules`. Raises InputError for unknown hyperparameters, schedules and
    steps.
    """
    chosen = recipe.with_overrides(hyperparameters)
    program = chosen.trained_program()
    steps = ASSUMED_TOTAL_STEPS if total_steps is None else total_steps
    factor = parse_lr_schedule(lr_schedule, steps)
    shown = tuple(checked_step(t) for t in at)
    return Description(chosen, program, decide(program), steps, shown, factor, lr_schedule)
