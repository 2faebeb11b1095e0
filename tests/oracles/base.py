"""What every oracle has in common: names checked, a clock of its own, two readable points.

An oracle is one optimizer on one parameter tensor, in numpy float64, written from the optimizer's
paper or from the recurrence its authors' code computes. It imports nothing from optzoo and keeps
the textbook's own variables, so that agreement with a recipe is evidence. It is not fast and
stores whatever the source stores.

All that the tests of the zoo have to be told about a recipe stands on its oracle's class.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

Array = np.ndarray

ADAM = {"beta1": 0.85, "beta2": 0.93, "eps": 0.03, "weight_decay": 0.2}
"""Lively settings of whatever has the hyperparameters of Adam, beside lr."""

NORMALISED = {"lr": 0.03}
"""What a small classifier needs of a method whose divisor its recipe writes out."""


class Oracle:
    """Run one optimizer on one tensor; make the instance at the tensor's first gradient.

    `kind` is what a model says of the tensor: matrix, embedding, head, norm or bias. Left out, two
    and more axes are a matrix and anything else the gain of a norm.

    A class that says `recipe` is the oracle of the shipped recipe of that name, and registers
    itself in `ORACLES`. `recipe` is never inherited; the other attributes are, so that a variant
    says only what is new.
    """

    recipe: ClassVar[str | None] = None

    defaults: ClassVar[dict[str, float]] = {}
    """Every hyperparameter except `lr`, with the value its authors ship.

    They are a record, never used to fill in: a missing or unknown name raises TypeError. `lr0` is
    no hyperparameter: an oracle that names it is told the learning rate at construction.
    """

    default_lr: ClassVar[float | None] = None
    """The learning rate that the authors ship.

    None where the recipe has no `lr`; then `lr` multiplies the whole displacement and must be 1.0
    here.
    """

    our_defaults: ClassVar[dict[str, float | str]] = {}
    """The recipe's default where it is not the authors'; a comment beside it says why."""

    lively: ClassVar[dict[str, float]] = {}
    """Settings at which each hyperparameter is visible within fifty steps, `lr` included.

    Defaults hide things: eps 1e-8, weight decay 0, alpha 0, schedules that never run. Here eps is
    large, decay is on, schedules end inside the run, and no two betas are equal, so that a
    comparison sees every coefficient. `lr` is the learning rate at construction; recipes without
    one hold it at 1.
    """

    further: ClassVar[dict[str, float]] = {}
    """Changes to `lively` under which what it hides comes to light."""

    idle: ClassVar[tuple[str, ...]] = ()
    """Hyperparameters without effect at `lively`: the source is read as it is printed."""

    learns_at: ClassVar[dict[str, float]] = {}
    """What a small classifier needs to learn in sixty steps, where 0.3 as lr (or 0.2 as eta; 0.03
    as lr where gradients are normalised) does not suit the method.
    """

    shape: ClassVar[tuple[int, ...]] = (40,)
    """A tensor on which all its hyperparameters act: a matrix where vectors follow another rule."""

    drift: ClassVar[float] = 0.0
    """What is added to random gradients, for a method that measures its own progress."""

    has_clock: ClassVar[bool] = True
    """Whether a step depends on how many went before: debiasing, schedules, first-step rules."""

    reads_total_steps: ClassVar[bool] = False
    """Whether a step depends on the length of the run."""

    moves_at_lr_zero: ClassVar[bool] = False
    """Whether something moves the parameters that lr does not multiply."""

    has_closed_form: ClassVar[bool] = True
    """Whether what a gradient weighs is a formula in the hyperparameters at every step."""

    starts_silent: ClassVar[bool] = False
    """Whether the first gradients move nothing, then or later."""

    def __init_subclass__(cls) -> None:
        name = vars(cls).get("recipe")
        if name is None:
            return
        if name in ORACLES:
            raise TypeError(
                f"{cls.__name__} and {ORACLES[name].__name__} both say recipe = {name!r}"
            )
        ORACLES[name] = cls

    @classmethod
    def hyperparameters(cls) -> set[str]:
        """Return the names that the recipe's hyperparameters must have, `lr` included."""
        return set(cls.defaults) - {"lr0"} | ({"lr"} if cls.default_lr is not None else set())

    def __init__(
        self, w0: Array, total_steps: int, kind: str | None = None, **hyperparameters: float
    ) -> None:
        if set(hyperparameters) != set(self.defaults):
            wrong = sorted(set(hyperparameters) ^ set(self.defaults))
            raise TypeError(f"{type(self).__name__}: missing or unknown hyperparameters {wrong}")
        self.w0 = np.array(w0, dtype=np.float64)
        self.total_steps = total_steps
        self.kind = kind or ("matrix" if self.w0.ndim > 1 else "norm")
        self.t = 0  # 1 during the first call of step
        self.h = SimpleNamespace(**hyperparameters)
        self.begin(self.w0)

    def step(self, grad: Array, lr: float) -> None:
        """Take the gradient at `train_point()` and move."""
        if self.default_lr is None:
            assert lr == 1.0, f"{type(self).__name__} has no learning rate: hold lr at 1.0"
        self.t += 1
        self.update(np.array(grad, dtype=np.float64), float(lr))

    @classmethod
    def step_together(cls, oracles: Sequence[Oracle], grads: Sequence[Array], lr: float) -> None:
        """Step the oracles of all tensors that have a gradient; numbers may be of all of them."""
        for oracle, grad in zip(oracles, grads, strict=True):
            oracle.step(grad, lr)

    def begin(self, w0: Array) -> None:
        """Set the variables before the first gradient."""
        raise NotImplementedError

    def update(self, g: Array, lr: float) -> None:
        """Do step number `self.t`."""
        raise NotImplementedError

    def train_point(self) -> Array:
        """Return where the next gradient is taken: what the parameter tensor holds."""
        return self.w

    def eval_point(self) -> Array:
        """Return the point that is evaluated."""
        return self.train_point()


