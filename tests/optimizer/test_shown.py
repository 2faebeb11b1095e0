"""Runs that are saved, loaded and meddled with while a view is shown."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from loops import assert_same, build, copies, parameters, run
from torch import Tensor, nn
from torch.optim import lr_scheduler

import optzoo
from optzoo.optimizer.state import is_offset
from optzoo.program.parsing import parse_expression

ELSEWHERE = ("schedule_free_adamw", "adamw_averaged", "agnes", "gpa_adamw")
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def start(name: str, dtype: torch.dtype = torch.float32) -> tuple[list[Any], Any]:
    params = parameters(dtype)
    opt = build(name, params, **({"delta": 0.5} if name == "adamw_averaged" else {}))
    run(opt, params, range(6))
    return params, opt


def again(name: str, params: list[Any]) -> Any:
    return build(name, params, **({"delta": 0.5} if name == "adamw_averaged" else {}))


# ------------------------------------------------------------------ savers


def whole(saved: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(saved)


def only_what_torch_knows(saved: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy({k: saved[k] for k in ("state", "param_groups")})


def through_a_file(saved: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


SAVERS = (whole, only_what_torch_knows, through_a_file)


@pytest.mark.parametrize("saver", SAVERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_saved_while_the_average_is_shown(
    name: str, dtype: torch.dtype, saver: Callable[[Any], Any]
) -> None:
    params, opt = start(name, dtype)
    opt.eval()
    others = copies(params)  # a checkpoint has the weights that are shown
    saved = saver(opt.state_dict())
    other = again(name, others)
    other.load_state_dict(saved)
    assert other.mode == "eval"
    opt.train()
    other.train()
    assert_same(params, others)
    run(opt, params, range(6, 9))
    run(other, others, range(6, 9))
    assert_same(params, others)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_learning_rate_moves_while_the_average_is_shown(name: str) -> None:
    params, opt = start(name)
    train = copies(params)
    scheduler = lr_scheduler.LambdaLR(opt, lambda s: 0.5**s)
    opt.eval()
    run_of_nothing = opt.param_groups[0]["lr"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have a step first
        scheduler.step()
    assert opt.param_groups[0]["lr"] != run_of_nothing
    others = copies(params)
    other = again(name, others)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    opt.train()
    other.train()
    assert_same(params, train)
    assert_same(others, train)


def test_weights_are_loaded_after_the_optimizer_or_before_it() -> None:
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    opt.eval()
    saved, shown = copy.deepcopy(opt.state_dict()), copies(params)
    for weights_first in (True, False):
        others = parameters()
        other = build("schedule_free_adamw", others)
        if not weights_first:
            other.load_state_dict(saved)
        with torch.no_grad():
            for p, q in zip(others, shown, strict=True):
                p.copy_(q)
        if weights_first:
            other.load_state_dict(saved)
        other.train()
        assert_same(others, train)


def test_the_state_alone_is_put_in_by_hand() -> None:
    """The groups say nothing of a view; the training point in the state does."""
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    opt.eval()
    others = copies(params)
    other = build("schedule_free_adamw", others)
    for p, q in zip(params, others, strict=True):
        other.state[q] = copy.deepcopy(opt.state[p])
    with pytest.raises(optzoo.RunError, match=r"call `optimizer.train\(\)` first"):
        run(other, others, [6])
    other.train()
    assert_same(others, train)
    run(other, others, range(6, 7))


@pytest.mark.parametrize("weights_first", [True, False])
@pytest.mark.parametrize("lost", ["one", "all"])
@pytest.mark.parametrize("rounding", ["master", "kahan", "nearest"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_saver_that_loses_the_training_point_is_led_back_to_it(
    name: str, dtype: torch.dtype, rounding: str, lost: str, weights_first: bool
) -> None:
    """Distributed checkpoints fill what a new optimizer has; one that trains has no such key."""
    params = parameters(dtype)
    opt = build(name, params, param_rounding=rounding)
    run(opt, params, range(6))
    train = copies(params)
    opt.eval()
    saved = copy.deepcopy(opt.state_dict())
    for entry in list(saved["state"].values())[: 1 if lost == "one" else None]:
        del entry["train_point"]
    others = copies(params) if weights_first else parameters(dtype)
    other = build(name, others, param_rounding=rounding)
    with pytest.warns(UserWarning, match="without the training point"):
        other.load_state_dict(saved)
    by_data(others, params)
    assert other.mode == "eval"
    again = copy.deepcopy((others, other))
    for q, o in ((others, other), again):
        o.train()
        for p, wanted in zip(q, train, strict=True):
            torch.testing.assert_close(p, wanted.detach(), check_stride=False)
    run(other, others, range(6, 7))


def test_a_view_that_cannot_be_led_back_needs_its_training_point() -> None:
    program = optzoo.load_recipe("schedule_free_adamw").program()
    assert is_offset(program.view("eval").expr)
    for text, is_one in (("param - m", True), ("m + param", True), ("2 * param + m", False)):
        assert is_offset(parse_expression(text)) == is_one, text
    for text in ("m - param", "param + param", "m"):
        assert not is_offset(parse_expression(text)), text


def test_the_observer_that_was_shown_is_gone_and_its_training_point_too() -> None:
    params = parameters()
    opt = build("adamw", params, observers=["ema:0.9"])
    run(opt, params, range(3))
    opt.eval("ema:0.9")
    saved = copy.deepcopy(opt.state_dict())
    for entry in saved["state"].values():
        del entry["train_point"]
    with pytest.raises(optzoo.InputError, match="training point of parameter 0 is missing"):
        build("adamw", copies(params)).load_state_dict(saved)


def test_groups_that_say_nothing_of_the_view() -> None:
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    opt.eval()
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0]["mode"] = "train"
    others = copies(params)
    other = build("schedule_free_adamw", others)
    other.load_state_dict(saved)
    assert other.mode == "eval"
    other.train()
    assert_same(others, train)


def test_a_recipe_that_evaluates_where_it_trains_needs_no_training_point() -> None:
    params, opt = start("adamw")
    opt.eval()
    other = build("adamw", copies(params))
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.mode == "eval"
    other.train()


def test_a_parameter_that_joined_while_the_average_was_shown_is_saved_too() -> None:
    params, opt = start("schedule_free_adamw")
    opt.eval()
    late = nn.Parameter(torch.ones(2))
    opt.add_param_group({"params": [late]})
    others = copies([*params, late])
    other = build("schedule_free_adamw", [{"params": others[:2]}, {"params": others[2:]}])
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for o in (opt, other):
        o.train()
    assert_same([*params, late], others)


def test_copies_made_while_the_average_is_shown() -> None:
    params, opt = start("schedule_free_adamw")
    opt.eval()
    others, other = copy.deepcopy((params, opt))
    for o in (opt, other):
        o.train()
    assert_same(params, others)


# ------------------------------------------------------------------ weights loaded meanwhile


def by_load_state_dict(params: list[Any], best: list[Tensor]) -> None:
    module = nn.ParameterList(params)
    module.load_state_dict({str(i): b for i, b in enumerate(best)})


def by_data(params: list[Any], best: list[Tensor]) -> None:
    for p, b in zip(params, best, strict=True):
        p.data.copy_(b)


def by_new_data(params: list[Any], best: list[Tensor]) -> None:
    for p, b in zip(params, best, strict=True):
        p.data = b.clone().to(p.dtype)


@pytest.mark.parametrize("load", [by_load_state_dict, by_data, by_new_data])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_weights_loaded_while_the_average_is_shown_stay(
    name: str, dtype: torch.dtype, load: Callable[..., None]
) -> None:
    params, opt = start(name, dtype)
    opt.eval()
    best = [p.detach() * 1.5 for p in params]
    load(params, best)
    with pytest.warns(UserWarning, match=r"2 parameters were changed.*are kept"):
        opt.train()
    assert_same(params, best)
    run(opt, params, range(6, 8))
    assert dtype == torch.bfloat16 or not torch.equal(params[0], best[0])
    assert (params[0] - best[0]).abs().max() < 0.2, "it went on from elsewhere"


def test_a_checkpoint_of_a_few_small_steps_ago_is_seen() -> None:
    params = parameters()
    opt = build("schedule_free_adamw", params, lr=1e-5)
    run(opt, params, range(3))
    with opt.evaluation():
        best = copies(params)
    run(opt, params, range(3, 6))
    opt.eval()
    by_data(params, best)
    with pytest.warns(UserWarning, match="are kept"):
        opt.train()
    assert_same(params, best)


def test_only_what_was_changed_is_kept() -> None:
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    opt.eval()
    with torch.no_grad():
        params[1].fill_(9)
    with pytest.warns(UserWarning, match="1 parameters were changed"):
        opt.train()
    assert torch.equal(params[0], train[0])
    assert params[1].tolist() == [9.0] * 3


def test_a_block_gives_the_training_point_back_and_says_what_is_gone() -> None:
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    with pytest.warns(UserWarning, match="are gone"), opt.evaluation(), torch.no_grad():
        params[0].mul_(0)
    assert_same(params, train)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_cast_for_evaluation_and_back_is_not_a_loaded_one(narrow: torch.dtype) -> None:
    params, opt = start("schedule_free_adamw")
    train = copies(params)
    opt.eval()
    for p in params:
        p.data = p.data.to(narrow)
    for p in params:
        p.data = p.data.float()
    opt.train()
    assert_same(params, train)


def test_state_cleared_while_the_average_is_shown_is_said() -> None:
    params, opt = start("schedule_free_adamw")
    opt.eval()
    opt.state.clear()
    shown = copies(params)
    with pytest.warns(UserWarning, match="training point is not in the state"):
        opt.train()
    assert_same(params, shown)
    run(opt, params, range(2))


@pytest.fixture(autouse=True)
def _nothing_else_is_said() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
