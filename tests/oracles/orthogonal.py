"""Oracles of Muon and its kin: a momentum, made nearly orthogonal by a Newton-Schulz iteration.

A tensor of more axes is the matrix of its first axis by all others. What is no hidden matrix is
another oracle's, as `elsewhere` says.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .adam_family import AdamW
from .averaged import ScheduleFreeAdamW
from .base import Array, Oracle

JORDAN = ((3.4445, -4.7750, 2.0315),) * 5
"""KellerJordan/Muon @857d1ad, muon.py; five times the same step."""

Elsewhere = tuple[type[Oracle], dict[str, float], float]


class MatrixOracle(Oracle):
    """A rule for matrices, `matrix_update`, and what takes the tensors of every other kind."""

    shape = (8, 5)

    def elsewhere(self) -> Elsewhere | None:
        """Return the oracle of this tensor, its hyperparameters and its lr in units of ours."""
        return None

    def __init__(
        self, w0: Array, total_steps: int, kind: str | None = None, **hyperparameters: float
    ) -> None:
        super().__init__(w0, total_steps, kind, **hyperparameters)
        other = self.elsewhere()
        self.other: Oracle | None = None
        if other is not None:
            oracle, settings, self.share = other
            self.other = oracle(self.w0, total_steps, self.kind, **settings)

    def begin(self, w0: Array) -> None:
        self.rows = w0.shape[0] if w0.ndim else 1
        self.cols = w0.size // self.rows if self.rows else 0
        self.W = w0.reshape(self.rows, self.cols)
        self.begin_matrix(self.W)

    def update(self, g: Array, lr: float) -> None:
        if self.other is not None:
            self.other.step(g, self.share * lr)
        else:
            self.matrix_update(g.reshape(self.rows, self.cols), lr)

    def begin_matrix(self, W0: Array) -> None:
        """Set the variables before the first gradient."""
        raise NotImplementedError

    def matrix_update(self, G: Array, lr: float) -> None:
        """Do step number `self.t` on a matrix."""
        raise NotImplementedError

    def train_point(self) -> Array:
        if self.other is not None:
            return self.other.train_point()
        return self.W.reshape(self.w0.shape)


class Muon(MatrixOracle):
    """Muon as KellerJordan/Muon @857d1ad computes it, in float64 where that has bfloat16."""

    recipe = "muon"
    defaults = {"mu": 0.95, "weight_decay": 0.0}
    our_defaults = {"weight_decay": 0.1}  # torch's, and Moonlight's
    default_lr = 0.02
    lively = {"lr": 0.03, "mu": 0.85, "weight_decay": 0.2}
    has_clock = False

    def elsewhere(self) -> Elsewhere | None:
        if self.kind == "matrix":
            return None
        adam = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-10, "weight_decay": 0.0}
        return AdamW, adam, 0.015

    def begin_matrix(self, W0: Array) -> None:
        self.M = np.zeros_like(W0)

    def size_for_norm(self, norm: float) -> float:
        """Return what the iteration's input is divided by."""
        return norm + 1e-7

    def orthogonal(self, G: Array) -> Array:
        """Return about the polar factor of G: singular values near 1, vectors unchanged."""
        wide = self.rows <= self.cols
        X = G if wide else G.T
        X = X / self.size_for_norm(float(np.sqrt(np.sum(X * X))))
        for a, b, c in JORDAN:
            A = X @ X.T
            B = b * A + c * A @ A
            X = a * X + B @ X
        return X if wide else X.T

    def scale(self) -> float:
        """Return what multiplies the orthogonal matrix, beside lr."""
        return sqrt(max(1.0, self.rows / self.cols)) if self.cols else 1.0

    def nesterov(self, G: Array) -> Array:
        """Fill the momentum and return the mix that is made orthogonal."""
        mu = self.h.mu
        self.M = mu * self.M + (1 - mu) * G
        return mu * self.M + (1 - mu) * G

    def matrix_update(self, G: Array, lr: float) -> None:
        U = self.orthogonal(self.nesterov(G))
        self.W = self.W * (1 - lr * self.h.weight_decay)
        self.W = self.W - lr * self.scale() * U


class MuonMoonlight(Muon):
    """Muon of MoonshotAI/Moonlight @c2ad5b2: steps of AdamW's size, one lr and decay for all.

    Its buffer is a sum; in an average the factor 1 - mu cancels, but for the 1e-7. The AdamW of
    its example adds eps before debiasing; this one is torch's.
    """

    recipe = "muon_moonlight"
    defaults = {"mu": 0.95, "weight_decay": 0.1}
    our_defaults = {}
    default_lr = 1e-3

    def elsewhere(self) -> Elsewhere | None:
        if self.kind == "matrix":
            return None
        adam = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
        return AdamW, {**adam, "weight_decay": self.h.weight_decay}, 1.0

    def scale(self) -> float:
        return 0.2 * sqrt(max(self.rows, self.cols))


