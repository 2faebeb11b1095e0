"""Oracles with a base iterate z, an average x and a gradient point y, all three stored.

Schedule-Free (Defazio et al. 2024; Connections paper, section 4.1), its relatives, and GPA. None
uses the one-buffer form b = x_old - z_new that optzoo's recipes use.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .base import ADAM, Array, Oracle

FREE = {"beta": 0.8, "r": 0.5, "weight_lr_power": 1.7, "weight_decay": 0.2}
"""Lively settings of everything that is schedule-free, beside lr."""


class _ScheduleFree(Oracle):
    """Keep z, x, y and the averaging weights of facebookresearch/schedule_free @70785b5.

    Without a warmup argument: lr schedules come from outside. k of the code is t - 1; the running
    sum and maximum belong to this tensor.
    """

    def begin(self, w0: Array) -> None:
        self.z = self.x = self.y = w0
        self.v = np.zeros_like(w0)
        self.lr_max = -1.0
        self.weight_sum = 0.0

    def move(self, u: Array, gamma: float) -> None:
        h = self.h
        self.lr_max = max(self.lr_max, gamma)  # lr_max
        weight = self.t**h.r * self.lr_max**h.weight_lr_power  # (k+1)^r * lr_max^weight_lr_power
        self.weight_sum = self.weight_sum + weight
        c = weight / self.weight_sum if self.weight_sum != 0 else 0.0  # c_{t+1}, ckp1
        self.z = self.z - gamma * u  # z_{t+1}
        self.x = (1 - c) * self.x + c * self.z  # x_{t+1}
        self.y = (1 - h.beta) * self.z + h.beta * self.x  # y_{t+1}

    def train_point(self) -> Array:
        return self.y

    def eval_point(self) -> Array:
        return self.x


class ScheduleFreeSGD(_ScheduleFree):
    """SGDScheduleFree of schedule_free @70785b5: the decay is coupled, at y."""

    recipe = "schedule_free_sgd"
    defaults = {"beta": 0.9, "r": 0.0, "weight_lr_power": 2.0, "weight_decay": 0.0}
    default_lr = 1.0
    lively = {"lr": 0.02, **FREE}

    def update(self, g: Array, lr: float) -> None:
        self.move(g + self.h.weight_decay * self.y, lr)


class ScheduleFreeAdamW(_ScheduleFree):
    """AdamWScheduleFree of schedule_free 1.3 and later (optimizers.md 4b).

    v debiased, eps after; the decay is decoupled, evaluated at y, and moves z.
    """

    recipe = "schedule_free_adamw"
    defaults = {**ScheduleFreeSGD.defaults, "beta2": 0.999, "eps": 1e-8}
    default_lr = 2.5e-3
    lively = {"lr": 0.02, **FREE, "beta2": 0.93, "eps": 0.03}

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        v_hat = self.v / (1 - h.beta2**self.t)  # bias_correction2
        self.move(g / (np.sqrt(v_hat) + h.eps) + h.weight_decay * self.y, lr)


class ScheduleFreeAdamWPaper(_ScheduleFree):
    """AdamWScheduleFreePaper of schedule_free (optimizers.md 4c): the paper's first version.

    The debiasing sits in the step size, hence also in the averaging weights and the decay; eps is
    added to the root of v as it stands.
    """

    recipe = "schedule_free_adamw_paper"
    defaults = ScheduleFreeAdamW.defaults
    default_lr = 2.5e-3
    lively = ScheduleFreeAdamW.lively

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        gamma = lr * sqrt(1 - h.beta2**self.t)  # lr * sched * sqrt(bias_correction2)
        self.move(g / (np.sqrt(self.v) + h.eps) + h.weight_decay * self.y, gamma)


class ScheduleFreeRAdam(_ScheduleFree):
    """RAdamScheduleFree of schedule_free (optimizers.md 4e), silent_sgd_phase=True.

    While rho_t <= 4 nothing moves and the average takes weight 0; only v fills.
    """

    recipe = "schedule_free_radam"
    defaults = ScheduleFreeAdamW.defaults
    default_lr = 2.5e-3
    lively = ScheduleFreeAdamW.lively
    starts_silent = True

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        mass = 1 - h.beta2**t  # bias_correction2
        rho_inf = 2 / (1 - h.beta2) - 1  # rho_inf
        rho = rho_inf - 2 * t * h.beta2**t / mass  # rho_t
        if rho > 4:
            top = (rho - 4) * (rho - 2) * rho_inf
            rect = sqrt(top / ((rho_inf - 4) * (rho_inf - 2) * rho))  # r_t
            n = g / (np.sqrt(self.v / mass) + h.eps)
        else:
            rect, n = 0.0, g  # the silent phase
        self.move(n + h.weight_decay * self.y, lr * rect)


class DecoupledScheduleFreeAdamW(Oracle):
    """Schedule-Free AdamW with momentum and averaging as separate knobs (ours).

    Motivated by the Connections paper, sections 4.1 and 5.1 (the coupling hurts at large batches).
    Momentum: a Schedule-Free triple z, x, y whose weight is c_t = min(1, k/t), which is Eq. (1)
    with beta_a = 1 - c_{t-1}. Averaging: `mean` of y with weight 1/(1 + delta (t-1)). At constant
    lr, k = 1 and delta = 1 - beta this is Schedule-Free AdamW with r = 0.
    """

    recipe = "decoupled_schedule_free_adamw"
    defaults = {
        "beta": 0.9,
        "beta2": 0.999,
        "delta": 0.1,
        "k": 1.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    default_lr = 2.5e-3
    lively = {
        "lr": 0.02,
        "beta": 0.8,
        "beta2": 0.93,
        "delta": 0.3,
        "k": 2.5,
        "eps": 0.03,
        "weight_decay": 0.2,
    }

    def begin(self, w0: Array) -> None:
        self.z = self.x = self.y = self.mean = w0
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # as ScheduleFreeAdamW
        n = g / (np.sqrt(self.v / (1 - h.beta2**t)) + h.eps)
        self.z = self.z - lr * (n + h.weight_decay * self.y)  # z_{t+1} = z_t - s
        c = min(1.0, h.k / t)  # momentum weight c_t
        self.x = (1 - c) * self.x + c * self.z  # x_{t+1}, only to make the momentum
        self.y = (1 - h.beta) * self.z + h.beta * self.x  # y_{t+1}
        a = 1 / (1 + h.delta * (t - 1))  # averaging weight a_t
        self.mean = (1 - a) * self.mean + a * self.y  # the evaluated average

    def train_point(self) -> Array:
        return self.y

    def eval_point(self) -> Array:
        return self.mean


class GPAAdamW(Oracle):
    """Generalized primal averaging over AdamW (arXiv 2512.17131; facebookresearch/optimizers).

    Recurrence of gpa/gpa_adamw.py @f606606 with x stored. Reading: the decay is evaluated at y and
    is part of the base step, so z and x both feel it; the code's two decays do not (optimizers.md
    15e, bugs 1 and 2).
    """

    recipe = "gpa_adamw"
    defaults = {
        "beta1": 0.9,
        "beta2": 0.999,
        "mu_x": 0.9967,
        "mu_y": 0.7,
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "mu_x": 0.9, "mu_y": 0.7}

    def begin(self, w0: Array) -> None:
        self.z = self.x = self.y = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # exp_avg
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        v_hat = self.v / (1 - h.beta2**t)
        n = self.m / (1 - h.beta1**t) / (np.sqrt(v_hat) + h.eps)
        self.z = self.z - lr * (n + h.weight_decay * self.y)  # z^(k+1)
        self.x = h.mu_x * self.x + (1 - h.mu_x) * self.z  # x^(k+1)
        self.y = h.mu_y * self.x + (1 - h.mu_y) * self.z  # y^(k+1)

    def train_point(self) -> Array:
        return self.y

    def eval_point(self) -> Array:
        return self.x
