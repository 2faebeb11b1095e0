"""Narrow state and narrow parameters: what is kept, what is not lost, and what is bit for bit."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from problems import RECIPES
from torch import Tensor

import optzoo
from optzoo.engines.engine import has_cc
from optzoo.optimizer.precision import ROUNDINGS, round_stochastically, with_compensation
from optzoo.program.expressions import Expr

BF16 = torch.bfloat16
HALF_UNIT = 2.0**-8
"""Half a unit in the last place of a bfloat16, relative: the error of rounding to nearest."""


ENGINES = pytest.mark.parametrize(
    "engine",
    [
        "foreach",
        pytest.param("compiled", marks=pytest.mark.skipif(not has_cc(), reason="no C compiler")),
    ],
)
"""Engines that are given copies, and one that loads and stores bfloat16 itself."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- the rounding itself


def test_what_bfloat16_represents_stays() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(BF16)
    rounded = round_stochastically(every.float(), generator())
    assert torch.equal(rounded.isnan(), every.isnan())
    finite = ~every.isnan()
    assert torch.equal(rounded[finite], every[finite])


def test_rounding_takes_one_of_the_neighbours_and_is_right_in_the_mean() -> None:
    number = 200_000
    for value in (1.001, -1.001, 3.14159e-20, 1e-40, -2.7e30):
        wide = torch.full((number,), value)
        rounded = round_stochastically(wide, generator(1)).double()
        below, above = sorted(rounded.unique().tolist())
        assert below < float(wide[0]) < above
        share = (float(wide[0]) - below) / (above - below)
        error = abs(float((rounded == above).double().mean()) - share)
        assert error < 5 * (share * (1 - share) / number) ** 0.5


