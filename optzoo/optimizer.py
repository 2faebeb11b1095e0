"""RecipeOptimizer: a recipe as a `torch.optim.Optimizer`.

It owns parameter groups, per-parameter clocks, buffers, the point the parameters show, and what is
saved. All arithmetic is the program's, run by an engine.

Invariants: `param.grad` is read, never written or kept. State is created with the optimizer, in
float32 (float64 for float64 parameters) unless the recipe's `state_dtype` keeps it narrower; how
that and bfloat16 or float16 parameters are rounded is `optzoo.precision`. Between steps the
parameters hold the training point unless `eval()` was called. State of a parameter that is spread
over processes (`DTensor`) is spread alike; engines are given the shards that this process holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from optzoo import optimizer_state
from optzoo.clocks import Clock, split_by_clock
from optzoo.engines.engine import Batch, Engine, check_scope, choose_engine, engine_class
from optzoo.errors import Diagnostic, InputError, RunError, nearest
from optzoo.lineup import Lineup, Part
from optzoo.parameters import MASTER, check_grad, check_param, portions, split_alike
from optzoo.precision import Precision
from optzoo.program.arithmetic import FloatDomain, NotRealError
from optzoo.program.checked import CheckedScalars
from optzoo.program.domain import initial_memory, kept_memory
from optzoo.program.expressions import Name
from optzoo.program.ir import Program
from optzoo.shards import local, local_like, shards_of
from optzoo.zoo import Recipe, check_total_steps

SAVED = "train_point"
FIXED_KEYS = ("lr0", "total_steps", "mode", "recipe", "program")
"""Keys of a parameter group that are not hyperparameters."""

_FLOATS = FloatDomain()


@dataclass(frozen=True)
class Plan:
    """A program specialised for one group's hyperparameters, its scalars, and its engine."""

    program: Program
    engine: Engine
    scalars: CheckedScalars


Due = tuple[Plan, Clock, list[Part], dict[Name, float]]
"""What a step does at one clock: the plan, the clock, its parameters and its scalars."""


