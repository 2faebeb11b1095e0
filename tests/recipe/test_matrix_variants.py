"""Variants of Muon, Shampoo and Adafactor as one would make them up, each beside a loop in numpy.

Thirty steps in float64 to 1e-9, on wide, tall and square matrices and on filters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import optzoo

Array = np.ndarray
Grads = list[Array]
ENGINES = ("reference", "foreach", "compiled")
SHAPES = ((4, 6), (6, 4), (5, 5), (8, 3, 2))
SQUARE = ((5, 5), (4, 2, 2))
STEPS = 30
HEAD = """
name: mine
version: 2
summary: a variant
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
"""
Method = Callable[[Array, Grads], Array]
METHODS: dict[str, tuple[Method, str]] = {}


def said(text: str) -> Callable[[Method], Method]:
    """Enter a method under its name, with what it is in the language."""

    def enter(method: Method) -> Method:
        METHODS[method.__name__] = (method, text)
        return method

    return enter


def norm(a: Array, **axis: int) -> Array:
    return np.sqrt((a**2).sum(keepdims=bool(axis), **axis))


def polar(x: Array) -> Array:
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / (norm(x) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x.T if turned else x


def eigenbasis(a: Array) -> Array:
    vectors = np.linalg.eigh(a)[1][:, ::-1]
    firsts = [next(x for x in vector if abs(x) > 1e-3) for vector in vectors.T]
    return vectors * np.sign(firsts)


def orthonormal(a: Array) -> Array:
    q, r = np.linalg.qr(a)
    return q * np.sign(np.diag(r))


@said("""
buffers: {m: {input: grad, decay: 0.9, gain: 1}}
signals: {n: 0.9*m + grad}
update: n/(norm(n, row)/sqrt(cols) + 1e-8)
weight_decay: {amount: 0.1, kind: decoupled}
""")
def row_normalised_momentum(w: Array, grads: Grads) -> Array:
    m = np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + g
        n = 0.9 * m + g
        w = w - 0.1 * (n / (norm(n, axis=1) / np.sqrt(w.shape[1]) + 1e-8) + 0.1 * w)
    return w


@said("""
buffers: {m: {input: grad, decay: 0.95, gain: 1}}
preconditioner: {polar: {coefficients: jordan, scale: "0.2*sqrt(max(rows, cols))"}}
update: {mix: {m: 0.95, grad: 1}}
weight_decay: {amount: 0.1, kind: decoupled}
""")
def muon_of_rms_scale(w: Array, grads: Grads) -> Array:
    m = np.zeros_like(w)
    for g in grads:
        m = 0.95 * m + g
        w = w - 0.1 * (0.2 * np.sqrt(max(w.shape)) * polar(0.95 * m + g) + 0.1 * w)
    return w


@said("""
scalars: {k: 1/(1 - 0.9**t)}
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
  v: {input: "mean(square(grad), block(4))", decay: 0.99, gain: 0.01}
update: k*m/(sqrt(v/(1 - 0.99**t)) + 1e-8)
""")
def adam_by_head(w: Array, grads: Grads) -> Array:
    m, heads = np.zeros_like(w), min(4, len(w))
    cuts = [k * len(w) // heads for k in range(heads + 1)]
    v = np.zeros((len(w), 1))
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        for i in range(heads):
            part = slice(cuts[i], cuts[i + 1])
            v[part] = 0.99 * v[part] + 0.01 * (g[part] ** 2).mean()
        w = w - 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return w


@said("""
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
  r: {input: "mean(square(m) + 1e-30, row)", decay: 0.99, gain: 0.01}
  c: {input: "mean(square(m) + 1e-30, column)", decay: 0.99, gain: 0.01}