def test_extreme_values() -> None:
    largest = float(torch.finfo(BF16).max)
    extreme = torch.tensor([float("inf"), -float("inf"), float("nan"), largest, -largest, 0.0])
    patterns = torch.tensor([0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)  # NaN too
    for seed in range(50):
        beyond = torch.full((100,), -largest * (1 + 2.0**-8))  # nearest rounding makes it infinite
        assert round_stochastically(beyond, generator(seed)).isinf().all()
        rounded = round_stochastically(extreme, generator(seed)).float()
        torch.testing.assert_close(rounded, extreme, rtol=0, atol=0, equal_nan=True)
        assert round_stochastically(patterns, generator(seed)).isnan().all()
        just_above = torch.full(
            (100,), largest * (1 + 2.0**-12)
        )  # nearest rounding keeps it finite
        assert round_stochastically(just_above, generator(seed)).isfinite().all()


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    drift("adamw", BF16, steps=3, param_rounding="stochastic", state_dtype="bfloat16")
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- small updates are not lost


def drift(recipe: str, dtype: torch.dtype, steps: int = 500, **options: Any) -> Tensor:
    """Train weights of 1.0 with a steady gradient; return where they are."""
    param = torch.nn.Parameter(torch.ones(256, dtype=dtype))
    knobs = {"lr": 1e-4, "weight_decay": 0.0} | options
    optimizer = optzoo.load_recipe(recipe).build([param], total_steps=steps, **knobs)
    for _ in range(steps):
        param.grad = torch.ones_like(param)
        optimizer.step()
    return param.detach().double()


@ENGINES
@pytest.mark.parametrize("recipe", ["adamw", "schedule_free_adamw", "ademamix"])
def test_bfloat16_weights_move_as_float32_ones_do(recipe: str, engine: str) -> None:
    """500 steps at lr 1e-4 from 1.0: each update is a fortieth of the unit in the last place."""
    options: dict[str, Any] = {"engine": engine}
    options |= {"alpha": 1.0} if recipe == "ademamix" else {}
    wanted = float(drift(recipe, torch.float32, **options).mean())
    assert wanted < 0.985
    for rounding in ("master", "kahan"):
        found = drift(recipe, BF16, param_rounding=rounding, **options)
        # kahan's compensation has 8 bits too: each step may lose half a unit of it, 2**-17
        slack = HALF_UNIT + (500 * 2.0**-17 if rounding == "kahan" else 0)
        assert abs(float(found.mean()) - wanted) <= slack, rounding
    found = drift(recipe, BF16, param_rounding="stochastic", **options)
    # each step adds at most a unit's rounding, of variance step * unit
    spread = (500 * 1e-4 * (1 + options.get("alpha", 0)) * 2.0**-7) ** 0.5 / 256**0.5
    assert abs(float(found.mean()) - wanted) <= 5 * spread
    stuck = drift(recipe, BF16, param_rounding="nearest", **options)
    assert torch.equal(stuck, torch.ones_like(stuck))


@ENGINES
def test_a_bfloat16_mean_of_squares_follows_a_changing_gradient(engine: str) -> None:
    """At beta2 = 0.999 v changes by less than half a unit, which nearest rounding would lose."""
    kept = {}
    for dtype in ("float32", "bfloat16"):
        param = torch.nn.Parameter(torch.zeros(2000))
        optimizer = optzoo.load_recipe("adamw").build(
            [param], state_dtype={"v": dtype}, engine=engine
        )
        for step in range(600):
            param.grad = torch.full((2000,), 1.0 if step < 200 else 0.5)
            optimizer.step()
        kept[dtype] = optimizer.state[param]["v"]
    assert kept["bfloat16"].dtype == BF16
    wide, narrow = kept["float32"][0].double(), kept["bfloat16"].double()
    assert abs(float(narrow.mean() / wide) - 1) < 0.005
    value = torch.tensor(1.0, dtype=BF16)
    for _ in range(600):
        value = (value.float() * 0.999 + 0.001 * 0.25).to(BF16)
    assert value == 1, "nearest rounding is expected to be stuck, or this shows nothing"


# ---------------------------------------------------------------- every recipe


def starting_in_bfloat16(recipe: optzoo.Recipe) -> optzoo.Recipe:
    """Return a recipe whose buffers start as numbers that bfloat16 holds."""
    buffers = {
        key: buffer
        if isinstance(buffer.init, str | Expr)
        else buffer.model_copy(update={"init": float(torch.tensor(buffer.init, dtype=BF16))})
        for key, buffer in recipe.spec.buffers.items()
    }
    return replace(recipe, spec=recipe.spec.model_copy(update={"buffers": buffers}))


@pytest.mark.parametrize("name", RECIPES)
def test_one_step_with_narrow_state_is_the_wide_one_rounded(name: str) -> None:
    """From one state, each buffer ends at a neighbour of its float32 value, and param at it."""
    results = []
    recipe = starting_in_bfloat16(optzoo.load_recipe(name))
    for dtype in ("float32", "bfloat16"):
        param = torch.nn.Parameter(torch.randn(40, generator=generator(3)).to(BF16).float())
        optimizer = recipe.build([param], total_steps=9, state_dtype=dtype)
        param.grad = torch.randn(40, generator=generator(4)).to(BF16).float()
        optimizer.step()
        results.append((param.detach(), optimizer.state[param]))
    (wide, kept), (param, narrow) = results
    assert torch.equal(wide, param)
    for key, value in kept.items():
        if value.dim():
            assert narrow[key].dtype == BF16
            error = (narrow[key].float() - value).abs()
            assert bool((error <= 2 * HALF_UNIT * value.abs()).all()), key


@ENGINES
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ["ademamix", "mars", "lion", "schedule_free_adamw"])
def test_saved_and_loaded_bit_for_bit(name: str, rounding: str, engine: str) -> None:
    """A run that is saved in the middle, looked at, and loaded elsewhere goes on as it was."""

    def make() -> tuple[list[Tensor], Any]:
        params = [
            torch.nn.Parameter(torch.ones(n, dtype=d)) for n, d in ((30, BF16), (5, torch.float32))
        ]
        opt = optzoo.load_recipe(name).build(
            params,
            total_steps=9,
            state_dtype="bfloat16",
            param_rounding=rounding,
            lr=0.01,
            engine=engine,
        )
        return params, opt

    def train(params: list[Tensor], opt: Any, steps: range) -> None:
        for step in steps:
            for p in params:
                p.grad = torch.randn(p.shape, generator=generator(step)).to(p.dtype)
            opt.step()

    (params, opt), (others, other) = make(), make()
    train(params, opt, range(4))
    file = io.BytesIO()
    torch.save([opt.state_dict(), params], file)
    file.seek(0)
    saved, weights = torch.load(file, weights_only=False)
    train(params, opt, range(4, 8))
    with torch.no_grad():
        for p, weight in zip(others, weights, strict=True):
            p.copy_(weight)
    other.load_state_dict(saved)
    with other.evaluation():
        pass
    train(others, other, range(4, 8))
    for p, q in zip(params, others, strict=True):
        assert torch.equal(p, q)
        for key, value in opt.state[p].items():
            assert other.state[q][key].dtype == value.dtype, key
            assert torch.equal(other.state[q][key], value), key
    train(*copy.deepcopy((params, opt)), range(8, 9))


