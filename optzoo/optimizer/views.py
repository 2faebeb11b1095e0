"""Showing a view: the parameters hold another point for a while, then their own point again.

The training point lies in the state meanwhile, so that whoever saves the state saves it. What a
parameter held while it was shown is compared with the view when it ends: weights that someone
loaded meanwhile are not a view any more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from optzoo.distributed.sharding import local
from optzoo.engines.engine import arithmetic
from optzoo.optimizer.entries import SHOWN, STEP
from optzoo.optimizer.grouping import Clock, GroupRun, State
from optzoo.optimizer.precision import MASTER, Part
from optzoo.optimizer.state import WITHOUT_POINT
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import initial_memory
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.recipe.schema import HERE

SHOWN_WITH = "shown_with"
"""Key of a group: the hyperparameters that the view was made with, which may move meanwhile.

A rule that routes lead to has one of its own.
"""

CLOSE = 8
"""What another machine or engine may change in a view: units in the last place of its largest
entry."""
ROUNDED = 2.0**-8
"""What casting to bfloat16 and back may change, relative to each entry."""

_FLOATS = FloatDomain()
Places = Callable[[], dict[Tensor, int]]


def _shown_with(run: GroupRun) -> str:
    label = run.plans.recipe.label
    return SHOWN_WITH if label == HERE else f"{SHOWN_WITH}_{label}"


def show_params(run: GroupRun, state: State, place_of: Places, view: str) -> None:
    """Let the parameters of a run hold a view, and keep their training point in the state.

    Parameters that have not been updated yet hold their own point in any view.
    """
    program = run.plan.program
    params = [p for p in run.params if STEP in state.get(p, ())]
    if not params or not _is_elsewhere(program, view):
        return
    shown_with = {h.name: float(run.group[h.name]) for h in program.hypers}
    for part, i, point in _points(run, params, state, place_of, view):
        part.states[i][SHOWN] = part.params[i].detach().clone()
        local(part.params[i]).copy_(point)
        run.group[_shown_with(run)] = shown_with


def hide_params(
    run: GroupRun, state: State, place_of: Places, view: str, keeps_changes: bool
) -> int:
    """Let the parameters of a run hold their training point again; return how many were changed.

    Those hold something else than the view: they keep it where `keeps_changes`.
    """
    program = run.plan.program
    held: dict[Tensor, Tensor] = {}
    for param in run.params:
        if SHOWN in state.get(param, ()):
            held[param] = param.detach().clone()
            local(param).copy_(local(state[param].pop(SHOWN)))
    lost = _without_point(run)
    _lead_back([p for p in lost if p not in held], run, state, place_of, view)
    if not held and not lost and run.group.get(_shown_with(run)) is not None:
        warnings.warn(
            f"the training point is not in the state any more: training goes on from `{view}`",
            stacklevel=6,
        )
    view = "eval" if view == "train" else view
    is_known = any(v.name == view for v in program.views)
    changed = 0
    if is_known and _is_elsewhere(program, view):
        comparable = [param for param in held if _has_numbers(param)]
        for part, i, point in _points(run, comparable, state, place_of, view):
            param = part.params[i]
            changed += _take_back(param, held.pop(param), point, keeps_changes)
            del point  # as the one held is freed: one copy of the model, and a portion
    run.group.pop(_shown_with(run), None)
    return changed


def _without_point(run: GroupRun) -> list[Tensor]:
    """Return the parameters of a run whose training point is lost, and forget that."""
    places: list[int] = run.group.pop(WITHOUT_POINT, [])
    listed, own = run.group["params"], set(run.params)
    mine = [i for i in places if i < len(listed) and listed[i] in own]
    others = [i for i in places if i < len(listed) and i not in mine]
    if others:  # they take another rule
        run.group[WITHOUT_POINT] = others
    return [listed[i] for i in mine]


def _take_back(param: Tensor, held: Tensor, point: Tensor, keeps_changes: bool) -> bool:
    """Return whether a parameter held something else than its view; give it back where asked."""
    found = local(held)
    is_changed = not _shows(found, point.to(found.dtype))
    if is_changed and keeps_changes:
        local(param).copy_(found)
    return is_changed


def _lead_back(
    params: list[Tensor], run: GroupRun, state: State, place_of: Places, view: str
) -> None:
    """Compute the training point from a view that is the parameter plus an offset."""
    for param in params:
        if MASTER in state[param]:  # which is it
            local(param).copy_(local(state[param][MASTER]))
    rest = [param for param in params if MASTER not in state[param]]
    for part, i, offset in _points(run, rest, state, place_of, view, at_zero=True):
        held = local(part.params[i])
        held.copy_(held.to(offset.dtype) - offset)


def _points(
    run: GroupRun,
    params: list[Tensor],
    state: State,
    place_of: Places,
    view: str,
    *,
    at_zero: bool = False,
) -> Iterator[tuple[Part, int, Tensor]]:
    """Yield the view of each parameter: its part, its place there, new values of what is held here.

    A portion at a time, so that they need little memory. `at_zero` gives what a view adds.
    """
    if not params:
        return
    plan, clocks = run.line_up(params, state, place_of)
    for clock in clocks:
        if clock.t == 0:  # nothing has happened to these parameters, whatever their buffers hold
            continue
        values = _values(run, plan.program, clock)
        for part in clock.parts:
            for chosen in part.portions():
                batch = run.precision.widened(part, chosen)
                if at_zero:
                    batch.params = [torch.zeros_like(param) for param in batch.params]
                points = plan.engine.view(view, batch, values)
                for i in chosen:
                    yield part, i, points.pop(0)


def _values(run: GroupRun, program: Program, clock: Clock) -> dict[Name, float]:
    shown_with: Mapping[str, Any] = run.group.get(_shown_with(run)) or {}
    values = {
        **run.inputs(program, clock.t),
        **{name: float(value) for name, value in shown_with.items()},
        **initial_memory(program, _FLOATS),
        **clock.memory,
    }
    return {Name(name): value for name, value in values.items()}


def _is_elsewhere(program: Program, view: str) -> bool:
    return program.view(view).expr != program.view("train").expr


def _has_numbers(param: Tensor) -> bool:
    """Return whether a parameter has values to compare: it is neither fake nor on `meta`."""
    return type(local(param)) in (Tensor, torch.nn.Parameter) and not param.is_meta


def _shows(found: Tensor, point: Tensor) -> bool:
    """Return whether a parameter holds a view still, perhaps cast to a narrower dtype and back."""
    if torch.equal(found, point) or not point.numel():
        return True
    few = CLOSE * torch.finfo(point.dtype).eps
    is_wide = point.dtype == arithmetic(point.dtype)
    size = float(point.abs().max())
    if is_wide and size < inf and torch.allclose(found, point, rtol=0, atol=few * size):
        return True
    return any(
        bool((found.to(narrow).to(found.dtype) == found).all())
        for narrow in (torch.bfloat16, torch.float16)
    ) and torch.allclose(found, point, rtol=ROUNDED, atol=ROUNDED**3, equal_nan=True)
