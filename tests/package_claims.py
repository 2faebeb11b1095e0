"""What is claimed of other people's optimizers: `RIGHT` agrees with the oracles, `WRONG` does not.

Tables and the side-by-side run behind test_packages.py and test_packages_wrong.py; documentation
may be generated from them. No optzoo here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from oracles import LIVELY, ORACLES
from oracles.base import Oracle
from oracles.variants import (
    MuonLargerOf,
    MuonMoonlightLargerOf,
    NorMuonLargerOf,
)

STEPS = 50
SHAPES = ((), (3,), (2, 3), (2, 2, 2, 2), (0, 3))
MATRICES = ((2, 3), (2, 2, 2, 2), (5, 4))
TWO_SIDED = ((4, 4), (5, 2), (2, 5), (1, 6), (6, 1))
LATE = 8  # the step at which a late parameter gets its first gradient
NO_EPS = 1e-300

Settings = dict[str, float]
Make = Callable[[object, list, Settings], torch.optim.Optimizer]


@dataclass(frozen=True)
class Agreement:
    """A recipe and the optimizer of a package that computes the same."""

    recipe: str
    package: str  # the import name
    optimizer: str
    arguments: Callable[[Settings], dict]
    changes: Settings = field(default_factory=dict)
    tolerance: float = 1e-12
    own_clocks: bool = False  # counts steps per parameter, so that late gradients agree too
    shapes: tuple[tuple[int, ...], ...] = SHAPES  # where it treats some tensors otherwise
    oracle: type[Oracle] | None = None  # where it reads one line in another way
    grouped: dict[str, object] = field(default_factory=dict)  # what a group of it must say

    def __str__(self) -> str:
        return f"{self.recipe}-{self.package}.{self.optimizer}"

    def make(self, params: list, settings: Settings) -> torch.optim.Optimizer:
        module = importlib.import_module(self.package)
        groups = [{"params": params, **self.grouped}] if self.grouped else params
        return getattr(module, self.optimizer)(
            groups, lr=settings["lr"], **self.arguments(settings)
        )


def renamed(**names: str) -> Callable[[Settings], dict]:
    """Pass hyperparameters on under the package's names; `betas` gathers a comma list."""

    def arguments(s: Settings) -> dict:
        keywords = {}
        for theirs, ours in names.items():
            values = tuple(s[key] for key in ours.split(","))
            keywords[theirs] = values if "," in ours else values[0]
        return keywords

    return arguments


def fixed(arguments: Callable[[Settings], dict], **constants: object) -> Callable[[Settings], dict]:
    return lambda s: {**arguments(s), **constants}


DECAY = {"weight_decay": "weight_decay"}
ADAM = {"betas": "beta1,beta2", "eps": "eps", **DECAY}
THREE = {**ADAM, "betas": "beta1,beta2,beta3"}
FREE = {"r": "r", "weight_lr_power": "weight_lr_power", **DECAY}
FREE_SGD = {"momentum": "beta", **FREE}
FREE_ADAM = {"betas": "beta,beta2", "eps": "eps", **FREE}
MOMENTUM = {"momentum": "momentum", **DECAY}
SIGN = {"betas": "beta1,beta2", **DECAY}
ROOT = {"alpha": "alpha", "eps": "eps", **MOMENTUM}
CLOCK = {"own_clocks": True}
TORCH = "torch.optim"
KOZ = "pytorch_optimizer"
MARS_LION = fixed(
    lambda s: {"betas": (s["beta1"], 0.9), "gamma": s["gamma"], "weight_decay": s["weight_decay"]},
    mars_type="lion",
    optimize_1d=True,
)


def factored(s: Settings) -> dict:
    return {
        "beta2_decay": -s["decay"],
        "eps": (s["eps1"], s["eps2"]),
        "d": s["d"],
        "weight_decay": s["weight_decay"],
    }


def roots(s: Settings) -> dict:
    return {"matrix_eps": s["eps"], "preconditioning_compute_steps": int(s["every"])}


PRODIGY = renamed(**ADAM, d0="d0", growth_rate="growth")

