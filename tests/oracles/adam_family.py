"""Oracles that put an Adam denominator after the momentum: AdamW and what was made of it."""

from __future__ import annotations

import numpy as np

from .base import ADAM, Array, Oracle, half_life_linear, tail_weight


class AdamW(Oracle):
    """AdamW (Loshchilov and Hutter 2019, Algorithm 2) as torch.optim.AdamW 2.13 computes it.

    Decoupled decay by the current lr before the step; eps outside the root, after debiasing v.
    """

    recipe = "adamw"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        self.w = self.w - lr * h.weight_decay * self.w  # torch: param.mul_(1 - lr * weight_decay)
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # m_t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # v_t
        m_hat = self.m / (1 - h.beta1**t)  # m-hat_t
        v_hat = self.v / (1 - h.beta2**t)  # v-hat_t
        self.w = self.w - lr * m_hat / (np.sqrt(v_hat) + h.eps)  # theta_t


class AdamWAveraged(AdamW):
    """AdamW with tailed weight averaging (Connections paper, section 3.2 and Appendix A item 3).

    The weight of the new iterate is min(1, 1/(delta t)), the meant reading of Algorithm 3 line 7.
    """

    recipe = "adamw_averaged"
    defaults = {**AdamW.defaults, "delta": 0.1}
    lively = {**AdamW.lively, "delta": 0.2}

    def begin(self, w0: Array) -> None:
        super().begin(w0)
        self.w_avg = w0

    def update(self, g: Array, lr: float) -> None:
        super().update(g, lr)
        c = 1 - tail_weight(self.t, self.h.delta)  # c of line 7, the weight of the OLD average
        self.w_avg = c * self.w_avg + (1 - c) * self.w  # line 8

    def eval_point(self) -> Array:
        return self.w_avg


class AdamMomentumSchedule(AdamW):
    """AdamW whose beta1 has a linear half-life from beta_start to beta1 over the whole run.

    Connections paper, sections 4.4-5.1 ("Adam with momentum scheduling"); schedule of Algorithm 2
    line 2. Debiasing is exact: the mass of an EMA with changing decay is 1 - prod_i beta1_i.
    """

    recipe = "adam_momentum_schedule"
    defaults = {"beta1": 0.99, "beta_start": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0}
    lively = {"lr": 0.02, **ADAM, "beta1": 0.97, "beta_start": 0.8}
    reads_total_steps = True

    def begin(self, w0: Array) -> None:
        super().begin(w0)
        self.product = 1.0

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        beta1 = half_life_linear(t, h.beta_start, h.beta1, self.total_steps)  # f_beta1(t)
        self.product = self.product * beta1  # prod_{i<=t} beta1_i
        self.m = beta1 * self.m + (1 - beta1) * g  # m_t
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # v_t
        m_hat = self.m / (1 - self.product)  # mass of m_t is 1 - product
        v_hat = self.v / (1 - h.beta2**t)  # v-hat_t
        step = m_hat / (np.sqrt(v_hat) + h.eps) + h.weight_decay * self.w  # decoupled, old w
        self.w = self.w - lr * step


class GrokfastAdamW(AdamW):
    """Grokfast-EMA (ironjr/grokfast @93b2248) in front of AdamW: low frequencies amplified.

    The filter's buffer starts as the first gradient, so h_1 = g_1.
    """

    recipe = "grokfast_adamw"
    defaults = {**AdamW.defaults, "a": 0.98, "lamb": 2.0}
    lively = {**AdamW.lively, "a": 0.9, "lamb": 1.5}

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.filtered = g if self.t == 1 else h.a * self.filtered + (1 - h.a) * g  # grads[n]
        super().update(g + h.lamb * self.filtered, lr)  # p.grad + grads[n] * lamb


class NAdam(Oracle):
    """NAdam (Dozat 2016) as torch.optim.NAdam 2.13 with decoupled_weight_decay=True computes it.

    The decay of m is the constant beta1, not mu_t.
    """

    recipe = "nadamw"
    defaults = {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "momentum_decay": 4e-3,
        "weight_decay": 0.0,
    }
    default_lr = 2e-3
    lively = {"lr": 0.02, **ADAM, "momentum_decay": 0.3}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)
        self.mu_product = 1.0

    def mu(self, t: int) -> float:
        return self.h.beta1 * (1 - 0.5 * 0.96 ** (t * self.h.momentum_decay))  # mu_t

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        now, following = self.mu(t), self.mu(t + 1)  # mu_t, mu_{t+1}
        self.mu_product = self.mu_product * now  # prod_{i<=t} mu_i
        self.w = self.w * (1 - lr * h.weight_decay)  # decoupled_weight_decay
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # exp_avg
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # exp_avg_sq
        denominator = np.sqrt(self.v / (1 - h.beta2**t)) + h.eps
        g_hat = (1 - now) / (1 - self.mu_product) * g  # gradient part of m-bar_t
        m_hat = following / (1 - self.mu_product * following) * self.m  # momentum part of m-bar_t
        self.w = self.w - lr * (g_hat + m_hat) / denominator


