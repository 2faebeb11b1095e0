"""Converting a recipe to another form, and proving what was written before it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from optzoo.equivalence.nearest import momentum_knobs, nearest_settings
from optzoo.equivalence.rewrite import to_accelerated, without_clips
from optzoo.equivalence.search import find_substitution
from optzoo.equivalence.sides import Conditions, Side
from optzoo.equivalence.verdict import Verdict, equivalence
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.program.expressions import format_expression
from optzoo.recipe.recipe import Recipe

SMALL = Fraction(1, 10)


@dataclass(frozen=True)
class Conversion:
    """A recipe written, and what `equiv` says of it. `remarks` are for the person who asked."""

    recipe: Recipe
    verdict: Verdict
    remarks: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was written, in one plain sentence."""
        original, written = self.verdict.left.recipe.name, self.recipe.name
        if self.verdict.same:
            return f"the {written} that was written trains exactly as {original} does"
        return f"the {written} that was written is near {original}, and not the same"


def convert_to_accelerated(recipe: Recipe, *, drop_clips: bool = False) -> Conversion:
    """Write a recipe in the form of Eq. (1).

    Raises InputError where there is no such form, and RunError, a fault of ours, where what was
    written does not move as the original.
    """
    _refuse_routes(recipe)
    conditions = Conditions(grad_size=SMALL) if drop_clips else Conditions()
    recipe.check_steps(conditions.long_steps, total_steps=conditions.long_steps)
    written = to_accelerated(recipe, drop_clips=drop_clips)
    verdict = equivalence(recipe, written, conditions=conditions, search=False)
    if drop_clips and not verdict.same:
        bare = equivalence(without_clips(recipe), written, search=False)
        if bare.same:
            message = f"a clip of {recipe.name} acts on gradients below {float(SMALL):g} too"
            hint = "without it another method would be written: remove it from a copy of the recipe"
            raise InputError(Diagnostic("no-form", message, hint=hint))
    if not verdict.same:
        raise RunError(
            f"the conversion of {recipe.name} does not move as {recipe.name}; nothing is written",
            hint="please report the recipe: this is a mistake of optzoo",
        )
    before = len(recipe.trained_program().tensor_states)
    after = len(written.trained_program().tensor_states)
    remarks = [f"buffers: {before} before, {after} now"]
    if drop_clips:
        remarks.append("clips were left out: the same while no clip acts")
    return Conversion(written, verdict, tuple(remarks))


def _refuse_routes(*recipes: Recipe) -> None:
    for recipe in recipes:
        if recipe.is_routed:
            message = f"{recipe.name} has routes, and one rule at a time can be converted"
            hint = "convert the recipe that a route uses, or a copy of this one without `routes`"
            raise InputError(Diagnostic("no-form", message, hint=hint))


def convert_to_recipe(
    recipe: Recipe, target: Recipe, *, total_steps: int, batch_tokens: int | None = None
) -> Conversion:
    """Write `target` with the hyperparameters that make it `recipe`.

    Where `target` has hyperparameters for a momentum sum and the weight of the current gradient,
    the nearest are written if none are the same, or if `batch_tokens` asks for the rules of
    Simplified-AdEMAMix's authors. Raises InputError where no hyperparameters are found.
    """
    _refuse_routes(recipe, target)
    recipe.check_steps(total_steps, total_steps=total_steps)
    left = Side(recipe)
    found = None if batch_tokens else find_substitution(left, target, Conditions())
    if found is not None and found.lr is None:
        verdict = equivalence(recipe, found.right.recipe, search=False)
        return Conversion(found.right.recipe, verdict, ())
    knobs = momentum_knobs(target, total_steps)
    if knobs is None and batch_tokens is not None:
        message = f"`--batch-tokens`: {target.name} has no hyperparameters for a momentum sum and"
        message += " the weight of the current gradient"
        hint = "it goes with targets such as Simplified-AdEMAMix"
        raise InputError(Diagnostic("bad-value", message, hint=hint))
    if knobs is None:
        message = f"no hyperparameters of {target.name} were found that make it {recipe.name}"
        hint = f"see: optzoo equiv {recipe.name} {target.name}"
        if found is not None:
            assert found.lr is not None
            rule = format_expression(found.lr)
            hint = f"they exist with the learning rate {rule}, which a recipe cannot say; {hint}"
        raise InputError(Diagnostic("no-form", message, hint=hint))
    near = nearest_settings(recipe, knobs, total_steps, batch_tokens=batch_tokens)
    known = target.hyperparameters
    written = target.with_overrides({n: v for n, v in near.values.items() if n in known})
    verdict = equivalence(recipe, written, search=False)
    remarks = [
        f"impulse response at step {total_steps:,} off by {near.error:.2g} of its total weight"
    ]
    if found is not None and found.lr is not None:
        remarks.append(
            f"exact with the learning rate {format_expression(found.lr)} at step t: the original "
            "debiases its momentum"
        )
    if batch_tokens is not None:
        remarks.append(
            f"{knobs.weight} and lr follow the rules of Simplified-AdEMAMix's authors, not the "
            f"original's trajectory: {knobs.weight} = 100 * 32768/batch, lr = lr of the original * "
            "sqrt((1 - beta_start)*(1 - beta1)); at a million tokens the paper found 0 best"
        )
    return Conversion(written, verdict, tuple(remarks))
