"""States that are damaged, foreign, older, of another horizon or of other observers."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import RECIPES, assert_same, build, copies, parameters, run

import optzoo

FIXTURES = Path(__file__).parent / "fixtures"
State = dict[str, Any]


def start(name: str = "schedule_free_adamw", **options: Any) -> tuple[list[Any], Any]:
    params = parameters()
    opt = build(name, params, **options)
    run(opt, params, range(3))
    return params, opt


def everything(opt: Any) -> Any:
    """What an optimizer holds, to compare with later."""
    saved = copy.deepcopy(opt.state_dict())
    return saved["param_groups"], {
        (i, k): v for i, entry in saved["state"].items() for k, v in entry.items()
    }


def set_group(key: str, value: Any) -> Callable[[State], None]:
    return lambda s: s["param_groups"][0].__setitem__(key, value)


def drop_group(key: str) -> Callable[[State], None]:
    return lambda s: s["param_groups"][0].pop(key)


def set_entry(key: str, value: Any) -> Callable[[State], None]:
    return lambda s: s["state"][0].__setitem__(key, value)


def drop_entry(key: str) -> Callable[[State], None]:
    return lambda s: s["state"][1].pop(key)


HARM: dict[str, Callable[[State], Any]] = {
    "no state": lambda s: s.pop("state"),
    "no groups": lambda s: s.pop("param_groups"),
    "groups of text": lambda s: s.__setitem__("param_groups", ["x"]),
    "state of text": lambda s: s.__setitem__("state", "x"),
    "a parameter missing": lambda s: s["state"].pop(1),
    "a parameter empty": lambda s: s["state"].__setitem__(1, {}),
    "a parameter None": lambda s: s["state"].__setitem__(1, None),
    "a parameter a list": lambda s: s["state"].__setitem__(1, [1, 2]),
    "all parameters missing": lambda s: s["state"].clear(),
    "one parameter too many": lambda s: s["state"].__setitem__(2, copy.deepcopy(s["state"][0])),
    "keys of text": lambda s: s.__setitem__("state", {str(k): v for k, v in s["state"].items()}),
    "one key of text": lambda s: s["state"].__setitem__("1", s["state"].pop(1)),
    "no v": drop_entry("v"),
    "no b": drop_entry("b"),
    "no step": drop_entry("step"),
    "no scalar": drop_entry("weight_sum"),
    "step nan": set_entry("step", torch.tensor(float("nan"))),
    "step negative": set_entry("step", -3),
    "step a fraction": set_entry("step", 2.5),
    "step text": set_entry("step", "three"),
    "step None": set_entry("step", None),
    "steps": set_entry("step", torch.ones(5)),
    "v a list": set_entry("v", [0.0] * 5),
    "v None": set_entry("v", None),
    "v a number": set_entry("v", 1.0),
    "v integers": set_entry("v", torch.ones(5, dtype=torch.int64)),
    "v complex": set_entry("v", torch.ones(5, dtype=torch.complex64)),
    "v transposed": set_entry("v", torch.ones(1, 5)),
    "v scalar": set_entry("v", torch.ones(())),
    "weight_sum text": set_entry("weight_sum", "x"),
    "no horizon": drop_group("total_steps"),
    "no mode": drop_group("mode"),
    "no lr": drop_group("lr"),
    "no lr0": drop_group("lr0"),
    "no eps": drop_group("eps"),
    "no params": drop_group("params"),
    "no program": drop_group("program"),
    "params too few": set_group("params", [0]),
    "params twice": set_group("params", [0, 0]),
    "params None": set_group("params", None),
    "mode unknown": set_group("mode", "avrage"),
    "mode a number": set_group("mode", 3),
    "lr text": set_group("lr", "fast"),
    "lr nan": set_group("lr", float("nan")),
    "lr None": set_group("lr", None),
    "eps text": set_group("eps", "1e-8x"),
    "eps a list": set_group("eps", [1e-8]),
    "lr0 None": set_group("lr0", None),
    "horizon text": set_group("total_steps", "forty"),
    "horizon 0": set_group("total_steps", 0),
    "horizon True": set_group("total_steps", True),
    "horizon nan": set_group("total_steps", float("nan")),
    "program a list": set_group("program", []),
    "params lists": set_group("params", [[0], [1]]),
    "program another": set_group("program", "0" * 64),
    "amsgrad": set_group("amsgrad", True),
    "version text": lambda s: s["optzoo"].__setitem__("version", "one"),
}


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_refused_and_nothing_has_changed(harm: str) -> None:
    params, opt = start()
    saved, before = copy.deepcopy(opt.state_dict()), everything(opt)
    HARM[harm](saved)
    with pytest.raises(optzoo.InputError):
        opt.load_state_dict(saved)
    after = everything(opt)
    assert after[0] == before[0]
    assert after[1].keys() == before[1].keys()
    for key, value in before[1].items():
        assert torch.equal(value, after[1][key]), key
    others, other = start()
    run(opt, params, range(3, 5))
    run(other, others, range(3, 5))
    assert_same(params, others)


@pytest.mark.parametrize("saved", [None, 3, [], "state"])
def test_what_is_no_mapping_is_refused(saved: Any) -> None:
    with pytest.raises(optzoo.InputError, match="not the state of an optimizer"):
        start()[1].load_state_dict(saved)


def test_an_error_names_what_is_wrong_and_what_to_do() -> None:
    _, opt = start()
    saved = json.loads(json.dumps(opt.state_dict(), default=lambda t: t.tolist()))
    with pytest.raises(optzoo.InputError, match="an entry '0', which no group lists") as error:
        opt.load_state_dict(saved)
    assert "hint: JSON made text of the keys: int(key) turns them back" in str(error.value)


def test_notes_of_others_are_kept() -> None:
    """Entries under names of their own, beside the parameters and in them."""
    params, opt = start()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"]["global"] = {"seen": [1, 2]}
    saved["state"][0]["note"] = torch.ones(7)
    opt.load_state_dict(saved)
    run(opt, params, [3])
    again = opt.state_dict()["state"]
    assert again["global"] == {"seen": [1, 2]}
    assert torch.equal(again[0]["note"], torch.ones(7))


def test_a_number_for_t_is_as_good_as_a_tensor() -> None:
    params, opt = start()
    others, other = start()
    saved = copy.deepcopy(opt.state_dict())
    for entry in saved["state"].values():
        for name in ("step", "weight_sum", "lr_max", "c"):
            entry[name] = float(entry[name])
    other.load_state_dict(saved)
    run(opt, params, range(3, 5))
    run(other, others, range(3, 5))
    assert_same(params, others)


# ------------------------------------------------------------------ sharing


@pytest.mark.parametrize("name", RECIPES)
def test_two_optimizers_do_not_disturb_each_other(name: str) -> None:
    params, first = start(name)
    alone_params, alone = start(name)
    others = parameters()
    second = build(name, others)
    second.load_state_dict(first.state_dict())
    for step in range(3, 7):
        run(second, others, [100 + step])
        run(first, params, [step])
        run(alone, alone_params, [step])
    assert_same(params, alone_params)


@pytest.mark.parametrize("shown", ["train", "eval"])
@pytest.mark.parametrize("name", RECIPES)
def test_one_snapshot_is_restored_twice(name: str, shown: str) -> None:
    params, opt = start(name)
    opt.train(shown == "train")
    weights = copies(params)
    snapshot = copy.deepcopy(opt.state_dict())
    kept = copy.deepcopy(snapshot)
    ends = []
    for _ in range(2):
        with torch.no_grad():
            for p, w in zip(params, weights, strict=True):
                p.copy_(w)
        opt.load_state_dict(snapshot)
        opt.train()
        run(opt, params, range(3, 6))
        opt.param_groups[0]["lr"] = 0.5
        run(opt, params, [6])
        ends.append(copies(params))
    assert_same(*ends)
    for i, entry in kept["state"].items():
        for key, value in entry.items():
            assert torch.equal(value, snapshot["state"][i][key])
    assert snapshot["param_groups"] == kept["param_groups"]


def test_scalars_are_each_ones_own() -> None:
    _, opt = start()
    for state in (opt.state_dict()["state"], copy.deepcopy(opt).state_dict()["state"]):
        for name in ("step", "weight_sum", "c"):
            before = float(state[1][name])
            state[0][name].fill_(77)
            assert float(state[1][name]) == before
    addresses = [v.data_ptr() for entry in opt.state.values() for v in entry.values()]
    assert len(set(addresses)) == len(addresses)


def test_a_tensor_as_learning_rate_is_copied() -> None:
    params = parameters()
    opt = build("adamw", params, lr=torch.tensor(0.1))
    saved = opt.state_dict()
    other = build("adamw", parameters(), lr=torch.tensor(0.1))
    other.load_state_dict(saved)
    other.param_groups[0]["lr"].fill_(7)
    assert float(opt.param_groups[0]["lr"]) == pytest.approx(0.1)


# ------------------------------------------------------------------ horizon and observers


@pytest.mark.parametrize(
    ("here", "there", "said"), [(100, 10, True), (10, 100, True), (9, 9, False)]
)
def test_another_horizon_is_said(here: int, there: int, said: bool) -> None:
    recipe = optzoo.load_recipe("ademamix")
    params = parameters()
    first, second = recipe.build(params, total_steps=there), recipe.build(params, total_steps=here)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second.load_state_dict(copy.deepcopy(first.state_dict()))
    texts = [str(w.message) for w in caught]
    assert ([f"total_steps={there}" in t and str(here) in t for t in texts] == [True]) == said
    assert second.param_groups[0]["total_steps"] == there
    second.param_groups[0]["total_steps"] = here  # as the warning says
    run(second, params, range(2))


def test_a_horizon_given_as_a_float_and_a_parameter_listed_twice() -> None:
    (param,) = params = parameters(sizes=(3,))
    recipe = optzoo.load_recipe("ademamix")
    for horizon in (1e4, float("inf")):
        opt = recipe.build(params, total_steps=horizon)
        run(opt, params, range(2))
        opt.load_state_dict(copy.deepcopy(opt.state_dict()))
        assert opt.param_groups[0]["total_steps"] == horizon
    with pytest.warns(UserWarning, match="duplicate"):
        opt = build("adamw", [param, param])
    run(opt, params, range(2))
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert len(opt.state) == 1


def test_a_horizon_that_only_one_of_the_two_has() -> None:
    recipe = optzoo.load_recipe("adamw")
    for here, there in ((None, 10), (10, None)):
        opt = recipe.build(parameters(), total_steps=here)
        opt.load_state_dict(recipe.build(parameters(), total_steps=there).state_dict())
        assert opt.param_groups[0]["total_steps"] == 10


OBSERVERS: list[tuple[list[str], list[str]]] = [
    (["ema:0.9"], []),
    ([], ["ema:0.9"]),
    (["ema:0.9"], ["tail:0.1"]),
    (["ema:0.9", "tail:0.5"], ["tail:0.5"]),
    (["tail:0.5"], ["tail:0.5", "uniform"]),
]


@pytest.mark.parametrize("saver", ["whole", "torch's keys"])
@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw", "sgd"])
@pytest.mark.parametrize(("before", "after"), OBSERVERS, ids=str)
def test_observers_may_change(name: str, before: list[str], after: list[str], saver: str) -> None:
    """The trajectory goes on as it was; an observer that stays keeps its average, to the bit."""
    params, opt = start(name, observers=before)
    through, unbroken = start(name, observers=before)
    saved = copy.deepcopy(opt.state_dict())
    if saver != "whole":
        del saved["optzoo"]
    params = copies(params)
    opt = build(name, params, observers=after)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        opt.load_state_dict(saved)
    for observer in set(before) ^ set(after):
        assert any(f"`{observer}`" in str(w.message) for w in told)
    run(opt, params, range(3, 8))
    run(unbroken, through, range(3, 8))
    assert_same(params, through)
    for view in opt.views:
        with opt.evaluation(view):
            assert all(bool(p.isfinite().all()) for p in params)
            if view in unbroken.views:
                with unbroken.evaluation(view):
                    assert_same(params, through)
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))  # and nothing is said any more


def test_observers_change_while_one_of_them_is_shown() -> None:
    params, opt = start("adamw", observers=["ema:0.9"])
    train = copies(params)
    opt.eval("ema:0.9")
    saved = copy.deepcopy(opt.state_dict())
    others = copies(params)
    other = build("adamw", others)
    with pytest.warns(UserWarning, match="`ema:0.9` is dropped"):
        other.load_state_dict(saved)
    other.train()
    assert_same(others, train)


def test_another_recipe_with_observers_is_another_recipe() -> None:
    _, opt = start("lion", observers=["ema:0.9"])
    with pytest.raises(optzoo.InputError, match="belongs to the recipe `lion`"):
        build("adamw", parameters()).load_state_dict(opt.state_dict())


# ------------------------------------------------------------------ older versions


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("state_*.pt")), ids=lambda f: f.stem)
def test_states_of_older_versions(file: Path) -> None:
    """They load without a word and go on as those versions did, float32 and bfloat16, shown or not.

    Written by tools of the time: two parameters, the second of them two steps late.
    """
    for label, old in torch.load(file, weights_only=True).items():
        name, _, shown = label.partition(", ")
        params = [torch.nn.Parameter(w.clone()) for w in old["weights"]]
        options: dict[str, Any] = {"delta": 0.5} if name == "adamw_averaged" else {}
        if name == "adamw":
            options["observers"] = ["ema:0.9"]
        opt = build(name, zip("ab", params, strict=True), **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opt.load_state_dict(old["saved"])
            assert opt.mode == shown
            opt.train()
        assert [float(opt.state[p]["step"]) for p in params] == [4, 2]
        run(opt, params, range(4, 8))
        for p, wanted in zip(params, old["after"], strict=True):
            torch.testing.assert_close(p.detach(), wanted, rtol=1e-6, atol=0)


def test_observers_of_older_states_may_change_too() -> None:
    """Those states name them in the text of their program only."""
    old = torch.load(FIXTURES / "state_5033e80.pt", weights_only=True)["adamw, train"]
    params = [torch.nn.Parameter(w.clone()) for w in old["weights"]]
    opt = build("adamw", params, observers=["tail:0.5"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        opt.load_state_dict(old["saved"])
    assert ["`ema:0.9` is dropped" in str(w.message) for w in told] == [True, False]
    assert ["`tail:0.5` starts now" in str(w.message) for w in told] == [False, True]
    run(opt, params, range(4, 8))
    for p, wanted in zip(params, old["after"], strict=True):
        torch.testing.assert_close(p.detach(), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["shampoo", "soap", "adafactor", "normuon"])
def test_buffers_of_other_sides_than_the_parameter_are_loaded(name: str) -> None:
    """What has the shape of rows, columns or a square is held to that, not to the parameter's."""
    ends = []
    for is_broken_off in (False, True):
        params = [torch.nn.Parameter(torch.linspace(1, 2, 6).reshape(3, 2))]
        opt = build(name, params)
        run(opt, params, range(3))
        if is_broken_off:
            other = build(name, params)
            other.load_state_dict(copy.deepcopy(opt.state_dict()))
            opt = other
        run(opt, params, range(3, 6))
        ends.append(params[0].detach().clone())
    assert torch.equal(*ends)
