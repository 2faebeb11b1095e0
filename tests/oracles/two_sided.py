"""Oracles that keep a square matrix for each side of a gradient: Shampoo and SOAP."""

from __future__ import annotations

import numpy as np

from .base import Array
from .orthogonal import MatrixOracle

DEPENDENT = 1e-11
"""What is left of a column, in units of the largest, when it says nothing new."""


class Shampoo(MatrixOracle):
    """Shampoo (Gupta et al. 2018, Algorithm 1); roots every so many steps, none before.

    Every tensor is a matrix, a vector one of a single column. pytorch_optimizer 4.1.0 computes
    the same on matrices.
    """

    recipe = "shampoo"
    defaults = {"every": 1.0, "eps": 1e-6}
    our_defaults = {}
    default_lr = 0.1
    lively = {"lr": 0.1, "every": 3.0, "eps": 0.05}
    starts_silent = True

    def begin_matrix(self, W0: Array) -> None:
        self.L = self.h.eps * np.eye(self.rows)
        self.R = self.h.eps * np.eye(self.cols)
        self.left = np.zeros_like(self.L)
        self.right = np.zeros_like(self.R)

    def matrix_update(self, G: Array, lr: float) -> None:
        self.L = self.L + G @ G.T
        self.R = self.R + G.T @ G
        if self.t % self.h.every == 0:
            self.left, self.right = inverse_root(self.L, 4), inverse_root(self.R, 4)
        self.W = self.W - lr * self.left @ G @ self.right


class Soap(MatrixOracle):
    """SOAP (Vyas et al. 2024) as nikhilvyas/SOAP @a1e5535 computes it.

    The first gradient fills the statistics and moves nothing. Vectors are Adam's, as there; of an
    embedding and a head only the columns are rotated, as there where a side is longer than 10000.
    Directions that no gradient has had yet follow the unit vectors in order, where that code takes
    what LAPACK happens to return; for square matrices of full rank there are none.
    """

    recipe = "soap"
    defaults = {"beta1": 0.95, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.01, "frequency": 10.0}
    our_defaults = {}
    default_lr = 3e-3
    lively = {
        "lr": 0.02,
        "beta1": 0.85,
        "beta2": 0.93,
        "eps": 0.03,
        "weight_decay": 0.2,
        "frequency": 3.0,
    }

    def begin_matrix(self, W0: Array) -> None:
        self.rotated = {"matrix": (True, True), "embedding": (False, True), "head": (False, True)}
        self.m = np.zeros_like(W0)
        self.v = np.zeros_like(W0)
        self.A = np.zeros((self.rows, self.rows))
        self.B = np.zeros((self.cols, self.cols))
        self.P, self.Q = np.eye(self.rows), np.eye(self.cols)

    def matrix_update(self, G: Array, lr: float) -> None:
        if not G.size:
            return
        h, k = self.h, self.t - 1
        if k > 0:
            self.step_in_the_bases(G, lr, k)
        self.A = h.beta2 * self.A + (1 - h.beta2) * G @ G.T
        self.B = h.beta2 * self.B + (1 - h.beta2) * G.T @ G
        left, right = self.rotated.get(self.kind, (False, False))
        if k == 0:
            self.P = eigenbasis(self.A) if left else self.P
            self.Q = eigenbasis(self.B) if right else self.Q
        elif k % h.frequency == 0:
            if left:
                order = np.argsort(-np.diag(self.P.T @ self.A @ self.P), kind="stable")
                self.v = self.v[order]
                self.P = orthonormal(self.A @ self.P[:, order])
            if right:
                order = np.argsort(-np.diag(self.Q.T @ self.B @ self.Q), kind="stable")
                self.v = self.v[:, order]
                self.Q = orthonormal(self.B @ self.Q[:, order])

    def step_in_the_bases(self, G: Array, lr: float, k: int) -> None:
        h = self.h
        R = self.P.T @ G @ self.Q
        self.m = h.beta1 * self.m + (1 - h.beta1) * G  # not rotated; that code's, rotated along
        self.v = h.beta2 * self.v + (1 - h.beta2) * R * R
        N = (self.P.T @ self.m @ self.Q) / (np.sqrt(self.v) + h.eps)
        step_size = lr * np.sqrt(1 - h.beta2**k) / (1 - h.beta1**k)
        self.W = self.W - step_size * self.P @ N @ self.Q.T
        self.W = self.W - lr * h.weight_decay * self.W


def inverse_root(A: Array, p: int) -> Array:
    """Return A^(-1/p) of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(A)
    return vectors @ np.diag(values ** (-1 / p)) @ vectors.T


def eigenbasis(A: Array) -> Array:
    """Return the eigenvectors of a symmetric matrix, the largest eigenvalue's first.

    Those of eigenvalue 0 have no direction of their own: `orthonormal` completes the basis.
    """
    values, vectors = np.linalg.eigh(A)
    values, vectors = values[::-1], vectors[:, ::-1]
    return orthonormal(vectors * (values > DEPENDENT * max(values[0], 0.0)))


def orthonormal(X: Array) -> Array:
    """Return the Q of X = QR, R with a positive diagonal, by Gram and Schmidt, each column twice.

    A column that depends on those before it is put off; at the end its place is filled by what is
    left of the first unit vector that says something new.
    """
    n = X.shape[0]
    largest = np.sqrt(np.max(np.sum(X * X, axis=0)))
    Q = np.zeros_like(X)
    empty = []
    for j in range(n):
        rest = X[:, j] - Q @ (Q.T @ X[:, j])
        rest = rest - Q @ (Q.T @ rest)
        size = np.sqrt(np.sum(rest * rest))
        if size > DEPENDENT * largest:
            Q[:, j] = rest / size
        else:
            empty.append(j)
    for unit in np.eye(n):
        if not empty:
            break
        rest = unit - Q @ (Q.T @ unit)
        rest = rest - Q @ (Q.T @ rest)
        size = np.sqrt(np.sum(rest * rest))
        if size > 1e-3:
            Q[:, empty.pop(0)] = rest / size
    return Q
