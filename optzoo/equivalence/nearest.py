"""The Simplified-AdEMAMix nearest to a recipe: the same slow momentum and the same total weight.

Read off the impulse response at the end of the schedules, the weight that a gradient has in the
step it came in and in all later ones: the slow decay from its tail, the learning rate from the
tail's height, and alpha from the weight that is left. Where the recipe has one momentum of constant
decay this is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optzoo.errors import Diagnostic, InputError
from optzoo.interpreters.linear import Form, LinearDomain, NotLinearError, linear_step
from optzoo.program.arithmetic import NotRealError, RealDomain
from optzoo.program.domain import initial_memory, kept_memory, run_scalars
from optzoo.program.expressions import Name
from optzoo.program.ir import GRAD, PARAM, Program
from optzoo.zoo import Recipe

LAGS = 600
"""Lags followed; decays up to about 0.95 have died out before the tail is read."""
REFERENCE_TOKENS = 32_768
REFERENCE_ALPHA = 100.0
_REALS = RealDomain()


@dataclass(frozen=True)
class Nearest:
    """Hyperparameters of simplified_ademamix, and how far its impulse response is.

    `error` is the sum over lags of the absolute difference, over the sum of absolute weights, at
    the end of the schedules.
    """

    values: dict[str, float]
    error: float


def impulse_response(program: Program, total_steps: int, lags: int = LAGS) -> list[float]:
    """Return the weight of the gradient of step T in steps T, T + 1, ... at a constant lr.

    Raises NotRealError where a scalar has no value on the way.
    """
    memory = initial_memory(program, _REALS)

    def inputs(t: int) -> Mapping[str, float]:
        given = {h.name: float(h.value) for h in program.hypers}
        return {**given, "t": float(t), "T": float(total_steps), "lr0": given.get("lr", 1.0)}

    for t in range(1, total_steps) if memory else ():
        memory = kept_memory(program, run_scalars(program, _REALS, inputs(t), memory))
    domain: LinearDomain[float] = LinearDomain(_REALS)
    buffers: dict[str, Any] = {s.name: Form({}) for s in program.tensor_states}
    weights = []
    for t in range(total_steps, total_steps + lags):
        values: dict[Name, Any] = dict(run_scalars(program, _REALS, inputs(t), memory))
        memory = kept_memory(program, values)
        values[PARAM.prev] = Form({})
        values[GRAD] = Form({0: 1.0} if t == total_steps else {})
        values |= {Name(name, "prev"): value for name, value in buffers.items()}
        linear_step(program, domain, values)
        buffers = {s.name: values[Name(s.name)] for s in program.tensor_states}
        moved = values[PARAM]
        if not isinstance(moved, Form):
            raise NotLinearError("the parameter is not a linear form in the gradients")
        weights.append(-moved.terms.get(0, 0.0))
    return weights


def nearest_simplified(
    recipe: Recipe, total_steps: int, *, batch_tokens: int | None = None
) -> Nearest:
    """Return the nearest Simplified-AdEMAMix.

    `batch_tokens` sets alpha and lr by the rules of the authors' README instead: alpha is 100 at
    32k tokens and falls as 1/batch; lr is the recipe's times sqrt((1 - beta_start)(1 - beta1)).
    Raises InputError for a recipe without momentum.
    """
    program = recipe.trained_program(decays=False)
    knobs = recipe.hyperparameters
    try:
        weights = impulse_response(program, total_steps)
    except NotLinearError:
        message = f"{recipe.name} is not linear in its gradients, and nothing is near to it"
        raise InputError(Diagnostic("no-form", message)) from None
    except NotRealError as error:
        raise InputError(recipe.diagnostic(error)) from None
    beta = weights[-1] / weights[-2] if 0 < weights[-1] < weights[-2] else 0.0
    died = beta ** (LAGS - 1)
    eta = weights[-1] / died if died > 0 else math.inf
    if not math.isfinite(eta):
        message = f"{recipe.name} has no momentum that Simplified-AdEMAMix could be near to"
        raise InputError(Diagnostic("no-form", message))
    left = sum(w - eta * beta**k for k, w in enumerate(weights))
    alpha = max(0.0, left / eta)
    start = _float(knobs, "beta_start") or _float(knobs, "beta1")
    warms = "warmup" in knobs and knobs["warmup"].default != 1
    values = {"beta1": beta, "beta_start": (start or 0.9) if warms else beta, "alpha": alpha}
    if not warms:
        values["warmup"] = 1.0
    values["lr"] = eta
    if batch_tokens is not None:
        values["alpha"] = REFERENCE_ALPHA * REFERENCE_TOKENS / batch_tokens
        rest = (1 - values["beta_start"]) * (1 - beta)
        values["lr"] = float(knobs["lr"].default) * rest**0.5
    values |= {n: v for n in ("beta2", "eps") if (v := _float(knobs, n)) is not None}
    decay = _float(knobs, "weight_decay") or 0.0
    values["weight_decay"] = decay * float(knobs["lr"].default) / values["lr"] if decay else 0.0
    near = [values["lr"] * (beta**k + (values["alpha"] if k == 0 else 0)) for k in range(LAGS)]
    apart = sum(abs(a - b) for a, b in zip(weights, near, strict=True))
    tail = eta * beta**LAGS / (1 - beta)
    apart += abs(eta - values["lr"]) / eta * tail
    short = {n: _short(v) for n, v in values.items()}
    return Nearest(short, apart / (sum(map(abs, weights)) + tail))


def _float(knobs: Mapping[str, Any], name: str) -> float | None:
    knob = knobs.get(name)
    return knob.default if knob is not None and isinstance(knob.default, float) else None


def _short(value: float) -> float:
    """Return a number without the noise of its last digits."""
    return float(Fraction(f"{value:.12g}"))
