"""Which parameters the weight decay leaves alone: the split that `optzoo train` makes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from optzoo.errors import Diagnostic, InputError, did_you_mean

KINDS = ("norm", "embedding")
"""Kinds of parameters that any model has; others go by their names."""


def no_decay_groups(
    model: nn.Module, *, none_for: Collection[str] = ("norm",)
) -> list[dict[str, Any]]:
    """Return the trainable parameters of a model as named groups, the second without weight decay.

    `none_for` says what does not decay: `norm`, what has fewer than two dimensions (biases, the
    scales of norms) or belongs to a norm; `embedding`, what belongs to an `nn.Embedding`; or names,
    with `*` for anything, such as `head.*`. A group that would be empty is left out. Raises
    InputError for a name that fits no parameter.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> [[name for name, _ in group["params"]] for group in no_decay_groups(model)]
    [['0.weight'], ['0.bias', '1.weight', '1.bias']]
    """
    names = [pattern for pattern in none_for if pattern not in KINDS]
    found = list(_trainable(model))
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name, _, _ in found):
            message = f"`none_for`: `{pattern}` is no kind of parameter, and no parameter's name"
            hint = did_you_mean(pattern, [*KINDS, *(n for n, _, _ in found)], what="parameters")
            raise InputError(Diagnostic("unknown-name", message, hint=hint))
    return split_groups(
        (name, any(fnmatchcase(name, p) for p in names) or bool(kinds & set(none_for)), param)
        for name, kinds, param in found
    )


def split_groups(params: Iterable[tuple[str, bool, Tensor]]) -> list[dict[str, Any]]:
    """Return groups of (name, whether it does not decay, parameter): one, or two."""
    decayed: list[tuple[str, Tensor]] = []
    plain: list[tuple[str, Tensor]] = []
    for name, is_exempt, param in params:
        (plain if is_exempt else decayed).append((name, param))
    groups: list[dict[str, Any]] = [{"params": decayed}] if decayed else []
    return [*groups, {"params": plain, "weight_decay": 0.0}] if plain else groups


def _trainable(model: nn.Module) -> Iterator[tuple[str, set[str], nn.Parameter]]:
    """Yield name, kinds and parameter; a tied one goes by its first name."""
    modules = dict(model.named_modules())
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        owner = modules[name.rpartition(".")[0]]
        kinds = {"norm"} if param.ndim < 2 or "Norm" in type(owner).__name__ else set()
        if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
            kinds.add("embedding")
        yield name, kinds, param