def kept_point(opt: Any, param: Tensor) -> Tensor:
    """Return the float32 point that a narrow parameter stands for, by its state."""
    state = opt.state[param]
    if "compensation" in state:
        return with_compensation(param, state["compensation"])
    return state.get("master", param.detach().float())


@torch.no_grad()
def test_a_state_kept_otherwise_is_converted() -> None:
    """Float32 state loads where bfloat16 is kept, and the other way; so do the ways of rounding."""
    for before, after in (("float32", "bfloat16"), ("bfloat16", "float32")):
        for first, second in (("master", "kahan"), ("kahan", "master"), ("stochastic", "kahan")):
            param = torch.nn.Parameter(torch.full((50,), 1.003, dtype=BF16))
            recipe = optzoo.load_recipe("adamw")
            opt = recipe.build([param], state_dtype=before, param_rounding=first)
            param.grad = torch.ones_like(param)
            opt.step()
            point = kept_point(opt, param).clone()
            other = recipe.build([param], state_dtype=after, param_rounding=second)
            other.load_state_dict(opt.state_dict())
            state = other.state[param]
            assert str(state["m"].dtype) == f"torch.{after}"
            assert ("master" in state, "compensation" in state) == (
                second == "master",
                second == "kahan",
            )
            torch.testing.assert_close(kept_point(other, param), point, rtol=2.0**-16, atol=0)


def test_weights_that_are_loaded_win_over_what_was_kept() -> None:
    for rounding in ROUNDINGS:
        param = torch.nn.Parameter(torch.ones(4, dtype=BF16))
        opt = optzoo.load_recipe("adamw").build([param], param_rounding=rounding, lr=1e-4)
        param.grad = torch.ones_like(param)
        opt.step()
        with torch.no_grad():
            param.fill_(3)
        opt.step()
        assert torch.equal(param.detach(), torch.full((4,), 3, dtype=BF16)), rounding


# ---------------------------------------------------------------- bytes and words


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "v=bfloat16"])
@pytest.mark.parametrize("name", ["adamw", "ademamix", "mars", "schedule_free_adamw", "aggmo"])
def test_bytes_are_as_described(name: str, dtype: str) -> None:
    if name == "aggmo" and "=" in dtype:
        dtype = "bfloat16"
    param = torch.nn.Parameter(torch.ones(100))
    recipe = optzoo.load_recipe(name).with_state_dtype(dtype)
    opt = recipe.build([param], total_steps=10)
    param.grad = torch.ones_like(param)
    opt.step()
    held = sum(t.numel() * t.element_size() for t in opt.state[param].values() if t.dim())
    described = optzoo.describe(recipe, total_steps=10).state_bytes_per_parameter
    assert held == 100 * described


def test_the_recipe_keeps_what_it_was_asked() -> None:
    recipe = optzoo.load_recipe("adamw").with_state_dtype("m=bfloat16")
    assert recipe.state_dtypes == {"m": "bfloat16", "v": "float32"}
    again = optzoo.parse_recipe(recipe.to_yaml())
    assert again.state_dtypes == recipe.state_dtypes
    assert again.program().digest == optzoo.load_recipe("adamw").program().digest
    assert recipe.with_observers(["ema:0.9"]).state_dtypes["m"] == "bfloat16"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("w=bfloat16", "`w` is not a buffer of adamw"),
        ("float8", "`float8` is not a dtype that state is kept in"),
        ("v=", "`` is not a dtype"),
    ],
)
def test_bad_wishes(wish: str, said: str) -> None:
    with pytest.raises(optzoo.InputError, match=said):
        optzoo.load_recipe("adamw").with_state_dtype(wish)


def test_bad_ways_of_rounding() -> None:
    recipe = optzoo.load_recipe("adamw")
    half = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    with pytest.raises(optzoo.InputError, match="did you mean `kahan`"):
        recipe.build([half], param_rounding="kahn")
    with pytest.raises(optzoo.InputError, match="one is float16"):
        recipe.build([half], param_rounding="stochastic")
