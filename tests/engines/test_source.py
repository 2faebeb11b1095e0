"""The source of a step: for every recipe the numbers of the definition, from readable text."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from problems import RECIPES, settings_of

import optzoo
from optzoo.engines.render.python import StepSource, step_source
from optzoo.interpreters.reference import ReferenceDomain
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate, initial_memory, run_scalars, run_step
from optzoo.program.expressions import Name
from optzoo.program.ir import Program

FLOATS = FloatDomain()


def run_source(
    source: StepSource,
    tensors: list[torch.Tensor],
    scalars: Mapping[Name, float],
) -> None:
    namespace: dict[str, object] = {}
    exec(source.text, namespace)
    values = [evaluate(expr, FLOATS, scalars) for expr in source.coefficients]
    namespace[source.name](*tensors, torch.tensor(values, dtype=torch.float64))  # type: ignore[operator]


def scalars_at(program: Program, t: int) -> dict[Name, float]:
    inputs = {hyper.name: float(hyper.value) for hyper in program.hypers}
    inputs |= {"t": float(t), "T": 40.0, "lr0": inputs["lr"]}
    return run_scalars(program, FLOATS, inputs, initial_memory(program, FLOATS))


FLAT = [n for n in RECIPES if optzoo.load_recipe(n).program().is_flat]
"""Recipes that ask for no sides: what has some is not rendered as source."""


@pytest.mark.parametrize("kind", ["default", "lively"])
@pytest.mark.parametrize("name", FLAT)
def test_the_source_means_what_the_program_means(name: str, kind: str) -> None:
    program = optzoo.load_recipe(name).with_overrides(settings_of(name, kind)).trained_program()
    source, scalars = step_source(program), scalars_at(program, 7)
    rng = np.random.default_rng(3)
    param, grad = rng.normal(size=(2, 9))
    buffers = {buffer: np.abs(rng.normal(size=9)) for buffer in source.buffers}
    tensors = [torch.from_numpy(a.copy()) for a in (param, grad, *buffers.values())]
    run_source(source, tensors, scalars)
    wanted, kept = run_step(
        program,
        ReferenceDomain(),
        dict(scalars),
        tuple(param.tolist()),
        tuple(grad.tolist()),
        {buffer: tuple(values.tolist()) for buffer, values in buffers.items()},
    )
    np.testing.assert_allclose(tensors[0].numpy(), wanted, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(tensors[1].numpy(), grad)
    for buffer, found in zip(source.buffers, tensors[2:], strict=True):
        np.testing.assert_allclose(found.numpy(), kept[buffer], rtol=1e-13, atol=1e-14)


def test_the_text_depends_on_no_value() -> None:
    recipe = optzoo.load_recipe("ademamix")
    one = step_source(recipe.program(lr=1e-3, beta1=0.9))
    other = step_source(recipe.program(lr=0.5, beta1=0.1))
    assert one.text == other.text
    assert step_source(recipe.with_overrides({"beta1": 0}).trained_program()).text != one.text


@pytest.mark.parametrize("name", FLAT)
def test_every_argument_is_used_and_nothing_but_torch_is_called(name: str) -> None:
    source = step_source(optzoo.load_recipe(name).trained_program())
    imported, function = ast.parse(source.text).body
    assert isinstance(imported, ast.Import)
    assert isinstance(function, ast.FunctionDef)
    loads = [n.id for n in ast.walk(function) if isinstance(n, ast.Name)]
    for argument in function.args.args:
        assert argument.arg in loads
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr not in (
            "copy_",
            "to",
            "dtype",
            "unbind",
            "clone",
        ):
            assert ast.unparse(node).startswith("torch")


CLASHING = """
name: torch
version: 1
summary: a recipe whose names are those of the source
reference: none
hyperparameters:
  coefficients: {default: 0.9, in: "[0, 1)", doc: a name that the source uses itself}
  m_prev: {default: 0.5, in: "[0, 1]", doc: what the source calls m.prev}
  c1: {default: 0.25, in: "[0, 1]", doc: what the source calls the first nameless coefficient}
buffers:
  m: {input: grad, decay: coefficients, gain: 1 - coefficients}
update: c1*m + m_prev*grad
"""


def test_names_of_the_recipe_never_clash_with_names_of_the_source() -> None:
    program = optzoo.parse_recipe(CLASHING).program()
    source, scalars = step_source(program), scalars_at(program, 1)
    param, grad, m = torch.ones(1).double(), torch.ones(1).double(), torch.zeros(1).double()
    run_source(source, [param, grad, m], scalars)
    torch.testing.assert_close(m, torch.tensor([0.1]).double())
    torch.testing.assert_close(param, torch.tensor([1 - (0.25 * 0.1 + 0.5)]).double())


SMALL = '''\
import torch


def lion(param_prev, grad, m_prev, coefficients):
    """One step of lion on one parameter tensor, in place."""
    # the coefficients, each rounded once to the dtype of the parameter:
    #   c1 := 1 - beta2
    #   c2 := 1 - beta1
    (
        beta2, c1, beta1, c2, lr,
    ) = coefficients.unbind()
    grad = grad.to(param_prev.dtype)
    # update: u := sign(beta1*m.prev + (1 - beta1)*grad)
    u = torch.sign(beta1 * m_prev + c2 * grad)
    # buffers.m: m := beta2*m.prev + (1 - beta2)*grad
    m = beta2 * m_prev + c1 * grad
    # update: param := param.prev - lr*u
    param = param_prev - lr * u
    # one store each, in place
    m_prev.copy_(m)
    param_prev.copy_(param)
'''


def test_the_text_is_for_people() -> None:
    assert step_source(optzoo.load_recipe("lion").trained_program()).text == SMALL
