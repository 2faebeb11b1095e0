"""describe: the form of Eq. (1), against published coefficients and against the engine itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

import optzoo
from optzoo.files.shipped import shipped
from optzoo.program.arithmetic import half_life
from optzoo.program.tensors.named_sides import FULL
from optzoo.train.setup.schema import load_setup

T = 1000
EXACT = 1e-12
Triple = tuple[float, float, float]


def find(recipe: str, **hyper: Any) -> Any:
    return optzoo.describe(optzoo.load_recipe(recipe), total_steps=T, **hyper)


def ademamix_without_fast_momentum(t: int) -> Triple:
    """Connections paper, section 4.4; optimizers.md, table 16b: the gain 1 - beta3 moves."""

    def beta3(step: int) -> float:
        return half_life(0.0, 0.999, step / T)

    eta = 1e-3 * 8 * (t / T) * (1 - beta3(t))
    return beta3(t) * (1 - beta3(t - 1)) / (1 - beta3(t)), eta, 1e-3


def schedule_free(t: int) -> Triple:
    """Connections paper, section 4.1, Eq. (9); the decay uses the previous c."""
    return 1 - 1 / (t - 1), 0.9 * (1 / t) * 0.0025, 0.1 * 0.0025


def nadam(t: int) -> Triple:
    mu = [0.9 * (1 - 0.5 * 0.96 ** (s * 4e-3)) for s in range(1, t + 2)]
    product = 1.0
    for m in mu[:t]:
        product *= m
    eta = 2e-3 * mu[t] * 0.1 / (1 - product * mu[t])
    return 0.9, eta, 2e-3 * (1 - mu[t - 1]) / (1 - product)


def running_mass(t: int) -> float:
    return sum(0.99**i for i in range(t))


PUBLISHED: list[tuple[str, dict[str, Any], Callable[[int], Triple]]] = [
    ("sgd_momentum", {"lr": 0.1}, lambda t: (0.9, 0.1, 0.0)),
    ("sgd_nesterov", {"lr": 0.1, "momentum": 0.9}, lambda t: (0.9, 0.09, 0.1)),
    ("sgd_momentum", {"lr": 0.1, "dampening": 0.5}, lambda t: (0.9, 0.05, 0.0)),
    ("adamw", {}, lambda t: (0.9, 1e-3 * 0.1 / (1 - 0.9**t), 0.0)),
    ("laprop", {}, lambda t: (0.9, 4e-4 * 0.1 / (1 - 0.9**t), 0.0)),
    ("qhm", {"lr": 0.5, "beta": 0.9, "nu": 0.7}, lambda t: (0.9, 0.5 * 0.7 * 0.1, 0.5 * 0.3)),
    ("lion", {}, lambda t: (0.99, 1e-4 * 0.9 * 0.01 / 0.99, 1e-4 * (1 - 0.9 / 0.99))),
    (
        "accelerated_adamw",
        {"beta1": 0.999, "beta3": 0.9, "lr": 1e-3},
        lambda t: (0.999, 1e-3 * 0.9 * 0.001 / 0.999, 1e-3 * (1 - 0.9 / 0.999)),
    ),
    (
        "mars",
        {},
        lambda t: (
            0.95,
            3e-3 * 0.05 * 0.975 / (1 - 0.95**t),
            3e-3 * 0.025 / (1 - 0.95**t),
        ),
    ),
    ("ademamix", {"beta1": 0, "beta3": 0.999, "alpha": 8}, ademamix_without_fast_momentum),
    (
        "simplified_ademamix",
        {"lr": 1e-5, "alpha": 50},
        lambda t: (half_life(0.9, 0.999, t / T), 1e-5, 5e-4),
    ),
    ("schedule_free_sgd", {"lr": 0.0025}, schedule_free),
    ("schedule_free_adamw", {}, schedule_free),
    ("nadam", {}, nadam),
    (
        "adana",
        {"lr": 0.1, "delta": 8, "kappa": 0.85},
        lambda t: (t / (8 + t - 1), 0.1 * (1 + (1 + t) ** 0.15) * 8 / (8 + t), 0.1),
    ),
    (
        "accsgd",
        {"lr": 0.1, "kappa": 1000, "xi": 10, "small_const": 0.7},
        lambda t: ((1000 - 4.9) / 1007, 7 / 1007 * 0.1 * 6, 0.1),
    ),
    (
        "mass",
        {"eta1": 0.1, "eta2": 0.05, "gamma": 0.9},
        lambda t: (0.9, 0.1 * 0.9 - 0.05, 0.1),
    ),
    ("agnes", {"eta": 0.1, "alpha": 0.2, "rho": 0.9}, lambda t: (0.9, 0.18, 0.1)),
    (
        "asgd_jain",
        {"alpha": 0.9, "beta": 0.1, "gamma": 0.05, "delta": 0.01},
        lambda t: (0.81, 0.1 * 0.04, 0.01),
    ),
    (
        "accelerated_sgd",
        {"eta": 0.2, "alpha": 0.3, "k": 2},
        lambda t: (max(0.0, 1 - 2 / t), 0.2, 0.3),
    ),
]


@pytest.mark.parametrize(
    ("recipe", "hyper", "published"),
    PUBLISHED,
    ids=[f"{i}-{p[0]}" for i, p in enumerate(PUBLISHED)],
)
@pytest.mark.parametrize("t", [3, 10, 57, 999])
def test_published_coefficients(
    recipe: str, hyper: dict[str, Any], published: Callable[[int], Triple], t: int
) -> None:
    found = find(recipe, **hyper)
    assert found.form
    assert found.order == 1
    triple = (found.beta_a(t), found.eta_a(t), found.alpha_a(t))
    wanted = published(t)
    scale = max(map(abs, wanted[1:]))
    assert triple[0] == pytest.approx(wanted[0], rel=EXACT)
    assert triple[1] == pytest.approx(wanted[1], rel=EXACT, abs=EXACT * scale)
    assert triple[2] == pytest.approx(wanted[2], rel=EXACT, abs=EXACT * scale)


@pytest.mark.parametrize(
    ("recipe", "hyper", "momenta"),
    [
        ("ademamix", {}, 2),
        ("ademamix", {"beta1": 0}, 1),
        ("ademamix", {"alpha": 0}, 1),
        ("aggmo", {}, 2),  # the buffer with decay 0 is the gradient itself
        ("aggmo", {"beta1": 0.5}, 3),
        ("adan", {}, 2),
        ("gpa_adamw", {}, 2),
        ("mars", {}, 1),
        ("sgd", {}, 0),
        ("rmsprop", {}, 0),
        ("rmsprop", {"momentum": 0.9}, 1),
    ],
)
def test_the_number_of_momenta(recipe: str, hyper: dict[str, Any], momenta: int) -> None:
    found = find(recipe, **hyper)
    assert found.order == momenta
    assert found.form == (momenta <= 1)


LINEAR = ["sgd_momentum", "sgd_nesterov", "qhm", "agnes", "mass", "accsgd", "schedule_free_sgd"]


@pytest.mark.parametrize("recipe", [*LINEAR, "accelerated_sgd", "asgd_jain"])
@pytest.mark.parametrize("s", [2, 5])
def test_the_engine_moves_as_the_coefficients_say(recipe: str, s: int) -> None:
    """A unit gradient at step s and zeros after: Eq. (1) predicts every later displacement."""
    found = find(recipe)
    param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    opt = optzoo.load_recipe(recipe).build([param], total_steps=T)
    momentum = 0.0
    for t in range(1, 30):
        grad = 1.0 if t == s else 0.0
        param.grad = torch.full_like(param, grad)
        before = float(param.detach())
        opt.step()
        c = found.coefficients(t)
        momentum = c.beta_a * momentum + grad
        wanted = -(c.eta_a * momentum + c.alpha_a * grad)
        assert float(param.detach()) - before == pytest.approx(wanted, rel=1e-9, abs=1e-15), t


@pytest.mark.parametrize("recipe", sorted(shipped()))
def test_every_recipe_can_be_described(recipe: str) -> None:
    found = find(recipe)
    program = optzoo.load_recipe(recipe).trained_program()
    alike = [state for state in program.tensor_states if state.shape == FULL]
    assert found.state_bytes_per_parameter == 4 * len(alike)
    assert len(found.cost.others) == len(program.tensor_states) - len(alike)
    one = found.decision.linear and found.order <= 1 and found.decision.gap is None
    assert found.form == one


@pytest.mark.parametrize(
    ("recipe", "size"),
    [
        ("adamw", 8),
        ("simplified_ademamix", 8),
        ("ademamix", 12),
        ("schedule_free_adamw", 8),
        ("lion", 4),
    ],
)
def test_state_bytes_are_those_allocated(recipe: str, size: int) -> None:
    found = find(recipe)
    assert found.state_bytes_per_parameter == size
    param = torch.zeros(10, requires_grad=True)
    opt = optzoo.load_recipe(recipe).build([param], total_steps=T)
    allocated = sum(v.numel() * v.element_size() for v in opt.state[param].values() if v.dim())
    assert allocated == 10 * size


def test_a_negative_weight_is_said() -> None:
    hyper = {"beta1": 0.9, "beta3": 0.99}
    found = find("accelerated_adamw", **hyper)
    assert found.alpha_a(10) < 0
    from optzoo.description.output.text import format_report

    assert "alpha_a is negative" in format_report(found)


def test_the_schedule_of_a_setup() -> None:
    """As text and as a setup has it, with the scale that only a setup has."""
    setup = load_setup("quick")
    text = f"cosine:warmup={setup.warmup_steps},start=0.1,final={setup.schedule.final_fraction}"
    as_text = optzoo.describe(
        optzoo.load_recipe("mars"), total_steps=setup.num_steps, lr_schedule=text
    )
    as_it_is = optzoo.describe(
        optzoo.load_recipe("mars"), total_steps=setup.num_steps, lr_schedule=setup.lr_schedule()
    )
    assert setup.schedule.scale != 1
    for t in (1, 7, 100, setup.num_steps):
        eta = as_text.eta_a(t) * setup.schedule.scale
        assert as_it_is.eta_a(t) == pytest.approx(eta, rel=EXACT)
    assert as_it_is.lr_schedule == "cosine"


def test_the_command() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "optzoo", "describe", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    data = json.loads(run("lion", "--json", "--at", "5,50").stdout)
    assert (data["recipe"], data["form"], data["order"], data["t"]) == ("lion", True, 1, [5, 50])
    assert data["beta_a"] == pytest.approx([0.99, 0.99], rel=EXACT)
    assert data["state_bytes_per_parameter"] == 4
    two = run("ademamix")
    assert "Eq. (1) form: no, two momenta" in two.stdout
    assert "T is taken as 10,000" in two.stderr
    for arguments in (("lion", "--at", "0"), ("lion", "--at", "x"), ("lionn",)):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    with pytest.raises(optzoo.InputError, match="2 momenta"):
        find("ademamix").beta_a(5)
