"""Oracles that look at a whole tensor at once: norms, masks and their means, and slow weights."""

from __future__ import annotations

import numpy as np

from .adam_family import AdamW
from .base import ADAM, NORMALISED, Array, Oracle


class Lamb(AdamW):
    """LAMB (You et al. 2020, Algorithm 2), phi the identity; a ratio of 1 where a norm is 0."""

    recipe = "lamb"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 1e-2}
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        r = (self.m / (1 - h.beta1**t)) / (np.sqrt(self.v / (1 - h.beta2**t)) + h.eps)
        u = r + h.weight_decay * self.w
        w_norm, u_norm = np.sqrt(np.sum(self.w**2)), np.sqrt(np.sum(u**2))
        ratio = w_norm / u_norm if w_norm > 0 and u_norm > 0 else 1.0
        self.w = self.w - lr * ratio * u


class Lars(Oracle):
    """LARS (You et al. 2017, Algorithm 1) as pytorch_optimizer 4.1.0 has it for matrices."""

    recipe = "lars"
    defaults = {"momentum": 0.9, "trust_coefficient": 1e-3, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.5, "momentum": 0.85, "trust_coefficient": 0.03, "weight_decay": 0.2}
    has_clock = False
    learns_at = {"lr": 3.0}  # times the trust coefficient

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        w_norm, g_norm = np.sqrt(np.sum(self.w**2)), np.sqrt(np.sum(g**2))
        below = g_norm + h.weight_decay * w_norm
        local_lr = h.trust_coefficient * w_norm / below if w_norm > 0 and below > 0 else 1.0
        self.v = h.momentum * self.v + local_lr * (g + h.weight_decay * self.w)
        self.w = self.w - lr * self.v


class NovoGrad(Oracle):
    """NovoGrad (Ginsburg et al. 2019, Algorithm 1): one second moment a tensor, from |g_1|^2."""

    recipe = "novograd"
    defaults = {"beta1": 0.95, "beta2": 0.98, "eps": 1e-8, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM}
    learns_at = {"lr": 0.01}  # a sum of normalised gradients

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = 0.0

    def update(self, g: Array, lr: float) -> None:
        h, squares = self.h, float(np.sum(g * g))
        first = self.t == 1
        self.v = squares if first else h.beta2 * self.v + (1 - h.beta2) * squares  # v_t
        d = g / (np.sqrt(self.v) + h.eps) + h.weight_decay * self.w
        self.m = h.beta1 * self.m + d
        self.w = self.w - lr * self.m


class StableAdamW(AdamW):
    """StableAdamW (Wortsman et al. 2023, Algorithm 2) as optimi 0.3.3 computes it."""

    recipe = "stableadamw"
    defaults = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 1e-2}
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        beta1_hat = (h.beta1**t - h.beta1) / (h.beta1**t - 1)  # debiased decays: m, v are hats
        beta2_hat = (h.beta2**t - h.beta2) / (h.beta2**t - 1)
        self.m = beta1_hat * self.m + (1 - beta1_hat) * g
        self.v = beta2_hat * self.v + (1 - beta2_hat) * g * g
        if g.size:
            rms = np.sqrt(np.mean(g * g / np.maximum(self.v, h.eps**2)))
            lr = lr / max(1.0, rms)
        self.w = self.w * (1 - lr * h.weight_decay)
        self.w = self.w - lr * self.m / (np.sqrt(self.v) + h.eps)


class Grams(AdamW):
    """Grams (Cao et al. 2024, Algorithm 1): the size of Adam's step, the sign of the gradient."""

    recipe = "grams"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.0}
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        u = (self.m / (1 - h.beta1**t)) / (np.sqrt(self.v / (1 - h.beta2**t)) + h.eps)
        self.w = self.w - lr * h.weight_decay * self.w
        self.w = self.w - lr * np.sign(g) * np.abs(u)


class CautiousAdamW(AdamW):
    """Cautious AdamW (Liang et al. 2024) as kyleliang919/C-Optim @2c0517c, foreach off."""

    recipe = "cautious_adamw"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.0}
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.w = self.w - lr * h.weight_decay * self.w
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        step_size = lr * np.sqrt(1 - h.beta2**t) / (1 - h.beta1**t)
        mask = (self.m * g > 0).astype(np.float64)
        if mask.size:
            mask = mask / max(np.mean(mask), 1e-3)
        self.w = self.w - step_size * (self.m * mask) / (np.sqrt(self.v) + h.eps)


class CautiousLion(Oracle):
    """Cautious Lion (Liang et al. 2024) as kyleliang919/C-Optim @2c0517c computes it."""

    recipe = "cautious_lion"
    defaults = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}
    default_lr = 1e-4
    lively = {"lr": 0.02, "beta1": 0.85, "beta2": 0.93, "weight_decay": 0.2}
    has_clock = False
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.exp_avg = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.w = self.w * (1 - lr * h.weight_decay)
        update = np.sign(h.beta1 * self.exp_avg + (1 - h.beta1) * g)
        mask = (update * g > 0).astype(np.float64)
        self.w = self.w - lr * update * mask * (mask.size / (mask.sum() + 1))
        self.exp_avg = h.beta2 * self.exp_avg + (1 - h.beta2) * g


class LookaheadAdamW(AdamW):
    """Lookahead (Zhang et al. 2019, Algorithm 1) around AdamW; phi_0 is the parameter as given."""

    recipe = "lookahead_adamw"
    defaults = {**AdamW.defaults, "alpha": 0.5, "fast": 5}
    lively = {**AdamW.lively, "alpha": 0.4, "fast": 3.0}
    learns_at = NORMALISED
    moves_at_lr_zero = True
    has_closed_form = False  # what has been pulled back depends on when

    def begin(self, w0: Array) -> None:
        super().begin(w0)
        self.phi = w0
        self.counter = 0

    def update(self, g: Array, lr: float) -> None:
        super().update(g, lr)  # theta_{t,i}
        self.counter += 1
        if self.counter >= self.h.fast:
            self.counter = 0
            self.phi = self.phi + self.h.alpha * (self.w - self.phi)
            self.w = self.phi


class SgdSaI(Oracle):
    """SGD-SaI (Xu et al. 2024) as AnonymousAlethiometer/SGD_SaI 1.0.3 computes it.

    One rate a tensor, of the first gradient for ever: its norm over its unbiased standard
    deviation, which is 0 for a single number. The average starts as the first gradient.
    """

    recipe = "sgd_sai"
    defaults = {"momentum": 0.9, "eps": 1e-8, "weight_decay": 1e-2}
    default_lr = 1e-2
    lively = {"lr": 0.02, "momentum": 0.85, "eps": 0.03, "weight_decay": 0.2}
    learns_at = {"lr": 0.03}  # times the root of the size

    def begin(self, w0: Array) -> None:
        self.w = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        if self.t == 1:
            sigma = np.std(g, ddof=1) if g.size > 1 else 0.0
            self.gsnr = np.sqrt(np.sum(g * g)) / (sigma + h.eps)
            self.buf = g
        else:
            self.buf = h.momentum * self.buf + (1 - h.momentum) * g
        self.w = self.w * (1 - lr * h.weight_decay)
        self.w = self.w - lr * self.gsnr * self.buf
