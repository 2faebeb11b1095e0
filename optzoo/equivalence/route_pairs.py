"""Recipes with routes compared: the rules that take the same parameters, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optzoo.equivalence.sides import Conditions
from optzoo.equivalence.verdict import Verdict, equivalence, format_verdict
from optzoo.errors import Diagnostic, InputError
from optzoo.program.expressions import Expr
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import Route
from optzoo.recipe.schema import KINDS


@dataclass(frozen=True)
class RoutePair:
    """What is taken by a rule of one recipe and by a rule of the other, and how these compare."""

    takes: str
    left: str
    right: str
    verdict: Verdict


@dataclass(frozen=True)
class RoutedVerdict:
    """Two recipes compared route by route; they are the same where every pair is."""

    left: Recipe
    right: Recipe
    pairs: tuple[RoutePair, ...]

    @property
    def same(self) -> bool:
        """Whether the two train every model alike at these hyperparameters."""
        return all(pair.verdict.same for pair in self.pairs)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows = [
            {"takes": p.takes, "left": p.left, "right": p.right, "verdict": p.verdict.to_json()}
            for p in self.pairs
        ]
        names = {"left": self.left.name, "right": self.right.name}
        return {**names, "same": self.same, "routes": rows}


def compare_recipes(
    left: Recipe,
    right: Recipe,
    *,
    right_lr: Expr | None,
    conditions: Conditions,
    iterates_only: bool,
    fixed: frozenset[str],
    search: bool,
    fixed_left: frozenset[str] = frozenset(),
) -> Verdict | RoutedVerdict:
    """Compare two recipes, route by route where one has routes; see `equivalence`."""
    options: dict[str, Any] = {"right_lr": right_lr, "conditions": conditions}
    options["iterates_only"] = iterates_only
    if left.is_routed or right.is_routed:
        return routed_equivalence(left, right, **options)
    return equivalence(left, right, **options, fixed=fixed, fixed_left=fixed_left, search=search)


def routed_equivalence(
    left: Recipe,
    right: Recipe,
    *,
    right_lr: Expr | None = None,
    conditions: Conditions | None = None,
    iterates_only: bool = False,
) -> RoutedVerdict:
    """Compare two recipes, of which one has routes, at their hyperparameters.

    Raises InputError where their routes cannot be told to take the same parameters.
    """
    known: dict[tuple[str, str], Verdict] = {}
    pairs = []
    for takes, a, b in paired_rules(left, right):
        if (a, b) not in known:
            known[a, b] = equivalence(
                left.at(a),
                right.at(b),
                right_lr=right_lr,
                conditions=conditions,
                iterates_only=iterates_only,
                search=False,
            )
        pairs.append(RoutePair(takes, a, b, known[a, b]))
    return RoutedVerdict(left, right, tuple(pairs))


def paired_rules(left: Recipe, right: Recipe) -> list[tuple[str, str, str]]:
    """Return what is taken, and the rules of the two recipes that take it.

    Routes that ask for the same are pairs; a recipe that has one rule for all meets every route of
    the other; routes that ask for kinds alone are compared kind by kind.
    """
    a, b = left.routing.routes, right.routing.routes
    if [route.wishes for route in a] == [route.wishes for route in b]:
        return [(x.asked, x.rule, y.rule) for x, y in zip(a, b, strict=True)]
    if len(a) == 1 and not any(a[0].wishes):
        return [(y.asked, a[0].rule, y.rule) for y in b]
    if len(b) == 1 and not any(b[0].wishes):
        return [(x.asked, x.rule, b[0].rule) for x in a]
    if any(route.names or route.ranks for route in (*a, *b)):
        message = f"the routes of {left.name} and {right.name} ask for different things"
        hint = "give both the same routes, or routes by kind alone"
        raise InputError(Diagnostic("other-routes", message, hint=hint))
    taken: dict[tuple[str, str], list[str]] = {}
    for kind in KINDS:
        rules = _of_kind(a, kind), _of_kind(b, kind)
        if rules[0] is None or rules[1] is None:
            if rules == (None, None):
                continue
            lacking = left if rules[0] is None else right
            message = f"{lacking.name} has no route for the kind {kind}, and the other has"
            raise InputError(Diagnostic("other-routes", message))
        taken.setdefault((rules[0], rules[1]), []).append(kind)
    return [(f"kind {', '.join(kinds)}", x, y) for (x, y), kinds in taken.items()]


def _of_kind(routes: Sequence[Route], kind: str) -> str | None:
    return next((r.rule for r in routes if not r.kinds or kind in r.kinds), None)


def format_comparison(found: Verdict | RoutedVerdict, arguments: Sequence[str]) -> str:
    """Return the answer as text, route by route; rules that meet twice are compared once."""
    if isinstance(found, Verdict):
        return format_verdict(found, arguments)
    a, b = found.left.name, found.right.name
    is_near = all(p.verdict.same or p.verdict.unguarded is not None for p in found.pairs)
    near = "the same but for the eps inside `polar`" if is_near else "different"
    whole = "same" if found.same else near
    blocks = [f"{whole}, route by route: {a} and {b}"]
    told: dict[tuple[str, str], str] = {}
    for pair in found.pairs:
        met = pair.left, pair.right
        head = f"{pair.takes} ({pair.left} of {a}, {pair.right} of {b})"
        text = f"as for {told[met]}" if met in told else format_verdict(pair.verdict, arguments)
        told.setdefault(met, pair.takes)
        blocks.append("\n".join([head, *(f"  {line}".rstrip() for line in text.splitlines())]))
    return "\n\n".join(blocks)
