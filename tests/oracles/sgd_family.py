"""Oracles of SGD, its momentum forms and the accelerated SGD methods, plus RMSprop and Adagrad.

The accelerated ones keep the two sequences of their own papers, never the single momentum buffer
of the Connections paper's Eq. (1).
"""

from __future__ import annotations

import numpy as np

from .base import Array, Oracle


class SGD(Oracle):
    """Plain SGD as torch.optim.SGD, decay coupled."""

    recipe = "sgd"
    defaults = {"weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, "weight_decay": 0.2}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0

    def update(self, g: Array, lr: float) -> None:
        self.w = self.w - lr * (g + self.h.weight_decay * self.w)


class SGDMomentum(Oracle):
    """SGD with heavy-ball momentum as torch.optim.SGD 2.13 for momentum > 0.

    The first buffer is the gradient itself, not (1 - dampening) times it; decay coupled.
    """

    recipe = "sgd_momentum"
    defaults = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0}
    default_lr = 1e-3
    our_defaults = {"lr": 1e-2}  # torch's 1e-3 comes with momentum 0
    lively = {"lr": 0.02, "momentum": 0.85, "dampening": 0.3, "weight_decay": 0.2}

    def begin(self, w0: Array) -> None:
        self.w = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w  # grad.add(param, alpha=weight_decay)
        if self.t == 1:
            self.b = g  # momentum_buffer = clone(grad)
        else:
            self.b = h.momentum * self.b + (1 - h.dampening) * g
        self.w = self.w - lr * self.b


class SGDNesterov(Oracle):
    """SGD with nesterov=True as torch.optim.SGD 2.13 (dampening 0), decay coupled."""

    recipe = "sgd_nesterov"
    defaults = {"momentum": 0.9, "weight_decay": 0.0}
    default_lr = 1e-3
    lively = {"lr": 0.02, "momentum": 0.85, "weight_decay": 0.2}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.b = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w
        self.b = h.momentum * self.b + g  # b_t
        self.w = self.w - lr * (g + h.momentum * self.b)  # grad.add(buf, alpha=momentum)


class AcceleratedSGD(Oracle):
    """Eq. (1) of the Connections paper with beta_{a,t} = max(0, 1 - k/t) (section 4.4)."""

    recipe = "accelerated_sgd"
    defaults = {"eta": 1e-3, "alpha": 1e-3, "k": 1.0}  # ours: the paper names no values
    lively = {"eta": 0.01, "alpha": 0.03, "k": 3.0}
    further = {"k": 0.4}  # the first decay is 0 for k >= 1

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        beta = max(0.0, 1 - h.k / self.t)  # beta_{a,t}
        self.m = beta * self.m + g  # m_t
        self.w = self.w - h.eta * self.m - h.alpha * g  # w_{t+1}


class DANA(Oracle):
    """DANA (Ferbach et al. 2025, arXiv 2505.16098), gamma1 = 1, Delta(t) = delta/(delta + t)."""

    recipe = "dana"
    defaults = {"gamma2": 1e-3, "gamma3": 1e-4, "kappa3": 0.5, "delta": 6.0}  # ours
    lively = {"gamma2": 0.03, "gamma3": 0.02, "kappa3": 0.4, "delta": 3.0}
    learns_at = {"gamma2": 0.2, "gamma3": 0.1}

    def begin(self, w0: Array) -> None:
        self.theta = w0
        self.y = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.y = (1 - h.delta / (h.delta + self.t)) * self.y + g  # y_t
        gamma3 = h.gamma3 * (1 + self.t) ** -h.kappa3  # gamma_3(t)
        self.theta = self.theta - h.gamma2 * g - gamma3 * self.y

    def train_point(self) -> Array:
        return self.theta


class AGNES(Oracle):
    """AGNES (Gupta et al. 2023; Connections paper, B.1), constant rho, v_0 = 0.

    Gradients at x'_n, evaluation at x_n.
    """

    recipe = "agnes"
    defaults = {"eta": 1e-3, "alpha": 1e-3, "rho": 0.99}  # the text gives no defaults: ours
    lively = {"eta": 0.03, "alpha": 0.01, "rho": 0.9}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.x = w0
        self.v = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        x_prime = self.train_point()  # x'_n
        self.x = x_prime - h.eta * g  # x_{n+1}
        self.v = h.rho * (self.v - g)  # v_{n+1}

    def train_point(self) -> Array:
        return self.x + self.h.alpha * self.v  # x'_n = x_n + alpha v_n

    def eval_point(self) -> Array:
        return self.x


class ASGDJain(Oracle):
    """ASGD (Jain et al. 2018; Connections paper, B.2: its definition, not its rewriting).

    Gradients at y_{j-1}, evaluation at x_j without the tail average.
    """

    recipe = "asgd_jain"
    defaults = {"alpha": 0.9, "beta": 0.1, "gamma": 1e-2, "delta": 1e-3}  # ours
    lively = {"alpha": 0.8, "beta": 0.3, "gamma": 0.1, "delta": 0.03}
    has_clock = False
    learns_at = {"delta": 0.2, "gamma": 0.4}

    def begin(self, w0: Array) -> None:
        self.x = self.v = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        y = self.train_point()  # y_{j-1}
        z = h.beta * y + (1 - h.beta) * self.v  # z_{j-1}
        self.x = y - h.delta * g  # x_j
        self.v = z - h.gamma * g  # v_j

    def train_point(self) -> Array:
        return self.h.alpha * self.x + (1 - self.h.alpha) * self.v

    def eval_point(self) -> Array:
        return self.x


