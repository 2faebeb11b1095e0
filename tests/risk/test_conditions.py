"""Expected risk of what a recipe does at some of its steps only, beside the same with weights."""

from __future__ import annotations

import pytest

import optzoo
from optzoo.errors import InputError

HEAD = """
name: mine
version: 2
summary: an idiom
reference: none
hyperparameters:
  lr: {default: 0.3, in: "[0, inf)", doc: learning rate}
"""
REFRESHED = """
buffers:
  slow: {init: param, refresh: {every: 3, input: slow.prev + 0.5*(moved - slow.prev)}}
update: grad
point: {input: moved, refresh: {every: 3, input: slow}}
"""
COUNTED = """
scalars:
  phase: {expr: 1 + phase.prev*positive(3 - phase.prev), start: 0}
  pull: 1 - positive(3 - phase)
signals:
  step: lr*grad
buffers:
  slow: {input: param - step, decay: 1 - pull*0.5, gain: pull*0.5, init: param}
update: {mix: step + pull*(param - step - slow), scale: 1}
"""
CHOSEN = """
buffers: {m: {input: grad, decay: 0.5, gain: 1, refresh: {every: 4, input: 0*grad}}}
update: where(t < 3, 0, m + where(mod(t, 2) == 0, grad, 0))
"""
WEIGHED = """
scalars:
  late: positive(t - 2.5)
  even: {expr: 1 - even.prev, start: 1}
  left: "where(phase > 3, 0, 1)"
  phase: {expr: "where(phase.prev > 3, 1, phase.prev + 1)", start: 0}
buffers: {m: {input: left*grad, decay: 0.5*left, gain: 1}}
update: late*(m + even*grad)
"""
STEPS = [1, 2, 3, 4, 8, 13]


def risks(text: str, **kw: float) -> list[float]:
    recipe = optzoo.parse_recipe(HEAD + text)
    problem = {"dim": 5, "noise": 0.1}
    return list(optzoo.expected_risk(recipe, problem, steps=STEPS, **kw))


@pytest.mark.parametrize(("outright", "weighed"), [(REFRESHED, COUNTED), (CHOSEN, WEIGHED)])
def test_a_condition_is_a_weight_of_0_or_1(outright: str, weighed: str) -> None:
    found = risks(outright)
    assert len(set(found)) > 3
    assert found == pytest.approx(risks(weighed), rel=1e-12)


def test_sums_over_all_parameters_are_refused_in_a_sentence() -> None:
    text = """
model: {length: "sqrt(sum(square(grad), model))"}
update: grad*min(1, ratio(1, length))
"""
    with pytest.raises(InputError, match="sums over all parameters"):
        risks(text)
