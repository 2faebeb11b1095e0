"""The answer of `optzoo equiv`: same or different, why, and what would make them the same."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from optzoo.equivalence.cause import Cause, find_cause
from optzoo.equivalence.ranks import too_many_momenta
from optzoo.equivalence.search import Substitution, find_substitution
from optzoo.equivalence.sides import AGREEMENT, Comparison, Conditions, Side, compare
from optzoo.program.expressions import Expr, format_expression
from optzoo.recipe.recipe import Recipe


@dataclass(frozen=True)
class Verdict:
    """What was found of two recipes.

    `same` speaks of the training points, and of the evaluation points unless `iterates_only`.
    `constant_lr_same` says that they are the same as long as the learning rate does not move, and
    `unguarded` is the comparison without the eps inside `polar`, where they agree so.
    `substitution` are hyperparameters of the right one that make it the left one; `mirrored` the
    other way round. `momenta` are how many the left one has and the right one can have, where those
    are fewer: a proof that there is no substitution.
    """

    left: Side
    right: Side
    conditions: Conditions
    iterates_only: bool
    comparison: Comparison
    constant_lr_same: bool = False
    unguarded: Comparison | None = None
    searched: bool = False
    cause: Cause | None = None
    substitution: Substitution | None = None
    mirrored: Substitution | None = None
    momenta: tuple[int, int] | None = None

    @property
    def sentence(self) -> str:
        """The answer in one plain sentence."""
        return _headline(self)

    @property
    def same(self) -> bool:
        """Whether the two are the same method at these hyperparameters."""
        return _agrees(self.comparison, self.iterates_only)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        differences = {
            point: None if d is None else {"step": d.step, "relative_size": d.size}
            for point, d in (("train", self.comparison.train), ("eval", self.comparison.eval))
        }
        return {
            "sentence": self.sentence,
            "left": self.left.recipe.name,
            "right": self.right.recipe.name,
            "same": self.same,
            "same_iterates": self.comparison.train is None,
            "same_evaluation_points": self.comparison.eval is None,
            "same_at_constant_lr": self.same or self.constant_lr_same,
            "same_without_polar_eps": self.same or self.unguarded is not None,
            "exact": self.comparison.exact,
            "digits": None if self.comparison.exact else AGREEMENT,
            "first_difference": differences,
            "cause": None if self.cause is None else self.cause.to_json(),
            "substitution": _substitution_json(self.substitution),
            "substitution_of_left": _substitution_json(self.mirrored),
        }


def equivalence(
    left: Recipe,
    right: Recipe,
    *,
    right_lr: Expr | None = None,
    conditions: Conditions | None = None,
    iterates_only: bool = False,
    fixed: frozenset[str] = frozenset(),
    fixed_left: frozenset[str] = frozenset(),
    search: bool = True,
) -> Verdict:
    """Say whether two recipes are the same method at their hyperparameters.

    `right_lr` is the right recipe's learning rate as an expression in `lr`, that of the left, and
    `t`. With `search`, different recipes are tried for hyperparameters of the right one, other than
    `fixed`, that make them the same, then for those of the left one, other than `fixed_left`.
    Raises InputError where a recipe has no value.
    """
    conditions = conditions or Conditions()
    for recipe in (left, right):
        last = max(conditions.steps, conditions.long_steps)
        recipe.check_steps(last, total_steps=conditions.total_steps or last)
    a, b = Side(left), Side(right, right_lr)
    comparison = compare(a, b, conditions)
    verdict = Verdict(a, b, conditions, iterates_only, comparison)
    if verdict.same:
        return verdict
    unguarded = _without_guards(a, b, conditions, iterates_only)
    if unguarded is not None:
        return replace(verdict, unguarded=unguarded)
    still = False
    if not conditions.constant_lr:
        constant = compare(a, b, replace(conditions, constant_lr=True))
        still = _agrees(constant, iterates_only)
    of_model = a.program.pooled or b.program.pooled  # a gradient weighs what the others make it
    is_told = comparison.train is not None and not of_model
    cause = find_cause(a, b, conditions) if is_told else None
    verdict = replace(verdict, constant_lr_same=still, cause=cause)
    if not search or right_lr is not None or still:
        return verdict
    look = partial(find_substitution, conditions=conditions, iterates_only=iterates_only)
    found = look(a, right, fixed=fixed)
    mirrored = look(b, left, fixed=fixed_left) if found is None else None
    momenta = too_many_momenta(a, right) if found is None else None
    return replace(verdict, searched=True, substitution=found, mirrored=mirrored, momenta=momenta)


def _without_guards(
    a: Side, b: Side, conditions: Conditions, iterates_only: bool
) -> Comparison | None:
    """Return the comparison with the eps inside `polar` at 0, if the two agree then.

    `polar` sees the size of a matrix through its eps alone: a momentum kept as a sum and one kept
    as an average differ by nothing else.
    """
    if not (a.is_guarded and b.is_guarded):
        return None
    bare = replace(a, guards=False), replace(b, guards=False)
    with suppress(ArithmeticError):  # 0/0, where a whole matrix is 0
        comparison = compare(*bare, conditions)
        return comparison if _agrees(comparison, iterates_only) else None
    return None


def _agrees(comparison: Comparison, iterates_only: bool) -> bool:
    return comparison.train is None and (iterates_only or comparison.eval is None)


def _substitution_json(found: Substitution | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "set": {c.name: c.value for c in found.changes},
        "formulas": {
            c.name: format_expression(c.formula) for c in found.changes if c.formula is not None
        },
        "lr": None if found.lr is None else format_expression(found.lr),
        "exact": found.comparison.exact,
    }


# ------------------------------------------------------------------ as text


def format_verdict(verdict: Verdict, arguments: Sequence[str]) -> str:
    """Return the answer as text. `arguments` are those of the command, for the one it suggests."""
    a, b = _labels(verdict)
    lines = [_headline(verdict)]
    if verdict.same:
        scope = _scope(verdict.conditions, switches=verdict.comparison.switches)
        lines.append(f"  {_proof(verdict.comparison)}, {scope}")
        if verdict.iterates_only and verdict.comparison.eval is not None:
            lines.append("  the evaluation points differ, and were left out")
        return "\n".join(lines)
    if verdict.unguarded is not None:
        scope = _scope(verdict.conditions, switches=verdict.unguarded.switches)
        lines.append(f"  with that eps at 0: {_proof(verdict.unguarded)}, {scope}")
        lines.append(f"  with it {_parting(verdict, a, b)}")
        return "\n".join(lines)
    if verdict.substitution is not None or verdict.mirrored is not None:
        lines.append(f"  {_parting(verdict, a, b)}")
    if verdict.constant_lr_same:
        lines.append("  the same as long as the learning rate is constant: --lr-schedule constant")
    if verdict.comparison.train is None:
        lines.append("  the iterates are the same: --iterates-only compares nothing else")
    if verdict.cause is not None:
        lines += _cause_lines(verdict.cause, a, b)
    if verdict.substitution is not None:
        lines += ["", *_substitution_lines(verdict.substitution, a, b, arguments)]
    elif verdict.searched:
        lines += ["", *_not_found(verdict, a, b)]
    if verdict.mirrored is not None:
        knobs = verdict.left.recipe.hyperparameters
        moved = [c for c in verdict.mirrored.changes if c.value != knobs[c.name].default]
        there = replace(verdict.mirrored, changes=tuple(moved))
        lines += _substitution_lines(there, b, a, arguments, side="a")
    return "\n".join(lines)


def _not_found(verdict: Verdict, a: str, b: str) -> list[str]:
    if verdict.momenta is not None:
        needed, possible = verdict.momenta
        counts = f"{a} has {needed} momenta and {b} at most {possible}"
        return [f"{counts}: no hyperparameters of {b} make it {a}"]
    return [f"none found: no hyperparameters of {b} that make it {a}, which proves nothing"]


def _labels(verdict: Verdict) -> tuple[str, str]:
    a, b = (side.recipe.program().name for side in (verdict.left, verdict.right))
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _headline(verdict: Verdict) -> str:
    a, b = _labels(verdict)
    if verdict.same:
        points = "iterates" if verdict.iterates_only else "iterates and evaluation points"
        return f"same: {a} and {b} have the same {points} on all gradients"
    found = verdict.comparison.train or verdict.comparison.eval
    assert found is not None
    if verdict.unguarded is not None:
        return f"the same but for the eps inside `polar`: {a} and {b}"
    where = _where_the_same(verdict, a, b)
    if where is not None:
        return f"different: but {where}"
    return f"different: {_parting(verdict, a, b)}"


def _where_the_same(verdict: Verdict, a: str, b: str) -> str | None:
    """Say at which hyperparameters one recipe is the other."""
    one, other, there, side = b, a, verdict.substitution, verdict.right
    if there is None:
        one, other, there, side = a, b, verdict.mirrored, verdict.left
    if there is None:
        return None
    knobs = side.recipe.hyperparameters
    changed = [c for c in there.changes if c.value != knobs[c.name].default]
    texts = [f"{c.name} = {c.text}" for c in changed]
    if there.lr is not None:
        texts.append(f"the learning rate {format_expression(there.lr)}")
    return f"{one} is {other} at {', '.join(texts)}"


def _parting(verdict: Verdict, a: str, b: str) -> str:
    """Say where the two part."""
    found = verdict.comparison.train or verdict.comparison.eval
    assert found is not None
    point = "training" if found.point == "train" else "evaluation"
    return (
        f"the {point} points of {a} and {b} part at step {found.step}, "
        f"relative difference {found.size:.2g}"
    )


def _proof(comparison: Comparison) -> str:
    if comparison.exact:
        return f"equal as rational numbers, then to {AGREEMENT} digits"
    return f"equal to {AGREEMENT} digits (roots and powers are not rational)"


def _scope(conditions: Conditions, *, switches: bool) -> str:
    lr = "a constant learning rate" if conditions.constant_lr else "any learning-rate schedule"
    clip = "" if conditions.grad_size >= 1 else f", gradients below {float(conditions.grad_size):g}"
    edges = ", where signs turn and clips begin too," if switches else ""
    return f"at drawn gradients{edges} and {lr}{clip}, over {conditions.long_steps} steps"


def _cause_lines(cause: Cause, a: str, b: str) -> list[str]:
    lines = []
    if cause.weight is not None:
        w = cause.weight
        lines.append(
            f"  weights of gradients: in step {w.step} the gradient of step {w.of_step} counts "
            f"{w.left:.6g} in {a}, {w.right:.6g} in {b}"
        )
        if w.left_form is not None and w.right_form is not None:
            for name, x, y in zip(("beta_a", "eta_a", "alpha_a"), w.left_form, w.right_form):
                mark = "" if abs(x - y) <= 1e-14 * abs(x) else "   <- differs"
                lines.append(f"    {name:<7}({w.step}) = {x:.10g} and {y:.10g}{mark}")
    else:
        lines.append("  weights of gradients: the same, what is not linear held fixed")
    if cause.decay:
        lines.append("  weight decay: differs")
    if cause.left_held != cause.right_held:
        left, right = (", ".join(h) or "nothing" for h in (cause.left_held, cause.right_held))
        lines.append(f"  not linear: {left} in {a}, {right} in {b}")
    elif cause.weight is None and not cause.decay:
        lines.append(f"  not linear: the {', '.join(cause.left_held)} of the two differ")
    return lines


def _substitution_lines(
    found: Substitution, a: str, b: str, arguments: Sequence[str], side: str = "b"
) -> list[str]:
    """Return hyperparameters of `b` that make it `a`; `side` is that of `b` in the command."""
    lines = [f"the same with these hyperparameters of {b}, {_proof(found.comparison)}:"]
    options = []
    for change in found.changes:
        number = change.text
        formula = ""
        if change.formula is not None:
            formula = f"   = {format_expression(change.formula)} of {a}"
        lines.append(f"  {change.name} = {number}{formula}")
        options.append(f"--set-{side} {shlex.quote(f'{change.name}={number}')}")
    if found.lr is not None:
        text = format_expression(found.lr)
        lines.append(f"  its learning rate at step t = {text}, where lr is that of {a}")
        options.append(f'--lr-b "{text}"')
    if side == "b" or found.lr is None:  # A has no option for a learning rate
        lines.append(f"proof: optzoo equiv {' '.join([*arguments, *options])}")
    return lines
