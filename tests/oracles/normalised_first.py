"""Oracles that precondition before the momentum, or take signs: LaProp, ADOPT, Lion, Signum."""

from __future__ import annotations

import numpy as np

from .adam_family import Mars
from .base import ADAM, Array, Oracle


class LaProp(Oracle):
    """LaProp (Ziyin et al. 2021, Algorithm 1), the form of its paper.

    That is Adam with the order exchanged: an EMA of normalised gradients with lr OUTSIDE the
    buffer, both moments debiased, eps after the root; decoupled decay lr*wd*w with the old weights.
    The authors' code, with lr inside the buffer, is LaPropOfficial.
    """

    recipe = "laprop"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-15, "weight_decay": 0.0}
    default_lr = 4e-4
    lively = {"lr": 0.02, **ADAM}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.n = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.n = h.beta2 * self.n + (1 - h.beta2) * g * g  # n_t, nu = beta2
        normalised = g / (np.sqrt(self.n / (1 - h.beta2**t)) + h.eps)  # c_n = 1 - nu^t
        self.m = h.beta1 * self.m + (1 - h.beta1) * normalised  # m_t, mu = beta1
        step = self.m / (1 - h.beta1**t)  # c_m = 1 - mu^t
        self.w = self.w - lr * (step + h.weight_decay * self.w)


class LaPropOfficial(Oracle):
    """LaProp as Z-T-WANG/LaProp-Optimizer @a419916 computes it: lr INSIDE the buffer.

    The running sums s1 (of lr) and s2 debias; with lr = 0 the readout factor is 1; the decay acts
    after the step and is not multiplied by lr.
    """

    recipe = "laprop_official"
    defaults = LaProp.defaults
    default_lr = 4e-4
    lively = {"lr": 0.02, **ADAM, "weight_decay": 0.01}
    has_clock = False
    moves_at_lr_zero = True  # its decay is not multiplied by lr

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)
        self.s1 = 0.0
        self.s2 = 0.0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        self.s1 = h.beta1 * self.s1 + (1 - h.beta1) * lr  # exp_avg_lr_1
        self.s2 = h.beta2 * self.s2 + (1 - h.beta2)  # exp_avg_lr_2
        normalised = g / (np.sqrt(self.v / self.s2) + h.eps)  # step_of_this_grad
        self.m = h.beta1 * self.m + (1 - h.beta1) * lr * normalised  # exp_avg
        factor = lr / self.s1 if lr != 0 else 1.0  # step_size = 1/bias_correction1
        self.w = self.w - factor * self.m
        self.w = self.w - h.weight_decay * self.w  # not times lr


class Adopt(Oracle):
    """ADOPT (Taniguchi et al. 2024) as iShohei220/adopt @6468572, decouple=True.

    Step index s = t - 1: the first step only fills v and moves nothing, decay included. Afterwards
    the gradient is divided by the PREVIOUS root, clipped elementwise at s^(1/4), then averaged.
    """

    recipe = "adopt_decoupled"
    defaults = {"beta1": 0.9, "beta2": 0.9999, "eps": 1e-6, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "eps": 0.3}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, s = self.h, self.t - 1
        if s == 0:
            self.v = g * g  # v_0
            return
        self.w = self.w - lr * h.weight_decay * self.w  # decouple
        normalised = g / np.maximum(np.sqrt(self.v), h.eps)  # g_t / max(sqrt(v_{t-1}), eps)
        clipped = np.clip(normalised, -(s**0.25), s**0.25)  # c_t = t^(1/4)
        self.m = h.beta1 * self.m + (1 - h.beta1) * clipped  # m_t
        self.w = self.w - lr * self.m  # theta_t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # v_t, after use


class Lion(Oracle):
    """Lion (Chen et al. 2023, Program 1; google/automl @6a54c87); Connections paper, section 4.2.

    Mixes with beta1 and decays with beta2; the sign reads the buffer before its update.
    """

    recipe = "lion"
    defaults = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}
    default_lr = 1e-4
    lively = {"lr": 0.02, "beta1": 0.85, "beta2": 0.95, "weight_decay": 0.2}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        mixed = h.beta1 * self.m + (1 - h.beta1) * g  # m'_t
        self.w = self.w - lr * (np.sign(mixed) + h.weight_decay * self.w)  # theta_t
        self.m = h.beta2 * self.m + (1 - h.beta2) * g  # m_t


class Signum(Oracle):
    """Signum (Bernstein et al. 2018, Algorithm 2), decay decoupled."""

    recipe = "signum"
    defaults = {"beta": 0.9, "weight_decay": 0.0}
    default_lr = 1e-4
    lively = {"lr": 0.02, "beta": 0.85, "weight_decay": 0.2}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.m = h.beta * self.m + (1 - h.beta) * g  # m_{k+1}
        self.w = self.w - lr * (np.sign(self.m) + h.weight_decay * self.w)  # x_{k+1}


class MarsLion(Mars):
    """MARS-Lion as AGI-Arena/MARS @4831e28: the sign of the CURRENT average of c_t, one beta."""

    recipe = "mars_lion"
    defaults = {"beta1": 0.95, "gamma": 0.025, "weight_decay": 0.0}
    lively = {"lr": 0.02, "beta1": 0.85, "gamma": 0.05, "weight_decay": 0.2}
    has_clock = False

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.m = h.beta1 * self.m + (1 - h.beta1) * self.corrected(g)  # m_t
        self.w = self.w - lr * (np.sign(self.m) + h.weight_decay * self.w)  # x_{t+1}