class NorMuon(Muon):
    """NorMuon (Li et al. 2025) as zichongli5/NorMuon @d45c9a4 computes it."""

    recipe = "normuon"
    defaults = {"mu": 0.95, "beta2": 0.95, "weight_decay": 0.0}
    lively = {**Muon.lively, "beta2": 0.9}

    def begin_matrix(self, W0: Array) -> None:
        super().begin_matrix(W0)
        self.v = np.zeros((self.rows, 1))  # second_momentum

    def matrix_update(self, G: Array, lr: float) -> None:
        h, U = self.h, self.orthogonal(self.nesterov(G))
        vnorm = np.sqrt(np.sum(U * U))
        v_mean = np.sum(U * U, axis=1, keepdims=True) / max(1, self.cols)
        self.v = h.beta2 * self.v + (1 - h.beta2) * v_mean
        U = U / (np.sqrt(self.v) + 1e-10)
        U = U * (vnorm / (np.sqrt(np.sum(U * U)) + 1e-10))
        self.W = self.W * (1 - lr * h.weight_decay)
        self.W = self.W - lr * self.scale() * U


class AdaMuon(Muon):
    """AdaMuon (arXiv 2507.11005 v3) as Chongjie-Si/AdaMuon, gpt2/models/optimizers, computes it.

    The Nesterov mix where the paper has the momentum; the mean square decays by the same mu and is
    not debiased, which the last rescaling cancels but for eps.
    """

    recipe = "adamuon"
    defaults = {"mu": 0.95, "eps": 1e-8, "weight_decay": 0.01}
    our_defaults = {}
    lively = {**Muon.lively, "eps": 0.03}

    def elsewhere(self) -> Elsewhere | None:
        if self.kind == "matrix":
            return None
        adam = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
        return AdamW, {**adam, "weight_decay": self.h.weight_decay}, 1.0

    def begin_matrix(self, W0: Array) -> None:
        super().begin_matrix(W0)
        self.V = np.zeros_like(W0)

    def matrix_update(self, G: Array, lr: float) -> None:
        h, O = self.h, self.orthogonal(np.sign(self.nesterov(G)))
        self.V = h.mu * self.V + (1 - h.mu) * O * O
        O = O / (np.sqrt(self.V) + h.eps)
        gamma = 0.2 * sqrt(self.rows * self.cols) / (np.sqrt(np.sum(O * O)) + h.eps)
        self.W = self.W * (1 - lr * h.weight_decay)
        self.W = self.W - lr * gamma * O


class Scion(Muon):
    """Scion, constrained (Pethick et al. 2025), as LIONS-EPFL/scion @f58a393 computes it.

    The kinds are its Spectral, Sign and BiasRMS; `alpha` is its `momentum`, the weight of the new
    gradient. Gains and biases have the radius of the hidden matrices.
    """

    recipe = "scion"
    defaults = {"alpha": 0.1, "radius": 50.0}
    our_defaults = {}
    default_lr = 2.44e-4  # 2^-12
    learns_at = {"lr": 1e-4}  # times radii of 50 and 3000
    lively = {"lr": 0.03, "alpha": 0.15, "radius": 2.0}

    def elsewhere(self) -> Elsewhere | None:
        return None

    def lmo(self) -> Array:
        """Return the step of one size in the norm of this kind, radius included."""
        if self.kind == "matrix":
            stretch = sqrt(self.rows / self.cols) if self.cols else 1.0
            return self.h.radius * stretch * self.orthogonal(self.M)
        if self.kind in ("embedding", "head"):
            return 3000.0 * np.sign(self.M) / self.cols
        rms = np.sqrt(np.sum(self.M * self.M) / max(1, self.M.size))
        return self.h.radius * self.M / (rms + 1e-8)

    def matrix_update(self, G: Array, lr: float) -> None:
        self.M = (1 - self.h.alpha) * self.M + self.h.alpha * G
        self.W = (1 - lr) * self.W - lr * self.lmo()


class AdEMAMixMuon(Muon):
    """AdEMAMix's two averages before one orthogonaliser; neither is debiased. Ours."""

    recipe = "ademamix_muon"
    defaults = {**Muon.defaults, "slow": 0.999, "alpha": 2.0}
    lively = {**Muon.lively, "slow": 0.97, "alpha": 1.5}

    def begin_matrix(self, W0: Array) -> None:
        self.M1 = np.zeros_like(W0)
        self.M2 = np.zeros_like(W0)

    def nesterov(self, G: Array) -> Array:
        h = self.h
        self.M1 = h.mu * self.M1 + (1 - h.mu) * G
        self.M2 = h.slow * self.M2 + (1 - h.slow) * G
        return self.M1 + h.alpha * self.M2


