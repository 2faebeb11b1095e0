"""Published methods said in version 2, beside each in numpy as its paper has it.

Tensors of one, two and three axes: a vector is one column, a filter its first axis by the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import optzoo

Array = np.ndarray
Grads = list[Array]
ENGINES = ("reference", "foreach", "compiled")
SHAPES = ((5, 3), (3, 5), (4,), (3, 2, 2))
STEPS = 7
HEAD = """
name: mine
version: 2
summary: an idiom
reference: none
hyperparameters:
  lr: {default: 0.1, in: "[0, inf)", doc: learning rate}
"""


def run(recipe: optzoo.Recipe, start: Array, grads: Grads, engine: str) -> Array:
    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = recipe.build([param], engine=engine)
    for grad in grads:
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
    return param.detach().numpy()


def polar(x: Array, steps: list[tuple[float, float, float]], eps: float, safety: float) -> Array:
    """Newton-Schulz, on the side it is given; in the paper's order of products."""
    x = x / (safety * np.sqrt((x**2).sum()) + eps)
    for a, b, c in steps:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


JORDAN = [(3.4445, -4.775, 2.0315)] * 5
EXPRESS = [
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
]


def sm3(w: Array, grads: Grads) -> Array:
    """Anil et al. 2019, SM3-II, with the covers rows and columns."""
    rows, columns = np.zeros(w.shape[0]), np.zeros(w.shape[1])
    for g in grads:
        v = np.minimum.outer(rows, columns) + g**2
        rows, columns = v.max(1), v.max(0)
        w = w - 0.1 * g / np.sqrt(v)
    return w


SM3 = """
signals:
  v: min(r.prev, c.prev) + square(grad)
buffers:
  r: {input: "largest(v, row)", decay: 0, gain: 1}
  c: {input: "largest(v, column)", decay: 0, gain: 1}
update: grad/sqrt(max(v, 1e-30))
"""


def came(w: Array, grads: Grads) -> Array:
    """Luo et al. 2023, Algorithm 2."""
    m, r, c = np.zeros_like(w), np.zeros(w.shape[0]), np.zeros(w.shape[1])
    row, column = r, c
    for g in grads:
        square = g**2 + 1e-30
        r, c = 0.99 * r + 0.01 * square.mean(1), 0.99 * c + 0.01 * square.mean(0)
        u = g / np.sqrt(np.outer(r, c) / r.mean())
        u = u / max(1.0, np.sqrt((u**2).mean()))
        m = 0.9 * m + 0.1 * u
        unsteady = (u - m) ** 2 + 1e-16
        row = 0.999 * row + 0.001 * unsteady.mean(1)
        column = 0.999 * column + 0.001 * unsteady.mean(0)
        w = w - 0.1 * m / np.sqrt(np.outer(row, column) / row.mean())
    return w


CAME = """
signals:
  squares: square(grad) + 1e-30
  raw: grad*sqrt(mean(r))/sqrt(r*c)
  u: raw/max(1, norm(raw)/sqrt(size))
  unsteady: square(u - m) + 1e-16
buffers:
  r: {input: "mean(squares, row)", decay: 0.99, gain: 0.01}
  c: {input: "mean(squares, column)", decay: 0.99, gain: 0.01}
  m: {input: u, decay: 0.9, gain: 0.1}
  R: {input: "mean(unsteady, row)", decay: 0.999, gain: 0.001}
  C: {input: "mean(unsteady, column)", decay: 0.999, gain: 0.001}
update: m*sqrt(mean(R))/sqrt(R*C)
"""


def polargrad(w: Array, grads: Grads) -> Array:
    """Lau, Long and Su 2025: the polar factor times the nuclear norm, <m, polar(m)>."""
    m = np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + 0.1 * g
        p = polar(m, EXPRESS, 1e-6, 1.02)
        w = w - 0.1 * (m * p).sum() * p
    return w


