"""Oracles of Adam's relatives that keep something else than the mean square, or distrust it."""

from __future__ import annotations

import numpy as np

from .base import ADAM, NORMALISED, Array, Oracle


class AMSGrad(Oracle):
    """AMSGrad (Reddi et al. 2018) as torch.optim.AdamW 2.13 with amsgrad=True computes it.

    The maximum is taken of the stored mean square; both are debiased afterwards.
    """

    recipe = "amsgrad"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.exp_avg = np.zeros_like(w0)
        self.exp_avg_sq = np.zeros_like(w0)
        self.max_exp_avg_sq = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.w = self.w * (1 - lr * h.weight_decay)  # before the step
        self.exp_avg = self.exp_avg + (1 - h.beta1) * (g - self.exp_avg)  # lerp_
        self.exp_avg_sq = h.beta2 * self.exp_avg_sq + (1 - h.beta2) * g * g
        self.max_exp_avg_sq = np.maximum(self.max_exp_avg_sq, self.exp_avg_sq)
        denom = np.sqrt(self.max_exp_avg_sq) / np.sqrt(1 - h.beta2**t) + h.eps
        self.w = self.w - lr / (1 - h.beta1**t) * self.exp_avg / denom


class AdaMax(Oracle):
    """AdaMax (Kingma and Ba 2015, Algorithm 2) as torch.optim.Adamax 2.13 computes it."""

    recipe = "adamax"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    default_lr = 2e-3
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.u = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w  # coupled
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # m_t
        self.u = np.maximum(h.beta2 * self.u, np.abs(g) + h.eps)  # u_t, exp_inf
        self.w = self.w - lr / (1 - h.beta1**self.t) * self.m / self.u


class Yogi(Oracle):
    """Yogi (Zaheer et al. 2018) as pytorch_optimizer 4.1.0 computes it: debiased, from 1e-6."""

    recipe = "yogi"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-3, "weight_decay": 0.0}
    default_lr = 1e-2
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.full_like(w0, 1e-6)  # initial_accumulator
        self.v = np.full_like(w0, 1e-6)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.w = self.w - lr * h.weight_decay * self.w
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        g2 = g * g
        self.v = self.v - (1 - h.beta2) * np.sign(self.v - g2) * g2  # Algorithm 2
        v_hat = self.v / (1 - h.beta2**t)
        self.w = self.w - lr * (self.m / (1 - h.beta1**t)) / (np.sqrt(v_hat) + h.eps)


class AdaBelief(Oracle):
    """AdaBelief (Zhuang et al. 2020), not rectified: eps gathers in s, and is added to its root."""

    recipe = "adabelief"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-16, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM}
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.s = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.w = self.w * (1 - lr * h.weight_decay)
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        residual = g - self.m  # of this step's mean
        self.s = h.beta2 * self.s + (1 - h.beta2) * residual**2 + h.eps  # exp_avg_var.add_(eps)
        m_hat, s_hat = self.m / (1 - h.beta1**t), self.s / (1 - h.beta2**t)
        self.w = self.w - lr * m_hat / (np.sqrt(s_hat) + h.eps)


class AdaDelta(Oracle):
    """Adadelta (Zeiler 2012, Algorithm 1), times lr as in torch.optim.Adadelta 2.13."""

    recipe = "adadelta"
    defaults = {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0}
    default_lr = 1.0
    lively = {"lr": 0.3, "rho": 0.85, "eps": 0.03, "weight_decay": 0.2}
    has_clock = False
    learns_at = {"lr": 10}  # steps grow from the root of eps

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.g2 = np.zeros_like(w0)  # E[g^2]
        self.x2 = np.zeros_like(w0)  # E[dx^2]

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w
        self.g2 = h.rho * self.g2 + (1 - h.rho) * g * g
        dx = -np.sqrt((self.x2 + h.eps) / (self.g2 + h.eps)) * g  # RMS[dx]/RMS[g] g
        self.x2 = h.rho * self.x2 + (1 - h.rho) * dx * dx
        self.w = self.w + lr * dx


class RAdam(Oracle):
    """RAdam (Liu et al. 2020, Algorithm 2) as torch.optim.RAdam 2.13: the threshold is 5.

    At `lively` the sixth step is the first past the threshold, with a rho of 5.0022.
    """

    recipe = "radam"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "beta2": 0.84015}
    further = {"beta2": 0.6}  # no step ever passes it

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        g = g + h.weight_decay * self.w
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        m_hat = self.m / (1 - h.beta1**t)
        rho_inf = 2 / (1 - h.beta2) - 1
        rho = rho_inf - 2 * t * h.beta2**t / (1 - h.beta2**t)
        if rho > 5:
            numerator = (rho - 4) * (rho - 2) * rho_inf
            r = np.sqrt(numerator / ((rho_inf - 4) * (rho_inf - 2) * rho))
            adaptive = np.sqrt(1 - h.beta2**t) / (np.sqrt(self.v) + h.eps)
            self.w = self.w - lr * r * m_hat * adaptive
        else:
            self.w = self.w - lr * m_hat


class AdamAtan2(Oracle):
    """Adam-atan2 (Everett et al. 2024): the angle of the moments in place of their quotient.

    As adam-atan2-pytorch 0.4.1 computes it; the paper's authors have published no code.
    """

    recipe = "adam_atan2"
    has_closed_form = False
    defaults = {"beta1": 0.9, "beta2": 0.99, "a": 1.27, "b": 1.0, "weight_decay": 0.0}
    default_lr = 1e-4
    lively = {
        "lr": 0.02,
        "beta1": 0.85,
        "beta2": 0.93,
        "a": 1.4,
        "b": 0.7,
        "weight_decay": 0.2,
    }
    learns_at = NORMALISED

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g
        m_hat, v_hat = self.m / (1 - h.beta1**t), self.v / (1 - h.beta2**t)
        self.w = self.w * (1 - lr * h.weight_decay)
        self.w = self.w - lr * h.a * np.arctan2(m_hat, h.b * np.sqrt(v_hat))


class Madgrad(Oracle):
    """MADGRAD (Defazio and Jelassi 2021, Algorithm 1) as facebookresearch/madgrad 1.3 computes it.

    That code adds eps to every lr but 0 and couples the decay. `k` of the code is t - 1.
    """

    recipe = "madgrad"
    defaults = {"momentum": 0.9, "eps": 1e-6, "weight_decay": 0.0}
    default_lr = 1e-2
    lively = {"lr": 0.02, "momentum": 0.85, "eps": 0.03, "weight_decay": 0.2}
    moves_at_lr_zero = True  # towards the dual average of what went before
    has_closed_form = False

    def begin(self, w0: Array) -> None:
        self.x = self.x0 = w0
        self.s = np.zeros_like(w0)
        self.nu = np.zeros_like(w0)  # grad_sum_sq

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.x
        lamb = (lr + h.eps if lr != 0 else 0.0) * np.sqrt(self.t)
        self.s = self.s + lamb * g
        self.nu = self.nu + lamb * g * g
        z = self.x0 - self.s / (np.cbrt(self.nu) + h.eps)
        ck = 1 - h.momentum
        self.x = (1 - ck) * self.x + ck * z

    def train_point(self) -> Array:
        return self.x
