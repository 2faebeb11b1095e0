"""Optimizer classes of other people: loaded from a file or a package, given a recipe's settings.

Loading a file runs it. Nothing here is ever reached from a recipe: the name of the class comes from
the command line or from Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.recipe.recipe import Recipe

ALIASES = {"momentum": ("beta",), "mu": ("momentum",), "beta": ("momentum",), "alpha": ("rho",)}
"""Names of an argument that a recipe may call otherwise."""
MODULE_NAME = "optzoo_verified_file"


def load_class(text: str) -> type[torch.optim.Optimizer]:
    """Return the class that `FILE.py:CLASS` or `module:CLASS` names. Runs the file or module.

    Raises InputError where there is none, or where loading it fails.
    """
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        hint = "write `--against my_optimizer.py:MyAdam` or `--against torch.optim:AdamW`"
        raise InputError(Diagnostic("bad-value", f"`{text}` names no class", hint=hint))
    module = _load(place)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [n for n, v in vars(module).items() if isinstance(v, type)]
        hint = did_you_mean(name, classes, what="classes")
        raise InputError(Diagnostic("unknown-name", f"{place} has no class `{name}`", hint=hint))
    return found


def _load(place: str) -> Any:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        if not Path(place).is_file():
            raise InputError(Diagnostic("no-file", f"there is no file `{place}`"))
        spec = importlib.util.spec_from_file_location(MODULE_NAME, place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[MODULE_NAME] = module  # dataclasses and pickle look it up there
        sys.path.insert(0, str(Path(place).resolve().parent))  # as Python does for a script
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
    except InputError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failure(f"{place} cannot be loaded", error) from None
    return module


def _failure(what: str, error: BaseException, hint: str | None = None) -> InputError:
    lines = str(error).strip().splitlines() or [""]
    message = f"{what}: {type(error).__name__}: {lines[0][:300]}"
    return InputError(Diagnostic("class-failed", message, hint=hint))


@dataclass(frozen=True)
class Arguments:
    """What a class is given: `own` by its user, and `mapped` from hyperparameters of the recipe.

    `mapped` holds the names of the hyperparameters of each argument; `unmapped` are those that no
    argument takes. `whole` are arguments whose default is an integer.
    """

    own: Mapping[str, Any]
    mapped: Mapping[str, tuple[str, ...]]
    unmapped: tuple[str, ...]
    whole: frozenset[str] = frozenset()

    def values(self, settings: Mapping[str, float]) -> dict[str, Any]:
        """Return the keyword arguments at some settings of the recipe."""
        found: dict[str, Any] = {}
        for argument, names in self.mapped.items():
            numbers = tuple(settings[n] for n in names)
            if argument in self.whole and all(number == int(number) for number in numbers):
                numbers = tuple(map(int, numbers))
            found[argument] = numbers[0] if len(numbers) == 1 else numbers
        return {**found, **self.own}


def map_arguments(
    cls: type[Any], recipe: Recipe, given: Mapping[str, str | Any], constants: Mapping[str, Any]
) -> Arguments:
    """Return which hyperparameters of the recipe each argument of the class takes.

    `given` are names of hyperparameters by argument, `a` or `a,b`; `constants` are values. What is
    in neither is found by its name: the same one, `betas` from beta1, beta2 and so on.
    """
    knobs = recipe.hyperparameters
    parameters = _parameters(cls)
    mapped: dict[str, tuple[str, ...]] = {}
    for argument, names in given.items():
        mapped[argument] = tuple(name.strip() for name in str(names).split(","))
    for argument, default in parameters.items():
        if argument in mapped or argument in constants:
            continue
        names = _names_of(argument, default, list(knobs))
        if names:
            mapped[argument] = names
    unknown = sorted({*mapped, *constants} - {*parameters})
    if unknown and not _takes_anything(cls):
        message = f"{cls.__name__} has no argument `{unknown[0]}`"
        hint = did_you_mean(unknown[0], list(parameters), what="arguments")
        raise InputError(Diagnostic("unknown-name", message, hint=hint))
    used = {name for names in mapped.values() for name in names}
    unmapped = tuple(n for n in knobs if n not in used)
    whole = {n for n, v in parameters.items() if type(v) is int and n not in ("lr", "weight_decay")}
    return Arguments(dict(constants), mapped, unmapped, frozenset(whole))


def _parameters(cls: type[Any]) -> dict[str, Any]:
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError) as error:
        raise _failure(f"the arguments of {cls.__name__} cannot be read", error) from None
    named = [
        p
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    return {p.name: p.default for p in named[1:]}


def _takes_anything(cls: type[Any]) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _names_of(argument: str, default: Any, knobs: Sequence[str]) -> tuple[str, ...]:
    """Return the hyperparameters that an argument of a class takes, none where none is plain."""
    if argument in knobs:
        return (argument,)
    if argument.endswith("s") and isinstance(default, tuple):
        stem, count = argument[:-1], len(default)
        for first in (f"{stem}1", stem):
            names = (first, *(f"{stem}{i}" for i in range(2, count + 1)))
            if all(name in knobs for name in names):
                return names
    for alias in ALIASES.get(argument, ()):
        if alias in knobs:
            return (alias,)
    return ()


class Foreign:
    """An optimizer of such a class under way; what goes wrong in it is an InputError."""

    def __init__(self, cls: type[Any], params: list[Any], arguments: Mapping[str, Any]) -> None:
        self.name, self.steps = cls.__name__, 0
        self.wants_closure = False
        self.optimizer = self._try("cannot be made", lambda: cls(params, **arguments))
        if not isinstance(getattr(self.optimizer, "param_groups", None), list):
            message = f"{self.name} is no torch optimizer: it has no `param_groups`"
            raise InputError(Diagnostic("class-failed", message))
        self.switches = all(callable(getattr(self.optimizer, m, None)) for m in ("train", "eval"))
        if self.switches:
            self._try("fails in train()", self.optimizer.train)

    def _try(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except InputError:
            raise
        except Exception as error:
            raise _failure(f"{self.name} {what}", error) from None

    def step(self, lr: float) -> None:
        """Take a step with the gradients that the parameters have."""
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._try(f"fails at step {self.steps}", self._step)

    def _step(self) -> None:
        if not self.wants_closure:
            try:
                self.optimizer.step()
                return
            except (TypeError, RuntimeError, ValueError, AssertionError) as error:
                if "closure" not in str(error).lower():
                    raise
                self.wants_closure = True
        self.optimizer.step(lambda: torch.zeros((), requires_grad=True))

    def shown(self, read: Callable[[], Any]) -> Any:
        """Return what `read` sees at the evaluation point; back at the training point after."""
        self._try("fails in eval()", self.optimizer.eval)
        found = read()
        self._try("fails in train()", self.optimizer.train)
        return found
