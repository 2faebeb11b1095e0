"""The cost interpreter against counts made by hand, and against what is really allocated."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from optzoo import describe, load_recipe
from optzoo.files.shipped import shipped
from optzoo.interpreters.cost import FLOAT32, Cost, Storage, cost

ADAM = ("param", "grad", "m", "v")


def bill(recipe: str, **values: float) -> Cost:
    return cost(load_recipe(recipe).with_overrides(values).trained_program())


@pytest.mark.parametrize(
    ("recipe", "values", "state", "reads", "writes", "flops"),
    [
        ("sgd", {}, 0, ("param", "grad"), ("param",), 2),
        # m 3, v 4, u 5 (k*m, v_debias*v, root, + eps, /), param 4 with weight decay
        ("adamw", {}, 8, ADAM, ("param", "m", "v"), 16),
        ("lion", {}, 4, ("param", "grad", "m"), ("param", "m"), 9),
        (
            *("ademamix", {}, 12, ("param", "grad", "m1", "m2", "v")),
            *(("param", "m1", "m2", "v"), 19),
        ),
        ("ademamix", {"beta1": 0}, 8, ("param", "grad", "m2", "v"), ("param", "m2", "v"), 15),
        # v 4, preconditioned 4, s 1, b 2, param 4; weight decay is 0
        ("schedule_free_adamw", {}, 8, ("param", "grad", "v", "b"), ("param", "v", "b"), 15),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_one_pass_by_hand(
    recipe: str,
    values: dict[str, float],
    state: int,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    flops: int,
) -> None:
    found = bill(recipe, **values)
    assert found.reads == (reads,)
    assert found.writes == writes
    assert found.state_bytes() == state
    assert found.step_bytes() == 4 * (len(reads) + len(writes))
    assert found.flops == flops


def test_adamw_moves_28_bytes() -> None:
    assert bill("adamw").step_bytes() == 28


def test_a_norm_costs_one_more_pass_over_what_it_depends_on() -> None:
    found = bill("mars")
    assert found.passes == 2
    assert found.reads[0] == ("grad", "grad.prev")
    assert found.reads[1] == ("param", "grad", "m", "v", "grad.prev")
    assert found.writes == ("param", "m", "v", "grad.prev")
    assert found.state_bytes() == 12
    assert found.step_bytes() == 4 * (2 + 5 + 4)
    # d 3, norm 2, the clip's division 1 (its maximum is one number), m 3, v 4, u 5, param 2
    assert found.flops == 20


def test_an_average_is_one_more_tensor_read_and_written() -> None:
    plain = bill("adamw")
    tracked = cost(load_recipe("adamw").with_observers(["tail:0.1"]).trained_program())
    assert tracked.state_bytes() == plain.state_bytes() + 4
    assert tracked.step_bytes() == plain.step_bytes() + 8


def test_dtypes() -> None:
    adamw, mars = bill("adamw"), bill("mars")
    assert adamw.step_bytes(Storage.usual("float64")) == 2 * 28
    # bfloat16: gradient 2; parameter, m, v and the float32 copy read and written
    bf16 = Storage.usual("bfloat16")
    assert adamw.step_bytes(bf16) == 2 + 2 * (2 + 4 + 4 + 4)
    assert adamw.state_bytes(bf16) == 12
    assert bill("lion").step_bytes(Storage(param="bfloat16", grad="bfloat16")) == 2 + 2 * (2 + 4)
    half_state = Storage(buffers={"m": "bfloat16"})
    assert adamw.step_bytes(half_state) == 4 + 2 * (4 + 2 + 4)
    assert adamw.state_bytes(half_state) == 6
    assert mars.step_bytes(Storage(grad="bfloat16")) == mars.step_bytes(FLOAT32) - 2 * 2
    kahan = Storage(param="bfloat16", grad="bfloat16", beside="bfloat16")
    assert bill("sgd").state_bytes(kahan) == 2
    assert bill("sgd").step_bytes(kahan) == 2 + 2 * (2 + 2)


@pytest.mark.parametrize("recipe", shipped())
def test_state_bytes_are_those_that_the_optimizer_allocates(recipe: str) -> None:
    loaded = load_recipe(recipe)
    for dtype, rows, cols in (("float32", 4, 3), ("bfloat16", 8, 1), ("float64", 8, 1)):
        ones = torch.ones(rows, cols, dtype=getattr(torch, dtype))
        param = torch.nn.Parameter(ones.flatten() if cols == 1 else ones)
        param.grad = torch.ones_like(param)
        optimizer = loaded.build([param], total_steps=10)
        optimizer.step()
        kept = [value for value in optimizer.state[param].values() if value.dim() > 0]
        (label,) = optimizer.param_groups[0].get("rules", ["here"])
        found, storage = cost(loaded.at(label).trained_program()), Storage.usual(dtype)
        expected = rows * cols * found.state_bytes(storage) + found.other_bytes(rows, cols, storage)
        assert sum(tensor.nbytes for tensor in kept) == expected, dtype


@pytest.mark.parametrize("recipe", ["mars", "adamw_averaged", "nesterov_vaswani"])
def test_folding_only_ever_makes_it_cheaper(recipe: str) -> None:
    whole, folded = cost(load_recipe(recipe).program()), bill(recipe)
    assert folded.flops <= whole.flops
    assert folded.step_bytes() <= whole.step_bytes()


def test_describe_shows_the_bill() -> None:
    found = describe(load_recipe("mars"))
    data = found.to_json()
    assert (data["state_bytes_per_parameter"], data["tensors_read"]) == (12, 7)
    assert data["tensors_written"] == 4


def test_no_torch_is_needed() -> None:
    code = (
        "import sys\n"
        "from optzoo.recipe.recipe import load_recipe\n"
        "from optzoo.interpreters.cost import cost\n"
        "assert cost(load_recipe('adan').trained_program()).state_bytes() == 16\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
