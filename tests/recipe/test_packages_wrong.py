"""Disagreements of other packages with the official recurrences, pinned so that the claims hold.

Each test belongs to a row of `WRONG` (package_claims.py), which is about one release: with another
one installed it skips visibly, and someone has to look again.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from oracles import make_oracle
from package_claims import (
    ADAM,
    KOZ,
    THREE,
    WRONG,
    Settings,
    fixed,
    in_mode,
    largest_difference,
    renamed,
)

NO_EPS = 1e-300


def package_of(key: str) -> ModuleType | None:
    """Return the module; skip unless the release that the claim is about is installed."""
    claim = WRONG[key]
    try:
        installed = importlib.metadata.version(claim.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{claim.package} is not installed")
    if installed != claim.version:
        pytest.skip(f"{key} is about {claim.package} {claim.version}, {installed} is installed")
    return None if claim.package == "heavyball" else importlib.import_module(claim.package)


def make_koz(optimizer: str, arguments: Callable[[Settings], dict]) -> Callable:
    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        module = importlib.import_module(KOZ)
        return getattr(module, optimizer)(params, lr=s["lr"], **arguments(s))

    return make


def constant_gradient_updates(
    make: Callable[[list], torch.optim.Optimizer], steps: int
) -> np.ndarray:
    """Return the updates of one weight under gradient 1."""
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, points = make([param]), [0.0]
    for _ in range(steps):
        param.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
        points.append(param.item())
    return -np.diff(points)


@pytest.mark.parametrize(("alpha", "first"), [(0.0, 0.2), (10.0, 18.2)])
def test_k1_simplified_ademamix_of_pytorch_optimizer(alpha: float, first: float) -> None:
    module = package_of("K1")
    theirs = constant_gradient_updates(
        lambda p: module.SimplifiedAdEMAMix(p, lr=1.0, alpha=alpha), 2000
    )
    settings = {"lr": 1.0, "beta1": 0.99, "beta_start": 0.9, "beta2": 0.95, "alpha": alpha}
    off = {"eps": 1e-8, "weight_decay": 0.0, "warmup": 0.0}
    oracle = make_oracle("simplified_ademamix", np.zeros(1), 2000, **settings, **off)
    points = [0.0]
    for _ in range(2000):
        oracle.step(np.ones(1), 1.0)
        points.append(oracle.train_point().item())
    ratios = theirs / -np.diff(points)
    assert ratios[0] == pytest.approx(first, rel=1e-2)
    if alpha == 0:
        assert ratios[-1] == pytest.approx(0.01, rel=1e-2)


def test_k2_ademamix_of_pytorch_optimizer() -> None:
    package_of("K2")
    arguments = renamed(**THREE, alpha="alpha", t_alpha_beta3="warmup")
    coupled = make_koz("AdEMAMix", arguments)
    assert largest_difference("ademamix", coupled) > 1e-3
    assert largest_difference("ademamix", coupled, {"weight_decay": 0.0}) <= 1e-12
    with pytest.raises(ValueError, match=r"domain|positive"):  # log(0)
        largest_difference("ademamix", coupled, {"beta1": 0.0})


def test_k3_adopt_of_pytorch_optimizer() -> None:
    package_of("K3")
    plain = fixed(renamed(**ADAM), weight_decouple=True)
    shifted = fixed(plain, clip_lambda=lambda step: (step - 1) ** 0.25)
    no_decay = {"weight_decay": 0.0}
    assert largest_difference("adopt_decoupled", make_koz("ADOPT", shifted), no_decay) <= 1e-12
    assert largest_difference("adopt_decoupled", make_koz("ADOPT", plain), no_decay) > 1e-3
    first = largest_difference("adopt_decoupled", make_koz("ADOPT", shifted), steps=1)
    assert first > 1e-3  # the first step only decays, and should do nothing


def test_k4_schedule_free_of_pytorch_optimizer_steps_in_evaluation_mode() -> None:
    module = package_of("K4")
    official = pytest.importorskip("schedulefree")
    for package, name in ((module, "ScheduleFreeAdamW"), (official, "AdamWScheduleFree")):
        param = torch.nn.Parameter(torch.ones(2))
        optimizer = getattr(package, name)([param], lr=0.1)
        optimizer.eval()
        param.grad = torch.ones(2)
        if package is official:
            with pytest.raises(Exception, match="train"):
                optimizer.step()
        else:
            optimizer.step()
            assert torch.all(param < 1)


@pytest.mark.parametrize(
    ("key", "recipe", "optimizer", "arguments", "changes", "left"),
    [
        ("K5", "mars", "MARS", fixed(renamed(**ADAM, gamma="gamma"), optimize_1d=True), {}, 1e-11),
        ("K6", "laprop_official", "LaProp", renamed(**ADAM), {"weight_decay": 0.0}, 1e-8),
        (
            *("K9", "grokfast_adamw", "GrokFastAdamW"),
            fixed(renamed(**ADAM, grokfast_alpha="a", grokfast_lamb="lamb"), grokfast_after_step=0),
            {},
            1e-12,
        ),
    ],
)
def test_k5_k6_k9_place_of_eps(
    key: str, recipe: str, optimizer: str, arguments: Callable, changes: Settings, left: float
) -> None:
    """All three agree once eps is gone, but for the 1e-15 that K5 and K6 add inside the root."""
    package_of(key)
    make = make_koz(optimizer, arguments)
    assert largest_difference(recipe, make, changes) > 1e-3
    assert largest_difference(recipe, make, {**changes, "eps": NO_EPS}) < left


def test_k6_laprop_of_pytorch_optimizer_multiplies_its_decay_by_lr() -> None:
    package_of("K6")
    make = make_koz("LaProp", renamed(**ADAM))
    assert largest_difference("laprop_official", make, {"eps": NO_EPS}) > 1e-2


def test_k10_lamb_of_pytorch_optimizer_has_another_moment_and_another_norm() -> None:
    package_of("K10")
    make = make_koz("Lamb", fixed(renamed(**ADAM), weight_decouple=False))
    assert largest_difference("lamb", make, {"weight_decay": 0.0}) > 1e-2
    start = np.ones(400)  # of norm 20; the first step of Adam is a sign, whatever is debiased
    param, grad = torch.nn.Parameter(torch.from_numpy(start.copy())), np.ones(400)
    param.grad = torch.from_numpy(grad.copy())
    settings = {"beta1": 0.0, "beta2": 0.9, "eps": 1e-12, "weight_decay": 0.0, "lr": 0.1}
    oracle = make_oracle("lamb", start, 1, **settings)
    oracle.step(grad, 0.1)
    make([param], settings).step()
    theirs = np.linalg.norm(param.detach().numpy() - start)
    assert np.linalg.norm(oracle.train_point() - start) == pytest.approx(0.1 * 20, rel=1e-9)
    assert theirs == pytest.approx(0.1 * 10, rel=1e-9)


def test_f1_schedule_free_with_a_zero_tensor_learning_rate() -> None:
    module = package_of("F1")
    for lr, healthy in ((0.0, True), (torch.tensor(0.0), False)):
        param = torch.nn.Parameter(torch.ones(2))
        optimizer = module.AdamWScheduleFree([param], lr=lr, foreach=False)
        optimizer.train()
        param.grad = torch.ones(2)
        optimizer.step()
        assert torch.all(torch.isfinite(param)) == healthy


def test_f2_schedule_free_divides_by_beta() -> None:
    module = package_of("F2")
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = module.AdamWScheduleFree([param], lr=0.1, betas=(0.0, 0.99))
    optimizer.train()
    param.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(ZeroDivisionError):
        optimizer.eval()


def test_f3_schedule_free_overwrites_the_gradient() -> None:
    module = package_of("F3")
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = module.AdamWScheduleFree([param], lr=0.1)
    optimizer.train()
    param.grad = torch.full((2,), 0.5)
    optimizer.step()
    assert torch.all(param.grad != 0.5)


def test_f4_schedule_free_wrapper_has_no_zero_guard() -> None:
    module = package_of("F4")
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = module.ScheduleFreeWrapper(torch.optim.SGD([param], lr=0.0))
    optimizer.train()
    param.grad = torch.ones(2)
    with pytest.raises(ZeroDivisionError):
        optimizer.step()


def test_f5_schedule_free_radam_with_a_numpy_learning_rate() -> None:
    module = package_of("F5")
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = module.RAdamScheduleFree([param], lr=np.float64(0.1))
    optimizer.train()
    param.grad = torch.ones(2)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        optimizer.step()
    assert torch.all(torch.isnan(param))


def first_late_update(make: Callable[[list], torch.optim.Optimizer]) -> float:
    """Return the first update, over lr, of a parameter that waits for 1000 steps of another."""
    early, late = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = make([early, late])
    in_mode(optimizer, "train")
    for _ in range(1000):
        early.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
    late.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    return -late.item() / 1e-3  # of the train point


def test_torch_counts_steps_per_parameter() -> None:
    """optimizers.md 18, "Group-level or per-parameter step": torch AdamW gives 1.0."""
    update = first_late_update(lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.0))
    assert update == pytest.approx(1.0, abs=1e-6)


def test_c1_schedule_free_counts_steps_per_group() -> None:
    module = package_of("C1")
    update = first_late_update(lambda p: module.AdamWScheduleFree(p, lr=1e-3))
    assert update == pytest.approx(2.5, abs=0.05)


def test_c2_pytorch_optimizer_counts_steps_per_group() -> None:
    module = package_of("C2")
    mixed = first_late_update(lambda p: module.AdEMAMix(p, lr=1e-3))
    normalised = first_late_update(lambda p: module.LaProp(p, lr=1e-3))
    assert mixed == pytest.approx(2.5, abs=0.05)
    assert normalised == pytest.approx(25.2, abs=0.1)


# HeavyBall, in a process of its own: importing it changes torch's settings ------------------------

HEAVYBALL = """
import json, sys, warnings
import torch
warnings.simplefilter("ignore")
import heavyball

