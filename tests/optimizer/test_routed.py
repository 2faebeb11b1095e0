"""Optimizers of recipes with routes: each parameter by its own rule, in one optimizer."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import assert_same
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

import optzoo

TEXT = """\
name: mixed
version: 2
summary: momentum for matrices, AdamW for the rest
reference: none
extends: sgd_momentum
hyperparameters:
  lr: {default: 0.02}
routes:
  - {kind: matrix, use: here}
  - {kind: head, use: averaged}
  - {use: adamw, set: {lr: lr/4, beta2: 0.95, weight_decay: 0}}
parts:
  averaged:
    buffers: {m: null}
    scalars: {later: null}
    update: grad
    averaging: {weight: 1/t}
"""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.up = nn.Linear(4, 5)
        self.lm_head = nn.Linear(5, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.lm_head(torch.tanh(self.up(self.norm(self.embed(tokens)))))
        return out


def recipe(text: str = TEXT) -> optzoo.Recipe:
    return optzoo.parse_recipe(text)


def model(seed: int = 0, dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(seed)
    return Model().to(dtype)


def learn(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        random = torch.Generator().manual_seed(step)
        tokens, targets = torch.randint(0, 7, (2, 12), generator=random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), targets).backward()
        optimizer.step()


def rules(optimizer: Any) -> dict[str, str]:
    group = optimizer.param_groups[0]
    return dict(zip(group["param_names"], group["rules"], strict=True))


EXPECTED = {
    "embed.weight": "adamw",
    "norm.weight": "adamw",
    "norm.bias": "adamw",
    "up.weight": "here",
    "up.bias": "adamw",
    "lm_head.weight": "averaged",
    "lm_head.bias": "adamw",
}


def split(model: Model) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    named = dict(model.named_parameters())
    return tuple(  # type: ignore[return-value]
        [named[name] for name, rule in EXPECTED.items() if rule == wanted]
        for wanted in ("here", "averaged", "adamw")
    )


@pytest.mark.parametrize("engine", ["auto", "foreach", "reference"])
def test_each_rule_steps_its_parameters_as_an_optimizer_of_its_own(engine: str) -> None:
    together, apart = model(dtype=torch.float64), model(dtype=torch.float64)
    routed = recipe().build(together, engine=engine)
    assert rules(routed) == EXPECTED
    matrices, heads, rest = split(apart)
    plain = optzoo.load_recipe("sgd").build(heads, lr=0.02, observers=["uniform"])
    parts = [
        optzoo.load_recipe("sgd_momentum").build(matrices, lr=0.02),
        plain,
        optzoo.load_recipe("adamw").build(rest, lr=0.005, beta2=0.95, weight_decay=0),
    ]
    schedulers = [LambdaLR(each, lambda t: 1 / (1 + t)) for each in (routed, *parts)]
    for step in range(6):
        learn(together, routed, range(step, step + 1))
        random = torch.Generator().manual_seed(step)
        tokens, targets = torch.randint(0, 7, (2, 12), generator=random)
        apart.zero_grad()
        nn.functional.cross_entropy(apart(tokens), targets).backward()
        for part in parts:
            part.step()
        for scheduler in schedulers:
            scheduler.step()
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-13, atol=1e-14)
    # the averaged rule shows its average, and the others what they train
    trained = {name: p.detach().clone() for name, p in together.named_parameters()}
    with routed.evaluation(), plain.evaluation("uniform"):
        for a, b in zip(together.parameters(), apart.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-13, atol=1e-14)
        moved = {n for n, p in together.named_parameters() if not torch.equal(p, trained[n])}
    assert moved == {"lm_head.weight"}
    for name, p in together.named_parameters():
        assert torch.equal(p, trained[name])


def test_state_is_what_each_rule_keeps() -> None:
    mine = model()
    optimizer = recipe().build(mine)
    kept = {name: set(optimizer.state[p]) for name, p in mine.named_parameters()}
    assert kept["up.weight"] == {"step", "m"}
    assert kept["lm_head.weight"] == {"step", "b", "c"}
    assert kept["norm.bias"] == {"step", "m", "v"}


@pytest.mark.parametrize("shown", ["train", "eval"])
def test_a_saved_state_goes_on_bit_for_bit(shown: str) -> None:
    whole, halves = model(), model()
    routed = recipe().build(whole)
    learn(whole, routed, range(8))
    first = recipe().build(halves)
    learn(halves, first, range(4))
    if shown != "train":
        first.eval(shown)
    stream = io.BytesIO()
    torch.save({"model": halves.state_dict(), "optimizer": first.state_dict()}, stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)
    again = model(seed=1)
    second = recipe().build(again)
    again.load_state_dict(saved["model"])
    second.load_state_dict(saved["optimizer"])
    assert second.mode == shown
    second.train()
    learn(again, second, range(4, 8))
    assert_same(again.parameters(), whole.parameters())


@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_step_alike(way: Any) -> None:
    mine = model()
    optimizer = recipe().build(mine)
    learn(mine, optimizer, range(3))
    other_model, other = way((mine, optimizer))
    learn(mine, optimizer, range(3, 6))
    learn(other_model, other, range(3, 6))
    assert_same(mine.parameters(), other_model.parameters())


def refused(state: Any, optimizer: Any) -> str:
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(optzoo.InputError) as caught:
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    assert before["state"].keys() == after["state"].keys()
    return str(caught.value)


def test_a_state_of_other_routes_is_refused() -> None:
    mine = model()
    optimizer = recipe().build(mine)
    learn(mine, optimizer, range(2))
    state = optimizer.state_dict()
    other = recipe(TEXT.replace("{kind: head, use", "{kind: [head, embedding], use")).build(model())
    text = refused(state, other)
    assert "this state was saved by a different version of the recipe `mixed`" in text
    assert "-  route    kind head -> averaged" in text
    assert "+  route    kind head, embedding -> averaged" in text
    bare = recipe().build(model().parameters())
    assert (
        "`parameter 0` in group 0 took the rule `adamw` of mixed when the state was saved, and "
        in (refused(state, bare))
    )
    less = copy.deepcopy(state)
    del less["param_groups"][0]["rules"]
    assert "group 0 of the state lacks `rules`" in refused(less, recipe().build(model()))
    plain = optzoo.load_recipe("sgd_momentum").build(model())
    assert "this state belongs to the recipe `mixed`, not to `sgd_momentum`" in refused(
        state, plain
    )


def test_groups_and_bare_tensors_are_told_by_what_is_known_of_them() -> None:
    mine = model()
    named = list(mine.named_parameters())
    assert rules(recipe().build(named)) == EXPECTED
    bare = recipe().build([p for _, p in named])
    assert bare.param_groups[0]["rules"] == ["here" if p.ndim > 1 else "adamw" for _, p in named]
    groups = [{"params": named[:3], "lr": 0.5}, {"params": named[3:]}]
    optimizer = recipe().build(groups, model=mine)
    found = [rule for group in optimizer.param_groups for rule in group["rules"]]
    assert found == list(EXPECTED.values())
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.02]
    optimizer.add_param_group({"params": [("late.bias", nn.Parameter(torch.ones(2)))]})
    assert optimizer.param_groups[2]["rules"] == ["adamw"]


def test_a_parameter_without_a_route_is_refused_and_nothing_is_kept() -> None:
    only = recipe(
        TEXT.replace("  - {use: adamw, set: {lr: lr/4, beta2: 0.95, weight_decay: 0}}\n", "")
    )
    with pytest.raises(optzoo.InputError) as caught:
        only.build(model())
    assert "mixed has no route for `embed.weight` (embedding, 2 axes)" in str(caught.value)
    optimizer = only.build([nn.Parameter(torch.ones(2, 2))])
    vector = nn.Parameter(torch.ones(3))
    with pytest.raises(optzoo.InputError, match="norm or bias, 1 axis"):
        optimizer.add_param_group({"params": [vector]})
    assert len(optimizer.param_groups) == 1
    assert vector not in optimizer.state


def test_lazy_parameters_need_a_shape_first() -> None:
    with pytest.raises(optzoo.InputError, match="has no shape yet, and routes need to know it"):
        recipe().build(nn.LazyLinear(3))


def test_a_parameter_that_is_put_into_a_group_has_no_rule() -> None:
    mine = model()
    optimizer = recipe().build(mine)
    optimizer.param_groups[0]["params"].append(nn.Parameter(torch.ones(2)))
    with pytest.raises(optzoo.RunError, match="a group has 8 parameters, and rules for 7"):
        optimizer.step()


def test_each_parameter_has_a_clock_of_its_own() -> None:
    params = [
        nn.Parameter(torch.ones(2, 2)),
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(3)),
    ]
    optimizer = recipe().build(params)
    for step in range(3):
        for i, p in enumerate(params):
            p.grad = torch.ones_like(p) if i < 2 or step else None
        optimizer.step()
    assert [float(optimizer.state[p]["step"]) for p in params] == [3, 3, 2]
    assert not torch.equal(params[1], params[2])


def test_a_group_that_does_not_decay_leaves_what_a_route_sets_alone() -> None:
    """A group's number is the recipe's hyperparameter; what a route sets is read off that."""
    text = TEXT.replace("weight_decay: 0}", "weight_decay: weight_decay}")
    param = {kind: nn.Parameter(torch.ones(3)) for kind in ("decayed", "exempt")}
    groups = [{"params": [param["decayed"]]}, {"params": [param["exempt"]], "weight_decay": 0.0}]
    optimizer = recipe(text).build(groups, weight_decay=0.5)
    for p in param.values():
        p.grad = torch.zeros(3)
    optimizer.step()
    assert float(param["decayed"][0].detach()) == pytest.approx(1 - 0.02 / 4 * 0.5)
    assert torch.equal(param["exempt"].detach(), torch.ones(3))


def test_observers_ride_along_with_every_rule() -> None:
    mine = model()
    optimizer = recipe().build(mine, observers=["ema:0.5"])
    start = [p.detach().clone() for p in mine.parameters()]
    learn(mine, optimizer, range(3))
    trained = [p.detach().clone() for p in mine.parameters()]
    with optimizer.evaluation("ema:0.5"):
        shown = [p.detach().clone() for p in mine.parameters()]
    for a, b, c in zip(start, shown, trained, strict=True):
        assert not torch.equal(a, b)
        assert not torch.equal(b, c)


def test_narrow_state_and_parameters_are_kept_rule_by_rule() -> None:
    mine = model(dtype=torch.bfloat16)
    optimizer = recipe().build(mine, state_dtype="bfloat16")
    learn(mine, optimizer, range(2))
    for name, p in mine.named_parameters():
        entry = optimizer.state[p]
        assert entry["master"].dtype == torch.float32
        buffers = {"here": ["m"], "averaged": ["b"], "adamw": ["m", "v"]}[EXPECTED[name]]
        assert {entry[buffer].dtype for buffer in buffers} == {torch.bfloat16}


def test_a_scalar_without_a_value_is_shown_where_the_route_says_so() -> None:
    text = TEXT.replace("beta2: 0.95", "beta2: t/4")
    mine = model()
    optimizer = recipe(text).build(mine)
    learn(mine, optimizer, range(3))
    before = copy.deepcopy(mine.state_dict())
    with pytest.raises(optzoo.RunError) as caught:
        learn(mine, optimizer, range(3, 4))
    assert "`beta2` at step 4: `t/4` is 1, outside [0, 1)" in str(caught.value)
    for name, value in mine.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_loaded_while_shown_stay() -> None:
    mine = model()
    optimizer = recipe().build(mine)
    learn(mine, optimizer, range(3))
    optimizer.eval()
    with torch.no_grad():
        mine.lm_head.weight.fill_(0.25)
    with pytest.warns(UserWarning, match="1 parameters were changed while `eval` was shown"):
        optimizer.train()
    assert torch.equal(mine.lm_head.weight, torch.full_like(mine.lm_head.weight, 0.25))


def test_nothing_is_warned_of(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine = model()
        optimizer = recipe().build(mine)
        for step in range(3):
            learn(mine, optimizer, range(step, step + 1))
            with optimizer.evaluation():
                torch.save([mine.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
        weights, saved = torch.load(tmp_path / "state.pt", weights_only=True)
        other = model()
        second = recipe().build(other)
        other.load_state_dict(weights)
        second.load_state_dict(saved)
        second.train()
