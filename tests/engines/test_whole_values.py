"""Values that a step makes of one element, or of fewer than their sides tell, on every engine.

A number or a row stands for a whole matrix where elements meet. What goes over all elements sees
all of them; a tensor of one element is a tensor.
"""

from __future__ import annotations

import math

import pytest
import torch

import optzoo

ENGINES = ("reference", "foreach", "compiled")
SHAPES = ((2, 3), (4,), (), (3, 2, 2))
HEAD = """
name: mine
version: {version}
summary: whole values
reference: none
hyperparameters:
  lr: {{default: 1, in: "[0, inf)", doc: learning rate}}
  zero: {{default: 0, in: "[0, 1)", doc: folded away}}
scalars: {{n: 1 + zero}}
"""


def moves(text: str, engine: str, version: int = 2, steps: int = 1) -> list[float]:
    """Return by how much each parameter of ones has moved, against gradients of ones."""
    params = [torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in SHAPES]
    recipe = optzoo.parse_recipe(HEAD.format(version=version) + text)
    optimizer = recipe.build(params, engine=engine, total_steps=9)
    for _ in range(steps):
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
    ends = [param.detach().nan_to_num(1e300, 1e301, -1e301).flatten() for param in params]
    assert all(torch.equal(end, end[0].expand_as(end)) for end in ends)
    return [1 - float(param.detach().flatten()[0]) for param in params]


ROWS, COLS = (2, 4, 1, 3), (3, 1, 1, 4)
SIZES = tuple(r * c for r, c in zip(ROWS, COLS, strict=True))
REDUCTIONS = ("sum", "mean", "norm", "largest", "smallest")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("one", ["size/size", "1", "lr/1", "mean(grad)", "norm(grad)/norm(grad)"])
def test_a_tensor_of_one_element_is_one(one: str, engine: str) -> None:
    if "/norm" in one:
        one = "ratio(norm(grad), norm(grad))"
    for operation in (
        *(
            f"{name}(u{kept})"
            for name in REDUCTIONS
            for kept in ("", ", row", ", column", ", block(2)")
        ),
        *("u.T", "u @ u", "identity(u)", "diagonal(u)", "power(u, 2)", "orthonormal(u)"),
        *("eigenbasis(u)", "1 + order(u)", "take(u, order(u), row)", "take(u, order(u), column)"),
        *("norm(norm(u) + 0)", "mean(grad, row) @ u", "u @ mean(grad, column)"),
    ):
        text = f"signals: {{u: '{one}'}}\nupdate: {{mix: 'n*grad*({operation})'}}"
        assert moves(text, engine) == pytest.approx([1.0] * 4, rel=1e-12), operation


@pytest.mark.parametrize("engine", ENGINES)
def test_sizes_are_told_of_each_parameter(engine: str) -> None:
    for word, numbers in (("rows", ROWS), ("cols", COLS), ("size", SIZES)):
        assert moves(f"update: n*grad*sum({word})", engine) == pytest.approx(list(numbers))
        polar = moves(f"update: n*grad*polar({word}, [[2, 0, 0]], 1)", engine)
        assert polar == pytest.approx([2 * k / (k + 1) for k in numbers])
    chosen = moves("update: where(rows > cols, n*grad, 2*mean(grad, column))", engine)
    assert chosen == [1.0 if r > c else 2.0 for r, c in zip(ROWS, COLS, strict=True)]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_number_of_a_tensor_may_leave_the_reals(engine: str) -> None:
    """As elements do: nan or infinite, and no error; see docs/language.md."""
    nan, inf = math.nan, math.inf
    for text, number in (
        ("log(size - 6)", lambda k: math.log(k - 6) if k > 6 else -inf if k == 6 else nan),
        ("sqrt(size - 6)", lambda k: math.sqrt(k - 6) if k >= 6 else nan),
        ("(size - 6)**0.5", lambda k: math.sqrt(k - 6) if k >= 6 else nan),
        ("(size - 6)**(-1)", lambda k: 1 / (k - 6) if k != 6 else inf),
        ("exp(200*size)", lambda k: math.exp(200 * k) if k < 4 else inf),
        ("sqrt(norm(grad) - 2)", lambda k: math.sqrt(k**0.5 - 2) if k >= 4 else nan),
        ("log(norm(grad) - 1)", lambda k: math.log(k**0.5 - 1) if k > 1 else -inf),
        ("exp(500*norm(grad))", lambda k: math.exp(500) if k == 1 else inf),
    ):
        found = moves(f"update: n*grad*{text}", engine)
        assert found == pytest.approx([number(k) for k in SIZES], nan_ok=True), text


@pytest.mark.parametrize("engine", ENGINES)
def test_a_norm_of_a_norm_is_that_norm(engine: str) -> None:
    for version in (1, 2):
        found = moves("update: n*grad*norm(norm(grad) + 1)", engine, version)
        assert found == pytest.approx([1 + math.sqrt(k) for k in SIZES])
        found = moves("signals: {u: 2*lr}\nupdate: n*grad*norm(u)", engine, version)
        assert found == pytest.approx([2.0] * 4)


BUFFER = "buffers: {{v: {{input: 4*square(grad), decay: 0, gain: 1, {0}}}}}\nupdate: n*grad*{1}"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_goes_over_all_elements_sees_all(engine: str) -> None:
    """Where the first value, or a refreshed one, is a number or a row for a whole matrix."""
    whole = [float(k) for k in SIZES]
    assert moves("update: n*grad*sum(where(t == 1, 1, grad))", engine) == whole
    assert moves("update: n*grad*sum(where(rows < 3, 1, grad))", engine) == whole
    for change in (
        "first: mean(grad)",
        "first: 'mean(grad, row)'",
        "first: 'mean(grad, column)'",
        "first: 1",
        "refresh: {every: 1, input: 1}",
        "refresh: {every: 1, input: 'mean(grad, row)'}",
    ):
        assert moves(BUFFER.format(change, "sum(v)"), engine) == whole, change
        rows = moves(BUFFER.format(change, "sum(v, row)"), engine)
        assert rows == [float(c) for c in COLS], change
        gram = moves(BUFFER.format(change, "mean(v @ v.T)"), engine)
        assert gram == [float(c) for c in COLS], change
        norm = moves(BUFFER.format(change, "norm(v, column)"), engine)
        assert norm == pytest.approx([math.sqrt(r) for r in ROWS]), change
    for start in ("lr*n", "mean(grad, row)", "norm(grad)/norm(1 + 0*grad)"):
        start = start.replace("/norm(1 + 0*grad)", "*ratio(1, norm(grad))")
        assert moves(BUFFER.format(f"init: '{start}'", "sum(v.prev)"), engine) == whole, start


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_that_a_condition_chooses_is_no_place_for_a_matrix(engine: str) -> None:
    for text in (
        "update: n*grad + where(norm(param) > 0, smallest(grad, column), 3*grad)/2",
        "signals: {u: 'where(norm(param) > 0, mean(grad, row), 3*grad)'}\nupdate: u/2 + n*grad",
        "update: n*grad + 0.5*where(rows > 0, mean(grad, row), 3*grad)",
    ):
        assert moves(text, engine) == [1.5] * 4, text
