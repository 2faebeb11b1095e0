"""Optimizers of other packages that stand for the same method as a recipe.

They are run at the recipe's hyperparameters. Some compute something slightly different (see
docs/zoo.md); for time alone that makes no difference.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import AdamW, Optimizer

from optzoo.errors import Diagnostic, InputError, did_you_mean
from optzoo.recipe.recipe import Recipe

MODULES = {
    "torch": "torch.optim",
    "schedulefree": "schedulefree",
    "pytorch-optimizer": "pytorch_optimizer",
    "lion-pytorch": "lion_pytorch",
    "torch-optimi": "optimi",
    "heavyball": "heavyball",
}
"""Packages by the name they are installed under, and the module with their optimizers."""

USUAL = tuple(name for name in MODULES if name != "heavyball")
"""Measured when nobody names packages. heavyball compiles for minutes, so it is asked for."""

Arguments = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Counterpart:
    """An optimizer of a package. `arguments` are its keywords with our names for their values."""

    recipe: str
    package: str
    optimizer: str
    arguments: Arguments
    fixed: Mapping[str, Any] = field(default_factory=dict)
    is_for_matrices: bool = False
    """Takes matrices alone: torch's fused AdamW takes the rest, as our routes have it."""

    @property
    def name(self) -> str:
        """What reports call it."""
        flags = [key for key in ("fused", "foreach", "nesterov") if self.fixed.get(key)]
        return " ".join([self.package, self.optimizer, *flags])

    def build(
        self, params: Sequence[Tensor], recipe: Recipe, total_steps: int
    ) -> Optimizer | SideBySide:
        """Return the optimizer at the recipe's hyperparameters, in training mode."""
        knobs = recipe.hyperparameters

        def value(name: str) -> float:
            default = knobs[name].default
            return float(total_steps) if isinstance(default, str) else default

        keywords: dict[str, Any] = {"lr": value("lr"), **self.fixed}
        for theirs, ours in self.arguments.items():
            keywords[theirs] = value(ours) if isinstance(ours, str) else tuple(map(value, ours))
        factory = getattr(importlib.import_module(MODULES[self.package]), self.optimizer)
        if self.is_for_matrices:
            others = [param for param in params if param.dim() != 2]
            matrices = factory([param for param in params if param.dim() == 2], **keywords)
            return SideBySide(matrices, AdamW(others, fused=True)) if others else matrices
        optimizer: Optimizer = factory(params, **keywords)
        start = getattr(optimizer, "train", None)
        if start is not None:
            start()
        return optimizer