signals: {u: m/sqrt(r*c/mean(r))}
update: u/max(1, norm(u)/sqrt(size))
""")
def factored_squares_of_the_momentum(w: Array, grads: Grads) -> Array:
    m, r, c = np.zeros_like(w), np.zeros(w.shape[0]), np.zeros(w.shape[1])
    for g in grads:
        m = 0.9 * m + 0.1 * g
        square = m**2 + 1e-30
        r, c = 0.99 * r + 0.01 * square.mean(1), 0.99 * c + 0.01 * square.mean(0)
        u = m / np.sqrt(np.outer(r, c) / r.mean())
        w = w - 0.1 * u / max(1.0, np.sqrt((u**2).mean()))
    return w


@said("""
buffers:
  A: {input: grad @ grad.T, decay: 0.95, gain: 0.05, init: identity}
  B: {input: grad.T @ grad, decay: 0.95, gain: 0.05, init: identity}
  P: {first: eigenbasis(A), refresh: {every: 3, offset: 1, input: orthonormal(A @ P.prev)}}
  Q: {first: eigenbasis(B), refresh: {every: 3, offset: 1, input: orthonormal(B @ Q.prev)}}
  m: {input: grad, decay: 0.99, gain: 0.01}
update: P @ tanh(P.T @ (0.9*m.prev + 0.1*grad) @ Q) @ Q.T
""")
def soft_lion_in_the_eigenbasis(w: Array, grads: Grads) -> Array:
    a, b, m = np.eye(w.shape[0]), np.eye(w.shape[1]), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        a, b = 0.95 * a + 0.05 * g @ g.T, 0.95 * b + 0.05 * g.T @ g
        if t == 1:
            p, q = eigenbasis(a), eigenbasis(b)
        elif t % 3 == 1:
            p, q = orthonormal(a @ p), orthonormal(b @ q)
        w = w - 0.1 * p @ np.tanh(p.T @ (0.9 * m + 0.1 * g) @ q) @ q.T
        m = 0.99 * m + 0.01 * g
    return w


@said("""
buffers:
  m: {input: grad, decay: 0.9, gain: 1}
  o: {refresh: {every: 2, offset: 1, input: "polar(m, jordan)"}}
update: o
""")
def polar_at_every_second_step(w: Array, grads: Grads) -> Array:
    m = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + g
        if t % 2:
            o = polar(m)
        w = w - 0.1 * o
    return w


@said("""
buffers:
  v: {input: "mean(square(o), row)", decay: 0.9, gain: 0.1}
signals:
  o: polar(grad, jordan)
  n: o/(sqrt(v) + 1e-10)
update: n*norm(o)/(norm(n) + 1e-10)
averaging: {weight: 1/t, beta: 0.9}
""")
def schedule_free_normuon(w: Array, grads: Grads) -> Array:
    z, x, v = w, w, np.zeros((len(w), 1))
    for t, g in enumerate(grads, 1):
        o = polar(g)
        v = 0.9 * v + 0.1 * (o**2).mean(1, keepdims=True)
        n = o / (np.sqrt(v) + 1e-10)
        z = z - 0.1 * n * norm(o) / (norm(n) + 1e-10)
        x = (1 - 1 / t) * x + z / t
    return 0.1 * z + 0.9 * x


@said("""
buffers: {m: {input: grad + 0.1*param, decay: 0.9, gain: 1}}
update: polar(m + 0.1*param, jordan)
""")
def decay_inside_polar(w: Array, grads: Grads) -> Array:
    m = np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + g + 0.1 * w
        w = w - 0.1 * polar(m + 0.1 * w)
    return w


@said("""
signals:
  a: grad/(norm(grad, row) + 1e-12)
  b: a/(norm(a, column) + 1e-12)
  e: exp(b - largest(b, row))