class AccSGD(Oracle):
    """AccSGD (Kidambi et al. 2018) as rahulkidambi/AccSGD @5783b2c, weight decay left out."""

    recipe = "accsgd"
    defaults = {"kappa": 1000.0, "xi": 10.0, "small_const": 0.7}
    default_lr = 1e-3
    lively = {"lr": 0.02, "kappa": 60.0, "xi": 5.0, "small_const": 0.7}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = self.v = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        large_lr = lr * h.kappa / h.small_const  # large_lr
        alpha = 1 - h.small_const**2 * h.xi / h.kappa  # Alpha
        beta = 1 - alpha  # Beta
        zeta = h.small_const / (h.small_const + beta)  # zeta
        self.v = alpha * self.v + beta * (self.w - large_lr * g)  # momentum_buffer
        self.w = zeta * (self.w - lr * g) + (1 - zeta) * self.v


class MaSS(Oracle):
    """MaSS (Liu and Belkin 2020; Connections paper, B.3).

    Gradients at u_t, evaluation at w_t. The defaults are those of the authors' code (ts66395/MaSS
    @6a6cc67: lr .1, a .05, kappa 12) in these variables: gamma = (1-a)/(1+a), eta1 = lr,
    eta2 = (lr - lr/kappa)/(1+a).
    """

    recipe = "mass"
    defaults = {"eta1": 0.1, "eta2": 0.1 * (1 - 1 / 12) / 1.05, "gamma": 0.95 / 1.05}
    our_defaults = {"eta2": 0.0873, "gamma": 0.9048}  # rounded
    lively = {"eta1": 0.03, "eta2": 0.01, "gamma": 0.8}
    has_clock = False
    learns_at = {"eta1": 0.2, "eta2": 0.15}

    def begin(self, w0: Array) -> None:
        self.w = self.u = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        w_new = self.u - h.eta1 * g  # w_{t+1}
        self.u = (1 + h.gamma) * w_new - h.gamma * self.w + h.eta2 * g  # u_{t+1}
        self.w = w_new

    def train_point(self) -> Array:
        return self.u

    def eval_point(self) -> Array:
        return self.w


class NesterovVaswani(Oracle):
    """SGD with Nesterov acceleration (Vaswani et al. 2019; Connections paper, B.4), constants.

    Gradients at zeta_k, evaluation at w_k.
    """

    recipe = "nesterov_vaswani"
    defaults = {"eta": 1e-3, "alpha": 0.1, "beta": 0.9, "gamma": 10.0}  # ours
    lively = {"eta": 0.03, "alpha": 0.2, "beta": 0.9, "gamma": 4.0}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = self.v = w0

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        zeta = self.train_point()  # zeta_k
        self.w = zeta - h.eta * g  # w_{k+1}
        self.v = h.beta * self.v + (1 - h.beta) * zeta - h.gamma * h.eta * g  # v_{k+1}

    def train_point(self) -> Array:
        return self.h.alpha * self.v + (1 - self.h.alpha) * self.w

    def eval_point(self) -> Array:
        return self.w


class QHM(Oracle):
    """Quasi-hyperbolic momentum (Ma and Yarats 2019, Eq. (3) and (4)), no weight decay."""

    recipe = "qhm"
    defaults = {"beta": 0.999, "nu": 0.7}
    default_lr = 1.0
    lively = {"lr": 0.05, "beta": 0.9, "nu": 0.7}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        self.m = h.beta * self.m + (1 - h.beta) * g  # g_{t+1}
        self.w = self.w - lr * ((1 - h.nu) * g + h.nu * self.m)  # theta_{t+1}


class AggMo(Oracle):
    """AggMo (Lucas et al. 2019; AtheMathmo/AggMo @f91730d), K = 3 theory-style buffers."""

    recipe = "aggmo"
    defaults = {"beta1": 0.0, "beta2": 0.9, "beta3": 0.99}
    default_lr = 1e-3
    lively = {"lr": 0.02, "beta1": 0.3, "beta2": 0.8, "beta3": 0.95}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.buffers = [np.zeros_like(w0)] * 3

    def update(self, g: Array, lr: float) -> None:
        betas = (self.h.beta1, self.h.beta2, self.h.beta3)
        self.buffers = [beta * b + g for beta, b in zip(betas, self.buffers, strict=True)]  # v^(i)
        self.w = self.w - lr / 3 * (self.buffers[0] + self.buffers[1] + self.buffers[2])


class RMSprop(Oracle):
    """RMSprop as torch.optim.RMSprop 2.13, not centered; eps outside the root, decay coupled."""

    recipe = "rmsprop"
    defaults = {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0}
    default_lr = 1e-2
    lively = {"lr": 0.02, "alpha": 0.93, "eps": 0.03, "momentum": 0.7, "weight_decay": 0.2}
    has_clock = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.square_avg = np.zeros_like(w0)
        self.b = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w
        self.square_avg = h.alpha * self.square_avg + (1 - h.alpha) * g * g
        self.b = h.momentum * self.b + g / (np.sqrt(self.square_avg) + h.eps)  # momentum_buffer
        self.w = self.w - lr * self.b


class Adagrad(Oracle):
    """Adagrad (Duchi et al. 2011) as torch.optim.Adagrad 2.13 with initial accumulator 0."""

    recipe = "adagrad"
    defaults = {"lr_decay": 0.0, "eps": 1e-10, "weight_decay": 0.0}
    default_lr = 1e-2
    lively = {"lr": 0.02, "lr_decay": 0.05, "eps": 0.03, "weight_decay": 0.2}

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.sum = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        h = self.h
        g = g + h.weight_decay * self.w
        self.sum = self.sum + g * g  # state_sum
        clr = lr / (1 + (self.t - 1) * h.lr_decay)  # clr
        self.w = self.w - clr * g / (np.sqrt(self.sum) + h.eps)
