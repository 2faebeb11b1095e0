"""Sides by name: what joins, multiplies and reduces to what, and the words of every refusal."""

from __future__ import annotations

import pytest

import optzoo
from optzoo.errors import InputError
from optzoo.program.expressions import Name, format_expression
from optzoo.program.parsing import parse_expression
from optzoo.program.tensors.elements import row_blocks
from optzoo.program.tensors.named_sides import GIVEN, NUMBER, Shape, ShapeError, shape_of

SHAPES = {
    **GIVEN,
    Name("g"): Shape("rows", "cols"),
    Name("r"): Shape("rows", "1"),
    Name("c"): Shape("1", "cols"),
    Name("A"): Shape("rows", "rows"),
    Name("B"): Shape("cols", "cols"),
}


def shape(text: str) -> Shape | None:
    return shape_of(parse_expression(text), SHAPES)


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("g + r", ("rows", "cols")),
        ("r*c", ("rows", "cols")),
        ("2*r", ("rows", "1")),
        ("where(r > 0, g, c)", ("rows", "cols")),
        ("A @ g @ B", ("rows", "cols")),
        ("g.T @ g", ("cols", "cols")),
        ("r @ c", ("rows", "cols")),
        ("c @ g.T", ("1", "rows")),
        ("A.T", ("rows", "rows")),
        ("mean(g)", ("1", "1")),
        ("largest(g, row)", ("rows", "1")),
        ("norm(g, column)", ("1", "cols")),
        ("sum(square(g), block(2))", ("rows", "1")),
        ("mean(g.T, row)", ("cols", "1")),
        ("diagonal(B)", ("cols", "1")),
        ("polar(g, jordan, 1e-7)", ("rows", "cols")),
        ("take(g, order(r), row)", ("rows", "cols")),
        ("take(g, order(c.T), column)", ("rows", "cols")),
        ("dot(g, g)", ("1", "1")),
        ("rows/cols + size", ("1", "1")),
    ],
)
def test_sides_follow_from_names(text: str, sides: tuple[str, str]) -> None:
    assert shape(text) == Shape(*sides)


def test_numbers_of_the_host_are_one_number() -> None:
    assert shape("lr*t") == NUMBER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g + A",
            "these do not fit: `g` is a tensor like the parameter (rows x cols), and `A` is a "
            "matrix of rows x rows",
        ),
        ("g @ g", "`g @ g` multiplies rows x cols by rows x cols"),
        ("r + c.T", "these do not fit: `r` is a number for each row (rows x 1), and `c.T` is a "
         "matrix of cols x 1"),
        ("diagonal(g)", "`diagonal` takes two sides of the same name, and this is a tensor like "
         "the parameter (rows x cols)"),
        ("order(g)", "`order` takes a column, and this is a tensor like the parameter (rows x "
         "cols)"),
        ("take(g, order(r), column)", "`take` of a column wants a place for each of cols, and "
         "this is a number for each row (rows x 1)"),
    ],
)  # fmt: skip
def test_refusals_name_sides_and_never_a_shape(text: str, message: str) -> None:
    with pytest.raises(ShapeError) as error:
        shape(text)
    assert error.value.message == message


@pytest.mark.parametrize("text", ["(a @ b.T).T", "a ** -2", "(a < b)*c", "where(a == 0, b, -c)",
                                  "take(a, order(b), row)", "norm(a, block(3))", "a @ b @ c",
                                  "a @ (b @ c)", "-a.T", "(-a).T", "(a + b).T", "a/(b @ c)",
                                  "polar(a, quintic, 1/100)", "sum(a, column)*rows"])  # fmt: skip
def test_what_is_printed_is_read_again(text: str) -> None:
    first = parse_expression(text)
    assert parse_expression(format_expression(first)) == first


def test_version_1_is_told_of_version_2() -> None:
    text = """
name: old
version: 1
summary: s
reference: none
hyperparameters: {lr: {default: 1, in: "[0, inf)", doc: d}}
update: grad @ grad.T @ grad
"""
    with pytest.raises(InputError, match="version"):
        optzoo.parse_recipe(text)


FOLDED = """
name: folded
version: 2
summary: a mean of rows that a tensor was added to
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: d}
  a: {default: 0, in: "[0, inf)", doc: d}
signals:
  w: a*grad + mean(grad, row)
update: sum(w, row) + 0*grad
"""


def test_folding_keeps_what_a_sum_goes_over() -> None:
    """Where a is 0 only a column is left of w; its sum over each row still has cols summands."""
    import torch

    param = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    optimizer = optzoo.parse_recipe(FOLDED).build([param])
    param.grad = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]], dtype=torch.float64)
    optimizer.step()
    wanted = torch.tensor([[-6.0] * 3, [-6.0] * 3], dtype=torch.float64)
    torch.testing.assert_close(param.detach(), wanted, rtol=0, atol=1e-14)


def test_a_number_of_blocks_is_rounded() -> None:
    """2.3*100 is 230 in rationals and a little less in floats."""
    assert len(row_blocks(240, 2.3 * 100)) == len(row_blocks(240, 230)) == 230
