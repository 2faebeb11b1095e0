"""`optzoo quadratic`: what it prints, what it refuses, and the studies that ship."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import optzoo
from optzoo.cli.app import app
from optzoo.errors import InputError
from optzoo.files.shipped import shipped
from optzoo.risk.output.studies import draw_study, format_study, load_study, run_study
from optzoo.risk.regression.problem import Problem

KEYS = ["recipe", "view", "batch", "steps", "risk", "hyperparameters"]


def run(*args: str) -> Any:
    return CliRunner().invoke(app, ["quadratic", *args], catch_exceptions=True)


def rows(*args: str) -> list[dict[str, Any]]:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_json_is_a_list_of_risks() -> None:
    found = rows("sgd", "sgd_momentum", "--set", "lr=0.1", "--noise", "0.1", "--batch", "1,4,inf",
                 "--steps", "10,20", "--observe", "tail:0.5", "--dim", "7")  # fmt: skip
    assert len(found) == 2 * 2 * 3 * 2
    assert all(list(row) == KEYS for row in found)
    assert [row["view"] for row in found[::6]] == ["eval", "tail:0.5"] * 2
    assert [row["batch"] for row in found[:6]] == [1, 1, 4, 4, math.inf, math.inf]
    assert found[0]["hyperparameters"] == {"lr": 0.1, "weight_decay": 0.0}
    for row in found:
        problem = Problem(dim=7, noise=0.1, batch=row["batch"])
        risk = optzoo.expected_risk(
            row["recipe"], problem, steps=row["steps"], view=row["view"], lr=0.1, total_steps=20
        )
        assert row["risk"] == pytest.approx(risk, rel=1e-14)


def test_the_problem_is_that_of_the_flags() -> None:
    flags = {"spectrum": "power:1", "target": "power:0.5", "stream": "onehot", "noise": "0.2"}
    (row,) = rows("sgd", *(x for k, v in flags.items() for x in (f"--{k}", v)), "--dim", "5",
                  "--batch", "3", "--steps", "40", "--lr-schedule", "cosine:10")  # fmt: skip
    problem = Problem("power:1", 5, "power:0.5", "onehot", 0.2, 3)
    assert row["risk"] == optzoo.expected_risk("sgd", problem, steps=40, lr_schedule="cosine:10")
    (infinite,) = rows("sgd", "--dim", "inf", "--target", "power:1", "--steps", "5")
    problem = Problem(dim=math.inf, target="power:1")
    assert infinite["risk"] == optzoo.expected_risk("sgd", problem, steps=5)
    (features,) = rows("sgd", "--stream", "features:1,0.5,30", "--dim", "4", "--seed", "5")
    problem = Problem(stream="features:1,0.5,30", dim=4, seed=5)
    assert features["risk"] == optzoo.expected_risk("sgd", problem, steps=1000)


def test_samples_are_shared_between_steps_and_batch() -> None:
    found = rows("sgd", "--samples", "100", "--batch", "1,7,100")
    assert [row["steps"] for row in found] == [100, 14, 1]
    bad = run("sgd", "--samples", "3", "--batch", "1,7")
    assert (bad.exit_code, isinstance(bad.exception, InputError)) == (1, True)


def test_divergence_is_a_number_in_json() -> None:
    result = run("sgd", "--set", "lr=100", "--steps", "10000", "--json")
    assert '"risk": 1e999' in result.stdout
    assert json.loads(result.stdout)[0]["risk"] == math.inf
    assert "diverges" in run("sgd", "--set", "lr=100", "--steps", "10000", "--no-gains").stdout


def test_steps_to_a_risk() -> None:
    found = rows("sgd", "--set", "lr=0.3", "--to-risk", "0.1", "--batch", "64", "--dim", "5")
    assert [*found[0]] == [*KEYS, "to_risk"]
    problem = Problem(dim=5, batch=64)
    steps = found[0]["steps"]
    before, after = optzoo.expected_risk("sgd", problem, steps=[steps - 1, steps], lr=0.3)
    assert before > 0.1 >= after == found[0]["risk"]
    (never,) = rows("sgd", "--set", "lr=1e-6", "--to-risk", "0.1", "--steps", "50")
    assert never["steps"] is None
    assert "never" in run("sgd", "--set", "lr=1e-6", "--to-risk", "0.1", "--steps", "50").stdout


def test_tuned_answers_carry_their_certificate() -> None:
    found = rows("sgd_momentum", "--tune", "lr,momentum", "--steps", "30", "--noise", "0.1",
                 "--dim", "8", "--batch", "1,8")  # fmt: skip
    for row in found:
        assert row["tuned"] == ["lr", "momentum"]
        settings = {name: row["hyperparameters"][name] for name in row["tuned"]}
        problem = Problem(dim=8, noise=0.1, batch=row["batch"])
        risk = optzoo.expected_risk("sgd_momentum", problem, steps=30, **settings)
        assert row["risk"] == pytest.approx(risk, rel=1e-12)
        assert row["certificate"]["bounds"] == {}
        ratio = settings["lr"] / problem.critical_rate
        assert row["in_critical_rates"]["lr"] == pytest.approx(ratio)
    (of_python,) = optzoo.tune(
        "sgd_momentum", Problem(dim=8, noise=0.1, batch=8), knobs=["lr", "momentum"], steps=30
    )
    assert of_python.risk == pytest.approx(found[1]["risk"], rel=1e-6)


def test_the_table_compares_with_tuned_baselines() -> None:
    result = run("sgd", "--steps", "20", "--dim", "5", "--noise", "0.1", "--tune", "lr")
    line = next(row for row in result.stdout.splitlines() if row.startswith("sgd "))
    *_, over_sgd, over_momentum, _ = line.split()
    assert float(over_sgd) == pytest.approx(1, abs=1e-3)
    assert float(over_momentum) <= 1.001


def test_each_rule_of_a_recipe_with_routes_has_a_row(tmp_path: Path) -> None:
    """A rule is what it would be alone; one that has no risk, or not the knob, is left out."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nversion: 2\nsummary: two rules\nreference: none\nextends: sgd_momentum\n"
        "update: m/(norm(m) + 1e-3)\n"
        "routes: [{kind: matrix, use: here}, {kind: head, use: sgd}, {use: odd}]\n"
        "parts: {odd: {update: 'm*m*m'}}\n"
    )
    common = ("--steps", "20", "--dim", "4")
    found = rows(str(path), *common)
    assert [(row["recipe"], row["rule"]) for row in found] == [("mine", "here"), ("mine", "sgd")]
    lr = str(found[0]["hyperparameters"]["lr"])
    decay = str(found[0]["hyperparameters"]["weight_decay"])
    (alone,) = rows("sgd", *common, "--set", f"lr={lr}", "--set", f"weight_decay={decay}")
    assert found[1]["risk"] == alone["risk"]
    told = run(str(path), *common, "--tune", "momentum")
    assert "mine, sgd, is left out" in told.output
    assert "mine, odd, is left out" in told.output
    assert "mine, here" in told.output


