"""BatchNorm at the averaged point, as docs/practice.md does it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optzoo

PAGE = Path(__file__).parents[2] / "docs" / "practice.md"


def test_statistics_are_those_of_the_average_and_training_keeps_its_own() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    loader = [(torch.randn(16, 3), torch.randn(16, 1)) for _ in range(8)]
    opt = optzoo.optim.ScheduleFreeAdamW(model.parameters(), lr=0.05)
    for x, y in loader:
        opt.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        opt.step()
    before = {n: b.clone() for n, b in model.named_buffers()}
    seen: dict[str, Any] = {}

    def validate(evaluated: nn.Module) -> None:
        assert not evaluated.training
        seen.update({n: b.clone() for n, b in evaluated.named_buffers()})
        seen["weight"] = evaluated[0].weight.detach().clone()

    (block,) = re.findall(r"^```python\n(with opt.*?)^```$", PAGE.read_text(), re.M | re.S)
    exec(block, {"opt": opt, "model": model, "loader": loader, "torch": torch,
                 "itertools": itertools, "validate": validate})  # fmt: skip
    with opt.evaluation(), torch.no_grad():
        assert torch.equal(seen["weight"], model[0].weight)
        means = torch.stack([model[0](x).mean(0) for x, _ in loader]).mean(0)
    torch.testing.assert_close(seen["1.running_mean"], means)
    assert not torch.equal(seen["1.running_mean"], before["1.running_mean"])
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])
    assert model.training