RIGHT = [
    Agreement("sgd", TORCH, "SGD", renamed(**DECAY), **CLOCK),
    Agreement("sgd_momentum", TORCH, "SGD", renamed(**MOMENTUM, dampening="dampening"), **CLOCK),
    Agreement("sgd_nesterov", TORCH, "SGD", fixed(renamed(**MOMENTUM), nesterov=True), **CLOCK),
    Agreement("adamw", TORCH, "AdamW", renamed(**ADAM), **CLOCK),
    Agreement(
        *("nadamw", TORCH, "NAdam"),
        fixed(renamed(**ADAM, momentum_decay="momentum_decay"), decoupled_weight_decay=True),
        **CLOCK,
    ),
    Agreement("rmsprop", TORCH, "RMSprop", renamed(**ROOT), **CLOCK),
    Agreement(
        "adagrad", TORCH, "Adagrad", renamed(lr_decay="lr_decay", eps="eps", **DECAY), **CLOCK
    ),
    Agreement("schedule_free_sgd", "schedulefree", "SGDScheduleFree", renamed(**FREE_SGD)),
    Agreement("schedule_free_adamw", "schedulefree", "AdamWScheduleFree", renamed(**FREE_ADAM)),
    Agreement(
        *("schedule_free_adamw", "schedulefree", "AdamWScheduleFreeReference"),
        renamed(**FREE_ADAM),
    ),
    Agreement(
        *("schedule_free_adamw_paper", "schedulefree", "AdamWScheduleFreePaper"),
        renamed(**FREE_ADAM),
    ),
    Agreement("schedule_free_radam", "schedulefree", "RAdamScheduleFree", renamed(**FREE_ADAM)),
    Agreement("schedule_free_sgd", KOZ, "ScheduleFreeSGD", fixed(renamed(**FREE_SGD), eps=0.0)),
    Agreement("schedule_free_adamw", KOZ, "ScheduleFreeAdamW", renamed(**FREE_ADAM)),
    Agreement("schedule_free_radam", KOZ, "ScheduleFreeRAdam", renamed(**FREE_ADAM)),
    Agreement(
        *("ademamix", KOZ, "AdEMAMix"),
        fixed(renamed(**THREE, alpha="alpha", t_alpha_beta3="warmup"), weight_decouple=True),
    ),
    Agreement("adan", KOZ, "Adan", renamed(**THREE)),
    Agreement("adan", "optimi", "Adan", fixed(renamed(**THREE), foreach=False)),
    Agreement("lion", KOZ, "Lion", renamed(**SIGN)),
    Agreement("lion", "lion_pytorch", "Lion", renamed(**SIGN), **CLOCK),
    Agreement("lion", "optimi", "Lion", fixed(renamed(**SIGN), foreach=False), **CLOCK),
    Agreement("signum", KOZ, "SignSGD", renamed(momentum="beta", **DECAY)),
    Agreement("qhm", KOZ, "QHM", renamed(momentum="beta", nu="nu")),
    Agreement(
        *("qhadam", KOZ, "QHAdam", renamed(**ADAM, nus="nu1,nu2")),
        changes={"lr": 1e-3},
        tolerance=1e-9,  # its debiasing weights are float32: see test_qhadam_...
    ),
    Agreement("aggmo", KOZ, "AggMo", renamed(betas="beta1,beta2,beta3")),
    Agreement("accsgd", KOZ, "AccSGD", renamed(kappa="kappa", xi="xi", constant="small_const")),
    Agreement("mars_lion", KOZ, "MARS", MARS_LION),
    Agreement("amsgrad", TORCH, "AdamW", fixed(renamed(**ADAM), amsgrad=True), **CLOCK),
    Agreement("adamax", TORCH, "Adamax", renamed(**ADAM), **CLOCK),
    Agreement("adadelta", TORCH, "Adadelta", renamed(rho="rho", eps="eps", **DECAY), **CLOCK),
    Agreement("radam", TORCH, "RAdam", renamed(**ADAM), **CLOCK),
    Agreement("adamax", KOZ, "AdaMax", fixed(renamed(**ADAM), weight_decouple=False)),
    Agreement(
        *("adadelta", KOZ, "AdaDelta"),
        fixed(renamed(rho="rho", eps="eps", **DECAY), weight_decouple=False),
    ),
    Agreement("yogi", KOZ, "Yogi", renamed(**ADAM)),
    Agreement("adabelief", KOZ, "AdaBelief", renamed(**ADAM)),
    Agreement("grams", KOZ, "Grams", renamed(**ADAM)),
    Agreement("stableadamw", KOZ, "StableAdamW", renamed(**ADAM)),
    Agreement("stableadamw", "optimi", "StableAdamW", fixed(renamed(**ADAM), foreach=False)),
    Agreement("novograd", KOZ, "NovoGrad", renamed(**ADAM), **CLOCK),
    Agreement(
        *("lars", KOZ, "LARS", renamed(**MOMENTUM, trust_coefficient="trust_coefficient")),
        shapes=MATRICES,  # it leaves vectors and numbers alone
    ),
    Agreement(
        *("muon", TORCH, "Muon", renamed(momentum="mu", **DECAY)),
        **CLOCK,
        shapes=TWO_SIDED,
        oracle=MuonLargerOf,
    ),
    Agreement(
        *("muon_moonlight", TORCH, "Muon"),
        fixed(renamed(momentum="mu", **DECAY), adjust_lr_fn="match_rms_adamw"),
        **CLOCK,
        shapes=TWO_SIDED,
        oracle=MuonMoonlightLargerOf,
    ),
    Agreement("adafactor", TORCH, "Adafactor", factored, **CLOCK, shapes=(*TWO_SIDED, (3,), ())),
    Agreement(
        *("normuon", KOZ, "NorMuon"),
        fixed(renamed(momentum="mu", beta2="beta2", **DECAY), eps=1e-10),
        shapes=TWO_SIDED,
        oracle=NorMuonLargerOf,
        grouped={"use_muon": True},
    ),
    Agreement("shampoo", KOZ, "Shampoo", roots, shapes=TWO_SIDED),
    Agreement("shampoo", KOZ, "Shampoo", roots, {"every": 1.0, "eps": 1e-6}, shapes=TWO_SIDED),
    Agreement("madgrad", KOZ, "MADGRAD", renamed(eps="eps", **MOMENTUM)),
    Agreement("madgrad", "madgrad", "MADGRAD", renamed(eps="eps", **MOMENTUM)),
    Agreement(
        *("sgd_sai", KOZ, "SGDSaI", renamed(eps="eps", **MOMENTUM), {"momentum": 0.0}),
        shapes=((2, 3), (5, 4)),  # vectors have no deviation there; its average starts at 0
    ),
    Agreement(
        *("adam_atan2", "adam_atan2_pytorch", "AdamAtan2"),
        renamed(betas="beta1,beta2", a="a", b="b", **DECAY),
        **CLOCK,
    ),
    Agreement("prodigy", "prodigyopt", "Prodigy", PRODIGY),
    Agreement("prodigy", "prodigyopt", "Prodigy", PRODIGY, {"growth": math.inf}),
]