class SideBySide:
    """Two optimizers, each of parameters of its own, that step together."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        self.optimizers = first, second

    @property
    def state(self) -> dict[Tensor, Any]:
        """The state of each parameter."""
        return {param: held for each in self.optimizers for param, held in each.state.items()}

    def step(self) -> None:
        """Take a step with both."""
        for each in self.optimizers:
            each.step()


_DECAY: Arguments = {"weight_decay": "weight_decay"}
_ADAM: Arguments = {"betas": ("beta1", "beta2"), "eps": "eps", **_DECAY}
_THREE: Arguments = {**_ADAM, "betas": ("beta1", "beta2", "beta3")}
_SIGN: Arguments = {"betas": ("beta1", "beta2"), **_DECAY}
_MOMENTUM: Arguments = {"momentum": "momentum", **_DECAY}
_FREE: Arguments = {"r": "r", "weight_lr_power": "weight_lr_power", **_DECAY}
_FREE_ADAM: Arguments = {"betas": ("beta", "beta2"), "eps": "eps", **_FREE}
_FREE_SGD: Arguments = {"momentum": "beta", **_FREE}
_FUSED, _FOREACH = {"fused": True}, {"foreach": True}
_KOZ = "pytorch-optimizer"

YARDSTICK = Counterpart("adamw", "torch", "AdamW", _ADAM, _FUSED)
"""What every engine is compared with: the rate at which it moves its own bytes."""

COUNTERPARTS = (
    YARDSTICK,
    Counterpart("adamw", "torch", "AdamW", _ADAM, _FOREACH),
    Counterpart("sgd", "torch", "SGD", _DECAY, _FUSED),
    Counterpart("sgd_momentum", "torch", "SGD", _MOMENTUM, _FUSED),
    Counterpart("sgd_nesterov", "torch", "SGD", _MOMENTUM, {"nesterov": True, **_FUSED}),
    Counterpart(
        *("nadam", "torch", "NAdam", {**_ADAM, "momentum_decay": "momentum_decay"}),
        {"decoupled_weight_decay": True, **_FOREACH},
    ),
    Counterpart(
        *("rmsprop", "torch", "RMSprop", {"alpha": "alpha", "eps": "eps", **_MOMENTUM}), _FOREACH
    ),
    Counterpart("adagrad", "torch", "Adagrad", {"eps": "eps", **_DECAY}, _FOREACH),
    Counterpart("muon", "torch", "Muon", {"momentum": "mu", **_DECAY}, is_for_matrices=True),
    Counterpart(
        *("adafactor", "torch", "Adafactor", {"d": "d", **_DECAY}),
        {"beta2_decay": -0.8, **_FOREACH},
    ),
    Counterpart(
        *("soap", _KOZ, "SOAP", {**_ADAM, "precondition_frequency": "frequency"}),
    ),
    Counterpart("schedule_free_adamw", "schedulefree", "AdamWScheduleFree", _FREE_ADAM),
    Counterpart("schedule_free_sgd", "schedulefree", "SGDScheduleFree", _FREE_SGD),
    Counterpart("schedule_free_radam", "schedulefree", "RAdamScheduleFree", _FREE_ADAM),
    Counterpart("schedule_free_adamw", _KOZ, "ScheduleFreeAdamW", _FREE_ADAM),
    Counterpart(
        *("ademamix", _KOZ, "AdEMAMix"),
        {**_THREE, "alpha": "alpha", "t_alpha_beta3": "warmup"},
        {"weight_decouple": True},
    ),
    Counterpart(
        *("simplified_ademamix", _KOZ, "SimplifiedAdEMAMix", {**_ADAM, "alpha": "alpha"}),
    ),
    Counterpart("mars", _KOZ, "MARS", {**_ADAM, "gamma": "gamma"}, {"optimize_1d": True}),
    Counterpart("laprop", _KOZ, "LaProp", _ADAM),
    Counterpart("adan", _KOZ, "Adan", _THREE),
    Counterpart("adopt", _KOZ, "ADOPT", _ADAM),
    Counterpart("qhadam", _KOZ, "QHAdam", {**_ADAM, "nus": ("nu1", "nu2")}),
    Counterpart("qhm", _KOZ, "QHM", {"momentum": "beta", "nu": "nu"}),
    Counterpart("aggmo", _KOZ, "AggMo", {"betas": ("beta1", "beta2", "beta3")}),
    Counterpart("signum", _KOZ, "SignSGD", {"momentum": "beta", **_DECAY}),
    Counterpart("lion", _KOZ, "Lion", _SIGN),
    Counterpart("lion", "lion-pytorch", "Lion", _SIGN),
    Counterpart("lion", "torch-optimi", "Lion", _SIGN),
    Counterpart("adamw", "torch-optimi", "AdamW", _ADAM),
    Counterpart("adan", "torch-optimi", "Adan", _THREE),
    Counterpart("adamw", "heavyball", "AdamW", _ADAM),
    Counterpart("laprop", "heavyball", "LaProp", _ADAM),
    Counterpart("adopt", "heavyball", "ADOPT", _ADAM),
    Counterpart("schedule_free_adamw", "heavyball", "SFAdamW", _FREE_ADAM),
)


def check_packages(names: list[str]) -> None:
    """Raise InputError for a package that the table does not know."""
    for name in names:
        if name not in MODULES:
            hint = did_you_mean(name, MODULES, what="packages")
            message = f"`{name}` is not a package that optzoo can measure against"
            raise InputError(Diagnostic("unknown-name", message, hint=hint))


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(MODULES[package].partition(".")[0]) is not None


def version_of(package: str) -> str:
    """Return the installed version of a package."""
    return importlib.metadata.version(package)


def counterparts(recipe: str, packages: list[str]) -> list[Counterpart]:
    """Return what these packages have for a recipe."""
    return [c for c in COUNTERPARTS if c.recipe == recipe and c.package in packages]
