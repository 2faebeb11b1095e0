"""From a running optimizer of another package to ours: its state, laid out as ours is.

Nobody wrote down which buffer of which package is which of ours. Every way to read the state is
tried out on a few drawn numbers: both optimizers go on from there with the same gradients, and the
way in which they take the same steps is the one. So what is handed over goes on as before, and what
cannot is an error: another method, another order of decay, a warm-up inside the optimizer.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from optzoo.errors import Diagnostic, InputError, OptzooError
from optzoo.optimizer import RecipeOptimizer
from optzoo.optimizer.entries import STEP, read_number, refusal, scalar
from optzoo.optimizer.group_options import MomentumWord, plain
from optzoo.optimizer.grouping import RULES
from optzoo.optimizer.state import identity
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Call, Name, walk
from optzoo.program.ir import Program, State
from optzoo.program.simplify import specialise
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.routes import Route
from optzoo.recipe.schema import HERE

LR = Name("lr")
WORDS = {"mu": "momentum"}
"""What torch calls hyperparameters that recipes have by another name."""
COUNTERS = (STEP, "k")
"""What packages call the number of steps taken: torch, and Schedule-Free's."""
PROBE_STEPS, PROBE_SIDE = 4, 3
AGREEMENT = 1e-9
"""Largest difference between the two, relative to the largest step, in float64."""
POLAR_AGREEMENT = 1e-6
"""The same for steps through `polar`: packages guard its norm against 0 in different ways."""
PROBE_LR = 1e-3
"""The learning rate of the trial where the run's own is 0: there nothing shows."""


@dataclass(frozen=True)
class BufferReading:
    """What a buffer of ours is: theirs called `key`, or the parameter less theirs over `beta`.

    Schedule-Free keeps the base iterate z beside y = (1 - beta) z + beta x; ours is x - z.
    """

    key: str
    beta: float | None = None

    def of(self, entry: Mapping[str, Any], param: Tensor) -> Tensor:
        """Return the buffer of a parameter whose state theirs is `entry`."""
        held: Tensor = entry[self.key]
        if self.beta is None:
            return held
        return (param.detach().to(held.dtype) - held) / self.beta


def from_torch(old: Optimizer | Sequence[Optimizer], new: RecipeOptimizer) -> dict[str, Any]:
    """Return the state of a running optimizer as one that `new` loads, and goes on with.

    `old` is any `torch.optim.Optimizer` of the same method over the same parameters: torch's AdamW,
    Adam, SGD, NAdam, RAdam, RMSprop, Adagrad, Adadelta, Adamax, Adafactor and Muon,
    schedulefree's, lion-pytorch's; or several, such as Muon and AdamW, for a recipe with routes.
    Hyperparameters of the same name are those of `old`, learning rate and `betas` among them; the
    rest is as `new` was built. Where there are routes, the parameters of the rule `here` say them.
    Neither is changed. Observers of `new` start now.

        opt = optzoo.load_recipe("adamw").build(model.parameters())
        opt.load_state_dict(optzoo.from_torch(running, opt))

    Raises InputError where `new` would not take the steps that `old` would have taken.
    """
    running = [old] if isinstance(old, Optimizer) else list(old)
    for each in running:
        if isinstance(each, RecipeOptimizer):
            raise refusal(
                "this is an optzoo optimizer already", "opt.load_state_dict(old.state_dict())"
            )
        if any(isinstance(value, Optimizer) for value in vars(each).values()):
            raise refusal("the old optimizer wraps another one", "hand over the one inside")
    recipe = new.recipe.with_only_observers(())
    saved = new.state_dict()
    places = {p: (each, g) for each in running for g in each.param_groups for p in g["params"]}
    state: dict[int, dict[str, Any]] = {}
    for group, packed in zip(new.param_groups, saved["param_groups"], strict=True):
        labels = group.get(RULES) or [HERE] * len(group["params"])
        members: dict[str, list[Tensor]] = {label: [] for label in sorted(labels, key=HERE.__ne__)}
        for label, param in zip(labels, group["params"], strict=True):
            members[label].append(param)
        whose = {label: _group_of(params, places) for label, params in members.items()}
        packed |= {"program": recipe.program_digest, "observers": []}
        if whose:
            first = next(iter(whose))  # `here`, if any of the parameters take that
            packed |= _taken(recipe.at(first), packed, whose[first][1])
        moves = {n: _Move(*whose[n], recipe.at(n), packed) for n in whose}
        for number, label, param in zip(packed["params"], labels, group["params"], strict=True):
            held = whose[label][0].state.get(param, {})
            entry = {k: v for k, v in held.items() if v is not None}
            state[number] = moves[label].entry(entry, param) if entry else {STEP: scalar(0.0)}
    return {
        "state": state,
        "param_groups": saved["param_groups"],
        "optzoo": identity(recipe, "train", 0),
    }


