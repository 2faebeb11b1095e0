"""The oracles beside real packages, where these are right: float64, fifty steps, within 1e-12.

Torch always takes part; every other package is optional and skips visibly. Tables and harness are
in package_claims.py; pinned disagreements in test_packages_wrong.py. No optzoo here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from oracles import ORACLES
from oracles.variants import MuonLargerOf, ScheduleFreeMuonLargerOf
from package_claims import (
    ADAM,
    KOZ,
    RIGHT,
    TWO_SIDED,
    Agreement,
    Settings,
    largest_difference,
    renamed,
    widened,
)


@pytest.fixture(autouse=True)
def _scalars_in_float64() -> Iterator[None]:
    """Have torch keep its own scalars, such as NAdam's mu_product, in float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("agreement", RIGHT, ids=str)
def test_oracle_and_package_agree(agreement: Agreement) -> None:
    pytest.importorskip(agreement.package)
    with widened():
        difference = largest_difference(
            agreement.recipe,
            agreement.make,
            agreement.changes,
            late=agreement.own_clocks,
            shapes=agreement.shapes,
            oracle=agreement.oracle,
        )
    assert difference <= agreement.tolerance


def test_the_table_names_recipes_and_torch_is_always_there() -> None:
    assert {agreement.recipe for agreement in RIGHT} <= set(ORACLES)
    assert sum(agreement.package == "torch.optim" for agreement in RIGHT) == 14
    assert [agreement.tolerance for agreement in RIGHT].count(1e-12) == len(RIGHT) - 1


def test_qhadam_of_pytorch_optimizer_differs_by_its_float32_weights_alone() -> None:
    """optimizers.md 20 grants QHAdam 1e-9: two scalars are kept in float32, nothing else."""
    module = pytest.importorskip(KOZ)

    def promote(optimizer: torch.optim.Optimizer, t: int) -> None:
        if t == 1:  # after the first step both weights are 1, exactly
            for state in optimizer.state.values():
                state["beta1_weight"] = state["beta1_weight"].double()
                state["beta2_weight"] = state["beta2_weight"].double()

    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        return module.QHAdam(params, lr=s["lr"], **renamed(**ADAM, nus="nu1,nu2")(s))

    assert largest_difference("qhadam", make) > 1e-9
    assert largest_difference("qhadam", make, before_step=promote) <= 1e-12


def test_lookahead_of_pytorch_optimizer_around_adamw_agrees() -> None:
    module = pytest.importorskip(KOZ)

    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        fast = torch.optim.AdamW(params, lr=s["lr"], **renamed(**ADAM)(s))
        return module.Lookahead(fast, k=int(s["fast"]), alpha=s["alpha"])

    assert largest_difference("lookahead_adamw", make) <= 1e-12
    assert largest_difference("lookahead_adamw", make, {"fast": 4.0}) <= 1e-12


def test_schedule_free_muon_is_the_wrapper_around_torchs_muon() -> None:
    module = pytest.importorskip("schedulefree")

    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        muon = torch.optim.Muon(
            params, lr=s["lr"], momentum=s["mu"], nesterov=False, weight_decay=0.0
        )
        return module.ScheduleFreeWrapper(
            muon, momentum=s["beta"], weight_decay_at_y=s["weight_decay"]
        )

    for changes in ({}, {"mu": 0.0}):
        with widened():
            difference = largest_difference(
                *("schedule_free_muon", make, changes),
                shapes=TWO_SIDED,
                oracle=ScheduleFreeMuonLargerOf,
            )
        assert difference <= 1e-12


def test_torchs_guard_of_the_norm_shows_in_muon() -> None:
    """|X| + 1e-7 of the authors, max(|X|, 1e-7) of torch: far more than rounding."""

    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        return torch.optim.Muon(
            params, lr=s["lr"], momentum=s["mu"], weight_decay=s["weight_decay"]
        )

    with widened():
        assert 1e-10 < largest_difference("muon", make, shapes=TWO_SIDED) < 1e-5
        other = largest_difference("muon", make, shapes=TWO_SIDED, oracle=MuonLargerOf)
    assert other <= 1e-12


@pytest.mark.parametrize(
    ("kind", "name", "shape", "heads"),
    [
        ("matrix", "layers.0.v_proj.weight", (5, 2), 2),
        ("embedding", "embed_tokens.weight", (6, 4), 2),
        ("head", "lm_head.weight", (6, 4), 2),
        ("query", "layers.0.q_proj.weight", (4, 4), 2),
        ("key", "layers.0.k_proj.weight", (8, 8), 4),
        ("norm", "layers.0.norm.weight", (5,), 2),
        ("bias", "layers.0.v_proj.bias", (5,), 2),
    ],
)
def test_adam_mini_of_its_authors_agrees(
    kind: str, name: str, shape: tuple[int, ...], heads: int
) -> None:
    """It reads kinds from names, and leaves the decay out where they say norm or bias."""
    module = pytest.importorskip("adam_mini")

    def make(params: list, s: Settings) -> torch.optim.Optimizer:
        optimizer = module.Adam_mini(
            [(name, param) for param in params],
            lr=s["lr"],
            **renamed(**ADAM)(s),
            dim=shape[0],
            n_heads=heads,
            verbose=False,
        )
        for group in optimizer.param_groups:
            group["weight_decay"] = s["weight_decay"]
        return optimizer

    with widened():
        difference = largest_difference(
            "adam_mini", make, {"heads": heads}, shapes=(shape,), kind=kind
        )
    assert difference <= 1e-12
