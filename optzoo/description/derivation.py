"""What follows from a program at any step: its closed forms, its coefficients, its momenta.

Everything is read off the program by the linear interpreter: the form is decided in exact rationals
at random points, the coefficients are computed in decimals at the recipe's own values and rounded
once, the closed forms are verified against the response.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from optzoo.description.forms.closed_forms import Closed
from optzoo.description.forms.formulas import Formulas, find_formulas, value_at
from optzoo.description.response import Decision, decide
from optzoo.description.scalars import ScalarTable
from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import LinearDomain, LinearRun, run_linear
from optzoo.program.arithmetic import DecimalDomain, NotRealError, precisely
from optzoo.program.expressions import Expr, Name, names_in
from optzoo.program.ir import Program
from optzoo.program.ratios import Ratio
from optzoo.program.reading import starts_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.values import MAX_STEPS

DUST = Decimal("1e-30")
"""What rounding in the 50th digit leaves of a difference that is 0."""

LATER = 24
"""How many steps on a gradient is looked for that the step after its own does not read."""


class NoValueError(InputError):
    """Eq. (1) has no coefficients at one step of these hyperparameters."""


@dataclass(frozen=True)
class Coefficients:
    """beta_a(t), eta_a(t) and alpha_a(t) of Eq. (1) at one step."""

    t: int
    beta_a: float
    eta_a: float
    alpha_a: float


class Derivation:
    """What follows from a program without weight decay. Steps count from 1.

    `lr_factor` is what the learning rate is multiplied by at step t.
    """

    def __init__(
        self, recipe: Recipe, undecayed: Program, lr_factor: Expr, total_steps: int
    ) -> None:
        self.recipe, self.undecayed, self.total_steps = recipe, undecayed, total_steps
        self.scalars = ScalarTable(undecayed, lr_factor, total_steps)
        self.decision: Decision = decide(undecayed)

    @cached_property
    def formulas(self) -> Formulas | None:
        """The closed forms, verified; None when none was found."""
        return find_formulas(self.undecayed, constant_lr=self.scalars.has_constant_lr)

    @cached_property
    def of_model(self) -> tuple[str, ...]:
        """Scalars that follow from sums over all parameters, which gradients of a run decide."""
        found = {line.target for line in self.undecayed.pooled}
        for line in self.undecayed.scalars:
            if not found.isdisjoint({Name(n.id) for n in names_in(line.expr)}):
                found.add(line.target)
        sums = {line.target for line in self.undecayed.pooled}
        starts = starts_of(self.undecayed)
        kept = (ln.target for ln in self.undecayed.scalars if ln.target in found - sums)
        return tuple(name.id for name in kept if name not in starts)

    @property
    def levels(self) -> list[tuple[Closed, str]]:
        """The closed forms, each with what it moves: `param`, or a line of the program."""
        found = self.formulas
        if found is None:
            return []
        return list(zip(found.levels, ("param", str(found.outer.source)), strict=False))

    def momentum_values(self, t: int) -> list[tuple[float, float]]:
        """Return (beta_i, eta_i) at step t, in the order of `momenta`; beta at step 1 is 0.

        NaN stands where a formula is 0/0: where nothing enters a momentum.
        """
        checked_step(t)
        rows = [m for level, _ in self.levels for m in level.momenta]
        return [(0.0 if t == 1 else self._value(m.beta, t), self._value(m.eta, t)) for m in rows]

    def gradient_weights(self, t: int) -> list[float]:
        """Return alpha(t) of every level: of the step, and of the line inside it if there is one.

        Each is the weight of what that level accumulates, outside its momenta.
        """
        checked_step(t)
        return [self._value(level.alpha, t) for level, _ in self.levels]

    def _value(self, ratio: Ratio, t: int) -> float:
        try:
            return float(value_at(ratio, self.scalars, t)) + 0.0
        except ZeroDivisionError:
            return math.nan

    def coefficients(self, t: int) -> Coefficients:
        """Return all three at step t, each correct to about 1e-15 relative.

        Where the response does not determine them (no past gradient reaches step t, or nothing
        moves in step t + 1) the closed form says how eta_a + alpha_a is shared, and what beta_a is;
        without one alpha_a is all of it. Raises InputError when the
        recipe has no such form, or when a running scalar cannot be followed as far as t.
        """
        if not self.decision.has_form:
            reason = (
                f"it has {self.decision.momenta} momenta"
                if self.decision.linear
                else "it is not linear"
            )
            message = f"{self.recipe.name} has no Eq. (1) form: {reason}"
            raise InputError(Diagnostic("no-form", message))
        checked_step(t)
        try:
            with precisely():
                return self._read(t)
        except ArithmeticError as error:  # decimals refuse 0/0, 1/0 and what has no digits
            if isinstance(error, NotRealError) and error.line is not None:
                raise InputError(self.recipe.diagnostic(error)) from None
            message = f"`t={t}`: a coefficient of {self.recipe.name} has no value at this step"
            raise NoValueError(Diagnostic("no-value", message)) from None

    def run(self, steps: Sequence[int]) -> LinearRun[Decimal]:
        """Return what these consecutive steps do with their own gradients, in decimals."""
        memory = self.scalars.memory(steps[0] - 1)
        domain: LinearDomain[Decimal] = LinearDomain(DecimalDomain())
        with precisely():
            return run_linear(self.undecayed, domain, steps, self.scalars.inputs, memory)

    def _read(self, t: int) -> Coefficients:
        """Read the response to the gradients of steps t - 1 and t in steps t and t + 1.

        Where gradient t does not count in step t + 1, it may in one of the `LATER` steps.
        """
        zero = Decimal(0)
        first = max(1, t - 1)
        last, after = (_undusted(m.terms) for m in self.run(range(first, t + 2)).moves[-2:])
        if t not in after:
            later = self.run(range(first, t + LATER)).moves[t + 2 - first :]
            after = next((x for m in later if t in (x := _undusted(m.terms))), after)
        if t not in after and after.get(t - 1):
            raise ZeroDivisionError("a gradient is outlived by one before it")
        fed, read = after.get(t, zero), last.get(t - 1, zero) if t > 1 else zero
        beta = after.get(t - 1, zero) / fed if fed else self._closed(t, "beta")
        if read and not beta and not fed:  # the momentum dies after this step: any beta will do
            beta = Decimal(1)
        eta = -read / beta if beta and t > 1 else self._closed(t, "eta")
        total = -last.get(t, zero)
        alpha = total - eta
        if abs(alpha) < DUST * abs(total):
            alpha = zero
        return Coefficients(t, *(float(x) + 0.0 for x in (beta, eta, alpha)))

    def _closed(self, t: int, which: Literal["beta", "eta"]) -> Decimal:
        """Return beta_a or eta_a by the closed form, where steps t and t + 1 do not tell."""
        found = self.formulas
        if found is None or found.inner is not None or not found.outer.momenta:
            return Decimal(0)
        if which == "beta" and t == 1:
            return Decimal(0)
        try:
            return value_at(getattr(found.outer.momenta[0], which), self.scalars, t)
        except ZeroDivisionError:
            return Decimal(0)


def _undusted(terms: Mapping[Any, Decimal]) -> dict[Any, Decimal]:
    """Return weights without those that are 0 but for rounding."""
    size = max(map(abs, terms.values()), default=Decimal(0))
    return {source: value for source, value in terms.items() if abs(value) > DUST * size}


def checked_step(t: int) -> int:
    """Return a step; InputError when it is none."""
    if not 1 <= t <= MAX_STEPS:
        shown = f"t={t}" if t < 1 else "t"
        raise InputError(Diagnostic("bad-value", f"`{shown}`: steps go from 1 to {MAX_STEPS:,}"))
    return t
