"""Numbers of the whole model: what may be summed up, what a sum counts, and who takes part."""

from __future__ import annotations

import pytest
import torch

import optzoo

ENGINES = ("reference", "foreach", "compiled")
SHAPES = ((2, 3), (4,), ())
HEAD = """
name: mine
version: 2
summary: numbers of the model
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: learning rate}
  zero: {default: 0, in: "[0, 1)", doc: folded away}
buffers: {m: {input: grad, decay: zero, gain: 1}}
"""


def total(text: str, engine: str = "foreach") -> float:
    """Return a number of the model at gradients of ones on parameters of ones."""
    recipe = optzoo.parse_recipe(f"{HEAD}model: {{n: '{text}'}}\nupdate: {{mix: n*m, scale: 1}}")
    params = [torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for shape in SHAPES]
    optimizer = recipe.build(params, engine=engine)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    moved = {1 - float(param.detach().flatten()[0]) for param in params}
    assert len(moved) == 1
    return moved.pop()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sum_counts_each_element_of_a_value_once(engine: str) -> None:
    """A value of one number counts once for each parameter, however it is made."""
    for text, number in (
        ("sum(grad, model)", 6 + 4 + 1),
        ("sum(mean(grad, row), model)", 2 + 4 + 1),
        ("sum(mean(grad, column), model)", 3 + 1 + 1),
        ("sum(mean(grad), model)", 3),
        ("sum(size, model)", 6 + 4 + 1),
        ("sum(rows*cols, model)", 6 + 4 + 1),
        ("sum(size + zero*norm(grad), model)", 6 + 4 + 1),
        ("sum(1 + zero*grad, model)", 6 + 4 + 1),
        ("sum(1 + zero*mean(grad, row), model)", 2 + 4 + 1),
        ("sum(1 + zero*norm(grad), model)", 3),
        ("sum(where(t == 1, 1, grad), model)", 6 + 4 + 1),
        ("dot(grad, m, model)", 6 + 4 + 1),
        ("sum(grad/(1 + sum(square(grad), model)), model)", 11 / 12),
        ("sum(square(m), model)/(1 + sqrt(sum(abs(m), model)))*(1 + 11**0.5)", 11),
    ):
        assert total(text, engine) == pytest.approx(number, rel=1e-14), text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sum(1, model)", "`1` is a number, and a sum over all parameters is of a tensor"),
        ("sum(t*lr, model)", "`t*lr` is a number"),
        ("sum(mean(1), model)", "`mean` takes a tensor, not a scalar"),
        ("sum(grad + grad.T, model)", "these do not fit"),
        ("sum(grad @ grad, model)", "`grad @ grad` multiplies rows x cols by rows x cols"),
        ("sum(order(grad), model)", "`order` takes a column"),
        ("sum(grad/param, model)", "division by `param.prev`, which can be 0"),
        ("sum(log(zero*grad - 1 - abs(grad)), model)", "has no value"),
        ("sum(grad/sum(grad, model), model)", "which can be 0"),
    ],
)
def test_what_is_summed_up_is_checked_as_any_tensor_is(text: str, message: str) -> None:
    with pytest.raises(optzoo.InputError) as caught:
        total(text)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert found.location is not None
    assert found.location.line == 10


def test_a_sum_of_what_is_above_0_may_be_divided_by() -> None:
    assert total("1/(1 + sum(square(grad), model))") == pytest.approx(1 / 12)
    with pytest.raises(optzoo.InputError, match="which can be 0"):
        total("1/sum(square(grad), model)")
