"""A state on its way in and out: whose it is, whether it is whole, and copies of what is in it.

`packed` and `Loaded` take groups, state and program; nothing here knows of the optimizer. A state
is read completely before anything of it counts: what cannot be used is refused with one error, and
what is left out is said.
"""

from __future__ import annotations

import copy
import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from optzoo.engines.engine import arithmetic
from optzoo.errors import InputError, check_version
from optzoo.optimizer.entries import (
    SHOWN,
    STEP,
    filled,
    on_the_host,
    placed,
    read_number,
    refusal,
    scalar,
    scalar_names,
)
from optzoo.optimizer.group_options import MomentumWord, check_options, is_number, plain
from optzoo.optimizer.grouping import RULES
from optzoo.optimizer.precision import COMPENSATION, MASTER, Precision
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import initial_memory
from optzoo.program.expressions import Call, Expr, names_in
from optzoo.program.ir import PARAM, Program, State
from optzoo.program.simplify import specialise
from optzoo.program.tensors.named_sides import FULL, Shape
from optzoo.recipe.recipe import Recipe
from optzoo.recipe.schema import HERE

STATE_VERSION = 1
WITHOUT_POINT = "without_train_point"
"""Key of a group: places of parameters whose training point a saver has lost."""

Groups = Sequence[Mapping[str, Any]]


def identity(recipe: Recipe, shown: str, idle: int) -> dict[str, Any]:
    """Return what says whose state this is: plain values, fit for JSON.

    `idle` is the number of parameters that have no state, since they never had a gradient.
    """
    return {
        "version": STATE_VERSION,
        "recipe": recipe.name,
        "program_digest": recipe.program_digest,
        "program": recipe.identity(),
        "mode": shown,
        "idle": idle,
    }


def packed(groups: Groups, state: Mapping[Any, Any]) -> dict[str, Any]:
    """Return groups and state as torch saves them: parameters by number, tensors as they are.

    State of parameters that are in no group is left out; numbers of numpy become Python's.
    """
    number: dict[Any, int] = {}
    packed_groups = []
    for group in groups:
        for param in group["params"]:
            number.setdefault(param, len(number))
        saved = {key: plain(value) for key, value in group.items() if key != "params"}
        packed_groups.append({**saved, "params": [number[p] for p in group["params"]]})
    kept = {
        number.get(key, key): entry
        for key, entry in state.items()
        if key in number or not isinstance(key, Tensor)
    }
    return {"state": kept, "param_groups": packed_groups}


@dataclass(frozen=True)
class _Pair:
    """A parameter, its number in the state, its group, and the label of the rule it takes."""

    group: dict[str, Any]
    number: Any
    param: Tensor
    label: str

    @property
    def key(self) -> tuple[int, str]:
        """What its program depends on: the group, and the rule."""
        return id(self.group), self.label