def learning_rate(start: float, step: int) -> float:
    """Return a schedule that rises and falls; plain floats, as torch's schedulers give."""
    return float(start * (0.4 + math.sin(math.pi * step / STEPS)))


def in_mode(optimizer: torch.optim.Optimizer, mode: str) -> bool:
    """Switch a Schedule-Free optimizer to `train` or `eval`; say whether there was a switch."""
    switch = getattr(optimizer, mode, None)
    if switch is not None:
        switch()
    return switch is not None


@contextmanager
def widened() -> Iterator[None]:
    """Let what packages cast to bfloat16 or float32 stay float64: algebra is compared."""
    kept = {name: getattr(torch.Tensor, name) for name in ("bfloat16", "float", "to")}
    narrow = (torch.bfloat16, torch.float32)

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        args = tuple(torch.float64 if arg in narrow else arg for arg in args)
        if kwargs.get("dtype") in narrow:
            kwargs["dtype"] = torch.float64
        return kept["to"](tensor, *args, **kwargs)

    torch.Tensor.bfloat16 = torch.Tensor.clone  # a copy, as it is from float32: callers divide it
    torch.Tensor.float = lambda tensor: tensor
    torch.Tensor.to = to
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(torch.Tensor, name, method)


def largest_difference(
    recipe: str,
    make: Callable[[list, Settings], torch.optim.Optimizer],
    changes: Settings | None = None,
    steps: int = STEPS,
    late: bool = False,
    before_step: Callable[[torch.optim.Optimizer, int], None] = lambda optimizer, t: None,
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    oracle: type[Oracle] | None = None,
    kind: str | None = None,
) -> float:
    """Run package and oracles side by side; return the largest difference of any element.

    Includes the evaluation point at the end where the package has one, and infinity for NaN.
    """
    rng = np.random.default_rng(0)
    settings = {**LIVELY[recipe], **(changes or {})}
    own = {key: value for key, value in settings.items() if key != "lr"}
    oracle = ORACLES[recipe] if oracle is None else oracle
    own |= {"lr0": settings["lr"]} if "lr0" in oracle.defaults else {}
    starts = [np.asarray(rng.normal(size=shape)) for shape in shapes]
    drifts = [oracle.drift * np.ones(shape) for shape in shapes]
    params = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    oracles = [oracle(start, STEPS, kind, **own) for start in starts]
    optimizer = make(params, settings)
    in_mode(optimizer, "train")
    worst = 0.0
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(settings["lr"], t)
        present = [i for i in range(len(params)) if not (late and i in (1, 2) and t < LATE)]
        gradients = [
            np.asarray(rng.normal(size=shapes[i]) * (0.05 if t % 7 == 0 else 1.0) + drifts[i])
            for i in present
        ]
        for i, gradient in zip(present, gradients, strict=True):
            params[i].grad = torch.from_numpy(gradient.copy())
        oracle.step_together(
            [oracles[i] for i in present], gradients, learning_rate(settings["lr"], t)
        )
        before_step(optimizer, t)
        optimizer.step()
        worst = max(worst, largest_gap(params, [one.train_point() for one in oracles]))
    if in_mode(optimizer, "eval"):
        worst = max(worst, largest_gap(params, [one.eval_point() for one in oracles]))
    return worst


