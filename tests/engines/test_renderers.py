"""The C and the Triton of a step: readable, independent of values, safe for any legal name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lockstep import largest_excess
from problems import RECIPES

import optzoo
from optzoo.engines import engine as engines
from optzoo.engines.engine import has_cc, has_triton
from optzoo.engines.render import render
from optzoo.engines.render.dialect import UnwritableError
from optzoo.engines.render.triton import render_triton
from optzoo.program.ir import Program
from optzoo.program.planning import plan_program

needs_cc = pytest.mark.skipif(not has_cc(), reason="no C compiler")
needs_triton = pytest.mark.skipif(not has_triton(), reason="triton is not installed")


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> str:
    """Run Triton kernels on CPU tensors, in Triton's interpreter (see conftest)."""
    devices = {**engines.ENGINES, "triton": "drawn_engines:DeviceEngine"}
    monkeypatch.setattr(engines, "ENGINES", devices)
    return "triton"


UNWRITTEN = {"adam_atan2", "madgrad"}
"""Recipes without sides that Triton has no words for: the eager engine runs these."""
WRITTEN = [n for n in RECIPES if optzoo.load_recipe(n).program().is_flat and n not in UNWRITTEN]


@pytest.mark.parametrize("name", sorted(UNWRITTEN))
def test_what_triton_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(UnwritableError, match="not rendered"):
        render_triton(plan_program(optzoo.load_recipe(name).program()))


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*WRITTEN[::4], "mars", "lion"])
def test_triton_in_lock_step(name: str, dtype: torch.dtype, triton: str) -> None:
    program = optzoo.load_recipe(name).program()
    assert largest_excess(triton, program, dtype) <= 1


def awkward() -> Program:
    """Return a recipe whose names are words of C, of Triton and of the renderers themselves."""
    text = """
name: step
version: 1
summary: names that mean something elsewhere
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: learning rate}
  double: {default: 0.9, in: "[0, 1)", doc: a keyword of C}
  NAN: {default: 0.5, in: "[0, 1]", doc: a macro}
  tl: {default: 0.25, in: "[0, 1]", doc: a module of Triton}
  coefficients: {default: 0.3, in: "[0, 1]", doc: an argument}
  c1: {default: 0.2, in: "[0, 1]", doc: a nameless coefficient}
  param_prev: {default: 0.1, in: "[0, 1]", doc: the parameter on entry}
  sqrtf: {default: 0.4, in: "[0, 1]", doc: a function of C}
  fabs: {default: 0.5, in: "[0, 1]", doc: another}
  larger_d: {default: 0.7, in: "[0, 1]", doc: one of the renderer}
signals:
  x: larger_d*grad
  term: x/max(1, fabs, norm(x))
  grad_at: term/max(1, abs(norm(term) - fabs*norm(grad)))
buffers:
  i: {input: grad_at, decay: double, gain: 1 - double}
  count: {input: i, decay: NAN, gain: tl}
  sum1_1: {input: grad, decay: tl, gain: 1}
update: sum1_1 + (1 - c1)*count + param_prev*sqrtf*grad + coefficients*sqrt(abs(i))
"""
    return optzoo.parse_recipe(text).program()


@needs_cc
def test_names_never_clash_in_c() -> None:
    assert largest_excess("compiled", awkward(), torch.float32) <= 1


@needs_triton
def test_names_never_clash_in_triton(triton: str) -> None:
    assert largest_excess(triton, awkward(), torch.float32) <= 1


@pytest.mark.parametrize("language", ["c", "triton", "python"])
def test_the_text_depends_on_no_value(language: str) -> None:
    recipe = optzoo.load_recipe("mars")
    texts = {
        render(recipe.program(lr=lr, beta1=beta1), language)
        for lr, beta1 in ((1e-3, 0.9), (0.5, 0.1))
    }
    assert len(texts) == 1
    assert "mars" in texts.pop()


@needs_cc
def test_nan_goes_through_bounds_as_in_torch() -> None:
    text = """
name: bounded
version: 1
summary: bounds
reference: none
hyperparameters: {lr: {default: 1, in: "[0, inf)", doc: learning rate}}
update: max(min(grad, 0.5, param), -0.5) + 0*sign(grad)
"""
    found = {}
    for engine in ("compiled", "foreach"):
        param = torch.nn.Parameter(torch.tensor([0.0, 1.0, float("nan"), 3.0]))
        optimizer = optzoo.parse_recipe(text).build([param], engine=engine)
        param.grad = torch.tensor([float("nan"), float("inf"), 1.0, -float("inf")])
        optimizer.step()
        found[engine] = param.detach().numpy()
    np.testing.assert_array_equal(found["compiled"], found["foreach"])
    assert np.isnan(found["compiled"]).tolist() == [True, False, True, False]
