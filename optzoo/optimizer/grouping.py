"""Who steps together, group by group: a plan, its engine, and the line-up of the parameters.

All of it follows from the group's dictionary and from `optimizer.state`, and is made anew when they
change: other hyperparameters, other parameters with gradients, other tensors in the state, another
time in it. Finding out who shares a time, a device and a dtype, and gathering their tensors, is
most of what a step costs the host when tensors are many and small; whether it is still so is cheap
to see.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from optzoo.distributed.sharding import Shards, local, local_like, shards_of
from optzoo.engines.engine import Batch, Engine, choose_engine, engine_class
from optzoo.errors import Diagnostic, RunError
from optzoo.optimizer.entries import (
    STEP,
    Preparation,
    check_at_train_point,
    on_the_host,
    scalar_names,
)
from optzoo.optimizer.group_options import MomentumWord
from optzoo.optimizer.precision import MASTER, Part, Precision
from optzoo.program.bounds.checked import CheckedScalars
from optzoo.program.ir import Program
from optzoo.recipe.recipe import Recipe

State = MutableMapping[Tensor, dict[str, Any]]
RULES = "rules"
"""Key of a group, of a recipe with routes: the label of the rule that each parameter takes."""


@dataclass(frozen=True)
class GroupPlan:
    """A program specialised for one group's hyperparameters, its scalars, and its engine."""

    program: Program
    engine: Engine
    scalars: CheckedScalars


class Plans:
    """The plans of a recipe, by all that they depend on; groups that agree share one."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._made: dict[tuple[Any, ...], GroupPlan] = {}

    def of(self, group: Mapping[str, Any], engine: str) -> GroupPlan:
        """Return the program and engine for a group's hyperparameters as they are now."""
        values = {
            name: value if isinstance(value := group[name], str) else float(value)
            for name in self.recipe.hyperparameters
            if name != "lr"
        }
        key = (engine, *(v if isinstance(v, str) else v == 0 for v in values.values()))
        plan = self._made.get(key)
        if plan is None:
            recipe = self.recipe.with_overrides(values)
            program, whole = recipe.trained_program(), recipe.program()
            if len(program.pooled) < len(whole.pooled):  # other groups may ask these parameters
                program = whole
            plan = GroupPlan(program, engine_class(engine)(program), CheckedScalars(program))
            self._made[key] = plan
        return plan


class Clock:
    """Parameters that have had as many steps, with scalars that agree; they share one evaluation.

    Each has its own scalars in its state, and `values` is what all of those hold. They are read and
    written in every step, through numpy, which costs a tenth of a torch call for each; their
    addresses are compared first, since a tensor may be given other memory (`share_memory_`).
    """

    def __init__(self, values: Mapping[str, float], parts: list[Part]) -> None:
        self.values = dict(values)
        self.parts = parts
        self._entries = [entry for part in parts for entry in part.states]
        self._names = tuple(values)
        self._scalars = list(_kept(self._entries, self._names))
        self._addresses = [scalar.data_ptr() for scalar in self._scalars]
        self._cells = [scalar.numpy() for scalar in self._scalars]
        self._held = [*self.values.values()] * len(self._entries)

    @property
    def t(self) -> int:
        """The number of steps that these parameters have had."""
        return int(self.values[STEP])

    @property
    def memory(self) -> dict[str, float]:
        """The scalars with memory."""
        return {name: value for name, value in self.values.items() if name != STEP}

    def is_right(self) -> bool:
        """Return whether the state still says so."""
        return (
            _are_kept(self._entries, self._names, self._scalars)
            and list(map(Tensor.data_ptr, self._scalars)) == self._addresses
            and list(map(np.ndarray.item, self._cells)) == self._held
        )

    def set(self, values: Mapping[str, float]) -> None:
        """Write new values into the state, which is right."""
        for i, name in enumerate(self._names):
            if values[name] != self.values[name]:
                for cell in self._cells[i :: len(self._names)]:
                    cell.fill(values[name])
        self.values = {name: values[name] for name in self._names}
        self._held = [*self.values.values()] * len(self._entries)


