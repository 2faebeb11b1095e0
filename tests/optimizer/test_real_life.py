"""What training code does to an optimizer, done to every recipe.

The problem is that of problems.py: parameters of every rank, one of which joins late and pauses.
Single recipes and misuse are in test_optimizer.py.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from problems import (
    LATE,
    RECIPES,
    TOTAL_STEPS,
    gradients,
    oracle_class,
    settings_of,
    starts,
)
from torch import Tensor, nn
from torch.optim import lr_scheduler

import optzoo
from optzoo.optimizer import RecipeOptimizer

GRADS = list(gradients())
OBSERVERS = ("tail:0.2", "ema:0.9")


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    return [nn.Parameter(torch.from_numpy(p.copy()).to(dtype)) for p in starts()]


def build(name: str, params: Any, **options: Any) -> RecipeOptimizer:
    settings = {**settings_of(name, "lively"), **options}
    return optzoo.load_recipe(name).build(params, total_steps=TOTAL_STEPS, **settings)


def set_grads(params: list[nn.Parameter], step: int) -> None:
    for p, g in zip(params, GRADS[step], strict=True):
        p.grad = None if g is None else torch.from_numpy(g.copy()).to(p.dtype)


def go(opt: torch.optim.Optimizer, params: list[nn.Parameter], steps: Iterable[int]) -> None:
    for step in steps:
        set_grads(params, step)
        opt.step()


def snapshot(params: Iterable[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in params]


def assert_same(a: Iterable[Tensor], b: Iterable[Tensor]) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


def views_of(opt: RecipeOptimizer, params: list[nn.Parameter]) -> dict[str, list[Tensor]]:
    seen = {}
    for view in opt.views:
        with opt.evaluation(view):
            seen[view] = snapshot(params)
    return seen


# Saving, copying, showing: every recipe -----------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_broken_off_anywhere_goes_on_bit_for_bit(name: str) -> None:
    """Saved at the start, before one parameter had a gradient, and later, in either mode."""
    params = parameters()
    opt = build(name, params, observers=OBSERVERS)
    through = parameters()
    unbroken = build(name, through, observers=OBSERVERS)
    pieces = ((0, 3, "eval"), (3, 6, "train"), (6, 15, "eval"), (15, 24, "train"))
    for start, stop, shown in pieces:
        opt.train(shown == "train")
        file = io.BytesIO()
        torch.save({"params": snapshot(params), "opt": opt.state_dict()}, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
        params = [nn.Parameter(p) for p in loaded["params"]]
        opt = build(name, params, observers=OBSERVERS)
        opt.load_state_dict(loaded["opt"])
        assert opt.mode == shown
        opt.train()
        assert_same(params, through)
        go(opt, params, range(start, stop))
        go(unbroken, through, range(start, stop))
        assert_same(params, through)
    ours, theirs = views_of(opt, params), views_of(unbroken, through)
    for view in opt.views:
        assert_same(ours[view], theirs[view])


@pytest.mark.parametrize("name", RECIPES)
def test_copies_and_pickles_go_on_alone(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    go(opt, params, range(9))
    others: list[tuple[list[nn.Parameter], RecipeOptimizer]] = [
        copy.deepcopy((params, opt)),
        pickle.loads(pickle.dumps((params, opt))),
    ]
    go(opt, params, range(9, 14))
    for other_params, other in others:
        assert other_params[0] is not params[0]
        go(other, other_params, range(9, 14))
        assert_same(params, other_params)


@pytest.mark.parametrize("name", RECIPES)
def test_looking_changes_nothing(name: str) -> None:
    """Any sequence of views and saves between steps leaves the run as it was, bit for bit."""
    params, others = parameters(torch.bfloat16), parameters(torch.bfloat16)
    looking, blind = build(name, params), build(name, others)
    for step in range(6, 12):  # the late parameter joins in the middle
        before = snapshot(params)
        looking.eval()
        looking.eval()
        shown = snapshot(params)
        with looking.evaluation("train"):
            assert_same(params, before)
        assert_same(params, shown)
        looking.state_dict()
        looking.train()
        looking.train()
        assert_same(params, before)
        go(looking, params, [step])
        go(blind, others, [step])
        assert_same(params, others)


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_read_and_never_kept(name: str) -> None:
    """Buffers reused in place, zero_grad(set_to_none=False), and grads bit for bit untouched.

    The official MARS keeps a reference to p.grad and turns into AdamW here (optimizers.md 8).
    """
    fresh, reused = parameters(), parameters()
    opt, other = build(name, fresh), build(name, reused)
    buffers = [torch.zeros_like(p) for p in reused]
    for step in range(8, 18):  # the late parameter has its gradients here
        set_grads(fresh, step)
        for p, q, buffer in zip(fresh, reused, buffers, strict=True):
            q.grad = buffer
            assert p.grad is not None
            buffer.copy_(p.grad)
        kept = snapshot(buffers)
        opt.step()
        other.step()
        assert_same(buffers, kept)
        assert_same([p.grad for p in fresh if p.grad is not None], kept)
        other.zero_grad(set_to_none=False)
        assert all(not b.any() for b in buffers)
    assert_same(fresh, reused)


@pytest.mark.parametrize("name", RECIPES)
def test_a_late_parameter_is_a_fresh_one(name: str) -> None:
    """An expert first routed to at step 8, or a layer unfrozen then, starts at its own t = 1."""
    params = parameters()
    opt = build(name, params)
    go(opt, params, range(20))
    alone = [nn.Parameter(torch.from_numpy(starts()[LATE]))]
    fresh = build(name, alone)
    for grads in GRADS[:20]:
        if grads[LATE] is not None:
            alone[0].grad = torch.from_numpy(grads[LATE])
            fresh.step()
    assert_same([params[LATE]], alone)
    with opt.evaluation(), fresh.evaluation():
        assert_same([params[LATE]], alone)


@pytest.mark.parametrize("name", RECIPES)
def test_the_learning_rate_may_be_a_tensor(name: str) -> None:
    params, others = parameters(), parameters()
    lr = settings_of(name, "lively").get("lr", 1.0)
    opt = build(name, params, lr=torch.tensor(lr, dtype=torch.float64))
    other = build(name, others, lr=lr)
    for o, p in ((opt, params), (other, others)):
        scheduler = lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=6)
        for step in range(8):
            go(o, p, [step])
            scheduler.step()
    assert isinstance(opt.param_groups[0]["lr"], Tensor)
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_parameters_keep_wide_state(name: str) -> None:
    """State is float32 through a load, and the parameter is the rounding of a float32 path."""
    narrow, wide = parameters(torch.bfloat16), parameters(torch.float32)
    for a, b in zip(narrow, wide, strict=True):
        b.data.copy_(a.data)
    opts = [build(name, narrow), build(name, wide)]
    for step in range(16):
        if step == 9:
            saved = copy.deepcopy(opts[0].state_dict())
            opts[0] = build(name, narrow)
            opts[0].load_state_dict(saved)
        for opt, params in zip(opts, (narrow, wide), strict=True):
            for p, g in zip(params, GRADS[step], strict=True):
                p.grad = None if g is None else torch.from_numpy(g).bfloat16().to(p.dtype)
            opt.step()
    for a, b in zip(narrow, wide, strict=True):
        tensors = [v for v in opts[0].state[a].values() if v.dim() == a.dim() and v.numel() > 1]
        assert {v.dtype for v in tensors} <= {torch.float32}
        assert torch.equal(a, b.to(torch.bfloat16))


@pytest.mark.parametrize("name", RECIPES)
def test_no_gradients_no_step(name: str) -> None:
    params = parameters()
    opt = build(name, params)
    for step in range(3):
        opt.zero_grad()
        opt.step()
        go(opt, params, [step])
    alone = parameters()
    go(build(name, alone), alone, range(3))
    assert_same(params, alone)


@pytest.mark.parametrize("name", RECIPES)
def test_layouts_do_not_matter(name: str) -> None:
    """channels_last, transposed and sliced parameters, whose gradients are laid out otherwise."""
    torch.manual_seed(0)
    plain = [torch.randn(s, dtype=torch.float64) for s in ((2, 3, 4, 4), (5, 3), (6,))]
    odd = [
        plain[0].clone().to(memory_format=torch.channels_last),
        plain[1].t().contiguous().t(),
        torch.stack([plain[2], plain[2]], dim=1)[:, 0],
    ]
    assert not any(p.is_contiguous() for p in odd)
    runs = []
    for tensors in (plain, odd):
        params = [p.detach().requires_grad_() for p in tensors]
        opt = build(name, params)
        generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            for p in params:
                p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            opt.step()
        with opt.evaluation():
            runs.append(snapshot(params))
    for a, b in zip(*runs, strict=True):  # a norm may add up in another order
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# Schedulers, groups, closures, scalers ------------------------------------------------------------

SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda s: min(1.0, s / 4)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=25, cycle_momentum=False),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[4],
    ),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_torch_schedulers(kind: str) -> None:
    """The same scheduler moves adamw and torch's AdamW alike, also through a save and a load."""
    ours, theirs = parameters(), parameters()
    s = settings_of("adamw", "lively")
    other = torch.optim.AdamW(
        theirs, s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["weight_decay"]
    )
    opts: list[torch.optim.Optimizer] = [build("adamw", ours), other]
    schedulers = [SCHEDULERS[kind](o) for o in opts]
    for step in range(20):
        if step == 9:
            saved = copy.deepcopy((opts[0].state_dict(), schedulers[0].state_dict()))
            opts[0] = build("adamw", ours)
            schedulers[0] = SCHEDULERS[kind](opts[0])
            opts[0].load_state_dict(saved[0])
            schedulers[0].load_state_dict(saved[1])
        for opt, params, scheduler in zip(opts, (ours, theirs), schedulers, strict=True):
            go(opt, params, [step])
            scheduler.step(*([1.0] if kind == "plateau" else []))
        assert opts[0].param_groups[0]["lr"] == opts[1].param_groups[0]["lr"]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_one_cycle_moves_the_momentum_of_sgd() -> None:
    ours, theirs = parameters(), parameters()
    opts: list[torch.optim.Optimizer] = [
        build("sgd_momentum", ours, dampening=0, weight_decay=0),
        torch.optim.SGD(theirs, 0.02, momentum=0.85),
    ]
    for opt, params in zip(opts, (ours, theirs), strict=True):
        scheduler = lr_scheduler.OneCycleLR(opt, 0.1, total_steps=25)
        for step in range(20):
            go(opt, params, [step])
            scheduler.step()
    assert opts[0].param_groups[0]["momentum"] != 0.85
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_first_learning_rate_is_saved() -> None:
    """ADANA's decay follows lr/lr0: a resumed run must not take the decayed lr for the first."""
    ours, theirs = parameters(), parameters()
    opt, other = build("adana", ours), build("adana", theirs)
    for o in (opt, other):
        o.param_groups[0]["lr"] = 0.005
    go(opt, ours, range(5))
    go(other, theirs, range(5))
    resumed = build("adana", ours, lr=0.005)
    resumed.load_state_dict(opt.state_dict())
    go(resumed, ours, range(5, 12))
    go(other, theirs, range(5, 12))
    assert_same(ours, theirs)


