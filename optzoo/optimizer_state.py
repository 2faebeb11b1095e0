"""The state of a `RecipeOptimizer` on its way in and out: identity, checks, dtypes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optzoo.distributed.sharding import is_sharded, spread_like
from optzoo.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from optzoo.optimizer import RecipeOptimizer
    from optzoo.zoo import Recipe

STATE_VERSION = 1


def identity(recipe: Recipe, shown: str) -> dict[str, Any]:
    """Return what says whose state this is: plain values, fit for JSON."""
    program = recipe.program()
    return {
        "version": STATE_VERSION,
        "recipe": recipe.name,
        "program_digest": program.digest,
        "program": program.text(values=False),
        "mode": shown,
    }


def check(optimizer: RecipeOptimizer, saved: Mapping[str, Any]) -> None:
    """Refuse a state that is not one of this recipe on these parameters, before anything moves."""
    if not isinstance(saved.get("state"), dict) or not saved.get("param_groups"):
        raise _refuse("this is not the state of an optimizer: it lacks `state` or `param_groups`")
    known = saved.get("optzoo") or {}
    group = saved["param_groups"][0]
    if "program" not in group:
        raise _refuse(
            "this state was not saved by an optzoo optimizer",
            "states of other packages are laid out differently and are not converted",
        )
    version = known.get("version", STATE_VERSION)
    if version > STATE_VERSION:
        raise _refuse(
            f"this state has version {version}, and this optzoo reads up to {STATE_VERSION}",
            "install a newer optzoo",
        )
    program = optimizer.recipe.program()
    if group["program"] != program.digest:
        name = known.get("recipe", group.get("recipe"))
        message = f"this state belongs to the recipe `{name}`, not to `{optimizer.recipe.name}`"
        if name == optimizer.recipe.name:
            message = f"this state was saved by a different version of the recipe `{name}`"
        raise _refuse(message, _difference(known.get("program"), program.text(values=False)))
    _check_shapes(optimizer, saved)


def _check_shapes(optimizer: RecipeOptimizer, saved: Mapping[str, Any]) -> None:
    here = [len(group["params"]) for group in optimizer.param_groups]
    there = [len(group["params"]) for group in saved["param_groups"]]
    if here != there:
        raise _refuse(f"the state is for groups of {there} parameters; this optimizer has {here}")
    for i, param, state in _pairs(optimizer, saved):
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() > 0 and value.shape != param.shape:
                shape, wanted = tuple(value.shape), tuple(param.shape)
                raise _refuse(
                    f"`{name}` of parameter {i} has shape {shape}; the parameter has {wanted}"
                )


def _pairs(
    optimizer: RecipeOptimizer, saved: Mapping[str, Any]
) -> list[tuple[Any, Tensor, Mapping[str, Any]]]:
    pairs = []
    for group, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for param, i in zip(group["params"], other["params"], strict=True):
            pairs.append((i, param, saved["state"].get(i, {})))
    return pairs


def restore_layout(optimizer: RecipeOptimizer, saved: Mapping[str, Any]) -> None:
    """Undo torch's cast of state to the parameter's dtype: what was float32 stays float32.

    Whole tensors of a parameter that is spread over processes are spread as it is.
    """
    for _, param, state in _pairs(optimizer, saved):
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() > 0 and is_sharded(param):
                spread = spread_like(value, param)
                optimizer.state[param][name] = spread.detach().clone()
                continue
            now = optimizer.state[param].get(name)
            if isinstance(value, Tensor) and now is not None and now.dtype != value.dtype:
                device = torch.device("cpu") if value.dim() == 0 else param.device
                optimizer.state[param][name] = value.detach().clone().to(device)
        for buffer in optimizer.recipe.program().tensor_states:  # kept as this optimizer keeps it
            held = optimizer.state[param].get(buffer.name)
            dtype = optimizer.precision.buffer_dtype(buffer.name, param)
            if held is not None and held.dtype != dtype:
                optimizer.state[param][buffer.name] = held.to(dtype)


def _difference(theirs: str | None, ours: str) -> str | None:
    if theirs is None:
        return None
    lines = difflib.unified_diff(
        theirs.splitlines(), ours.splitlines(), "saved", "this recipe", lineterm="", n=0
    )
    return "the programs differ:\n" + "\n".join(f"    {line}" for line in lines)


def _refuse(message: str, hint: str | None = None) -> InputError:
    return InputError(Diagnostic("foreign-state", message, hint=hint))
