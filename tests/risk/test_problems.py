"""Spectra, streams and problems: sums to infinity, moments by sampling, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from optzoo.errors import InputError
from optzoo.risk.expected import LinearRecipe, expected_risk
from optzoo.risk.regression.problem import Problem, random_features
from optzoo.risk.simulation import simulate

ZETA = {1.5: 2.612375348685488, 2.0: math.pi**2 / 6, 4.0: math.pi**4 / 90}


def test_infinite_sums() -> None:
    rows = Problem("power:2", math.inf, "power:1").rows
    assert rows.trace == pytest.approx(ZETA[2.0], rel=1e-9)
    assert Problem("power:1.5", math.inf, "power:1").rows.trace == pytest.approx(
        ZETA[1.5], rel=1e-9
    )
    start = Problem("power:2", math.inf, "power:1").start_risk
    assert start == pytest.approx(ZETA[4.0] / 2, rel=1e-9)
    assert len(rows.eigenvalues) < 300


def test_infinite_dimension_is_where_large_ones_lead() -> None:
    kw: dict[str, Any] = {"steps": 500, "eta": 1e-3, "alpha": 0.2, "k": 2}
    large = Problem("power:2.5", 300_000, "power:0.5", noise=0.01)
    infinite = Problem("power:2.5", math.inf, "power:0.5", noise=0.01)
    exact = expected_risk("accelerated_sgd", infinite, **kw)
    assert exact == pytest.approx(expected_risk("accelerated_sgd", large, **kw), rel=1e-8)


def test_a_spectrum_may_be_listed() -> None:
    listed = Problem("1,0.5,0.25", 3, "2,1,0.5", noise=0.1)
    given = Problem((1, 0.5, 0.25), 3, np.array([2, 1, 0.5]), noise=0.1)
    assert given == Problem([1, 0.5, 0.25], 3, (2, 1, 0.5), noise=0.1)
    np.testing.assert_array_equal(listed.rows.eigenvalues, given.rows.eigenvalues)
    np.testing.assert_array_equal(listed.rows.target, given.rows.target)
    powers = Problem((1.0, 2**-1.5, 3**-1.5), 3, (1, 2**-0.5, 3**-0.5))
    assert expected_risk("sgd", powers, steps=9, lr=0.3) == pytest.approx(
        expected_risk("sgd", Problem("power:1.5", 3, "power:0.5"), steps=9, lr=0.3), rel=1e-14
    )


@pytest.mark.parametrize(
    "stream", ["gaussian", "onehot", "onehot-scaled", "independent:2.5", "elliptical:1.5"]
)
def test_draws_have_the_moments_of_their_stream(stream: str) -> None:
    problem = Problem((1.2, 0.5, 0.3), 3, stream=stream)
    inputs = problem.fourth_moments.draw(np.random.default_rng(0), 400_000)
    lam = problem.rows.eigenvalues
    own, shared = problem.fourth_moments.own, problem.fourth_moments.shared
    Q = np.array([0.7, 1.3, 0.2])
    squares = inputs**2
    second = np.mean(squares, axis=0)
    fourth = squares * (squares @ Q)[:, None]
    expected = (lam**2 + own) * Q + shared * lam * (lam @ Q)
    error = np.std(fourth, axis=0) / math.sqrt(len(inputs))
    assert np.all(np.abs(np.mean(fourth, axis=0) - expected) < 4 * error + 1e-12)
    error = np.std(squares, axis=0) / math.sqrt(len(inputs))
    assert np.all(np.abs(second - lam) < 4 * error + 1e-12)


@pytest.mark.parametrize(
    "stream", ["gaussian", "onehot", "onehot-scaled", "independent:2.5", "elliptical:1.5"]
)
def test_sampled_runs_agree(stream: str) -> None:
    for name, view in [("schedule_free_sgd", "eval"), ("sgd_momentum", "tail:0.3")]:
        seen = LinearRecipe.of(name, view, lr=0.05)
        problem = Problem("power:1", 5, "power:0.5", stream, 0.2, 3)
        assert abs(simulate(seen, problem, 25, 25, 3_000).z) < 4


def test_a_wrong_risk_is_noticed_by_sampling() -> None:
    seen = LinearRecipe.of("sgd_momentum", lr=0.05)
    right = Problem("power:1", 5, "power:0.5", "gaussian", 0.2, 3)
    sampled = simulate(seen, right, 25, 25, 20_000)
    wrong = seen.risks(Problem("power:1", 5, "power:0.5", "gaussian", 0.2, 4), [25], 25)[0]
    assert abs(sampled.mean - wrong) > 6 * sampled.error


@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("stream", ["gaussian", "onehot", "onehot-scaled", "elliptical:1.5"])
def test_the_critical_rate_is_where_sgd_stops_converging(stream: str, batch: int) -> None:
    problem = Problem("power:1", 7, stream=stream, batch=batch)
    below, above = (
        expected_risk("sgd", problem, steps=[20_000, 40_000], lr=factor * problem.critical_rate)
        for factor in (0.999, 1.001)
    )
    assert below[1] < below[0]
    assert above[1] > above[0]


def test_random_features_are_a_regression_of_their_own() -> None:
    """The best features leave what they cannot express; H and w* are those of W' x."""
    rows, unexpressed = random_features(0.8, 0.6, 40, dim=7, seed=3)
    j = np.arange(1, 41.0)
    W = np.random.default_rng(3).standard_normal((40, 7)) / math.sqrt(7)
    D, b = np.diag(j**-1.6), j**-0.6
    H, cross = W.T @ D @ W, W.T @ D @ b
    best = np.linalg.solve(H, cross)
    assert np.sort(rows.eigenvalues) == pytest.approx(np.linalg.eigvalsh(H), rel=1e-10)
    assert unexpressed == pytest.approx(b @ D @ b - cross @ best, rel=1e-10)
    start = Problem(stream="features:0.8,0.6,40", dim=7, seed=3).start_risk
    assert start == pytest.approx(best @ H @ best / 2, rel=1e-10)
    problem = Problem(stream="features:0.8,0.6,40", dim=7, seed=3, noise=0.5)
    assert problem.label_noise == pytest.approx(0.5 + unexpressed, rel=1e-12)
    # SGD from 0 on the features themselves, one step: w = lr mean(y f), E over Gaussian x
    lr = 0.3
    variance = b @ D @ b + 0.5
    second = cross @ H @ cross + np.trace(H @ H) * variance + cross @ H @ cross
    risk = (lr**2 * second - 2 * lr * cross @ H @ best + best @ H @ best) / 2
    assert expected_risk("sgd", problem, steps=1, lr=lr) == pytest.approx(risk, rel=1e-10)


