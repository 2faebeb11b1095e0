"""Oracles of AdEMAMix, its simplified one-momentum form and Algorithm 3 of the paper."""

from __future__ import annotations

import numpy as np

from .base import ADAM, Array, Oracle, half_life_linear, tail_weight

MIX = {"alpha": 3.0, "warmup": 30.0}
"""Lively settings of the mix, beside those of Adam."""

APPENDIX_A = {"beta1": 0.999, "beta2": 0.999, "alpha": 50.0, "warmup": "T"}
"""The Connections paper's own runs; its authors ship the plain Adam of alpha = 0, not warmed up."""


class AdEMAMix(Oracle):
    """AdEMAMix (Pagliardini et al. 2024; Connections paper, Algorithm 1) as apple/ml-ademamix.

    @c3d73c0, alpha_warmup = beta3_warmup = warmup, t from 1: alpha linear from 0, beta3 with linear
    half-life from beta1. Debiased: m1 and v, never m2. The decay is added with the old weights.
    """

    recipe = "ademamix"
    defaults = {
        "beta1": 0.9,
        "beta2": 0.999,
        "beta3": 0.9999,
        "alpha": 2.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
    }
    default_lr = 1e-3
    our_defaults = {"warmup": "T"}  # theirs: none unless asked for; ours: the whole run
    lively = {"lr": 0.02, **ADAM, **MIX, "beta3": 0.98}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m1 = np.zeros_like(w0)
        self.m2 = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        alpha = h.alpha if t >= h.warmup else h.alpha * t / h.warmup  # alpha^(t), line 2
        beta3 = half_life_linear(t, h.beta1, h.beta3, h.warmup)  # beta_3^(t), line 2
        self.m1 = h.beta1 * self.m1 + (1 - h.beta1) * g  # line 5
        self.m2 = beta3 * self.m2 + (1 - beta3) * g  # line 6
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # line 7, nu
        m1_hat = self.m1 / (1 - h.beta1**t)
        nu_hat = self.v / (1 - h.beta2**t)
        step = (m1_hat + alpha * self.m2) / (np.sqrt(nu_hat) + h.eps)  # line 8
        self.w = self.w - lr * (step + h.weight_decay * self.w)


class SimplifiedAdEMAMix(Oracle):
    """Simplified-AdEMAMix (Connections paper, Algorithm 2) as DepenM/Simplified-AdEMAMix @dba14d0.

    At its defaults: theory-style momentum (gain 1), numerator not debiased, v debiased, eps after
    the root; beta1 with linear half-life from beta_start over `warmup`; decay with old weights.
    """

    recipe = "simplified_ademamix"
    defaults = {
        "beta1": 0.99,
        "beta_start": 0.9,
        "beta2": 0.95,
        "alpha": 0.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0.0,
    }
    default_lr = 1e-4
    our_defaults = {**APPENDIX_A, "lr": 1e-5}
    learns_at = {"lr": 5e-4}  # gain 1: a step is some sixty times that of an average
    lively = {"lr": 0.005, **ADAM, **MIX, "beta1": 0.97, "beta_start": 0.8}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m1 = np.zeros_like(w0)
        self.v = np.zeros_like(w0)
        self.num_sum = 0.0
        self.den_sum = 0.0

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        beta1 = half_life_linear(t, h.beta_start, h.beta1, h.warmup)  # beta_1^(t), line 2
        self.m1 = beta1 * self.m1 + g  # line 5
        self.num_sum = beta1 * self.num_sum + 1  # mass of m1
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # line 6, nu
        self.den_sum = h.beta2 * self.den_sum + (1 - h.beta2)  # mass of nu
        denominator = np.sqrt(self.v / self.den_sum) + h.eps  # sqrt(nu-hat) + eps, line 7
        step = self.numerator(self.m1 + h.alpha * g) / denominator  # line 7
        self.w = self.w - lr * (step + h.weight_decay * self.w)

    def numerator(self, mixed: Array) -> Array:
        return mixed  # bias_correction1=False


class SimplifiedAdEMAMixUnitMass(SimplifiedAdEMAMix):
    """Simplified-AdEMAMix with a numerator of unit mass, so that lr compares with AdamW's.

    m1 + alpha g holds past gradients with total weight num_sum + alpha; dividing by it gives a
    weighted mean (asked for by users: optimizers.md, sections 17.12 and 19).
    """

    recipe = "simplified_ademamix_unit_mass"
    default_lr = 1e-3
    our_defaults = APPENDIX_A
    learns_at = {}
    lively = {**SimplifiedAdEMAMix.lively, "lr": 0.02}

    def numerator(self, mixed: Array) -> Array:
        return mixed / (self.num_sum + self.h.alpha)


class AcceleratedAdamW(Oracle):
    """Algorithm 3 of the Connections paper, with its misprints corrected (optimizers.md P2, P3).

    Reading: line 2 descends; n-hat of line 4 is v-hat, debiased; line 4 reads m before line 6
    changes it and m is not debiased; line 7 is c = max(0, 1 - 1/(delta t)); decay decoupled, by lr.
    """

    recipe = "accelerated_adamw"
    defaults = {
        "beta1": 0.999,
        "beta2": 0.999,
        "beta3": 0.9,
        "delta": 0.1,
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "beta1": 0.95, "beta3": 0.8, "delta": 0.2}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.w_avg = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # line 3
        v_hat = self.v / (1 - h.beta2**t)
        n = (h.beta3 * self.m + (1 - h.beta3) * g) / (np.sqrt(v_hat) + h.eps)  # line 4, N
        self.w = self.w - lr * n - lr * h.weight_decay * self.w  # line 5
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # line 6
        c = 1 - tail_weight(t, h.delta)  # line 7
        self.w_avg = c * self.w_avg + (1 - c) * self.w  # line 8

    def eval_point(self) -> Array:
        return self.w_avg
