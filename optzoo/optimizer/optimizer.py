"""RecipeOptimizer: a recipe as a `torch.optim.Optimizer`.

All that it knows of a run is in `state` and `param_groups`, where torch's ecosystem looks for it
and changes it: t and the scalars with memory are `state[param]["step"]` and its neighbours, the
training point of a parameter that shows another is there, and the view is `group["mode"]`. What is
kept beside them (plans, engines, who steps together) follows from them and is made anew when they
change.

All arithmetic is the program's, run by an engine. `param.grad` is read, never written or kept.
State is created with the optimizer for parameters that train, for others at their first gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import is_
from typing import Any, TypeVar, cast, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from optzoo.engines.engine import check_scope, engine_class
from optzoo.errors import Diagnostic, InputError, RunError
from optzoo.optimizer.entries import (
    STEP,
    check_grads,
    default_on_cpu,
    is_complete,
    is_trainable,
    on_the_host,
)
from optzoo.optimizer.group_options import MomentumWord, check_options, own_hyperparameters, plain
from optzoo.optimizer.grouping import (
    RULES,
    Clock,
    GroupPlan,
    GroupRun,
    gradients_of,
    places,
    plans_of,
    runs_of_group,
    take_first,
)
from optzoo.optimizer.pooling import Pending, numbers_of, pool
from optzoo.optimizer.precision import Part, Precision
from optzoo.optimizer.routing import rules_for, with_kinds
from optzoo.optimizer.state import Loaded, identity, packed
from optzoo.optimizer.views import hide_params, show_params
from optzoo.program.domain import kept_memory
from optzoo.program.expressions import Name
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.values import check_total_steps

F = TypeVar("F", bound=Callable[..., Any])


def _untraced(function: F) -> F:
    """Keep `torch.compile` out; unlike `torch.compiler.disable`, without importing the compiler."""
    alone: Any = torch._disable_dynamo(function)  # type: ignore[attr-defined]
    return cast(F, alone)


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
        model: torch.nn.Module | None = None,
    ) -> None:
        self.recipe = recipe
        params, self._kinds = with_kinds(params, model, recipe)
        self.precision = Precision(recipe.state_dtypes, param_rounding, rounding_seed)
        self.engine_name = engine
        if engine != "auto":
            engine_class(engine)  # an unknown name is an error now
        self._plans = plans_of(recipe)
        self._runs: list[list[GroupRun]] = []
        if total_steps is not None:
            check_total_steps(total_steps)
        defaults: dict[str, Any] = {n: h.default for n, h in recipe.hyperparameters.items()}
        if lr is not None:
            defaults["lr"] = plain(lr)  # a tensor stays a tensor
        word = MomentumWord.of(recipe)
        fixed = {
            "lr0": None,
            "total_steps": total_steps,
            "mode": "train",
            "recipe": recipe.name,
            "program": recipe.program_digest,
            "observers": list(recipe.spec.observers),
            "maximize": False,
            "capturable": False,
            word.key: word.default(defaults),
        }
        super().__init__(params, {**defaults, **fixed})

    # ------------------------------------------------------------------ groups

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups; `betas` in them follows the recipe's own names and leads them."""
        groups: list[dict[str, Any]] = self.__dict__["param_groups"]
        for run, *_ in self._runs_by_group(groups):
            run.momentum.agree(run.group)
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.__dict__["param_groups"] = groups

    def _runs_by_group(self, groups: list[dict[str, Any]]) -> list[list[GroupRun]]:
        """Return what goes with each group, rule by rule, made anew for groups that are new."""
        runs = self._runs
        if len(runs) != len(groups) or not all(map(is_, (own[0].group for own in runs), groups)):
            known = {id(own[0].group): own for own in runs}  # alive, since `runs` holds them
            self._runs = runs = [
                known.get(id(group))
                or runs_of_group(group, self._plans, self.engine_name, self.precision)
                for group in groups
            ]
        return runs

    def _all_runs(self) -> list[GroupRun]:
        return [run for own in self._runs_by_group(self.param_groups) for run in own]

    @_untraced
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its own hyperparameters override the recipe's.

        Raises InputError for a misspelt or illegal hyperparameter, for an option of torch that the
        recipe cannot obey, and for trainable parameters that are not real floating point. A group
        that is refused leaves nothing behind.
        """
        if not isinstance(param_group, dict):
            super().add_param_group(param_group)  # a TypeError, in torch's words
        groups, known = self.__dict__["param_groups"], set(self.state)
        before, stated = list(groups), dict(param_group)
        try:
            self._add_param_group(param_group)
        except Exception:
            groups[:] = before
            for key in set(self.state) - known:
                del self.state[key]
            param_group.clear()
            param_group.update(stated)
            raise

    def _add_param_group(self, param_group: dict[str, Any]) -> None:
        mode = self.mode
        param_group.update(own_hyperparameters(self.recipe, param_group))
        super().add_param_group(param_group)
        group = self.__dict__["param_groups"][-1]
        word = MomentumWord.of(self.recipe)
        if not word.is_own and word.names:
            group[word.key] = word.default(group)
        group["mode"] = mode  # parameters without an update hold their own point in any view
        if group["lr0"] is None:
            group["lr0"] = float(group["lr"])
        if self.recipe.is_routed:
            group[RULES] = rules_for(group, self.recipe, self._kinds)
        runs = self._runs_by_group(self.__dict__["param_groups"])[-1]
        runs[0].momentum.agree(group)
        reads_length = any(run.plan.program.uses_total_steps for run in runs)
        if reads_length and group["total_steps"] is None:
            knobs = self.recipe.hyperparameters
            users = ", ".join(f"`{n}`" for n, v in knobs.items() if v.default == "T") or "it"
            raise InputError(
                Diagnostic(
                    "missing-total-steps",
                    f"{self.recipe.name} needs to know how many steps the run has",
                    hint=f"pass `total_steps=...` to build(), or give {users} a number",
                )
            )
        for param in group["params"]:
            self._check_param(param)
        self._complete(runs)

    def _check_param(self, param: Tensor) -> None:
        """Raise InputError for a trainable parameter that is not real floating point."""
        if not param.requires_grad:
            return
        if param.is_complex() or not param.is_floating_point():
            raise InputError(
                Diagnostic(
                    "bad-param",
                    f"a parameter has dtype {param.dtype}; optzoo trains real floating point",
                    hint="pass `torch.view_as_real(p)` for complex parameters",
                )
            )
        self.precision.check(param)

    def _complete(self, runs: list[GroupRun]) -> None:
        """Give state to the parameters that train and lack it."""
        for run in runs:
            program = run.plan.program
            lacking = [
                p
                for p in run.params
                if is_trainable(p) and not is_complete(self.state.get(p), program)
            ]
            if lacking:
                with default_on_cpu():
                    run.prepare(program, lacking, self.state, self._places())

    def _places(self) -> dict[Tensor, int]:
        """Return where all parameters are; forget those that are gone and never took a step.

        Launchers exchange parameters for shards before the first step.
        """
        found = places(self.__dict__["param_groups"])
        gone = [key for key in self.state if isinstance(key, Tensor) and key not in found]
        with on_the_host():
            for key in gone:
                if not float(self.state[key].get(STEP, 1)):
                    del self.state[key]
        return found

    # ------------------------------------------------------------------ the step

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @_untraced
    @Optimizer.profile_hook_step
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with the gradients at the training point.

        Parameters without a gradient are left alone, and their time stands still. Raises RunError
        while the parameters show another point than the training point or where a scalar of the
        recipe has no finite real value, and InputError for sparse or complex gradients and for
        state that does not belong to its parameter; nothing has moved then. `torch.compile` leaves
        it alone: the engine compiles what is worth it.
        """
        check_capture = getattr(self, "_accelerator_graph_capture_health_check", None)
        (check_capture or self._cuda_graph_capture_health_check)()  # the older name of the two
        if self.mode != "train":
            raise RunError(
                f"step() while the parameters hold the view `{self.mode}`",
                hint="call `optimizer.train()` first, or leave the `evaluation()` block",
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with default_on_cpu():
            pending = []
            for run in self._all_runs():
                params = [p for p in run.params if p.grad is not None]
                if params:
                    pending += self._pending(run, params)
            pool(pending)
            due = [numbers_of(each) for each in pending]
            for each in due:  # nothing above has moved a parameter
                self._take(*each)
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # with its hooks inside, out of dynamo's sight

    def _pending(self, run: GroupRun, params: list[Tensor]) -> list[Pending]:
        """Return what steps now in a group, and what its numbers are computed from."""
        check_options(self.recipe, run.momentum.key, run.group)
        check_grads(params)
        plan, clocks = run.line_up(params, self.state, self._places)
        found = []
        for clock in clocks:
            batches = []
            for part in clock.parts if plan.program.pooled else ():
                grads = gradients_of(run, part)
                if clock.t == 0:
                    take_first(plan, part, grads)
                batches.append(replace(part.batch, grads=grads))
            inputs = run.inputs(plan.program, clock.t + 1)
            found.append(Pending(run, plan, clock, inputs, clock.memory, batches))
        return found

    def _take(
        self, run: GroupRun, plan: GroupPlan, clock: Clock, scalars: Mapping[Name, float]
    ) -> None:
        t = clock.t + 1
        for part in clock.parts:
            self._step_part(run, plan, t, part, scalars)
        with on_the_host():
            clock.set({STEP: float(t), **kept_memory(plan.program, scalars)})

    def _step_part(
        self, run: GroupRun, plan: GroupPlan, t: int, part: Part, scalars: Mapping[Name, float]
    ) -> None:
        batch, grads = part.batch, gradients_of(run, part)
        if t == 1:
            take_first(plan, part, grads)
        check_scope(plan.engine, plan.program, batch)
        batch.grads = grads
        rank = torch.distributed.get_rank() if batch.shards is not None else 0
        for chosen, wide in run.precision.batches(part, plan.engine, t, rank):
            plan.engine.step(wide, scalars)
            run.precision.round(part, chosen, wide, t, rank)
        batch.grads = []

    # ------------------------------------------------------------------ views

    @property
    def views(self) -> tuple[str, ...]:
        """The points that can be read: `train`, `eval`, then the observers."""
        return tuple(view.name for view in self.recipe.program().views)

    @property
    def mode(self) -> str:
        """The view that the parameters hold now; `train` between steps."""
        modes = (group.get("mode", "train") for group in self.__dict__["param_groups"])
        return next((mode for mode in modes if mode != "train"), "train")

    @contextmanager
    def evaluation(self, view: str = "eval") -> Iterator[None]:
        """Let the parameters hold a view inside the block; leaving restores them bit for bit.

        What the block does to the parameters does not last, and a warning says so. Raises
        InputError for an unknown view.
        """
        before = self.mode
        self._show(view)
        try:
            yield
        finally:
            self._show(before, keeps_changes=False)

    @_untraced
    def eval(self, view: str = "eval") -> None:
        """Let the parameters hold a view until `train()`. Calling it again changes nothing."""
        self._show(view)

    @_untraced
    def train(self, mode: bool = True) -> None:
        """Let the parameters hold the training point again; `train(False)` is `eval()`.

        Weights that were loaded while a view was shown stay, and a warning says so.
        """
        self._show("train" if mode else "eval")

    @torch.no_grad()
    def _show(self, view: str, *, keeps_changes: bool = True) -> None:
        if view not in self.views:
            known = ", ".join(self.views)
            raise InputError(
                Diagnostic("unknown-name", f"`{view}` is not a view", hint=f"views: {known}")
            )
        shown = self.mode
        if view == shown != "train":
            return
        changed = 0
        with default_on_cpu():
            for run in self._all_runs():
                changed += hide_params(run, self.state, self._places, shown, keeps_changes)
                if view != "train":
                    show_params(run, self.state, self._places, view)
        for group in self.__dict__["param_groups"]:
            group["mode"] = view
        if changed:
            become = "are kept" if keeps_changes else "are gone"
            warnings.warn(
                f"{changed} parameters were changed while `{shown}` was shown: the new weights "
                f"{become}",
                stacklevel=4,
            )

    # ------------------------------------------------------------------ saving and loading

    @_untraced
    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: tensors by buffer name, groups, and the recipe's identity.

        Scalars are 0-d float64 tensors. Saving never changes the next update.
        """
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        groups = self.param_groups
        self._complete(self._all_runs())
        saved = packed(groups, self.state)
        idle = sum(len(group["params"]) for group in groups) - len(
            [key for key in saved["state"] if isinstance(key, int)]
        )
        saved["optzoo"] = identity(self.recipe, self.mode, idle)
        for after in self._optimizer_state_dict_post_hooks.values():
            saved = saved if (changed := after(self, saved)) is None else changed
        return saved

    @_untraced
    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state saved by `state_dict`; the view that was shown is restored too.

        Everything is copied. Hyperparameters and `total_steps` are those of the state. Raises
        InputError, with a readable difference, for the state of another recipe, of other
        parameters, of no optzoo optimizer, and for a damaged one; nothing has changed then. Hooks
        run before anything is checked, and after everything is done.
        """
        saved: Any = dict(state_dict) if isinstance(state_dict, Mapping) else {}
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            saved = saved if (changed := before(self, saved)) is None else changed
        with default_on_cpu():
            loaded = Loaded(saved, self.param_groups, self.recipe, self.precision)
        for message in loaded.warnings:
            warnings.warn(message, stacklevel=3)
        self.state = loaded.state  # type: ignore[assignment]
        self.param_groups = loaded.param_groups
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        base: dict[str, Any] = super().__getstate__()
        return {
            **base,
            "recipe": self.recipe,
            "engine_name": self.engine_name,
            "precision": self.precision,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans, self._runs, self._kinds = plans_of(self.recipe), [], {}

    def __repr__(self) -> str:
        sizes = [len(group["params"]) for group in self.__dict__["param_groups"]]
        kind = type(self).__name__
        return f"{kind}({self.recipe.name}, engine={self.engine_name}, groups={sizes})"