class QHAdam(Oracle):
    """QHAdam (Ma and Yarats 2019, Algorithm 2), decay coupled as facebookresearch/qhoptim ships it.

    Textbook form with m-hat = m/(1-beta1^t); the code folds that into the decay, equal exactly.
    nu2 mixes the squared gradient inside the root.
    """

    recipe = "qhadam"
    defaults = {
        "beta1": 0.9,
        "beta2": 0.999,
        "nu1": 1.0,
        "nu2": 1.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "nu1": 0.7, "nu2": 0.8}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        g = g + h.weight_decay * self.w  # d_p.add_(weight_decay, p): coupled
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # g_{t+1} of the paper
        self.v = h.beta2 * self.v + (1 - h.beta2) * g * g  # s_{t+1}
        m_hat = self.m / (1 - h.beta1**t)  # g'_{t+1}
        v_hat = self.v / (1 - h.beta2**t)  # s'_{t+1}
        numerator = h.nu1 * m_hat + (1 - h.nu1) * g
        denominator = np.sqrt(h.nu2 * v_hat + (1 - h.nu2) * g * g) + h.eps
        self.w = self.w - lr * numerator / denominator  # theta_{t+1}


class Adan(Oracle):
    """Adan (Xie et al. 2022) as sail-sg/Adan @2c65bea with its default proximal decay.

    The betas are decays (1 minus the paper's). The previous gradient starts as the first one.
    """

    recipe = "adan"
    defaults = {"beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "eps": 1e-8, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, **ADAM, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.dv = np.zeros_like(w0)
        self.n = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        difference = np.zeros_like(g) if t == 1 else g - self.g_prev  # g_k - g_{k-1}
        q = g + h.beta2 * difference  # g_k + (1-beta_2)(g_k - g_{k-1})
        self.m = h.beta1 * self.m + (1 - h.beta1) * g  # m_k, exp_avg
        self.dv = h.beta2 * self.dv + (1 - h.beta2) * difference  # v_k, exp_avg_diff
        self.n = h.beta3 * self.n + (1 - h.beta3) * q * q  # n_k, exp_avg_sq
        denominator = np.sqrt(self.n / (1 - h.beta3**t)) + h.eps
        m_hat = self.m / (1 - h.beta1**t)
        dv_hat = self.dv / (1 - h.beta2**t)
        moved = self.w - lr * (m_hat + h.beta2 * dv_hat) / denominator
        self.w = moved / (1 + lr * h.weight_decay)  # proximal step (no_prox=False)
        self.g_prev = g


class Adana(Oracle):
    """ADANA (arXiv 2602.05298) as mlexpos/adana @3eef26f, clipsnr off, wd_decaying on.

    First and second moment share the decay 1 - delta/(delta+t); no debiasing. The weight decay
    acts after the step and follows lr/lr0, not lr.
    """

    recipe = "adana"
    defaults = {
        "delta": 8.0,
        "kappa": 1.0,
        "gamma3": 1.0,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "wd_ts": 1.0,
        "lr0": 1.0,
    }
    default_lr = 1.0
    lively = {
        "lr": 0.02,
        "delta": 5.0,
        "kappa": 0.85,
        "gamma3": 0.8,
        "eps": 0.03,
        "weight_decay": 0.1,
        "wd_ts": 4.0,
    }

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        a = h.delta / (h.delta + t)  # 1 - beta(t)
        self.m = (1 - a) * self.m + a * g  # exp_avg
        self.v = (1 - a) * self.v + a * g * g  # exp_avg_sq
        denominator = np.sqrt(self.v) + h.eps
        growth = (1 + t) ** (1 - h.kappa)  # alpha factor A
        direction = g + h.gamma3 * (growth + 1) * self.m  # the README omits this 1
        self.w = self.w - lr * direction / denominator
        self.w = self.w * (1 - h.weight_decay * (lr / h.lr0) / (1 + t / h.wd_ts))


class Mars(Oracle):
    """MARS-AdamW, approximate (Yuan et al. 2024; AGI-Arena/MARS @4831e28), every tensor alike.

    The branch of 2-D parameters, that is optimize_1d=True. g_0 = 0, so the first step is corrected
    too; the corrected gradient is clipped to L2 norm 1 per tensor; decay inside the update.
    """

    recipe = "mars"
    defaults = {"beta1": 0.95, "beta2": 0.99, "gamma": 0.025, "eps": 1e-8, "weight_decay": 0.0}
    default_lr = 3e-3
    lively = {"lr": 0.02, **ADAM, "gamma": 0.05}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        self.v = np.zeros_like(w0)
        self.g_prev = np.zeros_like(w0)

    def corrected(self, g: Array) -> Array:
        h = self.h
        c = g + h.gamma * h.beta1 / (1 - h.beta1) * (g - self.g_prev)  # c_t, section 4.3
        norm = np.sqrt(np.sum(c * c))  # ||c_t||_2 of this tensor
        self.g_prev = g
        return c / norm if norm > 1 else c  # c-tilde_t

    def update(self, g: Array, lr: float) -> None:
        h, t = self.h, self.t
        c = self.corrected(g)
        self.m = h.beta1 * self.m + (1 - h.beta1) * c  # m_t
        self.v = h.beta2 * self.v + (1 - h.beta2) * c * c  # v_t, of c and not of g
        m_hat = self.m / (1 - h.beta1**t)
        v_hat = self.v / (1 - h.beta2**t)
        step = m_hat / (np.sqrt(v_hat) + h.eps) + h.weight_decay * self.w
        self.w = self.w - lr * step  # x_{t+1}
