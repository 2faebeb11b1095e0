"""What `identify` found, in words and as plain values: the verdict first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from optzoo.equivalence.cause import Cause
from optzoo.equivalence.fitting.guess import rational_value
from optzoo.equivalence.search import Change
from optzoo.equivalence.sides import AGREEMENT
from optzoo.identification.identification import Identification, Match, Near
from optzoo.program.expressions import Call, Expr, Name, Num, format_expression, format_number
from optzoo.program.parsing import parse_expression

MOST_ALSO = 4
LONG_NUMBER, SHOWN_DIGITS = 24, 10


def sentence(found: Identification) -> str:
    """Return the verdict in one plain sentence."""
    own = found.recipe.name
    if found.matches:
        return _known(own, found)
    head = f"{own} is none of the {found.shipped} shipped recipes at any hyperparameters found"
    if found.contained:
        first = found.contained[0]
        where = _at(first.substitution.changes, "at")
        return f"{head}, but becomes `{first.name}`{_bare(first)}{where}"
    if found.nearest:
        near = found.nearest[0]
        return f"{head}; the nearest is `{near.name}`, {_percent(near.distance)} of the move away"
    return head


def _bare(match: Match) -> str:
    """Say that a recipe is meant without its weight decay."""
    return " without weight decay" if match.recipe.overrides else ""


def _known(own: str, found: Identification) -> str:
    match = found.matches[0]
    settings = _at([c for c in match.changes if c.name != "lr"], "with")
    text = f"{own} is `{match.name}`"
    if found.evaluated_elsewhere:
        text = f"{own} trains as `{match.name}` and is evaluated at another point"
    if match.substitution.lr is not None:
        rule = _short(match.substitution.lr_formula or match.substitution.lr)
        if match.lr_moves:
            return f"{text} up to its learning rate, which is {rule}{settings}"
        settings += f"{' and' if settings else ' with'} the learning rate {rule}"
    lr = next((c for c in match.changes if c.name == "lr"), None)
    if lr is not None and lr.formula != Name("lr"):
        formula = "" if lr.formula is None else f" ({format_expression(lr.formula)} of {own})"
        settings += f"{' and' if settings else ' with'} lr = {_value(lr)}{formula}"
    return text + settings


def _short(expr: Expr) -> str:
    """Return an expression as text, numbers of many digits rounded: the proof has them all."""

    def rounded(node: Expr) -> Expr:
        if isinstance(node, Call):
            return Call(node.op, tuple(map(rounded, node.args)))
        if isinstance(node, Num) and len(format_number(node.value)) > LONG_NUMBER:
            return Num(Fraction(f"{float(node.value):.{SHOWN_DIGITS}g}"))
        return node

    return format_expression(rounded(expr))


def _value(change: Change) -> str:
    """Return the value of a hyperparameter for people to read."""
    exact = rational_value(parse_expression(change.text))
    if exact is None or len(change.text) <= LONG_NUMBER:
        return change.text
    return f"{float(exact):.{SHOWN_DIGITS}g}"


def _at(changes: Sequence[Change], word: str) -> str:
    pairs = ", ".join(f"{c.name} = {_value(c)}" for c in changes)
    return f" {word} {pairs}" if pairs else ""


def _percent(distance: float) -> str:
    return f"{100 * distance:.2g}%"


def format_identification(found: Identification, argument: str) -> str:
    """Return the answer as text; `argument` is how the command line named the recipe."""
    lines = [sentence(found)]
    if found.matches:
        lines += _proof(found, argument)
    else:
        lines += _contained(found, argument)
        lines += _nearest(found)
        lines.append(
            "none found is no proof that there is none: the search is a fit from many starts"
        )
    return "\n".join(lines)


def _proof(found: Identification, argument: str) -> list[str]:
    match = found.matches[0]
    comparison = match.substitution.comparison
    how = "as rational numbers, then" if comparison.exact else "as far as its roots allow,"
    lines = [f"proved: equal {how} to {AGREEMENT} digits on drawn gradients, over 250 steps"]
    for change in match.changes:
        if change.formula is not None:
            formula = format_expression(change.formula)
            lines.append(f"  {change.name} = {_value(change)} = {formula} of {found.recipe.name}")
    if match.changes and not match.substitution.general:
        lines.append("  at these hyperparameters; no formulas were found that hold at others")
    others = [f"`{m.name}`{_at(m.changes, 'with')}" for m in found.matches[1 : 1 + MOST_ALSO]]
    if others:
        lines.append(f"also {'; '.join(others)}")
    iterates_only = found.iterates_only or found.evaluated_elsewhere
    return [*lines, f"proof: {proof_command(match, argument, iterates_only)}"]


def proof_command(match: Match, argument: str, iterates_only: bool) -> str:
    """Return the command that proves a match again."""
    options = [f"--set-b {shlex.quote(f'{c.name}={c.text}')}" for c in match.changes]
    if match.substitution.lr is not None:
        options.append(f'--lr-b "{format_expression(match.substitution.lr)}"')
    options += ["--iterates-only"] if iterates_only else []
    return " ".join(["optzoo equiv", argument, match.name, *options])


def _contained(found: Identification, argument: str) -> list[str]:
    lines = []
    for match in found.contained:
        changes = match.substitution.changes
        pairs = ", ".join(f"{c.name} = {_value(c)}" for c in changes)
        lines.append(f"it contains `{match.name}`{_bare(match)}: at {pairs}")
        options = " ".join(f"--set-b {shlex.quote(f'{c.name}={c.text}')}" for c in changes)
        bare = "".join(f" --set-a {name}=0" for name in match.recipe.overrides)
        lines.append(f"  proof: optzoo equiv {match.name} {argument}{bare} {options}")
    return lines


def _nearest(found: Identification) -> list[str]:
    lines = ["nearest, and what parts them:"] if found.nearest else []
    for near in found.nearest:
        pairs = ", ".join(f"{n} = {x:g}" for n, x in near.settings.items())
        at = f" at {pairs}" if pairs else ""
        lines.append(f"  `{near.name}`{at}: {_percent(near.distance)} of the move away")
        lines += [f"    {text}" for text in _parts(near)]
    return lines


def _parts(near: Near) -> list[str]:
    cause = near.cause
    if cause is None:
        return []
    lines = []
    if cause.weight is not None:
        w = cause.weight
        lines.append(
            f"the gradient of step {w.of_step} weighs {w.left:.4g} in step {w.step}, "
            f"{w.right:.4g} there"
        )
    if cause.decay:
        lines.append("the weight decay differs")
    if cause.left_held != cause.right_held:
        left, right = (", ".join(h) or "nothing" for h in (cause.left_held, cause.right_held))
        lines.append(f"not linear in the gradients: {left}; there {right}")
    elif cause.weight is None and not cause.decay:
        lines.append(f"the {', '.join(cause.left_held) or 'evaluation point'} differs")
    return lines


# ------------------------------------------------------------ as plain values


def identification_json(found: Identification) -> dict[str, Any]:
    """Return plain values."""
    return {
        "recipe": found.recipe.name,
        "sentence": sentence(found),
        "known": found.known,
        "name": found.name,
        "same_evaluation_points": None
        if found.iterates_only or not found.known
        else not found.evaluated_elsewhere,
        "matches": [_match_json(match) for match in found.matches],
        "contains": [_match_json(match) for match in found.contained],
        "nearest": [
            {
                "name": near.name,
                "distance": near.distance,
                "set": near.settings,
                "parts": _cause_json(near.cause),
            }
            for near in found.nearest
        ],
    }


def _match_json(match: Match) -> dict[str, Any]:
    there = match.substitution
    return {
        "name": match.name,
        "set": {c.name: c.value for c in there.changes},
        "formulas": {
            c.name: format_expression(c.formula) for c in there.changes if c.formula is not None
        },
        "lr": None if there.lr is None else format_expression(there.lr),
        "exact": there.comparison.exact,
        "at_other_hyperparameters_too": there.general,
    }


def _cause_json(cause: Cause | None) -> dict[str, Any] | None:
    return None if cause is None else cause.to_json()
