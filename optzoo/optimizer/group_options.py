"""What a parameter group may say besides its parameters, and what becomes of it.

Hyperparameters of the recipe are its own words. torch's words for momentum, `betas` and `momentum`,
are what its schedulers move and its monitors read, so a group has one of them, and it is one thing
with the recipe's own decays. torch's options that a recipe cannot obey are refused; keys of anyone
else are kept and left alone.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from optzoo.errors import Diagnostic, InputError
from optzoo.program.expressions import names_in
from optzoo.recipe.names import uses_of
from optzoo.recipe.recipe import Recipe

FIXED_KEYS = ("lr0", "total_steps", "mode", "recipe", "program", "observers")
"""Keys of a parameter group that are not hyperparameters."""

TORCH_OPTIONS = (
    "betas",
    "momentum",
    "dampening",
    "nesterov",
    "amsgrad",
    "centered",
    "weight_decay",
    "eps",
    "momentum_decay",
    "lr_decay",
    "initial_accumulator_value",
    "capturable",
    "differentiable",
)
"""Options of torch's optimizers that change what a step does; `maximize` is obeyed."""


def own_hyperparameters(recipe: Recipe, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that a new group states, checked; numpy numbers become Python's.

    Raises InputError for misspelt and illegal ones, and for options of torch that this recipe
    cannot obey.
    """
    knobs = recipe.hyperparameters
    own = {key: plain(value) for key, value in group.items() if key in knobs}
    momentum = MomentumWord.of(recipe)
    for key, value in group.items():
        if key in knobs or key in FIXED_KEYS or not isinstance(key, str):
            continue
        if key == "betas" and momentum.key == key and value is not None:
            own |= momentum.spelt_out(value, own)
        elif key in TORCH_OPTIONS:
            refuse_option(recipe, key, value)
        elif (near := _misspelt(key, knobs)) is not None:
            message = f"`{key}` is not a hyperparameter of {recipe.name}"
            raise InputError(Diagnostic("unknown-name", message, hint=f"did you mean `{near}`?"))
    recipe.with_overrides({k: v if isinstance(v, str) else number(k, v) for k, v in own.items()})
    return own


def _misspelt(key: str, knobs: Iterable[str]) -> str | None:
    """Return the hyperparameter that a key is with a slip; words of others are further away."""
    like = [name for name in knobs if abs(len(name) - len(key)) <= 1 and len(key) > 3]
    near = difflib.get_close_matches(key, like, 1, 0.8)
    return near[0] if near else None


def refuse_option(recipe: Recipe, key: str, value: Any) -> None:
    """Raise InputError for an option that would be passed over; one that is off is no option."""
    is_off = value is None or (not isinstance(value, list | tuple) and not value)
    if is_off and not (key == "momentum" and MomentumWord.of(recipe).names and value is not None):
        return
    knobs = ", ".join(recipe.hyperparameters)
    raise InputError(
        Diagnostic(
            "unknown-name",
            f"`{key}={value}` in a parameter group: {recipe.name} has no such option",
            hint=f"its hyperparameters: {knobs}",
        )
    )


def check_options(recipe: Recipe, word: str, group: Mapping[str, Any]) -> None:
    """Raise InputError for an option that someone has put into a group since it was added.

    `word` is the group's word for momentum, `MomentumWord.key`.
    """
    knobs = recipe.hyperparameters
    for key in TORCH_OPTIONS:
        if group.get(key) and key not in knobs and key != word:
            refuse_option(recipe, key, group[key])


def plain(value: Any) -> Any:
    """Return a number of numpy as one of Python; what is not numpy's stays as it is."""
    is_numpy = type(value).__module__ == "numpy" and getattr(value, "size", 0) == 1
    return value.item() if is_numpy else value


def number(name: str, value: Any) -> float:
    """Return a hyperparameter as a float. Raises InputError for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        message = f"`{name}={value!r}` is not a number"
        raise InputError(Diagnostic("bad-value", message)) from None


@dataclass
class MomentumWord:
    """torch's word for momentum in one group: `betas` or `momentum`, and what it stands for.

    `names` are the recipe's knobs that `betas` lists. A recipe that has `momentum` needs no other
    word; one that has no decay to cycle gets a `momentum` of 0, which nothing reads.
    """

    key: str
    names: tuple[str, ...]
    is_own: bool
    recipe: str
    seen: Any = field(default=None)

    @classmethod
    def of(cls, recipe: Recipe) -> MomentumWord:
        """Return the word that fits a recipe."""
        knobs = recipe.hyperparameters
        if "momentum" in knobs:
            return cls("momentum", (), True, recipe.name)
        decays = [n for n in knobs if re.fullmatch(r"beta\d*", n)]
        is_first = bool(decays) and decays[0] in ("beta", "beta1")  # `beta2` is of a mean square
        is_cycled = is_first and _moves_the_direction(recipe, decays[0])
        if is_cycled and "lr" in recipe.spec.hyperparameters:
            return cls("betas", tuple(decays), False, recipe.name)
        return cls("momentum", (), False, recipe.name)

    def default(self, values: Mapping[str, Any]) -> Any:
        """Return what the word stands for at these hyperparameters."""
        if self.is_own:
            return values[self.key]
        return tuple(values[name] for name in self.names) if self.names else 0.0

    def spelt_out(self, betas: Any, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return `betas` of a new group by the recipe's names.

        Raises InputError if it does not fit.
        """
        values = list(betas) if isinstance(betas, list | tuple) else [betas]
        found = dict(zip(self.names, map(plain, values)))
        other = [n for n in found if n in own and own[n] != found[n]]
        if len(values) != len(self.names) or other:
            why = f"and `{other[0]}` disagree" if other else f"lists {len(values)} numbers"
            hint = f"{self.recipe} has {', '.join(self.names)}"
            raise InputError(Diagnostic("bad-value", f"`betas` in a group {why}", hint=hint))
        return found

    def agree(self, group: dict[str, Any]) -> None:
        """Make the word and the recipe's knobs say the same: the one that was moved last counts."""
        if self.is_own:
            return
        stated = group.get(self.key)
        if self.names and all(name in group for name in self.names):
            if stated is not self.seen and self.seen is not None and stated is not None:
                for name, old, new in zip(self.names, self.seen, stated, strict=False):
                    if new is not old and new != old:
                        group[name] = plain(new)
            knobs = tuple(group[name] for name in self.names)
            if stated is None or any(a is not b for a, b in zip(knobs, stated, strict=False)):
                group[self.key] = knobs
            self.seen = group[self.key]
        elif not self.names and stated and not self.seen:
            self.seen = stated
            warnings.warn(
                f"`momentum` is moved in a parameter group, and {self.recipe} has no "
                "hyperparameter that it could be: it is not cycled",
                stacklevel=4,
            )


def _moves_the_direction(recipe: Recipe, name: str) -> bool:
    """Return whether a hyperparameter is read by more than the mean square, perhaps in scalars.

    Schedulers cycle the first of `betas`; one that only the mean square reads is no momentum.
    """
    uses = list(uses_of(recipe.spec))
    reached, pending = {name}, [name]
    while pending:
        wanted = pending.pop()
        for use in uses:
            if use.loc[0] == "scalars" and wanted in {n.id for n in names_in(use.expr)}:
                scalar = str(use.loc[1])
                pending += [scalar] if scalar not in reached else []
                reached.add(scalar)
    elsewhere = (
        u for u in uses if u.loc[0] not in ("scalars", "hyperparameters", "preconditioner")
    )
    return any(n.id in reached for use in elsewhere for n in names_in(use.expr))


def is_number(value: Any) -> bool:
    """Return whether a value can be a hyperparameter: finite, or a tensor with one number."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(plain(value), int | float) and math.isfinite(value)