def _group_of(
    params: list[Tensor], places: Mapping[Tensor, tuple[Optimizer, dict[str, Any]]]
) -> tuple[Optimizer, dict[str, Any]]:
    """Return the group of theirs that holds these parameters. Raises InputError without one."""
    found: dict[int, tuple[Optimizer, dict[str, Any]]] = {}
    for param in params:
        if param not in places:
            raise refusal(
                f"a parameter of shape {tuple(param.shape)} is not in the optimizer to take over",
                "build the new one on the parameters of the old one",
            )
        found.setdefault(id(places[param][1]), places[param])
    if len(found) != 1:
        raise refusal(
            f"a group takes its parameters from {len(found)} groups of the old optimizer",
            "give the new optimizer the same groups",
        )
    ((whose, group),) = found.values()
    if group.get("train_mode") is False:
        raise refusal("the old optimizer shows its average", "call `old.train()` first")
    return whose, group


def _taken(recipe: Recipe, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what our group takes from theirs: hyperparameters, `maximize`, a scheduler's words.

    Of a rule with hyperparameters of its own only the learning rate says what the recipe's is.
    """
    others = {k: theirs[k] for k in ("initial_lr", "maximize") if k in theirs}
    if recipe.label != HERE:
        share = _share_of_lr(recipe, ours)
        found = {"lr": plain(theirs["lr"]) / share} if share and "lr" in theirs else {}
        first = {k: v / share for k, v in others.items() if k == "initial_lr" and share}
        return {**found, **others, **first, "lr0": first.get("initial_lr", ours["lr0"])}
    knobs = recipe.hyperparameters
    names = {name: name if name in theirs else WORDS.get(name, name) for name in knobs}
    found = {name: plain(theirs[key]) for name, key in names.items() if key in theirs}
    decays = [name for name in knobs if re.fullmatch(r"beta\d*", name)]
    betas = theirs.get("betas", ())
    if len(betas) == len(decays):
        found |= {name: plain(value) for name, value in zip(decays, betas, strict=True)}
    found |= {"lr0": float(theirs.get("initial_lr", found.get("lr", ours["lr0"])))} | others
    word = MomentumWord.of(recipe)
    return {**found, word.key: word.default({**ours, **found})} if word.names else found


def _share_of_lr(recipe: Recipe, ours: Mapping[str, Any]) -> float:
    """Return the learning rate of a rule over the recipe's; 0 where it does not follow that."""
    expr = recipe.routing.rules[recipe.label].sets.get("lr", LR) if recipe.label != HERE else LR
    known = {Name(n): v for n in recipe.hyperparameters if isinstance(v := plain(ours[n]), float)}
    try:
        whole, half = (evaluate(expr, FloatDomain(), {**known, LR: x}) for x in (1.0, 0.5))
    except (KeyError, ArithmeticError):  # it moves with t, or has no value there
        return 0.0
    return whole if whole == 2 * half else 0.0


class _Move:
    """How the state of one group is read, found when the first entry asks for it."""

    def __init__(
        self,
        old: Optimizer,
        theirs: dict[str, Any],
        recipe: Recipe,
        ours: Mapping[str, Any],
    ) -> None:
        self.old, self.theirs, self.recipe, self.ours = old, theirs, recipe, ours
        values = {n: plain(ours[n]) for n in recipe.hyperparameters}
        self.values = {n: v if isinstance(v, str) else float(v) for n, v in values.items()}
        self.program: Program = specialise(
            recipe.program(**{n: v for n, v in self.values.items() if n != "lr"}),
            [n for n, v in self.values.items() if v == 0 and n != "lr"],
        )
        rule = recipe.routing.rules.get(recipe.label)
        self.averaging = (rule.spec if rule else recipe.spec).averaging
        calls = (n for line in self.program.step for n in walk(line.expr) if isinstance(n, Call))
        is_polar = any(call.op == "polar" for call in calls)
        self.agreement = POLAR_AGREEMENT if is_polar else AGREEMENT
        self.found: dict[tuple[Any, ...], dict[str, BufferReading]] = {}

    def entry(self, theirs: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        """Return what our state keeps for a parameter. Raises InputError where nothing fits."""
        keys = (*sorted(theirs), param.ndim)
        if keys not in self.found:
            self.found[keys] = self._find(theirs, param)
        return self._made(self.found[keys], theirs, param)

    def _made(
        self, reading: Mapping[str, BufferReading], theirs: Mapping[str, Any], param: Tensor
    ) -> dict[str, Any]:
        numbers = {**self.theirs, **theirs}
        counted = [read_number(numbers[k], STEP, "theirs") for k in COUNTERS if k in numbers]
        made = {STEP: scalar(counted[0] if counted else 1.0)}  # one without a clock needs none
        for state in self.program.scalar_states:
            held = numbers.get(state.name, 0.0)  # the weight of an average: x - z is what counts
            made[state.name] = scalar(read_number(held, state.name, "theirs"))
        return made | {name: how.of(theirs, param).clone() for name, how in reading.items()}

    def _find(self, theirs: Mapping[str, Any], param: Tensor) -> dict[str, BufferReading]:
        """Return the first way to read their state with which both take the same steps."""
        tensors = [k for k, v in theirs.items() if _is_buffer(v, param)]
        least = math.inf
        for reading in self._readings(self.program.tensor_states, tensors):
            least = min(least, self._difference(reading, theirs, tensors, param.shape))
            if least < self.agreement:
                return reading
        kind = f"{type(self.old).__module__}.{type(self.old).__qualname__}"
        message = f"{kind} as it runs here does not go on as `{self.recipe.name}`"
        hint = "choose the recipe of the same method, with its options (kind of weight decay, bias "
        hint += "correction, warm-up inside the optimizer): `optzoo list`"
        if self.recipe.is_routed:
            message += f" does by its rule `{self.recipe.label}`"
            hint = f"write a recipe that extends `{self.recipe.name}`, with routes that use the "
            hint += "method of the old optimizer and `set` its hyperparameters: `optzoo new`"
        if len(tensors) == len(self.program.tensor_states) and math.isfinite(least):
            message += f": their next steps differ by {least:.1g} of a step"
        else:
            named = ", ".join(state.name for state in self.program.tensor_states) or "nothing"
            message += f", which keeps {named}: it keeps {', '.join(tensors) or 'nothing'}"
        raise InputError(
            Diagnostic(
                "foreign-state",
                message,
                hint=hint,
            )
        )

    def _readings(
        self, states: tuple[State, ...] | list[State], tensors: list[str]
    ) -> Iterator[dict[str, BufferReading]]:
        beta = self._averaging_beta()
        names = [state.name for state in states]
        for keys in itertools.permutations(tensors, len(names)):
            plainly = [BufferReading(key) for key in keys]
            rule = self.averaging
            if rule is not None and beta and rule.buffer in names:
                at = names.index(rule.buffer)
                less = [*plainly[:at], BufferReading(keys[at], beta), *plainly[at + 1 :]]
                yield dict(zip(names, less, strict=True))
            yield dict(zip(names, plainly, strict=True))

    def _averaging_beta(self) -> float | None:
        rule = self.averaging
        if rule is None or rule.beta is None:
            return None
        known = {Name(n): v for n, v in self.values.items() if isinstance(v, float)}
        try:
            return evaluate(rule.beta, FloatDomain(), known)
        except KeyError:  # it moves with t
            return None

    def _difference(
        self,
        reading: Mapping[str, BufferReading],
        theirs: Mapping[str, Any],
        tensors: list[str],
        shape: torch.Size,
    ) -> float:
        """Return the largest difference of the two in the next steps, relative to a step."""
        draw, small = (
            torch.Generator().manual_seed(0),
            [
                min(n, PROBE_SIDE + (n == max(shape)))
                for n in shape  # tall stays tall
            ],
        )

        def drawn(like: Sequence[int] = shape) -> Tensor:
            sides = [n if side == full else 1 for n, side, full in zip(small, like, shape)]
            return 0.5 + torch.rand(sides, generator=draw, dtype=torch.float64)

        start = drawn()
        entry = {k: drawn(v.shape) if k in tensors else _on_cpu(v) for k, v in theirs.items()}
        grads = [drawn() - 1 for _ in range(PROBE_STEPS)]
        lr = {"lr": float(self.values.get("lr", 0.0)) or PROBE_LR}
        share = _share_of_lr(self.recipe, self.ours) or 1.0
        their_lr = {"lr": float(self.theirs.get("lr", 0.0)) or share * lr["lr"]}
        mine, other = start.clone().requires_grad_(), start.clone().requires_grad_()
        try:
            stepping = self._ours(mine, self._made(reading, entry, start), lr)
        except OptzooError:
            return math.inf
        gone = _stepped(mine, stepping, grads)
        revived = _revived(self.old, {**self.theirs, **their_lr}, other, entry)
        with _Exactly():
            there = _stepped(other, revived, grads)
        size = float((there - start).abs().max())
        apart = float((gone - there).abs().max()) / size if size else math.inf
        return apart if math.isfinite(apart) else math.inf

    def _ours(
        self, param: Tensor, entry: dict[str, Any], lr: dict[str, float]
    ) -> Callable[[], Any]:
        recipe = self.recipe
        group = {**self.ours, **lr, "params": [0]}
        if recipe.is_routed:  # whatever the parameter of the trial looks like
            everywhere = replace(recipe.routing, routes=(Route(recipe.label),))
            recipe = replace(recipe, routing=everywhere)
            group |= {RULES: [recipe.label], "program": recipe.program_digest}
        opt = RecipeOptimizer(
            [param], recipe, total_steps=self.ours["total_steps"], engine="foreach"
        )
        group.pop("param_names", None)
        about = identity(recipe, "train", 0)
        saved = {"state": {0: entry}, "param_groups": [group], "optzoo": about}
        opt.load_state_dict(saved)
        return opt.step


class _Exactly(TorchFunctionMode):
    """Leaves in float64 what a package rounds inside of its step: Muon's products."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.bfloat16, Tensor.half):
            return args[0].clone()
        return func(*args, **(kwargs or {}))


def _is_buffer(value: Any, param: Tensor) -> bool:
    """Whether something is a tensor like the parameter, or of its rows or columns."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    sides = zip(value.shape, param.shape)
    return value.ndim == param.ndim and all(side in (1, whole) for side, whole in sides)


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _stepped(param: Tensor, step: Callable[[], Any], grads: list[Tensor]) -> Tensor:
    for grad in grads:
        param.grad = grad.clone()
        step()
    return param.detach()


def _revived(
    old: Optimizer, group: dict[str, Any], param: Tensor, entry: dict[str, Any]
) -> Callable[[], Any]:
    """Return the step of an optimizer of their class, at one parameter, with a state.

    It is not constructed: what its groups say is what it goes by.
    """
    twin = object.__new__(type(old))
    twin.__dict__.update(old.__dict__)
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        twin.__dict__[hooks] = OrderedDict()  # the user's are not for a trial
    slow = {key: False for key in ("foreach", "fused", "capturable") if key in group}
    twin.__dict__["param_groups"] = [{**group, **slow, "params": [param]}]
    twin.__dict__["state"] = defaultdict(dict, {param: entry})
    twin.__dict__.pop("step", None)  # schedulers wrap that of the instance
    return twin.step
