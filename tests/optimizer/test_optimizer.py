"""RecipeOptimizer in real life: groups, clocks, views, saving, narrow dtypes, and misuse."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

import optzoo

RECIPES = ["adamw", "ademamix", "lion", "mars", "schedule_free_adamw", "adamw_averaged"]
T = 40


def make_params(dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3,), (4, 2), ()]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def build(recipe: str, params: Any, **options: Any) -> Any:
    return optzoo.load_recipe(recipe).build(params, total_steps=T, **options)


def set_grads(params: list[Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def run(opt: Any, params: list[Tensor], steps: range) -> None:
    for step in steps:
        set_grads(params, step)
        opt.step()


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("shown", ["train", "eval"])
def test_saving_and_loading_goes_on_bit_for_bit(recipe: str, shown: str) -> None:
    params = make_params()
    opt = build(recipe, params, observers=["ema:0.9"])
    run(opt, params, range(7))
    if shown == "eval":
        opt.eval()
    buffer = io.BytesIO()
    torch.save(opt.state_dict(), buffer)
    others = [p.detach().clone().requires_grad_() for p in params]
    again = build(recipe, others, observers=["ema:0.9"])
    buffer.seek(0)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert again.mode == shown
    opt.train()
    again.train()
    assert equal(params, others)
    run(opt, params, range(7, 12))
    run(again, others, range(7, 12))
    assert equal(params, others)
    for view in opt.views:
        with opt.evaluation(view), again.evaluation(view):
            assert equal(params, others)


@pytest.mark.parametrize("recipe", RECIPES)
def test_state_dict_never_changes_the_next_update(recipe: str) -> None:
    params, others = make_params(), make_params()
    opt, other = build(recipe, params), build(recipe, others)
    for step in range(5):
        opt.state_dict()
        run(opt, params, range(step, step + 1))
        run(other, others, range(step, step + 1))
    assert equal(params, others)


@pytest.mark.parametrize("recipe", RECIPES)
def test_copies_go_on_alone(recipe: str) -> None:
    params = make_params()
    opt = build(recipe, params)
    run(opt, params, range(5))
    twin_params, twin = copy.deepcopy((params, opt))
    thawed_params, thawed = pickle.loads(pickle.dumps((params, opt)))
    for p, o in ((params, opt), (twin_params, twin), (thawed_params, thawed)):
        run(o, p, range(5, 9))
    assert equal(params, twin_params)
    assert equal(params, thawed_params)


@pytest.mark.parametrize("recipe", RECIPES)
def test_evaluation_restores_bit_for_bit(recipe: str) -> None:
    params = make_params(torch.float32)
    opt = build(recipe, params, **({"delta": 1} if recipe == "adamw_averaged" else {}))
    run(opt, params, range(6))
    before = [p.detach().clone() for p in params]
    with pytest.raises(KeyError), opt.evaluation():
        raise KeyError
    assert equal(params, before)
    opt.eval()
    inside = [p.detach().clone() for p in params]
    opt.eval()
    assert equal(params, inside)
    with opt.evaluation("train"):
        assert equal(params, before)
    assert equal(params, inside)
    with pytest.raises(optzoo.RunError, match=r"call `optimizer.train\(\)` first"):
        opt.step()
    opt.train()
    opt.train()
    assert equal(params, before)
    assert equal(before, inside) == (recipe not in ("schedule_free_adamw", "adamw_averaged"))
    with pytest.raises(optzoo.InputError, match="views: train, eval"):
        opt.eval("avrage")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_late_parameter_follows_its_own_clock(recipe: str) -> None:
    together = make_params()
    opt = build(recipe, together)
    late = together[0]
    for step in range(10):
        set_grads(together, step)
        if step < 4 or step == 6:
            late.grad = None
        opt.step()
    alone = [make_params()[0]]
    other = build(recipe, alone)
    for step in (4, 5, 7, 8, 9):
        set_grads(make := make_params(), step)
        alone[0].grad = make[0].grad
        other.step()
    assert torch.equal(late, alone[0])


@pytest.mark.parametrize("recipe", RECIPES)
def test_reused_gradient_buffers_and_no_alias(recipe: str) -> None:
    params, others = make_params(), make_params()
    opt, other = build(recipe, params), build(recipe, others)
    for step in range(8):
        set_grads(params, step)
        if step == 0:
            set_grads(others, step)
        for p, q in zip(params, others, strict=True):
            assert p.grad is not None
            assert q.grad is not None
            q.grad.copy_(p.grad)  # the same tensor every step, as zero_grad(set_to_none=False)
        kept = [p.grad.clone() for p in params if p.grad is not None]
        opt.step()
        other.step()
        assert equal(kept, [p.grad for p in params if p.grad is not None])
        assert equal(kept, [q.grad for q in others if q.grad is not None])
        other.zero_grad(set_to_none=False)
    assert equal(params, others)


@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)], ids=["float", "tensor"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_first_learning_rate_of_0_is_harmless(recipe: str, lr: Any) -> None:
    params = make_params()
    start = [p.detach().clone() for p in params]
    opt = build(recipe, params, lr=lr)
    run(opt, params, range(1))
    assert equal(params, start)
    for group in opt.param_groups:
        group["lr"] = 0.1
    run(opt, params, range(1, 4))
    with opt.evaluation():
        assert all(bool(torch.isfinite(p).all()) for p in params)
    assert not equal(params, start)


def test_groups_have_their_own_hyperparameters() -> None:
    params, others = make_params(), make_params()
    groups = [{"params": params[:1], "lr": 0.5, "beta1": 0.0}, {"params": params[1:]}]
    opt = build("ademamix", groups, lr=0.01)
    first = build("ademamix", others[:1], lr=0.5, beta1=0)
    rest = build("ademamix", others[1:], lr=0.01)
    assert "m1" not in opt.state[params[0]]
    assert "m1" in opt.state[params[1]]
    for step in range(5):
        set_grads(params, step)
        set_grads(others, step)
        for o in (opt, first, rest):
            o.step()
    assert equal(params, others)


def test_a_group_added_later_and_a_hyperparameter_that_wakes_up() -> None:
    params = make_params()
    opt = build("adamw", params[:2], beta1=0)
    run(opt, params[:2], range(3))
    opt.add_param_group({"params": [params[2]], "lr": 0.1})
    run(opt, params, range(3, 6))
    opt.param_groups[0]["beta1"] = 0.9
    set_grads(params, 6)
    with pytest.warns(UserWarning, match="`m` starts from zero now"):
        opt.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(opt, params, range(7, 9))


def test_closures() -> None:
    param = torch.tensor([2.0], requires_grad=True)
    opt = build("sgd_momentum", [param], lr=0.1, momentum=0)

    def closure() -> Tensor:
        opt.zero_grad()
        loss = (param**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    assert float(opt.step(closure)) == 4.0
    assert float(param.detach()) == pytest.approx(1.6)


def test_gradient_scaler_and_clipping() -> None:
    params, others = make_params(torch.float32), make_params(torch.float32)
    opt, other = build("adamw", params), build("adamw", others)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))
    for step in range(4):
        set_grads(params, step)
        set_grads(others, step)
        for p in params:
            assert p.grad is not None
            p.grad.mul_(scaler.get_scale())
        if step == 2:
            assert params[0].grad is not None
            params[0].grad.fill_(float("inf"))  # the scaler skips this step
        scaler.unscale_(opt)
        torch.nn.utils.clip_grad_norm_(params, 0.5)
        scaler.step(opt)
        scaler.update()
        if step != 2:
            torch.nn.utils.clip_grad_norm_(others, 0.5)
            other.step()
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("recipe", ["adamw", "schedule_free_adamw"])
def test_small_updates_of_bfloat16_parameters_add_up(recipe: str) -> None:
    narrow = torch.ones(8, dtype=torch.bfloat16, requires_grad=True)
    wide = torch.ones(8, requires_grad=True)
    options = {"lr": 1e-4, "weight_decay": 0}
    opts = [build(recipe, [p], **options) for p in (narrow, wide)]
    for step in range(500):
        for p in (narrow, wide):
            p.grad = torch.ones_like(p)
        if step == 250:  # through a save and a load, which keep what is float32
            saved = opts[0].state_dict()
            opts[0] = build(recipe, [narrow], **options)
            opts[0].load_state_dict(saved)
        for opt in opts:
            opt.step()
    state = opts[0].state[narrow]
    assert {state[n].dtype for n in state if state[n].dim()} == {torch.float32}
    assert float(wide.detach()[0]) < 0.98
    with opts[0].evaluation(), opts[1].evaluation():
        torch.testing.assert_close(narrow, wide.to(torch.bfloat16), rtol=0, atol=0)


def test_loading_weights_into_a_narrow_parameter_is_noticed() -> None:
    param = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    opt = build("sgd_momentum", [param], lr=0.5, momentum=0)
    with torch.no_grad():
        param.fill_(3.0)
    param.grad = torch.ones_like(param)
    opt.step()
    assert param.tolist() == [2.5] * 4


def test_tied_parameters_are_one_parameter() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    opt = build("ademamix", model.parameters(), lr=0.1)
    before = model[0].weight.detach().clone()
    torch.nn.functional.cross_entropy(model(torch.arange(5)), torch.arange(5)).backward()
    opt.step()
    assert len(opt.state) == 1
    assert model[1].weight is model[0].weight
    assert not torch.equal(before, model[0].weight)


def test_a_layer_frozen_and_unfrozen() -> None:
    params = make_params()
    opt = build("schedule_free_adamw", params)
    run(opt, params, range(3))
    params[0].requires_grad_(False)
    frozen = params[0].detach().clone()
    for step in range(3, 6):
        set_grads(params, step)
        params[0].grad = None
        opt.step()
    assert torch.equal(params[0], frozen)
    params[0].requires_grad_(True)
    run(opt, params, range(6, 8))
    state = opt.state_dict()["state"]
    assert [float(state[i]["step"]) for i in range(3)] == [5.0, 8.0, 8.0]


class TestRefused:
    def test_states_of_others(self) -> None:
        params = make_params()
        opt = build("adamw", params)
        run(opt, params, range(2))
        before = copy.deepcopy(opt.state_dict())
        lion = build("lion", make_params())
        foreign: list[tuple[Any, str]] = [
            (lion.state_dict(), "belongs to the recipe `lion`, not to `adamw`"),
            (torch.optim.AdamW(make_params()).state_dict(), "not saved by an optzoo optimizer"),
            ({}, "not the state of an optimizer"),
            (build("adamw", make_params()[:2]).state_dict(), "groups of \\[2\\] parameters"),
        ]
        newer = copy.deepcopy(before)
        newer["optzoo"]["version"] = 99
        foreign.append((newer, "upgrade optzoo"))
        misshapen = copy.deepcopy(before)
        misshapen["state"][0]["m"] = torch.zeros(7)
        foreign.append((misshapen, "`m` of parameter 0 has shape \\(7,\\)"))
        for state, message in foreign:
            with pytest.raises(optzoo.InputError, match=message):
                opt.load_state_dict(state)
        after = opt.state_dict()
        for i, state in before["state"].items():
            for name, value in state.items():
                assert torch.equal(value, after["state"][i][name])

    def test_the_difference_between_two_programs_is_shown(self) -> None:
        source = optzoo.load_recipe("adamw").text
        changed = optzoo.parse_recipe(source.replace("gain: 1 - beta1", "gain: 1"))
        saved = changed.build(make_params()).state_dict()
        with pytest.raises(optzoo.InputError) as error:
            build("adamw", make_params()).load_state_dict(saved)
        assert "a different version of the recipe `adamw`" in str(error.value)
        assert "+  step     m     := beta1*m.prev + (1 - beta1)*grad" in str(error.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bata1": 0.9}, "did you mean `beta1`"),
            ({"beta1": 1.0}, "outside"),
            ({"lr": -1.0}, "outside"),
            ({"engine": "warp"}, "is not an engine"),
            ({"observers": ["tail:7"]}, "is not an observer"),
        ],
    )
    def test_hyperparameters(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(optzoo.InputError, match=message):
            optzoo.load_recipe("adamw").build(make_params(), **options)

    def test_a_misspelt_key_of_a_group(self) -> None:
        with pytest.raises(optzoo.InputError, match="did you mean `weight_decay`"):
            build("adamw", [{"params": make_params(), "weight_decya": 0.1}])

    def test_a_missing_horizon(self) -> None:
        with pytest.raises(optzoo.InputError, match=r"pass `total_steps=...`.*give `warmup`"):
            optzoo.load_recipe("ademamix").build(make_params())
        optzoo.load_recipe("ademamix").build(make_params(), warmup=100)

    def test_sparse_and_complex_gradients(self) -> None:
        table = torch.nn.Embedding(4, 2, sparse=True)
        opt = build("adamw", table.parameters())
        table(torch.tensor([1])).sum().backward()
        with pytest.raises(optzoo.InputError, match="a gradient is sparse"):
            opt.step()
        number = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
        with pytest.raises(optzoo.InputError, match="view_as_real"):
            build("adamw", [number])


def test_state_that_was_replaced_is_used() -> None:
    """Whoever puts another tensor into the state, between any two steps, means that tensor."""
    twins = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    plain, swapped = (optzoo.load_recipe("adamw").build([p], lr=0.1) for p in twins)
    for step in range(3):
        for param, optimizer in zip(twins, (plain, swapped), strict=True):
            param.grad = torch.full((3,), 1.0 + step)
            optimizer.step()
        for optimizer, param in ((plain, twins[0]), (swapped, twins[1])):
            optimizer.state[param]["v"].mul_(4)
        state = swapped.state[twins[1]]
        state["v"] = state["v"].clone()
    assert torch.equal(*twins)


def test_gradients_are_not_kept() -> None:
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = optzoo.load_recipe("adamw").build([param])
    param.grad = torch.ones(3)
    gradient = weakref.ref(param.grad)
    optimizer.step()
    optimizer.zero_grad()
    assert gradient() is None
