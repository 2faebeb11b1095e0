"""The accelerated SGD nearest to a recipe: the same slow momentum and the same total weight.

Read off the impulse response at the end of the schedules, the weight that a gradient has in the
step it came in and in all later ones: the slow decay from its tail, the learning rate from the
tail's height, and the weight of the current gradient from what is left. Where the recipe has one
momentum of constant decay this is exact. It is written with the hyperparameters of any recipe that
has one for each: m := decay m + g, step lr (m + weight g).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import LinearDomain, NotLinearError, run_linear
from optzoo.program.arithmetic import NotRealError, RealDomain
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.ir import Program
from optzoo.recipe.recipe import Recipe

LAGS = 600
"""Lags followed; decays up to about 0.95 have died out before the tail is read."""
REFERENCE_TOKENS = 32_768
REFERENCE_WEIGHT = 100.0
_REALS = RealDomain()


@dataclass(frozen=True)
class MomentumKnobs:
    """The hyperparameters that are beta_a and alpha_a/eta_a of a recipe; its lr is eta_a."""

    decay: str
    weight: str


@dataclass(frozen=True)
class NearestSettings:
    """Hyperparameters of another recipe, and how far its impulse response is.

    `error` is the sum over lags of the absolute difference, over the sum of absolute weights, at
    the end of the schedules.
    """

    values: dict[str, float]
    error: float


def momentum_knobs(target: Recipe, total_steps: int) -> MomentumKnobs | None:
    """Return which hyperparameters of a recipe are its momentum, None where they are not so plain.

    Found by trying: lr 1, decay 1/2 and weight 3 must respond with 1 + 3, 1/2, 1/4, ...
    """
    wanted = [4.0, *(0.5**k for k in range(1, 6))]
    for decay, weight in _candidates(target):
        tried = target.with_overrides({"lr": 1.0, decay: 0.5, weight: 3.0})
        try:
            program = tried.trained_program(decays=False)
            response = impulse_response(program, total_steps, len(wanted))
        except (InputError, ArithmeticError):  # no legal setting, or no linear step
            continue
        if all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(response, wanted, strict=True)):
            return MomentumKnobs(decay, weight)
    return None


def _candidates(target: Recipe) -> Iterator[tuple[str, str]]:
    """Yield pairs of hyperparameters that may be 1/2 and 3 while lr is 1."""
    knobs = {n: h for n, h in target.hyperparameters.items() if isinstance(h.default, float)}
    if 1.0 in target.hyperparameters["lr"].interval:
        others = [n for n in knobs if n != "lr"]
        decays = [n for n in others if 0.5 in knobs[n].interval and 1.5 not in knobs[n].interval]
        weights = [n for n in others if 3.0 in knobs[n].interval]
        yield from product(decays, weights)


def impulse_response(program: Program, total_steps: int, lags: int = LAGS) -> list[float]:
    """Return the weight of the gradient of step T in steps T, T + 1, ... at a constant lr.

    Raises NotRealError where a scalar has no value on the way, NotLinearError for another step.
    """
    memory = initial_memory(program, _REALS)

    def inputs(t: int) -> Mapping[str, float]:
        given = {h.name: float(h.value) for h in program.hypers}
        return {**given, "t": float(t), "T": float(total_steps), "lr0": given.get("lr", 1.0)}

    for t in range(1, total_steps) if memory else ():
        memory = kept_memory(program, run_scalars(program, _REALS, inputs(t), memory))
    steps = range(total_steps, total_steps + lags)
    domain: LinearDomain[float] = LinearDomain(_REALS)
    run = run_linear(program, domain, steps, inputs, memory, followed=(total_steps,))
    return [-move.terms.get(total_steps, 0.0) for move in run.moves]


def nearest_settings(
    recipe: Recipe, knobs: MomentumKnobs, total_steps: int, *, batch_tokens: int | None = None
) -> NearestSettings:
    """Return the settings of a recipe with these `knobs` that are nearest to `recipe`.

    What both know by the same name keeps its value, and weight decay its product with lr.
    `batch_tokens` sets weight and lr by the rules of the Simplified-AdEMAMix authors' README
    instead: the weight is 100 at 32k tokens and falls as 1/batch; lr is the recipe's times
    sqrt((1 - beta_start)(1 - beta1)). Raises InputError for a recipe without momentum.
    """
    own = recipe.hyperparameters
    weights = _weights(recipe, total_steps)
    beta = weights[-1] / weights[-2] if 0 < weights[-1] < weights[-2] else 0.0
    died = beta ** (LAGS - 1)
    eta = weights[-1] / died if died > 0 else math.inf
    if not math.isfinite(eta):
        message = f"{recipe.name} has no momentum that accelerated SGD could be near to"
        raise InputError(Diagnostic("no-form", message))
    left = sum(w - eta * beta**k for k, w in enumerate(weights))
    alpha = max(0.0, left / eta)
    start = _float(own, "beta_start") or _float(own, "beta1")
    warms = "warmup" in own and own["warmup"].default != 1
    values = {knobs.decay: beta, knobs.weight: alpha, "lr": eta}
    values["beta_start"] = (start or 0.9) if warms else beta
    if not warms:
        values["warmup"] = 1.0
    if batch_tokens is not None:
        values[knobs.weight] = REFERENCE_WEIGHT * REFERENCE_TOKENS / batch_tokens
        rest = (1 - values["beta_start"]) * (1 - beta)
        values["lr"] = float(own["lr"].default) * rest**0.5
    values |= {n: v for n in ("beta2", "eps") if (v := _float(own, n)) is not None}
    decay = _float(own, "weight_decay") or 0.0
    values["weight_decay"] = decay * float(own["lr"].default) / values["lr"] if decay else 0.0
    weight = values[knobs.weight]
    near = [values["lr"] * (beta**k + (weight if k == 0 else 0)) for k in range(LAGS)]
    apart = sum(abs(a - b) for a, b in zip(weights, near, strict=True))
    tail = eta * beta**LAGS / (1 - beta)
    apart += abs(eta - values["lr"]) / eta * tail
    short = {n: _short(v) for n, v in values.items()}
    return NearestSettings(short, apart / (sum(map(abs, weights)) + tail))


def _weights(recipe: Recipe, total_steps: int) -> list[float]:
    try:
        return impulse_response(recipe.trained_program(decays=False), total_steps)
    except NotLinearError:
        message = f"{recipe.name} is not linear in its gradients, and nothing is near to it"
        raise InputError(Diagnostic("no-form", message)) from None
    except NotRealError as error:
        raise InputError(recipe.diagnostic(error)) from None


def _float(knobs: Mapping[str, Any], name: str) -> float | None:
    knob = knobs.get(name)
    return knob.default if knob is not None and isinstance(knob.default, float) else None


def _short(value: float) -> float:
    """Return a number without the noise of its last digits."""
    return float(Fraction(f"{value:.12g}"))
