"""Oracles that keep fewer second moments than elements: rows, columns, heads or whole tensors."""

from __future__ import annotations

from math import sqrt

import numpy as np

from .adam_family import AdamW
from .base import Array, Oracle


class Adafactor(Oracle):
    """Adafactor (Shazeer and Stern 2018) as torch.optim.Adafactor 2.13 computes it.

    eps1 is the least mean where torch takes the dtype's epsilon; vectors have one mean an element.
    A tensor of more axes is the matrix of its first axis by all others (torch: the last two).
    """

    recipe = "adafactor"
    defaults = {"decay": 0.8, "eps1": 2.0**-52, "eps2": 1e-3, "d": 1.0, "weight_decay": 0.0}
    default_lr = 1e-2
    shape = (8, 5)
    lively = {"lr": 0.3, "decay": 0.7, "eps1": 0.4, "eps2": 0.9, "d": 1.1, "weight_decay": 0.2}
    has_closed_form = False

    def begin(self, w0: Array) -> None:
        self.w = w0
        rows = w0.shape[0] if w0.ndim > 1 else w0.size
        self.row_var = np.zeros((rows, 1))
        self.col_var = np.zeros((1, w0.size // rows if rows else 0))
        self.variance = np.zeros_like(w0)

    def update(self, g: Array, lr: float) -> None:
        if not g.size:
            return
        h, k = self.h, self.t**-self.h.decay
        rho = min(lr, 1 / sqrt(self.t))
        alpha = max(h.eps2, sqrt(np.mean(self.w**2))) * rho
        self.w = self.w * (1 - lr * h.weight_decay)
        if g.ndim > 1:
            squares = (g * g).reshape(self.row_var.shape[0], -1)
            self.row_var = (1 - k) * self.row_var + k * squares.mean(axis=1, keepdims=True)
            self.col_var = (1 - k) * self.col_var + k * squares.mean(axis=0, keepdims=True)
            mean = max(float(self.row_var.mean()), h.eps1)
            variance = (self.row_var @ self.col_var / mean).reshape(g.shape)
        else:
            self.variance = (1 - k) * self.variance + k * g * g
            variance = self.variance
        u = g / np.sqrt(np.maximum(variance, h.eps1**2))
        clipped = u / max(1.0, sqrt(np.mean(u * u)) / h.d)
        self.w = self.w - alpha * clipped


class AdamMini(Oracle):
    """Adam-mini (Zhang et al. 2024) as zyushun/Adam-mini 1.1.1 computes it.

    One mean square a row; a head for queries and keys (kind `query` or `key`: their names say so);
    a tensor for gains, and whatever is none of its names; an element for biases, which is AdamW.
    """

    recipe = "adam_mini"
    defaults = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "heads": 4}
    default_lr = 1e-3
    shape = (8, 5)
    lively = {**AdamW.lively, "heads": 2.0}
    idle = ("heads",)  # it is of queries and keys alone

    def begin(self, w0: Array) -> None:
        self.w = w0
        self.m = np.zeros_like(w0)
        blocks = {"norm": 1, "query": int(self.h.heads), "key": int(self.h.heads)}
        rows = w0.shape[0] if w0.ndim > 1 else w0.size
        self.blocks = blocks.get(self.kind, w0.size if self.kind == "bias" else rows)
        self.v = np.zeros((self.blocks, 1))

    def update(self, g: Array, lr: float) -> None:
        if not g.size:
            return
        h, t = self.h, self.t
        grad = g.reshape(self.blocks, -1)
        self.v = h.beta2 * self.v + (1 - h.beta2) * np.mean(grad * grad, axis=1, keepdims=True)
        self.w = self.w * (1 - lr * h.weight_decay)
        self.m = h.beta1 * self.m + (1 - h.beta1) * g
        denominator = np.sqrt(self.v / (1 - h.beta2**t)) + h.eps
        step = self.m.reshape(grad.shape) / (1 - h.beta1**t) / denominator
        self.w = self.w - lr * step.reshape(g.shape)
