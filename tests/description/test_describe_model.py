"""describe, of recipes whose steps read numbers of the whole model."""

from __future__ import annotations

import re
from pathlib import Path

import optzoo
from optzoo.description.description import describe
from optzoo.description.learning_rate import lr_scale
from optzoo.description.output.text import format_report

DOG = re.search(
    r"```yaml\n(name: dog\n.*?)```",
    (Path(__file__).parents[2] / "docs" / "language.md").read_text(),
    re.DOTALL,
)


def test_a_rate_of_the_model_is_told_and_not_computed() -> None:
    assert DOG is not None
    unnamed = re.sub(r"  rate: .*\n", "", DOG[1])
    unnamed = unnamed.replace("lr*rate", '"lr*ratio(distance, sqrt(squares))"')
    found = describe(optzoo.parse_recipe(unnamed))
    assert found.form
    assert found.of_model == ("distance", "squares")
    assert lr_scale(found) == "model"
    assert found.left_out is None  # there is no weight decay
    assert found.to_json()["alpha_a"] is None or set(found.to_json()["alpha_a"]) == {None}
    text = format_report(found)
    assert "dog is SGD without momentum at a rate that the run finds" in text
    assert "distance_0 = first" in text
    assert "sqrt(sum((w_t - start_{t-1})^2, model))" in text
    assert "held fixed: numbers of the model (distance, squares)" in text
    assert "alpha_a = 0" not in text
    assert "     1        0" not in text


def test_a_rate_with_a_name_is_in_the_formula() -> None:
    assert DOG is not None
    found = describe(optzoo.parse_recipe(DOG[1]))
    assert found.closed_form == {"beta_a": "0", "eta_a": "0", "alpha_a": "lr*rate(t)"}
    text = format_report(found)
    assert "rate(t)         = ratio(distance(t), sqrt(squares(t)))" in text
    assert "distance(0)     = first" in text
    assert "squares_sum(t)  = sum(square(grad), model)" in text


def test_sums_over_the_model_stay_in_the_formulas() -> None:
    text = format_report(describe(optzoo.load_recipe("prodigy")))
    assert "beta_a(t)  = beta1*d(t-2)/d(t-1)" in text
    assert "hat(t)       = ratio(found(t), hat_sum(t))" in text
    assert "with the numbers of the model where they start; a run moves them" in text
    assert "weight decay left out" not in text
    assert "before" not in text.partition("Eq. (1) form")[0]