def test_nothing_accelerates_where_each_sample_shows_one_coordinate() -> None:
    """One-hot inputs of one length, batch 1, no label noise: SGD at lr 1/s^2 is exact at once."""
    problem = Problem("power:1", 6, stream="onehot")
    trace = problem.rows.trace
    lam = problem.rows.eigenvalues
    unseen = (1 - lam / trace) ** 50
    risk = expected_risk("sgd", problem, steps=50, lr=1 / trace)
    assert risk == pytest.approx(float(lam @ unseen) / 2, rel=1e-12)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"dim": 0}, "`dim`: 0 must be"),
    ({"dim": 2.5}, "`dim`: 2.5 must be"),
    ({"dim": -math.inf}, "`dim`"),
    ({"dim": math.nan}, "`dim`"),
    ({"noise": -1.0}, "`noise`: -1 is no variance"),
    ({"noise": math.nan}, "`noise`"),
    ({"batch": 0}, "`batch`: 0 must be"),
    ({"batch": 1.5}, "`batch`: 1.5"),
    ({"stream": "poisson"}, "`poisson` is not a stream"),
    ({"stream": "gaussian:3"}, "write `gaussian`"),
    ({"stream": "features:1,2"}, "write `features:A,B,V`"),
    ({"stream": "features:1,x,3"}, "write `features:A,B,V`"),
    ({"stream": "features:1,1,5", "dim": 10}, "from 1 to V = 5 features"),
    ({"stream": "features:1,1,50", "dim": math.inf}, "features"),
    ({"stream": "elliptical:0.5"}, "E r\\^4"),
    ({"stream": "independent:0.5"}, "kurtosis"),
    ({"stream": "onehot-scaled", "dim": math.inf, "target": "power:1"}, "equally often"),
    ({"spectrum": "power:1", "dim": math.inf}, "no finite trace"),
    ({"spectrum": "flat"}, "`flat` is not a spectrum"),
    ({"spectrum": "power:x"}, "is not a spectrum"),
    ({"spectrum": "1,2", "dim": 3}, "2 numbers, where the dimension is 3"),
    ({"spectrum": "1,-2", "dim": 2}, "above 0"),
    ({"spectrum": "1,2", "dim": math.inf}, "no infinite dimension"),
    ({"target": "twos"}, "`twos` is not a target"),
    ({"target": "power:-2", "dim": math.inf}, "infinite"),
]


@pytest.mark.parametrize(("fields", "said"), BAD, ids=[said for _, said in BAD])
def test_what_no_problem_is(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        Problem(**fields)
    assert len(error.value.diagnostics) == 1


def test_a_mapping_is_a_problem() -> None:
    assert Problem.of({"dim": 3, "noise": 0.1}, batch=2) == Problem(dim=3, noise=0.1, batch=2)
    with pytest.raises(InputError, match="`nois` is nothing"):
        Problem.of({"nois": 0.1})