POLARGRAD = """
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
signals:
  p: polar(m, polar_express)
update: dot(m, p)*p
"""


def adago(w: Array, grads: Grads) -> Array:
    """Zhang et al. 2025: Muon whose rate is AdaGrad-Norm's, of clipped norms."""
    m, v2 = np.zeros_like(w), 0.5**2
    for g in grads:
        m = 0.9 * m + 0.1 * g
        size = min(float(np.sqrt((g**2).sum())), 2.0)
        v2 += size**2
        w = w - max(0.01, 0.1 * size / v2**0.5) * polar(m, JORDAN, 1e-7, 1.0)
    return w


ADAGO = """
signals:
  length: min(norm(grad), 2)
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
  v2: {input: square(length), decay: 1, gain: 1, init: 0.5**2}
update: {mix: "max(0.01, lr*length/sqrt(max(v2, 1e-30)))*polar(m, jordan)", scale: 1}
"""


def hyperball(w: Array, grads: Grads) -> Array:
    """Steps and parameters on the sphere through the first parameters."""
    radius = np.sqrt((w**2).sum())
    for g in grads:
        w = w - 0.1 * radius * g / np.sqrt((g**2).sum())
        w = radius * w / np.sqrt((w**2).sum())
    return w


HYPERBALL = """
buffers:
  radius: {input: radius.prev, decay: 0, gain: 1, init: norm(param)}
update: radius*ratio(1, norm(grad))*grad
point: radius*ratio(1, norm(moved))*moved
"""


def centred(w: Array, grads: Grads) -> Array:
    """Yong et al. 2020: gradients less the mean over each row, here before a momentum."""
    m = np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + g - g.mean(1, keepdims=True)
        w = w - 0.1 * m
    return w


CENTRED = """
buffers:
  m: {input: "grad - mean(grad, row)", decay: 0.9, gain: 1}
update: m
"""


def cautious_decay(w: Array, grads: Grads) -> Array:
    """Chen et al. 2025: decay only where the step shrinks the parameter."""
    m = np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + 0.1 * g
        w = w - 0.1 * (m + 0.2 * np.where(m * w > 0, w, 0.0))
    return w


CAUTIOUS_DECAY = """
buffers:
  m: {input: grad, decay: 0.9, gain: 0.1}
direction: m
update: direction + 0.2*where(direction*param > 0, param, 0)
"""


def root(a: Array, power: float) -> Array:
    values, vectors = np.linalg.eigh(a)
    return (vectors * values**power) @ vectors.T


def kl_shampoo(w: Array, grads: Grads) -> Array:
    """Lin et al. 2025: each side's statistics are whitened by the other's inverse."""
    rows, cols = w.shape
    a, b, left, right = np.eye(rows), np.eye(cols), np.eye(rows), np.eye(cols)
    for t, g in enumerate(grads, 1):
        a, b = (
            0.9 * a + 0.1 * g @ root(right, 2.0) @ g.T / cols,
            0.9 * b + 0.1 * g.T @ root(left, 2.0) @ g / rows,
        )
        if t % 3 == 1:
            left, right = root(a, -0.5), root(b, -0.5)
        w = w - 0.1 * left @ g @ right
    return w


KL_SHAMPOO = """
buffers:
  A: {input: grad @ square_R.prev @ grad.T/cols, decay: 0.9, gain: 0.1, init: identity}
  B: {input: grad.T @ square_L.prev @ grad/rows, decay: 0.9, gain: 0.1, init: identity}
  L: {refresh: {every: 3, offset: 1, input: "power(A, -1/2)"}}
  R: {refresh: {every: 3, offset: 1, input: "power(B, -1/2)"}}
  square_L: {init: identity, input: L @ L, decay: 0, gain: 1}
  square_R: {init: identity, input: R @ R, decay: 0, gain: 1}
update: L @ grad @ R
"""