def _kept(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[Tensor]:
    """Return what entries hold under some names, entry by entry; KeyError where one lacks one."""
    if len(names) == 1:
        return map(itemgetter(*names), entries)
    return chain.from_iterable(map(itemgetter(*names), entries))


def _are_kept(
    entries: Sequence[Mapping[str, Any]], names: Sequence[str], tensors: Sequence[Tensor]
) -> bool:
    """Return whether entries still hold these very tensors."""
    try:
        return not names or all(map(is_, _kept(entries, names), tensors))
    except KeyError:
        return False


@dataclass(frozen=True)
class Lineup:
    """The parameters of one group that step now, by the time they share."""

    program: Program
    params: list[Tensor]
    clocks: list[Clock]

    def fits(self, program: Program, params: Sequence[Tensor], state: State) -> bool:
        """Return whether these parameters, with this state, would line up like this again."""
        return (
            self.program is program
            and len(self.params) == len(params)
            and all(map(is_, self.params, params))
            and all(_holds(part, state) for clock in self.clocks for part in clock.parts)
            and all(clock.is_right() for clock in self.clocks)
        )


def plans_of(recipe: Recipe) -> dict[str, Plans]:
    """Return the plans of each rule of a recipe, by its label."""
    return {rule.label: Plans(rule) for rule in recipe.rules}


def runs_of_group(
    group: dict[str, Any], plans: Mapping[str, Plans], engine: str, precision: Precision
) -> list[GroupRun]:
    """Return what works on a group: one for each rule that its parameters take."""
    first = next(iter(plans.values()))
    labels = dict.fromkeys(group.get(RULES) or [first.recipe.label])
    word = MomentumWord.of(first.recipe)
    return [GroupRun(group, plans[label], engine, precision, word) for label in labels]


class GroupRun:
    """The parameters of one group that take the same rule, at work; see the module docstring."""

    def __init__(
        self,
        group: dict[str, Any],
        plans: Plans,
        engine: str,
        precision: Precision,
        word: MomentumWord,
    ) -> None:
        self.group = group
        self.plans = plans
        self.wish = engine
        self.precision = precision.of_rule(plans.recipe.state_dtypes)
        self.momentum = word
        self._engine: str | None = None
        self._lineup: Lineup | None = None

    @property
    def params(self) -> list[Tensor]:
        """The parameters as the group lists them now."""
        params: list[Tensor] = self.group["params"]
        rules = self.group.get(RULES)
        if rules is None:
            return list(params)
        if len(params) != len(rules):
            message = f"a group has {len(params)} parameters, and rules for {len(rules)}"
            hint = "give a new parameter its route by `add_param_group`"
            raise RunError(Diagnostic("no-route", message, hint=hint))
        label = self.plans.recipe.label
        return [p for p, rule in zip(params, rules, strict=True) if rule == label]

    @property
    def plan(self) -> GroupPlan:
        """The plan for the hyperparameters as they are now."""
        if self._engine is None:
            self._engine = self._choose()
        return self.plans.of(self.group, self._engine)

    def inputs(self, program: Program, t: int) -> dict[str, float]:
        """Return what the scalars of a step are computed from, memory aside."""
        group = self.group
        inputs = {hyper.name: float(group[hyper.name]) for hyper in program.hypers}
        return {
            **inputs,
            "lr0": float(group["lr0"]),
            "T": float(group["total_steps"] or 0),
            "t": float(t),
        }

    def line_up(
        self, params: list[Tensor], state: State, place_of: Callable[[], dict[Tensor, int]]
    ) -> tuple[GroupPlan, list[Clock]]:
        """Return the plan, and the parameters by the time they share, with their state in form.

        `place_of` gives the positions of all parameters in the optimizer. Warns of buffers that
        begin late. Raises InputError for state that does not belong to its parameter.
        """
        plan = self.plan
        if self._lineup is None or not self._lineup.fits(plan.program, params, state):
            self._lineup = None
            self._engine = self._choose()
            plan = self.plan
            clocks = self.clocks_of(plan.program, params, state, place_of())
            self._lineup = Lineup(plan.program, params, clocks)
        return plan, self._lineup.clocks

    def clocks_of(
        self, program: Program, params: list[Tensor], state: State, places: Mapping[Tensor, int]
    ) -> list[Clock]:
        """Bring the state of parameters into form and sort them by time, device and dtype."""
        by_time: dict[tuple[float, ...], list[Tensor]] = {}
        for param, time in zip(params, self.prepare(program, params, state, places), strict=True):
            check_at_train_point(state[param])
            by_time.setdefault(time, []).append(param)
        with on_the_host():
            return [
                Clock(
                    dict(zip(scalar_names(program), time, strict=True)),
                    [part_of(program, alike, state, places) for alike in split_alike(members)],
                )
                for time, members in by_time.items()
            ]

    def prepare(
        self, program: Program, params: list[Tensor], state: State, places: Mapping[Tensor, int]
    ) -> list[tuple[float, ...]]:
        """Bring the state of parameters into form; return t and the other scalars of each.

        Warns of what begins late. Raises InputError for state that does not belong to its
        parameter.
        """
        preparation = Preparation(program, self.precision)
        entries = [state.setdefault(param, {}) for param in params]
        of = [f"parameter {places[param]}" for param in params]
        with on_the_host():
            times = [preparation.count(e, o) for e, o in zip(entries, of, strict=True)]
        for entry, param, whose, time in zip(entries, params, of, times, strict=True):
            preparation.fit(entry, param, whose, time[0])
        if preparation.begun:
            names = ", ".join(f"`{name}`" for name in sorted(preparation.begun))
            warnings.warn(
                f"{self.plans.recipe.name}: {names} starts from zero now, after steps without it: "
                "a hyperparameter that was 0 has changed, or the state has lost it",
                stacklevel=6,
            )
        return times

    def _choose(self) -> str:
        """Return the name of the engine; `auto` depends on nothing but the run."""
        if self.wish != "auto":
            return self.wish
        params = [param for param in self.params if not is_lazy(param)]
        device = params[0].device.type if params else "cpu"
        elements = sum(param.numel() for param in params)
        return choose_engine(device, elements, self.group["total_steps"])


def part_of(
    program: Program, params: list[Tensor], state: State, places: Mapping[Tensor, int]
) -> Part:
    """Return parameters that are alike as a part, with the tensors of their state."""
    entries = [state[param] for param in params]
    wide = [local(e.get(MASTER, p)) for e, p in zip(entries, params, strict=True)]
    buffers = {s.name: [local(e[s.name]) for e in entries] for s in program.tensor_states}
    shards = shards_of(params[0])
    batch = Batch(wide, [], buffers, shards, params if shards is not None else ())
    return Part(params, entries, batch, [places[p] for p in params])


def take_first(plan: GroupPlan, part: Part, grads: list[Tensor]) -> None:
    """Fill the buffers that start at a parameter's first gradient, or at the parameter itself."""
    for state in plan.program.tensor_states:
        if isinstance(state.init, str):
            for entry, param, grad in zip(part.states, part.params, grads, strict=True):
                first = grad if state.init == "grad" else param
                local(entry[state.name]).copy_(local(first))


def _holds(part: Part, state: State) -> bool:
    """Return whether parameters and state are still the tensors of a part, and alike."""
    if part.batch.shards is not None:
        return False
    if not all(map(is_, map(state.get, part.params), part.states)):
        return False
    if part.has_narrow_params:
        kept = [e.get(MASTER, p) for e, p in zip(part.states, part.params, strict=True)]
        if not all(map(is_, kept, part.batch.params)):
            return False
    return part.is_as_it_was() and all(
        _are_kept(part.states, [name], tensors) for name, tensors in part.batch.buffers.items()
    )


def split_alike(params: list[Tensor]) -> list[list[Tensor]]:
    """Return the parameters in groups of one device, dtype and way of being sharded."""
    groups: dict[tuple[torch.device, torch.dtype, Shards | None], list[Tensor]] = {}
    for param in params:
        groups.setdefault((param.device, param.dtype, shards_of(param)), []).append(param)
    return list(groups.values())


def places(groups: Sequence[Mapping[str, Any]]) -> dict[Tensor, int]:
    """Return the position of every parameter in the optimizer."""
    params: Iterator[Tensor] = (p for group in groups for p in group["params"])
    return {param: i for i, param in enumerate(params)}


def gradients_of(run: GroupRun, part: Part) -> list[Tensor]:
    """Return what this process holds of the gradients that a part steps with."""
    grads = [p.grad for p in part.params if p.grad is not None]
    if part.batch.shards is not None:
        grads = [local_like(g, p) for g, p in zip(grads, part.params, strict=True)]
    return list(torch._foreach_neg(grads)) if run.group.get("maximize") else grads