def test_what_was_held_fixed_is_printed() -> None:
    text = run("mars", "--steps", "5", "--no-gains").stdout
    assert "held fixed, taken as 1:" in text
    assert "mars: c: norm clip, divided by max(1, norm(d))" in text
    assert "mars: u: preconditioner, divided by sqrt(v_debias*v) + eps" in text
    assert "held fixed" not in run("sgd", "--steps", "5", "--no-gains").stdout


def test_sampled_runs_stand_beside() -> None:
    (row,) = rows("sgd", "--set", "lr=0.2", "--steps", "10", "--dim", "4", "--check", "500")
    assert row["check"]["runs"] == 500
    assert abs(row["check"]["z"]) < 5
    assert run("sgd", "--batch", "inf", "--check", "500").exit_code == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["sgd", "--steps", "100"],
        ["sgd", "--batch", "1,4", "--steps", "10"],
        ["sgd", "--batch", "1,4,16", "--to-risk", "0.5", "--set", "lr=0.2"],
    ],
    ids=" ".join,
)
def test_figures_are_drawn(flags: list[str], tmp_path: Path) -> None:
    path = tmp_path / "figures" / "risk.png"
    assert run(*flags, "--plot", str(path), "--json").exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


BAD: list[tuple[list[str], str]] = [
    ([], "name recipes, or a study"),
    (["sgd", "--study", "acceleration"], "name recipes, or a study"),
    (["sgd", "--dim", "0"], "`dim`: 0"),
    (["sgd", "--dim", "x"], "`--dim x`"),
    (["sgd", "--noise", "-0.1"], "`noise`: -0.1 is no variance"),
    (["sgd", "--stream", "poisson"], "`poisson` is not a stream"),
    (["sgd", "--batch", "0"], "`batch`: 0"),
    (["sgd", "--batch", "1,,2"], "`--batch 1,,2`"),
    (["sgd", "--steps", "-1"], "`steps`: -1"),
    (["sgd", "--steps", "1.5"], "`--steps`: 1.5"),
    (["sgd", "--steps", "inf"], "`--steps`: inf"),
    (["sgd", "--view", "mean"], "`mean` is not a view of sgd"),
    (["sgd", "--observe", "tail:2"], "`tail:2` is not a view"),
    (["sgd", "--set", "momentum=0.9"], "`momentum` is not a hyperparameter of sgd"),
    (["sgd", "--lr-schedule", "cosin"], "is not a learning-rate schedule"),
    (["sgd", "--tune", "lr", "--total-steps", "10"], "there is no other T"),
    (["sgd", "--tune", "rl"], "`rl` is not a hyperparameter"),
    (["sgd", "--to-risk", "0"], "`to_risk`: 0"),
    (["sgd", "--plot", "risk.txt"], "figures are not written as `.txt`"),
    (["no_such_recipe"], "no recipe is called"),
    (["--study", "no_such_study"], "no study is called"),
    (["adamw", "--set", "beta1=t/500"], "`beta1` at step 500"),
]


