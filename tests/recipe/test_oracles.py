"""The oracles themselves: each sees every coefficient and its clock, and keeps the interface.

No test here touches optzoo. Identities between oracles: test_oracles_eq1.py and
test_oracles_reductions.py; agreement with real packages: test_packages.py.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import LIVELY, ORACLES, make_oracle
from oracles.base import Oracle
from oracles.trajectory import STEPS, distance, larger, problem, run

COEFFICIENTS = [(name, key) for name, settings in LIVELY.items() for key in settings]


@pytest.mark.parametrize(("name", "key"), COEFFICIENTS)
def test_a_coefficient_off_by_a_thousandth_shows(name: str, key: str) -> None:
    many = larger(ORACLES[name].shape)  # a sign reacts only where an element is near its threshold
    moved = run(name, varying=True, shape=many, **{key: LIVELY[name][key] * (1 + 1e-3)})
    right = run(name, varying=True, shape=many)
    if key in ORACLES[name].idle:
        assert distance(moved, right) == 0
        return
    assert distance(moved, right) > 1e-7
    if key == "lr" and "lr0" not in ORACLES[name].defaults:
        assert np.any(moved.lrs != right.lrs)


@pytest.mark.parametrize("name", [name for name in ORACLES if ORACLES[name].default_lr is None])
def test_oracles_without_a_learning_rate_refuse_one(name: str) -> None:
    oracle = make_oracle(name, np.ones(2), STEPS, **LIVELY[name])
    with pytest.raises(AssertionError, match="hold lr at"):
        oracle.step(np.ones(2), 0.5)


def test_the_initial_learning_rate_reaches_adana() -> None:
    s = LIVELY["adana"]
    hyperparameters = {key: value for key, value in s.items() if key != "lr"}
    right = run("adana")
    w0 = problem()[0]
    oracle = ORACLES["adana"](w0, STEPS, **hyperparameters, lr0=s["lr"] * (1 + 1e-3))
    assert distance(run("adana", oracle=oracle), right) > 1e-7


@pytest.mark.parametrize("name", [name for name in ORACLES if ORACLES[name].has_clock])
def test_a_clock_off_by_one_shows(name: str) -> None:
    try:
        late = run(name, oracle=late_clock(name))
    except AttributeError:  # what the first step makes is missed
        return
    assert distance(late, run(name)) > 1e-7


@pytest.mark.parametrize("name", [name for name in ORACLES if not ORACLES[name].has_clock])
def test_the_others_have_no_clock(name: str) -> None:
    assert distance(run(name, oracle=late_clock(name)), run(name)) == 0


def late_clock(name: str) -> Oracle:
    oracle = make_oracle(name, problem(shape=ORACLES[name].shape)[0], STEPS, **LIVELY[name])
    oracle.t = 1
    return oracle


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_says_whether_it_asks_for_the_length_of_the_run(name: str) -> None:
    longer = make_oracle(name, problem(shape=ORACLES[name].shape)[0], 2 * STEPS, **LIVELY[name])
    changed = distance(run(name, oracle=longer), run(name))
    assert changed > 1e-7 if ORACLES[name].reads_total_steps else changed == 0


# The interface -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLES)
def test_lively_settings_are_complete(name: str) -> None:
    oracle = ORACLES[name]
    assert set(oracle.lively) == oracle.hyperparameters()
    assert set(oracle.further) <= oracle.hyperparameters()
    assert set(oracle.our_defaults) <= oracle.hyperparameters()


def test_oracles_register_themselves_once() -> None:
    assert len(ORACLES) >= 46
    assert not [name for name, oracle in ORACLES.items() if oracle.recipe != name]
    with pytest.raises(TypeError, match="Another and AdamW both say recipe = 'adamw'"):
        type("Another", (Oracle,), {"recipe": "adamw"})
    heir = type("Heir", (ORACLES["adamw"],), {})
    assert heir not in ORACLES.values()


@pytest.mark.parametrize("name", ORACLES)
def test_names_are_checked_and_nothing_is_filled_in(name: str) -> None:
    with pytest.raises(TypeError, match="hyperparameters"):
        ORACLES[name](np.ones(2), STEPS, **{**ORACLES[name].defaults, "typo": 1.0})
    for missing in ORACLES[name].defaults:
        rest = {key: value for key, value in ORACLES[name].defaults.items() if key != missing}
        with pytest.raises(TypeError, match=missing):
            ORACLES[name](np.ones(2), STEPS, **rest)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 2, 2, 2), (0, 3)])
@pytest.mark.parametrize("name", ORACLES)
def test_any_shape_and_gradient_buffers_may_be_reused(name: str, shape: tuple[int, ...]) -> None:
    """A caller may overwrite its start and gradient arrays in place; an oracle keeps copies."""
    rng = np.random.default_rng(3)
    lr = LIVELY[name].get("lr", 1.0)
    start, buffer = rng.normal(size=shape), np.zeros(shape)
    reusing, copying = (make_oracle(name, start, 5, **LIVELY[name]) for _ in range(2))
    before = start.copy()
    start[...] = 99.0
    for _ in range(5):
        buffer[...] = rng.normal(size=shape)
        ORACLES[name].step_together([reusing], [buffer], lr)
        ORACLES[name].step_together([copying], [buffer.copy()], lr)
    for point in (reusing.train_point(), reusing.eval_point()):
        assert np.shape(point) == shape
        assert np.all(np.isfinite(point))
    np.testing.assert_array_equal(reusing.train_point(), copying.train_point())
    if before.size:
        assert np.any(reusing.train_point() != before)


@pytest.mark.parametrize("name", [name for name in ORACLES if "lr" in LIVELY[name]])
def test_a_first_step_with_learning_rate_zero_stays_finite(name: str) -> None:
    """optimizers.md 20, boundary tests. Weight and learning-rate powers must survive 0/0."""
    oracle = make_oracle(name, np.ones(3), STEPS, **LIVELY[name])
    ORACLES[name].step_together([oracle], [np.full(3, 0.5)], 0.0)
    if not ORACLES[name].moves_at_lr_zero:
        np.testing.assert_array_equal(oracle.train_point(), np.ones(3))
    for _ in range(6):  # RAdam is silent for its first few
        ORACLES[name].step_together([oracle], [np.full(3, 0.5)], 0.1)
    assert np.all(np.isfinite(oracle.eval_point()))
    assert np.all(np.abs(oracle.eval_point() - 1) > 1e-4)


def test_oracles_import_nothing_from_optzoo() -> None:
    files = sorted((Path(__file__).parents[1] / "oracles").glob("*.py"))
    assert len(files) >= 7
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, file
                names = [node.module] if node.level == 0 else []
            assert {name.split(".")[0] for name in names} <= {"numpy", *sys.stdlib_module_names}


def test_the_runs_visit_both_sides_of_every_branch() -> None:
    """A clip that never acts, or always does, would hide half of its method."""
    grads = {name: run(name).grads for name in ("mars", "mars_lion")}
    for name, seen in grads.items():
        s = LIVELY[name]
        before = np.concatenate([np.zeros_like(seen[:1]), seen[:-1]])
        c = seen + s["gamma"] * s["beta1"] / (1 - s["beta1"]) * (seen - before)
        clipped = np.sqrt((c**2).sum(axis=1)) > 1
        assert 10 < clipped.sum() < STEPS - 10
    s, seen = LIVELY["adopt_decoupled"], run("adopt_decoupled").grads
    v, small, clipped = seen[0] ** 2, 0, 0
    for step in range(1, STEPS):
        small += np.sum(np.sqrt(v) < s["eps"])
        clipped += np.sum(np.abs(seen[step]) > step**0.25 * np.maximum(np.sqrt(v), s["eps"]))
        v = s["beta2"] * v + (1 - s["beta2"]) * seen[step] ** 2
    assert 50 < small < seen.size - 50
    assert 50 < clipped < seen.size - 50
