"""The oracles beside real packages, where these are right: float64, fifty steps, within 1e-12.

Torch always takes part; every other package is optional and skips visibly. Tables and harness are
in package_claims.py; pinned disagreements in test_packages_wrong.py. No optzoo here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from oracles import ORACLES
from package_claims import (
    ADAM,
    KOZ,
    RIGHT,
    Agreement,
    Settings,
    largest_difference,
    renamed,
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
    difference = largest_difference(
        agreement.recipe,
        agreement.make,
        agreement.changes,
        late=agreement.own_clocks,
        shapes=agreement.shapes,
    )
    assert difference <= agreement.tolerance


def test_the_table_names_recipes_and_torch_is_always_there() -> None:
    assert {agreement.recipe for agreement in RIGHT} <= set(ORACLES)
    assert sum(agreement.package == "torch.optim" for agreement in RIGHT) == 11
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