def run(make, gradients, lrs=None):
    param = torch.nn.Parameter(torch.zeros(gradients[0].shape))
    optimizer = make([param])
    for t, gradient in enumerate(gradients):
        if lrs:
            optimizer.param_groups[0]["lr"] = lrs[t]
        param.grad = gradient.clone()
        optimizer.step()
    return param.detach(), optimizer.state[param]

ones = [torch.ones(2, 2)] * 3
def mars(params):
    return heavyball.AdamW(params, lr=1e-3, betas=(0.95, 0.99), mars=True, mars_gamma=0.025)
first_input = run(mars, ones[:1])[1][0]["update_by_adam_exp_avg_0"]
laprop = [run(lambda p: heavyball.LaProp(p, lr=1e-3, eps=eps), ones)[0] for eps in (1e-8, 10.0)]
free = run(lambda p: heavyball.SFAdamW(p, lr=1e-3), ones[:2], lrs=[0.0, 1e-3])[0]
gradients = [torch.tensor(g) for g in json.loads(sys.argv[1])]
adopt = run(lambda p: heavyball.ADOPT(p, lr=1e-3, betas=(0.9, 0.9999)), gradients)[0]
print(json.dumps({
    "first_input": first_input[0, 0].item(),
    "eps_matters": not torch.equal(*laprop),
    "is_nan": bool(torch.isnan(free).all()),
    "adopt": adopt.tolist(),
}))
"""


@pytest.fixture(scope="module")
def adopt_gradients() -> list:
    return np.random.default_rng(0).normal(size=(12, 4, 5)).tolist()


@pytest.fixture(scope="module")
def heavyball(adopt_gradients: list) -> dict:
    """Run HeavyBall uncompiled in another process and return what it did."""
    package_of("H1")
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    command = [sys.executable, "-c", HEAVYBALL, json.dumps(adopt_gradients)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_h1_mars_of_heavyball(heavyball: dict) -> None:
    """At gamma .025, beta .95 the first gradient of norm 2 should grow by .475, then be clipped."""
    swapped = 1 + 0.95 * 0.025 / (1 - 0.025)
    assert heavyball["first_input"] == pytest.approx(swapped, abs=1e-6)


def test_h2_laprop_of_heavyball_ignores_eps(heavyball: dict) -> None:
    assert heavyball["eps_matters"] is False


def test_h3_schedule_free_of_heavyball_after_a_step_with_lr_0(heavyball: dict) -> None:
    assert heavyball["is_nan"] is True


def test_h4_adopt_of_heavyball(heavyball: dict, adopt_gradients: list) -> None:
    settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.9999, "eps": 1e-6, "weight_decay": 0.0}
    oracle = make_oracle("adopt_decoupled", np.zeros((4, 5)), 12, **settings)
    for gradient in adopt_gradients:
        oracle.step(np.array(gradient), 1e-3)
    moved = np.abs(oracle.train_point()).max()
    assert np.abs(np.array(heavyball["adopt"]) - oracle.train_point()).max() > moved


def test_every_claim_has_a_test() -> None:
    names = " ".join(name for name in globals() if name.startswith("test_"))
    for key in WRONG:
        assert f"_{key.lower()}_" in names, key