class SimplifiedAdEMAMixMuon(Muon):
    """Simplified-AdEMAMix's numerator before the orthogonaliser: a sum, and alpha times g. Ours."""

    recipe = "simplified_ademamix_muon"
    defaults = {**Muon.defaults, "mu": 0.99, "alpha": 10.0}
    lively = {**Muon.lively, "alpha": 1.5}

    def nesterov(self, G: Array) -> Array:
        self.M = self.h.mu * self.M + G
        return self.M + self.h.alpha * G


class MarsMuon(Muon):
    """MARS-M (arXiv 2510.21800) as AGI-Arena/MARS @HEAD MARS_M/optimizers/mars_m.py computes it.

    The corrected gradient is scaled to a norm of at most 1; no Nesterov mix; Moonlight's scale.
    The gradient before the first is 0, as in that code.
    """

    recipe = "mars_muon"
    defaults = {"mu": 0.95, "gamma": 0.025, "weight_decay": 0.1}
    our_defaults = {}
    default_lr = 1e-3
    lively = {**Muon.lively, "gamma": 0.05}

    def elsewhere(self) -> Elsewhere | None:
        if self.kind == "matrix":
            return None
        adam = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
        return AdamW, {**adam, "weight_decay": self.h.weight_decay}, 1.0

    def begin_matrix(self, W0: Array) -> None:
        super().begin_matrix(W0)
        self.last_grad = np.zeros_like(W0)

    def scale(self) -> float:
        return 0.2 * sqrt(max(self.rows, self.cols))

    def nesterov(self, G: Array) -> Array:
        h = self.h
        c = G + h.gamma * (h.mu / (1 - h.mu)) * (G - self.last_grad)
        norm = np.sqrt(np.sum(c * c))
        c = c / norm if norm > 1 else c
        self.last_grad = G
        self.M = h.mu * self.M + (1 - h.mu) * c
        return self.M


class LaPropMuon(Muon):
    """Muon in the order of LaProp: each gradient is made orthogonal, then averaged. Ours."""

    recipe = "laprop_muon"

    def matrix_update(self, G: Array, lr: float) -> None:
        U = self.nesterov(self.scale() * self.orthogonal(G))
        self.W = self.W * (1 - lr * self.h.weight_decay)
        self.W = self.W - lr * U


class ScheduleFreeMuon(Muon):
    """Schedule-Free around orthogonalised momentum: z steps, x averages, gradients at y.

    As schedulefree 1.4.1 ScheduleFreeWrapper around torch.optim.Muon without Nesterov, weight decay
    at y; the weights of the average are lr_max^2. Other kinds: Schedule-Free AdamW.
    """

    recipe = "schedule_free_muon"
    defaults = {"beta": 0.9, "mu": 0.0, "weight_decay": 0.0}
    our_defaults = {}
    lively = {"lr": 0.03, "beta": 0.8, "mu": 0.6, "weight_decay": 0.2}

    def elsewhere(self) -> Elsewhere | None:
        if self.kind == "matrix":
            return None
        adam = {"beta2": 0.95, "eps": 1e-10, "r": 0.0, "weight_lr_power": 2.0, "weight_decay": 0.0}
        return ScheduleFreeAdamW, {"beta": self.h.beta, **adam}, 0.015

    def begin_matrix(self, W0: Array) -> None:
        self.M = np.zeros_like(W0)
        self.Z = self.X = self.Y = W0
        self.lr_max = 0.0
        self.weight_sum = 0.0

    def matrix_update(self, G: Array, lr: float) -> None:
        h = self.h
        self.M = h.mu * self.M + (1 - h.mu) * G
        step = self.scale() * self.orthogonal(self.M) + h.weight_decay * self.Y
        self.lr_max = max(self.lr_max, lr)
        weight = self.lr_max**2
        self.weight_sum = self.weight_sum + weight
        c = weight / self.weight_sum if self.weight_sum > 0 else 0.0
        self.Z = self.Z - lr * step
        self.X = (1 - c) * self.X + c * self.Z
        self.Y = (1 - h.beta) * self.Z + h.beta * self.X

    def train_point(self) -> Array:
        return super().train_point() if self.other is not None else self.Y.reshape(self.w0.shape)

    def eval_point(self) -> Array:
        if self.other is not None:
            return self.other.eval_point()
        return self.X.reshape(self.w0.shape)
