"""What a group says besides its parameters: obeyed, refused, or another library's and kept."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loops import RECIPES, assert_same, build, parameters, run
from safetensors.torch import load_file, save_file

import optzoo
from optzoo.files.shipped import shipped

FOREIGN = {
    "lr_scale": 0.7,
    "tag": "a",
    "decay": True,
    "weight": 1.0,
    "name": "head",
    "layer": 3,
    "initial_lr": 0.1,
    "max_lr": 1.0,
    "lr_mult": 2.0,
    "weight_decay_scale": 0.5,
    "swa_lr": 0.05,
    "use_muon": False,
    "group_name": "x",
    "foreach": True,
    "fused": None,
    "step_size": 3,
    "rate": 1.0,
    "extra": {"any": ["thing"]},
}


@pytest.mark.parametrize("name", shipped())
def test_keys_of_others_are_kept(name: str) -> None:
    opt = optzoo.load_recipe(name).build([{"params": parameters(), **FOREIGN}], total_steps=9)
    run(opt, opt.param_groups[0]["params"], range(1))
    saved = copy.deepcopy(opt.state_dict())
    opt.load_state_dict(saved)
    for key, value in FOREIGN.items():
        assert saved["param_groups"][0][key] == value
        assert opt.param_groups[0][key] == value


@pytest.mark.parametrize(
    "key", ["weight_decya", "bata1", "beta_1", "weigth_decay", "weightdecay", "beta4"]
)
def test_a_misspelt_one_is_refused(key: str) -> None:
    with pytest.raises(optzoo.InputError, match=f"`{key}` is not a hyperparameter of adamw"):
        build("adamw", [{"params": parameters(), key: 0.1}])


@pytest.mark.parametrize("name", RECIPES)
def test_maximize_is_obeyed(name: str) -> None:
    """In a group, put there later, and through a save: as with the gradients turned round."""
    params, others = parameters(), parameters()
    opt = build(name, [{"params": params, "maximize": True}], weight_decay=0)
    other = build(name, others, weight_decay=0)
    for step in range(6):
        if step == 3:
            saved = copy.deepcopy(opt.state_dict())
            opt = build(name, params, weight_decay=0)
            opt.load_state_dict(saved)
        run(opt, params, [step])
        for p, q in zip(params, others, strict=True):
            q.grad = -p.grad
        other.step()
    assert_same(params, others)
    opt.param_groups[0]["maximize"] = False
    run(opt, params, [7])
    run(other, others, [7])
    assert_same(params, others)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("adamw", {"amsgrad": True}),
    ("adamw", {"momentum": 0.9}),
    ("adamw", {"momentum": 0.0}),
    ("adamw", {"nesterov": True}),
    ("adamw", {"differentiable": True}),
    ("lion", {"eps": 1e-8}),
    ("agnes", {"weight_decay": 0.1}),
    ("agnes", {"betas": (0.9, 0.999)}),
    ("sgd", {"momentum": 0.9}),
    ("sgd_momentum", {"nesterov": True}),
    ("sgd_nesterov", {"dampening": 0.1}),
    ("rmsprop", {"centered": True}),
    ("adagrad", {"initial_accumulator_value": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_an_option_that_cannot_be_obeyed_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(optzoo.InputError, match=r"has no such option|in a group"):
        optzoo.load_recipe(name).build([{"params": parameters(), **options}], total_steps=9)


def test_an_option_put_in_later_is_refused_at_the_step() -> None:
    params = parameters()
    opt = build("adamw", params)
    run(opt, params, [0])
    opt.param_groups[0]["amsgrad"] = True
    with pytest.raises(optzoo.InputError, match="`amsgrad=True`"):
        run(opt, params, [1])
    opt.param_groups[0]["amsgrad"] = False
    run(opt, params, [1])


@pytest.mark.parametrize(("name", "key"), [("adamw", "momentum"), ("sgd", "betas")])
def test_a_foreign_word_for_momentum_put_in_later_is_refused(name: str, key: str) -> None:
    params = parameters()
    opt = build(name, params)
    opt.param_groups[0][key] = 0.9 if key == "momentum" else (0.9, 0.99)
    with pytest.raises(optzoo.InputError, match="has no such option"):
        run(opt, params, [0])


def test_options_that_are_off_are_none() -> None:
    off = {
        "amsgrad": False,
        "nesterov": False,
        "maximize": False,
        "capturable": False,
        "differentiable": False,
        "foreach": None,
        "dampening": 0,
    }
    build("adamw", [{"params": parameters(), **off}])
    build("agnes", [{"params": parameters(), "weight_decay": 0.0}])


# ------------------------------------------------------------------ numbers of other libraries


NUMBERS = {
    "float64": np.float64(0.01),
    "float32": np.float32(0.01),
    "array": np.array(0.01),
    "tensor": torch.tensor(0.01),
    "tensor64": torch.tensor(0.01, dtype=torch.float64),
    "one": torch.tensor([0.01]),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("where", ["build", "group", "later"])
@pytest.mark.parametrize("knob", ["lr", "weight_decay", "eps"])
def test_numpy_and_tensor_hyperparameters(knob: str, where: str, kind: str) -> None:
    value, params, others = NUMBERS[kind], parameters(), parameters()
    if where == "build":
        opt = build("adamw", params, **{knob: value})
    elif where == "group":
        opt = build("adamw", [{"params": params, knob: value}])
    else:
        opt = build("adamw", params)
        opt.param_groups[0][knob] = value
    other = build("adamw", others, **{knob: float(value)})
    run(opt, params, range(3))
    run(other, others, range(3))
    assert_same(params, others)
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    again = build("adamw", params)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert float(again.param_groups[0][knob]) == float(value)
    run(again, params, range(3, 5))
    run(other, others, range(3, 5))
    assert_same(params, others)


def test_betas_of_numpy_do_not_spoil_a_state() -> None:
    params = parameters()
    opt = build("adamw", [{"params": params, "betas": (np.float64(0.8), np.float32(0.9))}])
    opt.param_groups[0]["betas"] = (np.float64(0.85), np.float64(0.95))
    run(opt, params, range(2))
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["param_groups"][0]["betas"] == (0.85, 0.95)
    json.dumps(opt.state_dict()["param_groups"])


@pytest.mark.parametrize("bad", ["0.1x", None, torch.ones(2), [0.1]])
def test_what_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(optzoo.InputError):
        build("adamw", [{"params": parameters(), "eps": bad}])


@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw", "mars"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_safetensors_hold_the_state(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    params, others = parameters(dtype), parameters(dtype)
    opt, other = build(name, params), build(name, others)
    run(opt, params, range(4))
    run(other, others, range(4))
    opt.eval()
    saved = opt.state_dict()
    flat = {f"{i}.{k}": v for i, entry in saved["state"].items() for k, v in entry.items()}
    save_file(flat, tmp_path / "state.safetensors")
    rest = json.loads(json.dumps({k: v for k, v in saved.items() if k != "state"}))
    state: dict[int, dict[str, Any]] = {}
    for key, value in load_file(tmp_path / "state.safetensors").items():
        i, _, buffer = key.partition(".")
        state.setdefault(int(i), {})[buffer] = value
    again = build(name, params)
    again.load_state_dict({**rest, "state": state})
    again.train()
    run(again, params, range(4, 6))
    run(other, others, range(4, 6))
    assert_same(params, others)
