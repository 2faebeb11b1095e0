"""Oracles with numbers that all tensors share."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from types import SimpleNamespace

import numpy as np

from .base import Array, Oracle


class Prodigy(Oracle):
    """Prodigy (Mishchenko and Defazio 2023) as konstmish/prodigy, prodigyopt 1.1.2, computes it.

    Without bias correction and safeguard. Where nothing has been gathered (a first step with lr 0,
    or gradients of 0) d-hat is 0 and the moments go on; that code returns before it writes any.
    """

    recipe = "prodigy"
    defaults = {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "d0": 1e-6,
        "growth": float("inf"),
        "weight_decay": 0.0,
    }
    our_defaults = {"growth": 1e300}  # a finite number
    default_lr = 1.0
    lively = {
        "lr": 0.7,
        "beta1": 0.85,
        "beta2": 0.93,
        "eps": 0.03,
        "d0": 0.01,
        "growth": 1.02,
        "weight_decay": 0.2,
    }
    drift = 0.5  # without progress the estimate stays d0
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.p0 = w0
        self.s = np.zeros_like(w0)
        self.exp_avg = np.zeros_like(w0)
        self.exp_avg_sq = np.zeros_like(w0)
        self.shared = SimpleNamespace(d=self.h.d0, d_max=self.h.d0, d_numerator=0.0)

    @classmethod
    def step_together(cls, oracles: Sequence[Oracle], grads: Sequence[Array], lr: float) -> None:
        members = [oracle for oracle in oracles if isinstance(oracle, cls)]
        eldest = max(members, key=lambda one: one.t)  # others may join later
        h, shared = eldest.h, eldest.shared
        d, beta3 = shared.d, sqrt(h.beta2)
        dlr = d * lr
        shared.d_numerator = beta3 * shared.d_numerator
        d_denom = 0.0
        for one, g in zip(members, grads, strict=True):
            one.t += 1
            one.shared = shared
            delta = float(np.sum(g * (one.p0 - one.w)))
            shared.d_numerator = shared.d_numerator + (d / h.d0) * dlr * delta
            one.exp_avg = h.beta1 * one.exp_avg + d * (1 - h.beta1) * g
            one.exp_avg_sq = h.beta2 * one.exp_avg_sq + d * d * (1 - h.beta2) * g * g
            one.s = beta3 * one.s + (d / h.d0) * dlr * g
            d_denom = d_denom + float(np.sum(np.abs(one.s)))
        d_hat = shared.d_numerator / d_denom if d_denom != 0 else 0.0
        if d == h.d0:
            d = max(d, d_hat)
        shared.d_max = max(shared.d_max, d_hat)
        shared.d = min(shared.d_max, d * h.growth)
        for one in members:
            one.w = one.w * (1 - h.weight_decay * dlr)
            denom = np.sqrt(one.exp_avg_sq) + shared.d * h.eps
            one.w = one.w - dlr * one.exp_avg / denom