def largest_gap(params: list, points: list) -> float:
    gaps = [
        np.abs(param.detach().numpy() - point).max()
        for param, point in zip(params, points, strict=True)
        if point.size
    ]
    return float("inf") if np.isnan(gaps).any() else float(max(gaps))


@dataclass(frozen=True)
class Disagreement:
    """A claim about one release of a package; the key is optimizers.md section 18's."""

    package: str  # the distribution's name
    version: str
    claim: str


WRONG = {
    "K1": Disagreement(
        *(KOZ, "4.1.0"),
        "SimplifiedAdEMAMix keeps an EMA where Algorithm 2 sums, and divides by the root of the "
        "debias sum where the authors multiply: 0.2 of the first update, 0.01 of the steady state",
    ),
    "K2": Disagreement(
        *(KOZ, "4.1.0"), "AdEMAMix couples weight decay by default and cannot start from beta1 = 0"
    ),
    "K3": Disagreement(
        *(KOZ, "4.1.0"), "ADOPT clips at (s+1)^(1/4) and decays weights at the skipped first step"
    ),
    "K4": Disagreement(
        *(KOZ, "4.1.0"), "ScheduleFreeAdamW takes steps in evaluation mode without a word"
    ),
    "K5": Disagreement(*(KOZ, "4.1.0"), "MARS adds eps before debiasing the root"),
    "K6": Disagreement(
        *(KOZ, "4.1.0"), "LaProp adds eps before debiasing the root and multiplies the decay by lr"
    ),
    "K9": Disagreement(
        *(KOZ, "4.1.0"), "GrokFastAdamW divides by max(root, eps) where AdamW adds eps"
    ),
    "K10": Disagreement(
        *(KOZ, "4.1.0"),
        "Lamb does not debias the second moment and takes the norm of a parameter as 10 at most",
    ),
    "F1": Disagreement(
        *("schedulefree", "1.4.1"), "a first step with a zero tensor lr makes the weights NaN"
    ),
    "F2": Disagreement(
        *("schedulefree", "1.4.1"), "eval() divides by beta, so beta = 0 cannot be evaluated"
    ),
    "F3": Disagreement(*("schedulefree", "1.4.1"), "the gradient is overwritten by step()"),
    "F4": Disagreement(
        *("schedulefree", "1.4.1"), "ScheduleFreeWrapper fails if the first step has lr = 0"
    ),
    "F5": Disagreement(
        *("schedulefree", "1.4.1"),
        "RAdamScheduleFree with a numpy lr makes the weights NaN in its silent phase",
    ),
    "C1": Disagreement(
        *("schedulefree", "1.4.1"),
        "clocks are kept per group: a parameter whose first gradient comes at step 1001 starts "
        "with an update of 2.5 lr",
    ),
    "C2": Disagreement(
        *(KOZ, "4.1.0"), "the same for AdEMAMix, 2.5 lr at alpha 0, and LaProp, 25.2 lr"
    ),
    "H1": Disagreement(
        *("heavyball", "3.2.1"),
        "MARS takes its two arguments in the wrong order: beta gamma/(1-gamma) for "
        "gamma beta/(1-beta), and there is no clip",
    ),
    "H2": Disagreement(*("heavyball", "3.2.1"), "LaProp ignores eps"),
    "H3": Disagreement(*("heavyball", "3.2.1"), "SFAdamW: a first step with lr = 0 gives NaN"),
    "H4": Disagreement(
        *("heavyball", "3.2.1"), "ADOPT is off by more than the distance the official one moves"
    ),
}
