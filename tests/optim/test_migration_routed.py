"""Several running optimizers, Muon among them, go on as one recipe with routes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import optzoo

BEFORE, AFTER = 7, 10


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(6, 4)
        self.up = nn.Linear(4, 8)
        self.down = nn.Linear(8, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 6, bias=False)

    @property
    def matrices(self) -> list[Tensor]:
        return [self.up.weight, self.down.weight]

    @property
    def rest(self) -> list[Tensor]:
        return [p for p in self.parameters() if all(p is not q for q in self.matrices)]


class InFloat64(TorchFunctionMode):
    """Has torch's Muon compute its products in float64, as ours does for such parameters."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].clone() if func is Tensor.bfloat16 else func(*args, **(kwargs or {}))


def run(optimizers: list[Any], params: list[Any], steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p.dtype)
        for optimizer in optimizers:
            optimizer.step()


def muon_of(net: Net, **options: Any) -> Any:
    chosen = {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.05, **options}
    return torch.optim.Muon(net.matrices, **chosen)  # type: ignore[arg-type]


def adamw_of(params: list[Any], lr: float = 0.015 * 0.03, **options: Any) -> Any:
    chosen = {"betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.0, **options}
    return torch.optim.AdamW(params, lr, **chosen)


def apart(net: Net, old: list[Any], new: Any, *, exactly: bool = True) -> float:
    """Return how far the old optimizers and ours part after the same further steps."""
    params = list(net.parameters())
    with InFloat64() if exactly else nullcontext():
        run(old, params, range(BEFORE))
        new.load_state_dict(optzoo.from_torch(old, new))
        start = [p.detach().clone() for p in params]
        run(old, params, range(BEFORE, BEFORE + AFTER))
    there = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, first in zip(params, start, strict=True):
            p.copy_(first)
    run([new], params, range(BEFORE, BEFORE + AFTER))
    return max(
        float((p.detach() - q).abs().max() / (q - s).abs().max())
        for p, q, s in zip(params, there, start, strict=True)
    )


def test_muon_and_adamw_go_on_as_muon() -> None:
    net = Net().double()
    old = [muon_of(net), adamw_of(net.rest)]
    new = optzoo.load_recipe("muon").build(net)
    assert apart(net, old, new) < 1e-6  # 1e-7 is added to the norm, or is the least it may be
    group = new.param_groups[0]
    assert (group["lr"], group["mu"], group["weight_decay"]) == (0.03, 0.9, 0.05)


def test_products_in_bfloat16_agree_as_far_as_those_do() -> None:
    net = Net()
    old = [muon_of(net), adamw_of(net.rest)]
    assert apart(net, old, optzoo.load_recipe("muon").build(net), exactly=False) < 0.03


def test_groups_and_a_learning_rate_on_its_way() -> None:
    """A group without the rule `here` has the learning rate that its route's share makes theirs."""
    net = Net().double()
    old = [muon_of(net), adamw_of(net.rest)]
    new = optzoo.load_recipe("muon").build(
        [{"params": net.matrices}, {"params": net.rest}], model=net
    )
    schedulers = [torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=20) for o in old]
    for scheduler in schedulers:
        scheduler.optimizer.step()
        scheduler.step()
    assert apart(net, old, new) < 1e-6
    lrs = [group["lr"] for group in new.param_groups]
    assert lrs[0] == pytest.approx(lrs[1]) == pytest.approx(0.03 * (0.1 + 0.9 / 20))
    assert [group["lr0"] for group in new.param_groups] == pytest.approx([0.03, 0.03])


MINE = """
name: mine
version: 2
summary: Muon for the matrices, AdamW at a rate of its own, and without decay where it is said
reference: none
extends: muon
routes:
  - {kind: matrix, use: here}
  - kind: [embedding, head]
    use: adamw
    set: {lr: 0.1*lr, beta2: 0.97, eps: 1e-8, weight_decay: 0.2}
  - {use: sgd_momentum, set: {lr: 2*lr, momentum: 0.8, dampening: 0, weight_decay: 0}}
"""


def test_a_recipe_that_says_what_the_old_optimizers_did() -> None:
    net = Net().double()
    tables = [net.embed.weight, net.head.weight]
    vectors = [p for p in net.parameters() if p.ndim < 2]
    old = [
        muon_of(net),
        adamw_of(tables, 0.003, betas=(0.9, 0.97), eps=1e-8, weight_decay=0.2),
        torch.optim.SGD(vectors, 0.06, momentum=0.8),
    ]
    assert apart(net, old, optzoo.parse_recipe(MINE).build(net)) < 1e-6


@pytest.mark.parametrize(
    ("muon", "adamw", "rule"),
    [
        ({"nesterov": False}, {}, "here"),
        ({"adjust_lr_fn": "match_rms_adamw"}, {}, "here"),
        ({"ns_steps": 4}, {}, "here"),
        ({"ns_coefficients": (3.4, -4.775, 2.0315)}, {}, "here"),
        ({}, {"lr": 3e-4}, "adamw"),
        ({}, {"weight_decay": 0.1}, "adamw"),
    ],
)
def test_what_would_not_go_on_is_refused_with_its_rule(
    muon: dict[str, Any], adamw: dict[str, Any], rule: str
) -> None:
    net = Net().double()
    old = [muon_of(net, **muon), adamw_of(net.rest, **adamw)]
    run(old, list(net.parameters()), range(3))
    new = optzoo.load_recipe("muon").build(net)
    with pytest.raises(optzoo.InputError, match=f"by its rule `{rule}`: their next steps"):
        optzoo.from_torch(old, new)


def test_a_parameter_that_none_of_them_trains_is_told() -> None:
    net = Net()
    muon = muon_of(net)
    with pytest.raises(optzoo.InputError, match="is not in the optimizer to take over"):
        optzoo.from_torch(muon, optzoo.load_recipe("muon").build(net))


def test_means_of_rows_and_columns_go_on() -> None:
    net = Net().double()
    old = torch.optim.Adafactor(net.parameters(), lr=0.02, weight_decay=0.1, d=1.2)
    new = optzoo.load_recipe("adafactor").build(net)
    assert apart(net, [old], new) < 1e-12
    assert new.state[net.up.weight]["r"].shape == (8, 1)
    assert new.state[net.up.weight]["c"].shape == (1, 4)


def test_another_decay_of_the_means_is_refused() -> None:
    net = Net().double()
    old = torch.optim.Adafactor(net.parameters(), beta2_decay=-0.5)
    run([old], list(net.parameters()), range(3))
    new = optzoo.load_recipe("adafactor").build(net)
    with pytest.raises(optzoo.InputError, match="their next steps"):
        optzoo.from_torch(old, new)
    opt = optzoo.load_recipe("adafactor").build(net, decay=0.5)
    opt.load_state_dict(optzoo.from_torch(old, opt))
