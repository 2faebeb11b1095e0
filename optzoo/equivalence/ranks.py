"""How many momenta recipes have: where one needs more than the other can have, nothing helps."""

from __future__ import annotations

import random
from fractions import Fraction

from optzoo.description.response import Response
from optzoo.equivalence.sides import Side
from optzoo.interpreters.linear import LinearDomain, NotLinearError, run_linear
from optzoo.interpreters.random_point import DrawnDomain, DrawnInputs
from optzoo.program.ir import Program
from optzoo.recipe.recipe import Recipe

RANK_STEPS = 7
RANK_DRAWS = 2


def too_many_momenta(left: Side, right: Recipe) -> tuple[int, int] | None:
    """Return how many momenta `left` has and `right` can have, if those are fewer: a proof."""
    needed, possible = _rank(left.undecayed.program, own_values=True), most_momenta(right)
    if needed is not None and possible is not None and needed > possible:
        return needed, possible
    return None


def most_momenta(recipe: Recipe) -> int | None:
    """Return how many momenta a recipe has at its own and at drawn values, the most of them."""
    program = recipe.program()
    found = [_rank(program, own_values=True), *(_rank(program, seed=s) for s in range(RANK_DRAWS))]
    known = [rank for rank in found if rank is not None]
    return max(known) if len(known) == len(found) else None


def _rank(program: Program, *, own_values: bool = False, seed: int = 0) -> int | None:
    """Return how many momenta a program has, at its own or drawn values; None if not linear."""
    values = {h.name: h.value for h in program.hypers} if own_values else {}
    rng = random.Random(seed)
    domain: LinearDomain[Fraction] = LinearDomain(DrawnDomain(rng))
    inputs = DrawnInputs(program, rng, RANK_STEPS, values)
    try:
        run = run_linear(program, domain, range(1, RANK_STEPS + 1), inputs)
    except NotLinearError:
        return None
    return Response.of(run).rank