def test_a_hyperparameter_moved_by_hand_is_one_written_as_a_schedule() -> None:
    ours, theirs = parameters(), parameters()
    opt, other = build("adamw", ours), build("adamw", theirs, weight_decay="0.2/t")
    for step in range(12):
        opt.param_groups[0]["weight_decay"] = 0.2 / (step + 1)
        go(opt, ours, [step])
        go(other, theirs, [step])
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if i != LATE:  # its t is not the loop's
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 4)
        self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor, expert: int = 0) -> Tensor:
        x: Tensor = self.experts[expert](self.hidden(self.embed(tokens)).tanh())
        logits: Tensor = self.head(x)
        return logits


def loss_of(model: nn.Module, seed: int, count: int = 8, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 7, (count,), generator=generator)
    return nn.functional.cross_entropy(model(tokens, **options), (tokens + 1) % 7)


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_with_tied_weights_and_a_rare_expert_learns(name: str) -> None:
    """Named parameters, weights used twice, an expert whose gradients come from step 30 on."""
    model = Net()
    recipe = optzoo.load_recipe(name)
    # methods whose default lr is for other problems get one that suits this one
    lr = {"gradient": 0.3, "normalised": 0.03}
    kind = "gradient" if recipe.spec.preconditioner == "none" else "normalised"
    usual = {"lr": lr[kind]} if "lr" in recipe.spec.hyperparameters else {"eta": 0.2}
    options = oracle_class(name).learns_at or usual
    assert options.keys() <= recipe.hyperparameters.keys(), "its oracle must say `learns_at`"
    opt = recipe.build(model.named_parameters(), total_steps=60, **options)
    assert len(opt.state) == 7
    unused = [p.detach().clone() for p in model.experts[1].parameters()]
    before = float(loss_of(model, 999, 64).detach())
    for step in range(60):
        if step == 30:
            assert_same(model.experts[1].parameters(), unused)
        opt.zero_grad()
        loss_of(model, step, expert=int(step >= 30 and step % 3 == 0)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
    steps = {int(s["step"]) for s in opt.state_dict()["state"].values()}
    assert steps == {60, 50, 10}
    with opt.evaluation():
        assert float(loss_of(model, 999, 64).detach()) < 0.9 * before


def test_gradient_accumulation_is_a_larger_batch() -> None:
    small, large = Net().double(), Net().double()
    opts = [build("mars", m.parameters()) for m in (small, large)]
    for step in range(6):
        for opt in opts:
            opt.zero_grad(set_to_none=False)
        for part in range(4):
            (loss_of(small, 10 * step + part) / 4).backward()
        (sum(loss_of(large, 10 * step + part) for part in range(4)) / 4).backward()
        for opt in opts:
            opt.step()
    for a, b in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_gradient_scaler_on_a_model() -> None:
    """AMP's usual loop; the scaled gradients are unscaled by the scaler inside its step."""
    scaled, plain = Net().double(), Net().double()
    opts = [build("schedule_free_adamw", m.parameters()) for m in (scaled, plain)]
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2)
    for step in range(6):
        for opt in opts:
            opt.zero_grad()
        scaler.scale(loss_of(scaled, step)).backward()
        scaler.step(opts[0])
        scaler.update()
        loss_of(plain, step).backward()
        opts[1].step()
    assert scaler.get_scale() > 256
    for a, b in zip(scaled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw", "ademamix"])
def test_closures_see_the_training_point(name: str) -> None:
    model, other = Net().double(), Net().double()
    opt, plain = build(name, model.parameters()), build(name, other.parameters())
    for step in range(4):

        def closure(step: int = step) -> Tensor:
            opt.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        found = opt.step(closure)
        plain.zero_grad()
        wanted = loss_of(other, step)
        wanted.backward()
        plain.step()
        assert float(found.detach()) == float(wanted.detach())
    assert_same(model.parameters(), other.parameters())


def test_a_group_that_joins_while_the_average_is_shown() -> None:
    """New parameters hold their own point in every view until their first update."""
    params = parameters()
    opt = build("schedule_free_adamw", params[:2])
    go(opt, params, range(10))
    opt.eval()
    opt.add_param_group({"params": params[2:]})
    assert {group["mode"] for group in opt.param_groups} == {"eval"}
    opt.train()
    fresh = [nn.Parameter(torch.from_numpy(p)) for p in starts()[2:]]
    assert_same([params[4]], [fresh[2]])
    before = snapshot(params)
    with opt.evaluation():
        assert_same(params[2:], before[2:])
    go(opt, params, range(10, 14))
    assert all(int(opt.state_dict()["state"][i]["step"]) == 4 for i in (2, 3, 4))


def test_hooks_of_torch_run() -> None:
    params = parameters()
    opt = build("lion", params)
    calls: list[str] = []
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.register_state_dict_post_hook(lambda _, state: calls.append("saved") or state)
    go(opt, params, range(2))
    opt.state_dict()
    assert calls == ["before", "after", "before", "after", "saved"]


def test_mixed_dtypes_in_one_group() -> None:
    torch.manual_seed(0)
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    params = [nn.Parameter(torch.ones(4, dtype=dtype)) for dtype in dtypes]
    opt = build("mars", params)
    for _ in range(20):
        for p in params:
            p.grad = torch.full_like(p, 0.25)
        opt.step()
    wanted = params[0].detach()
    kept = 20 * torch.finfo(torch.float32).eps / 2  # each step rounds a float32 once
    for p in params[1:]:
        rtol = kept + torch.finfo(p.dtype).eps / 2
        torch.testing.assert_close(p.double(), wanted, rtol=rtol, atol=0)