def lookahead(w: Array, grads: Grads) -> Array:
    """Zhang et al. 2019, around plain steps: every third lands on slow weights."""
    slow = w
    for t, g in enumerate(grads, 1):
        w = w - 0.1 * g
        if t % 3 == 0:
            slow = slow + 0.5 * (w - slow)
            w = slow
    return w


LOOKAHEAD = """
buffers:
  slow: {init: param, refresh: {every: 3, input: slow.prev + 0.5*(moved - slow.prev)}}
update: grad
point: {input: moved, refresh: {every: 3, input: slow}}
"""


def blocks(w: Array, grads: Grads) -> Array:
    """A unit norm for each of two blocks of rows, as even as may be."""
    for g in grads:
        half = len(g) // 2
        parts = [part / np.sqrt((part**2).sum()) for part in (g[:half], g[half:])]
        w = w - 0.1 * np.concatenate(parts)
    return w


BLOCKS = """
update: grad*ratio(1, norm(grad, block(2)))
"""

METHODS: dict[str, tuple[Callable[[Array, Grads], Array], str]] = {
    "sm3": (sm3, SM3),
    "came": (came, CAME),
    "polargrad": (polargrad, POLARGRAD),
    "adago": (adago, ADAGO),
    "hyperball": (hyperball, HYPERBALL),
    "centred": (centred, CENTRED),
    "cautious_decay": (cautious_decay, CAUTIOUS_DECAY),
    "kl_shampoo": (kl_shampoo, KL_SHAMPOO),
    "lookahead": (lookahead, LOOKAHEAD),
    "blocks": (blocks, BLOCKS),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", METHODS)
def test_a_published_method_is_its_paper(name: str, engine: str) -> None:
    oracle, text = METHODS[name]
    recipe = optzoo.parse_recipe(HEAD + text)
    rng = np.random.default_rng(8)
    for shape in SHAPES:
        start, grads = rng.normal(size=shape), [rng.normal(size=shape) for _ in range(STEPS)]
        as_matrix = (shape[0], -1)
        wanted = oracle(start.reshape(as_matrix), [g.reshape(as_matrix) for g in grads])
        found = run(recipe, start, grads, engine).reshape(as_matrix)
        moved = np.abs(wanted - start.reshape(as_matrix)).max()
        assert moved > 0.01 or (name == "centred" and len(shape) == 1)  # its own mean
        assert np.abs(found - wanted).max() <= 1e-11 * max(1.0, np.abs(wanted).max())


def shapes(text: str) -> dict[str, str]:
    program = optzoo.parse_recipe(HEAD + text).trained_program()
    return {state.name: str(state.shape) for state in program.tensor_states}


def test_buffers_have_the_sides_of_what_they_hold() -> None:
    assert shapes(SM3) == {"r": "rows x 1", "c": "1 x cols"}
    assert shapes(HYPERBALL) == {"radius": "1 x 1"}
    assert shapes(KL_SHAMPOO) == {
        **dict.fromkeys(("A", "L", "square_L"), "rows x rows"),
        **dict.fromkeys(("B", "R", "square_R"), "cols x cols"),
    }


def test_a_product_with_what_is_not_known_yet_has_its_outer_sides() -> None:
    both = "buffers: {L: {input: L.prev @ grad @ grad.T @ L.prev, decay: 0.9, gain: 0.1, init: %s}}"
    assert shapes(both % "identity(grad @ grad.T)" + "\nupdate: L @ grad") == {"L": "rows x rows"}
    assert shapes(both % "identity" + "\nupdate: L @ grad") == {"L": "rows x rows"}


def test_a_child_puts_lookahead_around_muon(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nversion: 2\nsummary: s\nreference: r\nextends: muon\nbuffers:\n"
        "  slow: {init: param, refresh: {every: 3, input: slow.prev + 0.5*(moved - slow.prev)}}\n"
        "point: {input: moved, refresh: {every: 3, input: slow}}\n"
    )
    rng = np.random.default_rng(4)
    start, grads = rng.normal(size=(4, 3)), [rng.normal(size=(4, 3)) for _ in range(3)]
    muon, mine = optzoo.load_recipe("muon"), optzoo.load_recipe(path)
    for engine in ENGINES:
        assert np.array_equal(
            run(mine, start, grads[:2], engine), run(muon, start, grads[:2], engine)
        )
        alone = run(muon, start, grads, engine)
        assert np.abs(run(mine, start, grads, engine) - (start + alone) / 2).max() <= 1e-15


def dog(starts: list[Array], grads: list[Grads]) -> list[Array]:
    """Ivgi et al. 2023: the largest distance from the start over the root of all squares."""
    points, distance, squares = list(starts), 0.01, 0.0
    for now in zip(*grads, strict=True):
        moved = sum(((w - w0) ** 2).sum() for w, w0 in zip(points, starts, strict=True))
        distance = max(distance, float(np.sqrt(moved)))
        squares += sum((g**2).sum() for g in now)
        points = [w - distance / np.sqrt(squares) * g for w, g in zip(points, now, strict=True)]
    return points


DOG = """
model:
  distance: {max: "sqrt(sum(square(param - start.prev), model))", start: 0.01}
  squares: {sum: "sum(square(grad), model)"}
buffers:
  start: {input: start.prev, decay: 0, gain: 1, init: param}
update: {mix: grad, scale: "10*lr*ratio(distance, sqrt(squares))"}
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_number_of_the_whole_model_is_one_for_all_parameters(engine: str) -> None:
    rng = np.random.default_rng(9)
    starts = [rng.normal(size=shape) for shape in SHAPES]
    grads = [[rng.normal(size=shape) for _ in range(STEPS)] for shape in SHAPES]
    params = [torch.nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    optimizer = optzoo.parse_recipe(HEAD + DOG).build(params, engine=engine)
    for now in zip(*grads, strict=True):
        for param, grad in zip(params, now, strict=True):
            param.grad = torch.from_numpy(grad)
        optimizer.step()
    for param, wanted in zip(params, dog(starts, grads), strict=True):
        assert np.abs(param.detach().numpy() - wanted).max() <= 1e-13


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in METHODS if name != "blocks"])
def test_a_parameter_without_elements_stays_and_others_step(name: str, engine: str) -> None:
    recipe = optzoo.parse_recipe(HEAD + METHODS[name][1])
    empty = torch.nn.Parameter(torch.zeros(0, 3, dtype=torch.float64))
    full = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    optimizer = recipe.build([empty, full], engine=engine)
    for scale in (1.0, -3.0):
        empty.grad = torch.zeros(0, 3, dtype=torch.float64)
        full.grad = scale * torch.arange(6, dtype=torch.float64).reshape(2, 3)
        optimizer.step()
    assert empty.shape == (0, 3)
    assert bool((full != 1).any())
    assert bool(full.isfinite().all())


HINTS = [
    ("m*(m <= grad)", "`a <= b` is `1 - (a > b)`"),
    ("where(m > 0 and grad > 0, m, 0)", "both: `a*b`; either: `max(a, b)`; not: `1 - a`"),
    ("m*(not m)", "not: `1 - a`"),
    ("polar(m, jordann)", "did you mean `jordan`?"),
    ("m @ identity", "it is `identity(x)`"),
    ("max(m)*m", "`largest(x)`"),
    ('"mean(m, columns)*m"', "`mean(x, column)` one for each column"),
    ("m @ grad", "turn one of them with `.T`"),
]


@pytest.mark.parametrize(("wrong", "hint"), HINTS)
def test_what_other_languages_would_say_is_answered(wrong: str, hint: str) -> None:
    with pytest.raises(optzoo.InputError) as caught:
        optzoo.parse_recipe(
            f"{HEAD}buffers:\n  m: {{input: grad, decay: 0.9, gain: 0.1}}\nupdate: {wrong}"
        )
    assert hint in (caught.value.diagnostics[0].hint or "")