ORACLES: dict[str, type[Oracle]] = {}
"""The oracle of each shipped recipe by its name, whichever modules have been imported."""


def make_oracle(
    name: str, w0: Array, total_steps: int, kind: str | None = None, **settings: float
) -> Oracle:
    """Build the oracle of recipe `name` from all hyperparameters of the recipe, `lr` included.

    `lr` is the learning rate at construction: it becomes `lr0` where the oracle asks for that, and
    is otherwise only given step by step.
    """
    oracle = ORACLES[name]
    hyperparameters = {key: value for key, value in settings.items() if key != "lr"}
    if "lr0" in oracle.defaults:
        hyperparameters["lr0"] = settings["lr"]
    return oracle(w0, total_steps, kind, **hyperparameters)


def half_life_linear(t: int, start: float, end: float, warmup: float) -> float:
    """Return the decay whose half-life moves linearly from that of `start` to that of `end`.

    apple/ml-ademamix @c3d73c0 `linear_hl_warmup_scheduler`, t counted from 1, without the 1e-8 it
    adds inside the logarithm: the half-life is ln(1/2)/ln(beta), so 1/ln(beta) is linear in t. A
    decay of 0 has half-life 0 (the limit), hence 1/ln(0) reads as 0.
    """
    if t >= warmup:
        return end
    a = t / warmup
    from_start = (1 - a) / log(start) if start > 0 else 0.0
    to_end = a / log(end) if end > 0 else 0.0
    inverse = from_start + to_end
    return exp(1 / inverse) if inverse < 0 else 0.0


def tail_weight(t: int, delta: float) -> float:
    """Return the weight of the newest iterate when the last `delta * t` iterates are averaged.

    Connections paper, Algorithm 3 line 7, read as c = max(0, 1 - 1/(delta t)): as printed delta
    would have no effect (optimizers.md, P2).
    """
    return min(1.0, 1.0 / (delta * t))