update: e/sum(e, row) - 1/cols
""")
def softmax_of_normalised_rows_and_columns(w: Array, grads: Grads) -> Array:
    for g in grads:
        a = g / (norm(g, axis=1) + 1e-12)
        b = a / (norm(a, axis=0) + 1e-12)
        e = np.exp(b - b.max(1, keepdims=True))
        w = w - 0.1 * (e / e.sum(1, keepdims=True) - 1 / w.shape[1])
    return w


@said("""
buffers:
  m: {input: grad, decay: 0.9, gain: 1}
  L: {input: grad @ grad.T, decay: 1, gain: 1, init: 1e-3*identity}
  W: {refresh: {every: 5, offset: 1, input: "power(L, -1/4)"}}
signals: {s: W @ m}
update: s*ratio(norm(m), norm(s))
point: {input: moved, refresh: {every: 4, input: 0.5*moved + 0.5*param}}
""")
def one_sided_shampoo_that_looks_back(w: Array, grads: Grads) -> Array:
    m, left = np.zeros_like(w), 1e-3 * np.eye(len(w))
    for t, g in enumerate(grads, 1):
        m, left = 0.9 * m + g, left + g @ g.T
        if t % 5 == 1:
            values, vectors = np.linalg.eigh(left)
            root = (vectors * values**-0.25) @ vectors.T
        s = root @ m
        moved = w - 0.1 * s * norm(m) / norm(s)
        w = 0.5 * moved + 0.5 * w if t % 4 == 0 else moved
    return w


@said("""
scalars: {warm: "where(t > 5, 1, t/5)"}
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
  v: {input: square(grad), first: mean(square(grad)), decay: 0.99, gain: 0.01}
signals:
  u: warm*m/max(sqrt(v), 1e-8)
  agrees: u*grad > 0
update: where(agrees, u*size/(sum(agrees) + 1), 0.1*u)*min(1, 2*sqrt(size)/(norm(v) + 1e-8))
""")
def cautious_with_a_first_mean(w: Array, grads: Grads) -> Array:
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        v = np.full_like(w, (g**2).mean()) if t == 1 else 0.99 * v + 0.01 * g**2
        u = min(1.0, t / 5) * m / np.maximum(np.sqrt(v), 1e-8)
        agrees = u * g > 0
        step = np.where(agrees, u * w.size / (agrees.sum() + 1), 0.1 * u)
        w = w - 0.1 * step * min(1.0, 2 * np.sqrt(w.size) / (norm(v) + 1e-8))
    return w


@said("""
buffers:
  A: {input: grad @ grad.T, decay: 0.9, gain: 0.1}
  Q: {init: identity, refresh: {every: 2, input: "orthonormal(A @ Q.prev + 0.1*Q.prev)"}}
update: Q @ tanh(Q.T @ grad)
""")
def a_basis_by_power_iteration(w: Array, grads: Grads) -> Array:
    a, q = np.zeros((len(w), len(w))), np.eye(len(w))
    for t, g in enumerate(grads, 1):
        a = 0.9 * a + 0.1 * g @ g.T
        if t % 2 == 0:
            q = orthonormal(a @ q + 0.1 * q)
        w = w - 0.1 * q @ np.tanh(q.T @ g)
    return w


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", METHODS)
def test_a_variant_is_its_loop(name: str, engine: str) -> None:
    method, text = METHODS[name]
    recipe = optzoo.parse_recipe(HEAD + text)
    rng = np.random.default_rng(5)
    shapes = SQUARE if "eigenbasis" in text else SHAPES  # else its values are equal at first
    for shape in shapes[:1] if engine == "reference" else shapes:
        start, grads = rng.normal(size=shape), [rng.normal(size=shape) for _ in range(STEPS)]
        as_matrix = (shape[0], -1)
        wanted = method(start.reshape(as_matrix), [g.reshape(as_matrix) for g in grads])
        param = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = recipe.build([param], engine=engine, total_steps=STEPS)
        for grad in grads:
            param.grad = torch.from_numpy(grad)
            optimizer.step()
        found = param.detach().numpy().reshape(as_matrix)
        assert np.abs(found - wanted).max() <= 1e-9 * max(1.0, np.abs(wanted).max())
        assert np.abs(found - start.reshape(as_matrix)).max() > 0.01