@pytest.mark.parametrize(("flags", "said"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_bad_input_is_one_error(flags: list[str], said: str) -> None:
    result = run(*flags)
    assert isinstance(result.exception, InputError), result.output
    assert said in str(result.exception)
    assert len(result.exception.diagnostics) == 1
    assert result.exception.exit_code == 2


NOT_LINEAR = """
name: squares
version: 1
summary: moves by squares
reference: none
hyperparameters:
  lr: {default: 1, in: "[0, inf)", doc: learning rate}
buffers:
  m: {input: grad, decay: 0.9, gain: 1}
update: square(m)
"""


def test_a_recipe_that_is_not_linear_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "squares.yaml"
    path.write_text(NOT_LINEAR)
    result = run(str(path))
    assert "squares.yaml:10:9: the step of squares has no expected risk" in str(result.exception)


WITHOUT_RISK = {
    "adam_atan2": "it is not linear",  # an angle of momentum and mean square
    "prodigy": "sums over all parameters",
}


@pytest.mark.parametrize("name", sorted(set(shipped()) - WITHOUT_RISK.keys()))
def test_every_other_shipped_recipe_has_an_expected_risk(name: str) -> None:
    found = rows(name, "--steps", "1,30", "--dim", "3", "--view", "train,eval,tail:0.5")
    assert len(found) == 6
    assert all(row["risk"] > 0 for row in found)


@pytest.mark.parametrize("name", sorted(WITHOUT_RISK))
def test_a_shipped_recipe_without_a_risk_says_why(name: str) -> None:
    result = run(name, "--steps", "3", "--dim", "3")
    assert isinstance(result.exception, InputError)
    assert WITHOUT_RISK[name] in str(result.exception)


@pytest.mark.parametrize("name", sorted(shipped("studies")))
def test_shipped_studies_load(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert all(spec.problem().start_risk > 0 for spec in study.problems.values())
    assert all(method.ready() for method in study.methods.values())


STUDY = """
name: small
claim: momentum is no worse
figure: {figure}
problems: {{a: {{dim: 4, noise: 0.1}}, b: {{dim: 4, noise: 0.1, stream: onehot}}}}
methods:
  SGD: {{recipe: sgd, tune: [lr]}}
  momentum: {{recipe: sgd_momentum, tune: [lr, momentum], theory: -1}}
{rest}
"""
FIGURES = {
    "gains": "over: {SGD: [SGD]}\nbatches: [1, 4]\nsteps: [12]",
    "target": "to_risk: 0.2\nbatches: [1, 4]\nsteps: [400]",
    "risk": "steps: [5, 10]",
    "exponents": "steps: [5, 10, 20]",
}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_study_is_run_drawn_and_told(figure: str, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY.format(figure=figure, rest=FIGURES[figure]))
    study = load_study(str(path))
    panels = run_study(study)
    assert [panel.problem for panel in panels] == ["a", "b"]
    plain, momentum = (panels[0].curves[name].ys for name in ("SGD", "momentum"))
    if figure != "exponents":
        assert all(m <= s * (1 + 1e-6) for s, m in zip(plain, momentum, strict=True))
    draw_study(study, panels, tmp_path / "small.png")
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")
    text = format_study(study, panels)
    assert text.startswith("momentum is no worse\n\na: ")


def test_what_a_study_lacks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY.format(figure="gains", rest="steps: [5]"))
    with pytest.raises(InputError, match="says `over`"):
        load_study(str(path))
    path.write_text(STUDY.format(figure="gains", rest="steps: [5]\nover: {x: [Adam]}"))
    with pytest.raises(InputError, match="`Adam` is not a method"):
        load_study(str(path))


@pytest.mark.parametrize(
    ("a", "b"), [(1.0, 0.4), (1.0, 0.1), (1.25, 0.5)], ids=["1-0.4", "1-0.1", "1.25-0.5"]
)
def test_exponents_are_those_of_theory(a: float, b: float) -> None:
    """At 3e6 steps within 0.01: -zeta, and -zeta (2 - 1/(2a)) for DANA-decaying."""
    problem = Problem(f"power:{2 * a}", math.inf, f"power:{b}")
    zeta = (2 * a + 2 * b - 1) / (2 * a)
    small = 0.5 / problem.rows.trace

    def slope(name: str, **settings: float) -> float:
        first, second = optzoo.expected_risk(
            name, problem, steps=[1_000_000, 3_000_000], **settings
        )
        return math.log(second / first) / math.log(3)

    assert slope("sgd", lr=small) == pytest.approx(-zeta, abs=0.01)
    assert slope("sgd_momentum", lr=small / 10, momentum=0.9) == pytest.approx(-zeta, abs=0.01)
    decaying = slope("dana", gamma2=small, gamma3=small, kappa3=1 / (2 * a), delta=4 + (a + b) / a)
    assert decaying == pytest.approx(-zeta * (2 - 1 / (2 * a)), abs=0.01)
