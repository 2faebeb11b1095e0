"""Reading the momentum of a recipe: one recurrence that is all its step remembers.

The linear buffers of a recipe are a small linear system driven by the gradient, or by the
preconditioned gradient. Read off is the combination x of them that the step reads, where it is a
recurrence of its own: x := decay * x.prev + gain * source.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import Form, LinearDomain
from optzoo.interpreters.terms import ONE_TERM, ZERO_TERM, Terms, TermsDomain, terms_of
from optzoo.program.expressions import ZERO, Expr, Name, format_expression, names_in, substitute
from optzoo.program.ir import CLOCK_INPUTS, GRAD, PARAM
from optzoo.recipe.names import mix_of
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schema import RecipeSpec

OLD_GRAD, PREPARED, POINT = Name("grad", "prev"), Name("preconditioned"), Name("param")


class ConversionError(InputError):
    """The recipe has no such form, and why."""

    def __init__(self, recipe: Recipe, why: str, hint: str | None = None) -> None:
        message = f"{recipe.name} cannot be written in the form of Eq. (1): {why}"
        super().__init__(Diagnostic("no-form", message, hint=hint))


@dataclass(frozen=True)
class RecipeMomentum:
    """x := decay * x.prev + gain * source; the step reads old * x.prev + new * source.

    `states` are the names whose combination x is.
    """

    source: Name
    decay: Terms
    gain: Terms
    old: Terms
    new: Terms
    states: tuple[str, ...]


def folded(recipe: Recipe, expr: Expr) -> Expr:
    """Put in hyperparameters that are 0."""
    zeros = {n for n, h in recipe.hyperparameters.items() if h.default == 0 and n != "lr"}
    return substitute(expr, lambda name: ZERO if name.id in zeros else None)


def never_moves(recipe: Recipe, value: Terms) -> bool:
    """Whether a number is made of constant hyperparameters and scalars made of those."""
    fixed = {n for n, h in recipe.hyperparameters.items() if isinstance(h.default, float)} - {"lr"}
    for name, scalar in recipe.spec.scalars.items():
        if isinstance(scalar, Expr) and _reads_only(scalar, fixed):
            fixed.add(name)
    return _reads_only(value.expr(), fixed)


def _reads_only(expr: Expr, names: set[str]) -> bool:
    return all(name.id in names and name.when == "now" for name in names_in(expr))


def _linear_forms(recipe: Recipe) -> dict[Name, Any]:
    """Return what the program computes as forms in the old buffers and the gradients.

    Lines that are no such form are left out: whoever reads one is refused.
    """
    spec, program = recipe.spec, recipe.undecayed_program()
    for state in program.tensor_states:
        if state.name in spec.buffers and state.init != 0:
            raise ConversionError(recipe, f"`{state.name}` starts at {state.init}, not at zero")
    values: dict[Name, Any] = {name: Form({name: ONE_TERM}) for name in (GRAD, OLD_GRAD, PREPARED)}
    values |= {name: Form({POINT: ONE_TERM}) for name in (POINT, PARAM.prev)}
    for name in spec.buffers:
        values[Name(name, "prev")] = Form({Name(name, "prev"): ONE_TERM})
    for line in program.step:
        if line.target not in values:
            with suppress(ConversionError):
                values[line.target] = _form(recipe, line.expr, values)
    return values


def _is_scalar(spec: RecipeSpec, name: Name) -> bool:
    return (
        name.id in spec.hyperparameters
        or name.id in spec.scalars
        or name.id in ("lr", *CLOCK_INPUTS)
    )


def _form(recipe: Recipe, expr: Expr, values: dict[Name, Any]) -> Form[Terms]:
    expr = folded(recipe, expr)
    known = dict(values)
    for name in names_in(expr):
        if _is_scalar(recipe.spec, name):
            known[name] = terms_of(name)
        elif name not in known:
            why = f"`{name}` is clipped or not linear, and its momentum or its update reads it"
            hint = (
                "the form holds while no clip acts; remove the clip from a copy of the recipe, and "
                "write a divisor under `preconditioner`"
            )
            raise ConversionError(recipe, why, hint)
    domain: LinearDomain[Terms] = LinearDomain(TermsDomain())
    value = domain.read(expr, known)
    if isinstance(value, Terms) and value.is_zero:
        return Form({})
    if domain.gains or not isinstance(value, Form):
        raise ConversionError(recipe, f"`{format_expression(expr)}` is not linear in the gradients")
    return Form({k: v for k, v in value.terms.items() if not v.is_zero})


def read_momentum(recipe: Recipe) -> RecipeMomentum | None:
    """Return the one momentum of a recipe; None when it has none. Raises ConversionError."""
    values = _linear_forms(recipe)
    step = _form(recipe, mix_of(recipe.spec.update), values)
    sources = [n for n in (GRAD, PREPARED) if n in step.terms] or [GRAD]
    if recipe.spec.order == "precondition_first" and recipe.spec.preconditioner != "none":
        sources = [PREPARED]
    source = sources[0]
    states = {n: values[Name(n)] for n in recipe.spec.buffers if Name(n) in values}
    system = {Name(n, "prev"): form for n, form in states.items()}
    system[OLD_GRAD] = Form({GRAD: ONE_TERM})
    read = {n: w for n, w in step.terms.items() if n in system}
    other = set(step.terms) - set(read) - {source}
    if other:
        names = ", ".join(f"`{n}`" for n in sorted(map(str, other)))
        raise ConversionError(recipe, f"the step also reads {names}")
    if not read:
        return None
    pivot = next((n for n in read if n != OLD_GRAD), OLD_GRAD)
    if OLD_GRAD in read and recipe.spec.grad_prev_init != "zeros":
        raise ConversionError(recipe, "`grad.prev` starts at the first gradient, not at zero")
    combination = {n: ONE_TERM if n == pivot else w.over(read[pivot]) for n, w in read.items()}
    decay, gain = _one_recurrence(recipe, combination, system, pivot, source)
    states_read = tuple(str(n) for n in read)
    new = step.terms.get(source, ZERO_TERM)
    return RecipeMomentum(source, decay, gain, read[pivot], new, states_read)


def _one_recurrence(
    recipe: Recipe,
    combination: dict[Name, Terms],
    system: dict[Name, Form[Terms]],
    pivot: Name,
    source: Name,
) -> tuple[Terms, Terms]:
    """Return d and gain with x := d x.prev + gain * source, x the combination. Or refuse."""
    count = len(combination)
    if not all(never_moves(recipe, w) for w in combination.values()):
        raise ConversionError(recipe, f"{count} momenta are mixed with weights that move")
    total: dict[Name, Terms] = {}
    for state, weight in combination.items():
        for name, value in system[state].terms.items():
            assert isinstance(name, Name)
            total[name] = total.get(name, ZERO_TERM) + weight * value
    total = {n: v for n, v in total.items() if not v.is_zero}
    gain = total.pop(source, ZERO_TERM)
    decay = total.get(pivot, ZERO_TERM)
    for name in set(total) | set(combination):
        if name not in combination and not total[name].is_zero:
            raise ConversionError(recipe, f"its momentum also depends on `{name}`")
        apart = total.get(name, ZERO_TERM) - decay * combination.get(name, ZERO_TERM)
        if not apart.is_zero:
            raise ConversionError(recipe, f"it has {count} momenta of different decay")
    return decay, gain