@dataclass
class Loaded:
    """A saved state, read and copied for `groups`: `state`, `param_groups` and what is to be said.

    Raises InputError, with a readable difference, for the state of another recipe, of other
    parameters, of no optzoo optimizer, and for one that is damaged.
    """

    saved: Mapping[str, Any]
    groups: Groups
    recipe: Recipe
    precision: Precision
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = self.saved.get("optzoo")
        self.known: Mapping[str, Any] = known if isinstance(known, Mapping) else {}
        self._check_form()
        self.their_recipe = self._identify()
        self._check_groups()
        self.param_groups = [
            self._group(i, ours, theirs)
            for i, (ours, theirs) in enumerate(zip(self.groups, self.saved["param_groups"]))
        ]
        self.state: dict[Any, Any] = defaultdict(dict)
        self._read_entries()

    # ------------------------------------------------------------------ whose it is

    def _check_form(self) -> None:
        groups = self.saved.get("param_groups")
        is_form = isinstance(self.saved.get("state"), Mapping) and isinstance(groups, list | tuple)
        if not is_form or not groups or not all(isinstance(g, Mapping) for g in groups):
            raise refusal(
                "this is not the state of an optimizer: it lacks `state` or `param_groups`"
            )
        if any("program" not in group for group in groups):
            raise refusal(
                "this state was not saved by an optzoo optimizer",
                "`optzoo.from_torch(old, new)` takes over a running optimizer of another package",
            )
        version = self.known.get("version", STATE_VERSION)
        if not isinstance(version, int):
            raise refusal(f"this state has version {version!r}, which is no number")
        check_version("this state has version", version, STATE_VERSION)

    def _identify(self) -> Recipe:
        """Return the recipe of the state: ours, perhaps with other observers."""
        digests = {str(group["program"]) for group in self.saved["param_groups"]}
        if digests == {self.recipe.program_digest}:
            return self.recipe
        other = self._with_their_observers()
        if other is not None and digests == {other.program_digest}:
            self._say_observers(other)
            return other
        name = self.known.get("recipe", self.saved["param_groups"][0].get("recipe"))
        message = f"this state belongs to the recipe `{name}`, not to `{self.recipe.name}`"
        if name == self.recipe.name:
            message = f"this state was saved by a different version of the recipe `{name}`"
        raise refusal(message, _difference(self.known.get("program"), self.recipe.identity()))

    def _with_their_observers(self) -> Recipe | None:
        names = self.saved["param_groups"][0].get("observers")
        if names is None:  # states from before groups said so name them in the program's text
            names = _views_in(self.known.get("program"))[2:]
        try:
            return self.recipe.with_only_observers([str(name) for name in names])
        except (InputError, TypeError):
            return None

    def _say_observers(self, other: Recipe) -> None:
        here, there = set(self.recipe.spec.observers), set(other.spec.observers)
        for names, what in ((there - here, "is dropped"), (here - there, "starts now")):
            for name in sorted(names):
                self.warnings.append(
                    f"the observer `{name}` {what}: the state was saved with "
                    f"{', '.join(sorted(there)) or 'none'}"
                )

    # ------------------------------------------------------------------ groups

    def _check_groups(self) -> None:
        theirs = self.saved["param_groups"]
        for i, group in enumerate(theirs):
            params = group.get("params")
            if not isinstance(params, list | tuple):
                raise refusal(f"group {i} of the state lacks its list `params`")
        here = [len(group["params"]) for group in self.groups]
        there = [len(group["params"]) for group in theirs]
        if here != there:
            raise refusal(
                f"the state is for groups of {there} parameters; this optimizer has {here}"
            )
        numbers = [n for group in theirs for n in group["params"]]
        if not all(isinstance(number, int | str) for number in numbers):
            raise refusal("`params` in the groups of the state are neither numbers nor names")
        ours = {param for group in self.groups for param in group["params"]}
        if len(set(numbers)) != len(ours):
            raise refusal("the groups of the state list other parameters twice than the optimizer")

    def _group(self, i: int, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        knobs = self.recipe.hyperparameters
        missing = [k for k in (*knobs, "lr0", "total_steps", "mode") if k not in theirs]
        if missing:
            raise refusal(f"group {i} of the state lacks `{missing[0]}`")
        check_options(self.recipe, MomentumWord.of(self.recipe).key, theirs)
        group = {key: plain(copy.deepcopy(value)) for key, value in theirs.items()}
        for name, knob in knobs.items():
            value = group[name]
            if isinstance(value, str) and name != "lr":
                self.recipe.with_overrides({name: value})
            elif not is_number(value):
                what = f"`{name}` of group {i} is {value!r}, where {knob.default} is usual"
                raise refusal(what, "a hyperparameter is a finite number, or an expression")
        if not is_number(group["lr0"]):
            raise refusal(f"`lr0` of group {i} is {group['lr0']!r}, not a number")
        if group["mode"] not in [view.name for view in self.their_recipe.program().views]:
            raise refusal(f"`mode` of group {i} is {group['mode']!r}, which is not a view")
        self._check_rules(i, ours, group)
        self._take_horizon(i, ours, group)
        word = MomentumWord.of(self.recipe)
        for key in ("maximize", "capturable", word.key):  # older states lack them
            group.setdefault(key, ours.get(key))
        if word.names:
            group[word.key] = word.default(group)
        group["params"] = ours["params"]
        if "param_names" in ours:
            group.setdefault("param_names", ours["param_names"])
        group["observers"] = list(self.recipe.spec.observers)
        group["program"] = self.recipe.program_digest
        return group

    def _check_rules(self, i: int, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
        """Raise InputError where parameters took other rules of a recipe with routes."""
        here, there = ours.get(RULES), theirs.get(RULES)
        if here is None or here == there:
            return
        if not isinstance(there, list | tuple) or len(there) != len(here):
            raise refusal(f"group {i} of the state lacks `{RULES}`, a rule for each parameter")
        first = next(k for k, pair in enumerate(zip(here, there)) if pair[0] != pair[1])
        name = (ours.get("param_names") or {first: f"parameter {first}"})[first]
        raise refusal(
            f"`{name}` in group {i} took the rule `{there[first]}` of {self.recipe.name} when the "
            f"state was saved, and takes `{here[first]}` now",
            "build the optimizer from what it was built from then: a model tells more of kinds "
            "than names do, and bare parameters tell only their rank",
        )

    def _take_horizon(self, i: int, ours: Mapping[str, Any], group: dict[str, Any]) -> None:
        here, there = ours["total_steps"], group["total_steps"]
        is_count = isinstance(there, int | float) and not isinstance(there, bool) and there >= 1
        if there is not None and not is_count:
            raise refusal(f"`total_steps` of group {i} is {there!r}, not a number of steps")
        if there is None:
            group["total_steps"] = here
        elif here is not None and here != there:
            self.warnings.append(
                f"group {i} goes on with total_steps={there}, which the state says, not {here}, "
                f"which it was built with; to change it: param_groups[{i}]['total_steps'] = {here}"
            )

    # ------------------------------------------------------------------ entries

    def _pairs(self) -> Iterator[_Pair]:
        for group, theirs in zip(self.param_groups, self.saved["param_groups"]):
            labels = group.get(RULES) or [HERE] * len(group["params"])
            for param, number, label in zip(group["params"], theirs["params"], labels):
                yield _Pair(group, number, param, label)

    def _read_entries(self) -> None:
        entries: Mapping[Any, Any] = self.saved["state"]
        pairs = list(self._pairs())
        numbers = {pair.number for pair in pairs}
        for key, value in entries.items():
            if key in numbers:
                continue
            is_text = isinstance(key, str) and key.isdecimal()
            if is_text or isinstance(key, int):
                hint = "JSON made text of the keys: int(key) turns them back" if is_text else None
                raise refusal(f"the state has an entry {key!r}, which no group lists", hint)
            self.state[key] = copy.deepcopy(value)
        self._check_missing([(p.number, p.param) for p in pairs if not entries.get(p.number)])
        programs: dict[tuple[int, str], tuple[Program, Program]] = {}
        for pair in pairs:
            number, param, label = pair.number, pair.param, pair.label
            if entries.get(number):
                ours = self.recipe.at(label)
                if pair.key not in programs:  # the groups live as long as this loop
                    theirs = _program(self.their_recipe.at(label), pair.group)
                    programs[pair.key] = (theirs, _program(ours, pair.group))
                precision = self.precision.of_rule(ours.state_dtypes)
                entry = _Entry(entries[number], param, f"parameter {number}", precision)
                self.state[param] = entry.read(*programs[pair.key])
        self._check_views(pairs, {key: ours for key, (_, ours) in programs.items()})

    def _check_views(
        self, pairs: Sequence[_Pair], programs: Mapping[tuple[int, str], Program]
    ) -> None:
        """See to it that every parameter that holds a view finds back to its training point.

        Raises InputError where that point is missing and cannot be computed.
        """
        lost = 0
        for pair in pairs:
            group, number, param = pair.group, pair.number, pair.param
            entry = self.state.get(param, {})
            if SHOWN in entry:
                group["mode"] = "eval" if group["mode"] == "train" else group["mode"]
                continue
            program, mode = programs.get(pair.key), group["mode"]
            with on_the_host():
                is_new = not float(entry.get(STEP, 0))
            if program is None or is_new:
                continue
            view = next((v.expr for v in program.views if v.name == mode), None)
            if view == program.view("train").expr:
                continue
            if view is None or not is_offset(view):
                raise refusal(
                    f"the state was saved while `{mode}` was shown, and the training point of "
                    f"parameter {number} is missing",
                    f"without its `{SHOWN}` the run cannot go on where it was",
                )
            place = next(i for i, p in enumerate(group["params"]) if p is param)
            group.setdefault(WITHOUT_POINT, []).append(place)
            lost += 1
        if lost:
            self.warnings.append(
                f"the state was saved while a view was shown, without the training point of {lost} "
                "parameters: train() computes it from the weights that are shown, to rounding"
            )

    def _check_missing(self, missing: Sequence[tuple[Any, Tensor]]) -> None:
        """Raise InputError where state is missing that a parameter had."""
        idle = self.known.get("idle", 0)
        if isinstance(idle, int) and len(missing) <= idle:
            return
        for number, param in missing:
            if param.requires_grad:
                raise refusal(
                    f"the state of parameter {number} is missing",
                    "a parameter whose state may begin anew is frozen while the rest is loaded",
                )


@dataclass
class _Entry:
    """What a state says of one parameter, to be copied for it."""

    saved: Mapping[str, Any]
    param: Tensor
    of: str
    precision: Precision

    def read(self, theirs: Program, ours: Program) -> dict[str, Any]:
        """Return a copy, checked against the program it was saved by, for the one of ours."""
        if not isinstance(self.saved, Mapping):
            raise refusal(f"the state of {self.of} is {type(self.saved).__name__}, not a mapping")
        numbers = {STEP, *(s.name for s in (*theirs.scalar_states, *ours.scalar_states))}
        buffers = {s.name: s.shape for s in (*theirs.tensor_states, *ours.tensor_states)}
        with on_the_host():
            entry: dict[str, Any] = {
                name: scalar(read_number(value, name, self.of))
                for name, value in self.saved.items()
                if name in numbers
            }
            t = float(entry[STEP]) if STEP in entry else None
        others = {name: value for name, value in self.saved.items() if name not in numbers}
        for name, value in others.items():
            if name in buffers or name in (MASTER, COMPENSATION, SHOWN):
                entry[name] = self._tensor(name, value, buffers.get(name, FULL))
            else:
                entry[name] = copy.deepcopy(value)
        if t != 0:
            self._check_whole(entry, theirs)
        for name in {s.name for s in theirs.states} - {s.name for s in ours.states}:
            entry.pop(name, None)  # an observer's, which is said
        if t and not is_lazy(self.param):
            known = {s.name for s in theirs.states}
            self._begin([s for s in ours.states if s.name not in known], ours, entry)
        is_narrow = self.param.dtype != arithmetic(self.param.dtype)
        if is_narrow and not is_lazy(self.param) and not self.param.is_meta:
            self.precision.settle(entry, self.param)
        return entry

    def _check_whole(self, entry: Mapping[str, Any], program: Program) -> None:
        for name in (*scalar_names(program), *(s.name for s in program.tensor_states)):
            if name not in entry:
                raise refusal(f"the state of {self.of} lacks `{name}`")

    def _begin(self, states: Sequence[State], program: Program, entry: dict[str, Any]) -> None:
        """Let observers that are new start at the parameter as it is."""
        for state in states:
            if state.sort == "scalar":
                entry[state.name] = scalar(initial_memory(program, FloatDomain())[state.name])
            else:
                dtype = self.precision.buffer_dtype(state.name, self.param)
                entry[state.name] = filled(state.shape, self.param, 0.0, dtype)

    def _tensor(self, name: str, value: Any, shape: Shape) -> Tensor:
        if is_lazy(self.param) or self.param.is_meta:  # its place is not known yet
            if not isinstance(value, Tensor):
                raise refusal(f"`{name}` of {self.of} is {type(value).__name__}, not a tensor")
            return value.detach().clone()
        dtype = None if shape is None else self.precision.buffer_dtype(name, self.param)
        if isinstance(value, Tensor) and (value.is_complex() or not value.is_floating_point()):
            raise refusal(f"`{name}` of {self.of} has dtype {value.dtype}, not real numbers")
        return placed(value, self.param, dtype, name, self.of, shape).detach().clone()


def _program(recipe: Recipe, group: Mapping[str, Any]) -> Program:
    values = {
        name: value if isinstance(value := group[name], str) else float(value)
        for name in recipe.hyperparameters
        if name != "lr"
    }
    program = recipe.program(**values)
    zeros = [hyper.name for hyper in program.hypers if values.get(hyper.name) == 0]
    return specialise(program, zeros)


def is_offset(view: Expr) -> bool:
    """Return whether a view is the parameter plus something that does not depend on it."""
    if view == PARAM:
        return True
    if not isinstance(view, Call) or view.op not in ("add", "sub"):
        return False
    a, b = view.args
    rests = [b] if view.op == "sub" else [a, b]
    return any(
        is_offset(a if rest is b else b) and PARAM not in set(names_in(rest)) for rest in rests
    )


def _views_in(text: Any) -> list[str]:
    """Return the names of the views that the text of a program lists."""
    lines = text.splitlines() if isinstance(text, str) else []
    begin = next((i for i, line in enumerate(lines) if line.startswith("  views")), len(lines))
    return [line[11:].partition(" := ")[0].strip() for line in lines[begin:]]


def _difference(theirs: str | None, ours: str) -> str | None:
    if not isinstance(theirs, str):
        return None
    lines = difflib.unified_diff(
        theirs.splitlines(), ours.splitlines(), "saved", "this recipe", lineterm="", n=0
    )
    return "the programs differ:\n" + "\n".join(f"    {line}" for line in lines)