class RecipeOptimizer(Optimizer):
    """A recipe as a torch optimizer; made by `Recipe.build`."""

    def __init__(
        self,
        params: Any,
        recipe: Recipe,
        *,
        total_steps: int | None = None,
        engine: str = "auto",
        lr: Any = None,
        param_rounding: str = "master",
        rounding_seed: int = 0,
    ) -> None:
        self.recipe = recipe
        self.precision = Precision(recipe.state_dtypes, param_rounding, rounding_seed)
        self.engine_name = engine
        if engine != "auto":
            engine_class(engine)  # an unknown name is an error now
        self._engines: dict[int, str] = {}
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._clocks: dict[Tensor, Clock] = {}
        self._lineups: dict[int, Lineup] = {}
        self._shown = "train"
        if total_steps is not None:
            check_total_steps(total_steps)
        defaults: dict[str, Any] = {n: h.default for n, h in recipe.hyperparameters.items()}
        if lr is not None:
            defaults["lr"] = lr  # a tensor stays a tensor
        fixed = {
            "lr0": None,
            "total_steps": total_steps,
            "mode": "train",
            "recipe": recipe.name,
            "program": recipe.program().digest,
        }
        super().__init__(params, {**defaults, **fixed})

    # ------------------------------------------------------------------ groups and state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its own hyperparameters override the recipe's.

        Raises InputError for a misspelt or illegal hyperparameter and for parameters that are not
        real floating-point tensors.
        """
        knobs = self.recipe.hyperparameters
        for key in param_group:
            if key in knobs or key in FIXED_KEYS or key in ("params", "param_names", "name"):
                continue
            if (match := nearest(key, knobs)) is not None:
                raise InputError(
                    Diagnostic(
                        "unknown-name",
                        f"`{key}` is not a hyperparameter of {self.recipe.name}",
                        hint=f"did you mean `{match}`?",
                    )
                )
        own = {k: v for k, v in param_group.items() if k in knobs}
        self.recipe.with_overrides(
            {k: v if isinstance(v, str) else float(v) for k, v in own.items()}
        )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["mode"] = self._shown  # parameters without an update hold their own point in any view
        if group["lr0"] is None:
            group["lr0"] = float(group["lr"])
        program = self._plan(group).program
        if program.uses_total_steps and group["total_steps"] is None:
            self.param_groups.pop()
            users = ", ".join(f"`{n}`" for n, v in knobs.items() if v.default == "T") or "it"
            raise InputError(
                Diagnostic(
                    "missing-total-steps",
                    f"{self.recipe.name} needs to know how many steps the run has",
                    hint=f"pass `total_steps=...` to build(), or give {users} a number",
                )
            )
        self._lineups = {}
        clock = Clock(0, initial_memory(program, _FLOATS))
        for param in group["params"]:
            check_param(param)
            self.precision.check(param)
            self._clocks[param] = clock
            self._create_state(param, program)

    def _create_state(self, param: Tensor, program: Program) -> None:
        state = self.state[param]
        self.precision.settle(state, param)
        for buffer in program.tensor_states:
            if buffer.name not in state:
                fill = float(buffer.init) if isinstance(buffer.init, Fraction) else 0.0
                dtype = self.precision.buffer_dtype(buffer.name, param)
                state[buffer.name] = torch.full_like(
                    param, fill, dtype=dtype, memory_format=torch.preserve_format
                )

    def _plan(self, group: Mapping[str, Any]) -> Plan:
        """Return the program and engine for a group's hyperparameters as they are now."""
        knobs = self.recipe.hyperparameters
        engine = self._engine_of(group)
        kinds = (
            value if isinstance(value, str) else float(value) == 0
            for value in (group[name] for name in knobs if name != "lr")
        )
        key = (engine, *kinds)
        plan = self._plans.get(key)
        if plan is None:
            values = {
                name: value if isinstance(value := group[name], str) else float(value)
                for name in knobs
                if name != "lr"
            }
            program = self.recipe.with_overrides(values).trained_program()
            plan = Plan(program, engine_class(engine)(program), CheckedScalars(program))
            self._plans[key] = plan
        return plan

    def _engine_of(self, group: Mapping[str, Any]) -> str:
        """Return the name of a group's engine; `auto` is settled once, when the group is met."""
        place = id(group["params"])
        if self.engine_name != "auto":
            return self.engine_name
        if place not in self._engines:
            params = group["params"]
            device = params[0].device.type if params else "cpu"
            elements = sum(param.numel() for param in params)
            self._engines[place] = choose_engine(device, elements, group["total_steps"])
        return self._engines[place]

    def _inputs(self, group: Mapping[str, Any], program: Program, t: int) -> dict[str, float]:
        inputs = {hyper.name: float(group[hyper.name]) for hyper in program.hypers}
        inputs["lr0"] = group["lr0"]
        inputs["T"] = float(group["total_steps"] or 0)
        inputs["t"] = float(t)
        return inputs

    # ------------------------------------------------------------------ the step

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients at the training point.

        Parameters without a gradient are left alone and their clocks stand still. Raises RunError
        while the parameters show another point than the training point or where a scalar of the
        recipe has no finite real value, and InputError for sparse or complex gradients. Nothing has
        moved then.
        """
        if self._shown != "train":
            raise RunError(
                f"step() while the parameters hold the view `{self._shown}`",
                hint="call `optimizer.train()` first, or leave the `evaluation()` block",
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        due = []
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                due += self._due(group, params)
        for plan, clock, parts, scalars in due:  # nothing above has moved a parameter
            clock.t += 1
            for part in parts:
                self._step_part(plan, clock, part, scalars)
            clock.memory = kept_memory(plan.program, scalars)
        return loss

    def _due(self, group: dict[str, Any], params: list[Tensor]) -> list[Due]:
        """Return what is to be done for a group in this step, all its numbers computed."""
        plan = self._plan(group)
        for param in params:
            check_grad(param)
        place = id(group["params"])
        lineup = self._lineups.get(place)
        if lineup is None or not lineup.fits(plan.program, params, self.state):
            lineup = self._lineups[place] = self._line_up(group, plan.program, params)
        due = []
        for clock, parts in lineup.parts:
            inputs = self._inputs(group, plan.program, clock.t + 1)
            narrow = any(part.params[0].dtype != torch.float64 for part in parts)
            try:
                scalars = plan.scalars(inputs, clock.memory, narrow=narrow)
            except NotRealError as error:
                raise RunError(self.recipe.diagnostic(error)) from None
            due.append((plan, clock, parts, scalars))
        return due

    def _line_up(self, group: dict[str, Any], program: Program, params: list[Tensor]) -> Lineup:
        by_clock = []
        for clock, members in split_by_clock(params, self._clocks, group["params"]):
            self._meet_program(program, clock, members)
            by_clock.append((clock, [self._part(program, p) for p in split_alike(members)]))
        return Lineup(program, params, by_clock)

    def _step_part(
        self, plan: Plan, clock: Clock, part: Part, scalars: Mapping[Name, float]
    ) -> None:
        params, batch = part.params, part.batch
        if clock.t == 1:
            for state in plan.program.tensor_states:
                if isinstance(state.init, str):
                    for p in params:
                        first = p.grad if state.init == "grad" else p
                        assert first is not None
                        self.state[p][state.name].copy_(first)
        check_scope(plan.engine, plan.program, batch)
        batch.grads = [local_like(p.grad, p) for p in params if p.grad is not None]
        rank = torch.distributed.get_rank() if batch.shards is not None else 0
        self.precision.step(plan.engine, part, scalars, clock.t, rank)
        batch.grads = []

    def _part(self, program: Program, params: list[Tensor]) -> Part:
        places = {p: i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        states = [self.state[p] for p in params]
        return Part(params, states, self._batch(program, params), [places[p] for p in params])

    def _batch(self, program: Program, params: list[Tensor]) -> Batch:
        wide = [local(self.state[p].get(MASTER, p)) for p in params]
        buffers = {
            s.name: [local(self.state[p][s.name]) for p in params] for s in program.tensor_states
        }
        return Batch(wide, [], buffers, shards_of(params[0]))

    def _meet_program(self, program: Program, clock: Clock, params: list[Tensor]) -> None:
        """Create what a program needs and its predecessor did not: a hyperparameter left 0."""
        missing = {s.name for s in program.tensor_states if s.name not in self.state[params[0]]}
        if missing:
            names = ", ".join(f"`{name}`" for name in sorted(missing))
            warnings.warn(
                f"{self.recipe.name}: a hyperparameter that was 0 has changed, and {names} "
                "starts from zero now",
                stacklevel=4,
            )
            for param in params:
                self._create_state(param, program)
        for name, value in initial_memory(program, _FLOATS).items():
            clock.memory.setdefault(name, value)

    # ------------------------------------------------------------------ views

    @property
    def views(self) -> tuple[str, ...]:
        """The points that can be read: `train`, `eval`, then the observers."""
        return tuple(view.name for view in self.recipe.program().views)

    @property
    def mode(self) -> str:
        """The view that the parameters hold now; `train` between steps."""
        return self._shown

    @contextmanager
    def evaluation(self, view: str = "eval") -> Iterator[None]:
        """Let the parameters hold a view inside the block; leaving restores them bit for bit.

        Raises InputError for an unknown view.
        """
        before = self._shown
        self._show(view)
        try:
            yield
        finally:
            self._show(before)

    def eval(self, view: str = "eval") -> None:
        """Let the parameters hold a view until `train()`. Calling it again changes nothing."""
        self._show(view)

    def train(self, mode: bool = True) -> None:
        """Let the parameters hold the training point again; `train(False)` is `eval()`."""
        self._show("train" if mode else "eval")

    @torch.no_grad()
    def _show(self, view: str) -> None:
        if view not in self.views:
            known = ", ".join(self.views)
            raise InputError(
                Diagnostic("unknown-name", f"`{view}` is not a view", hint=f"views: {known}")
            )
        if view == self._shown:
            return
        for group in self.param_groups:
            for param in group["params"]:
                saved = self.state[param].pop(SAVED, None)
                if saved is not None:
                    local(param).copy_(local(saved))
            if view != "train":
                self._show_group(group, view)
            group["mode"] = view
        self._shown = view

    def _show_group(self, group: dict[str, Any], view: str) -> None:
        plan = self._plan(group)
        if plan.program.view(view).expr == plan.program.view("train").expr:
            return
        by_clock: dict[int, list[Tensor]] = {}
        for param in group["params"]:
            by_clock.setdefault(id(self._clocks[param]), []).append(param)
        for members in by_clock.values():
            clock = self._clocks[members[0]]
            values: dict[Name, float] = {
                Name(name): value
                for name, value in {
                    **self._inputs(group, plan.program, clock.t),
                    **initial_memory(plan.program, _FLOATS),
                    **clock.memory,
                }.items()
            }
            alike = split_alike(members)
            for params in (portion for part in alike for portion in portions(part)):
                part = self._part(plan.program, params)
                batch = self.precision.widened(part, range(len(params)))
                points = plan.engine.view(view, batch, values)
                for param, point in zip(params, points, strict=True):
                    self.state[param][SAVED] = param.detach().clone()
                    local(param).copy_(point)

    # ------------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: tensors by buffer name, groups, and the recipe's identity.

        Scalars are 0-d float64 tensors. Saving never changes the next update.
        """
        self._write_clocks()
        saved = super().state_dict()
        saved["optzoo"] = optimizer_state.identity(self.recipe, self._shown)
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state saved by `state_dict`; every tensor keeps the dtype it was saved in.

        The view that was shown is restored too. Raises InputError, with a readable difference,
        for the state of another recipe, of other parameters, or of no optzoo optimizer.
        """
        optimizer_state.check(self, state_dict)
        core = {k: v for k, v in state_dict.items() if k in ("state", "param_groups")}
        super().load_state_dict(core)
        optimizer_state.restore_layout(self, state_dict)
        self._read_clocks()

    def _write_clocks(self) -> None:
        written: dict[int, dict[str, Tensor]] = {}
        for param, clock in self._clocks.items():
            if id(clock) not in written:
                written[id(clock)] = clock.tensors()
            self.state[param].update(written[id(clock)])

    def _read_clocks(self) -> None:
        """Take the clocks from the state; parameters that show the same time share one."""
        self._clocks, self._lineups, self._engines = {}, {}, {}
        for group in self.param_groups:
            program = self._plan(group).program
            shared: dict[tuple[float, ...], Clock] = {}
            for param in group["params"]:
                state = self.state[param]
                memory = initial_memory(program, _FLOATS)
                memory |= {name: float(state[name]) for name in memory if name in state}
                clock = Clock(int(state.get("step", 0)), memory)
                self._clocks[param] = shared.setdefault(clock.key(), clock)
                self._create_state(param, program)
        self._shown = self.param_groups[0]["mode"] if self.param_groups else "train"

    def __getstate__(self) -> dict[str, Any]:
        self._write_clocks()
        base: dict[str, Any] = super().__getstate__()
        return {
            **base,
            "recipe": self.recipe,
            "engine_name": self.engine_name,
            "precision": self.precision,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "recipe" in state:  # a copy, not a load
            self._plans = {}
            self._read_clocks()

    def __repr__(self) -> str:
        sizes = [len(group["params"]) for group in self.param_groups]
        return f"RecipeOptimizer({self.recipe.name}, engine={self.engine_name}, groups={sizes})"
