"""Why two recipes part: through which weight, the decay, or what is not linear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from optzoo.description.response import decide
from optzoo.equivalence.sides import AGREEMENT, Conditions, Side, compare, response
from optzoo.interpreters.linear import Form


@dataclass(frozen=True)
class WeightApart:
    """The first weight of the response that differs: of gradient `of_step`, in step `step`.

    `left_form` and `right_form` are beta_a, eta_a and alpha_a of Eq. (1) at that step, where both
    recipes have that form and the step after it was drawn.
    """

    step: int
    of_step: int
    left: float
    right: float
    left_form: tuple[float, float, float] | None = None
    right_form: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Cause:
    """Why two recipes part. Several may hold at once; none of them is left out."""

    weight: WeightApart | None
    decay: bool
    left_held: tuple[str, ...]
    right_held: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "weight": None if self.weight is None else dict(vars(self.weight)),
            "weight_decay": self.decay,
            "held_fixed": {"left": list(self.left_held), "right": list(self.right_held)},
        }


def find_cause(left: Side, right: Side, conditions: Conditions) -> Cause:
    """Look for the causes of a difference that `compare` found."""
    course = conditions.courses(left.program, right.program)[0]
    a, b = response(left, None, course), response(right, left, course)
    apart = None
    if a.moves is not None and b.moves is not None:
        apart = _first_apart(a.moves, b.moves)
        sides = (left.undecayed, right.undecayed)
        if apart is not None and all(decide(side.program).has_form for side in sides):
            forms = _coefficients(a.moves, apart.step), _coefficients(b.moves, apart.step)
            apart = replace(apart, left_form=forms[0], right_form=forms[1])
    return Cause(apart, _decays_differ(left, right, conditions), a.held, b.held)


def _decays_differ(left: Side, right: Side, conditions: Conditions) -> bool:
    """Whether two recipes part without a gradient, or do not part without their decay."""
    short = replace(conditions, long_steps=0)
    if compare(left, right, replace(short, zero_grads=True)).train is not None:
        return True
    return compare(left.undecayed, right.undecayed, short).train is None


def _first_apart(a: tuple[Form[Any], ...], b: tuple[Form[Any], ...]) -> WeightApart | None:
    for t, (left, right) in enumerate(zip(a, b, strict=True), start=1):
        scale = max((abs(v) for form in (left, right) for v in form.terms.values()), default=0)
        for s in range(t, 0, -1):
            p, q = left.terms.get(s, Decimal(0)), right.terms.get(s, Decimal(0))
            if abs(p - q) > scale / Decimal(10) ** AGREEMENT:
                return WeightApart(t, s, -float(p), -float(q))
    return None


def _coefficients(moves: tuple[Form[Any], ...], t: int) -> tuple[float, float, float] | None:
    """Return beta_a, eta_a and alpha_a of step t; None where they cannot be read off."""
    if t >= len(moves):
        return None
    now, after = moves[t - 1].terms, moves[t].terms
    fed = after.get(t, Decimal(0))
    if fed == 0:
        return (0.0, 0.0, -float(now.get(t, 0)))
    beta = after.get(t - 1, Decimal(0)) / fed
    if beta == 0:
        return None
    eta = -now.get(t - 1, Decimal(0)) / beta
    return float(beta), float(eta), float(-now.get(t, Decimal(0)) - eta)
