"""Buffers in bfloat16 inside the kernel: loaded, widened, rounded stochastically, stored."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch
from narrow_steps import BF16, excess_of_one_step, generator
from problems import RECIPES
from torch import Tensor

import optzoo
from optzoo.engines import engine as engines
from optzoo.engines import kernel as kernels
from optzoo.engines.build import CompilationError
from optzoo.engines.compiled import CompiledEngine
from optzoo.engines.engine import Batch, NarrowEngine, Rounding, engine_class, has_cc, has_triton
from optzoo.engines.render import render
from optzoo.optimizer import precision
from optzoo.program.expressions import Name

needs_triton = pytest.mark.skipif(not has_triton(), reason="triton is not installed")
pytestmark = pytest.mark.skipif(not has_cc(), reason="no C compiler")

KEEP = """
name: keep
version: 1
summary: two buffers that hold the last gradient, narrow or not
reference: none
hyperparameters: {lr: {default: 1, in: "[0, inf)", doc: learning rate}}
buffers:
  a: {input: grad, decay: 0, gain: 1}
  b: {input: grad, decay: 0, gain: 1}
update: 0*a + 0*b
"""


def kept(
    grads: list[Tensor],
    key: int = 0,
    places: list[int] | None = None,
    dtype: torch.dtype = torch.float32,
    engine_name: str = "compiled",
) -> tuple[list[Tensor], list[Tensor]]:
    """Store gradients through the kernel in two bfloat16 buffers; return both."""
    engine = engine_class(engine_name)(optzoo.parse_recipe(KEEP).program())
    params = [torch.zeros(g.shape, dtype=dtype) for g in grads]
    a, b = ([torch.zeros_like(g, dtype=BF16) for g in grads] for _ in range(2))
    batch = Batch(params, grads, {"a": a, "b": b})
    batch.rounding = Rounding(key, places or list(range(len(grads))))
    assert isinstance(engine, NarrowEngine)
    assert engine.stores_narrow(batch)
    scalars = {Name("lr"): 1.0}
    engine.step(batch, scalars)
    return a, b


# ---------------------------------------------------------------- the rounding itself


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_bfloat16_represents_stays(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(BF16)
    for key in range(5):
        for (stored,) in kept([every.to(dtype)], key, dtype=dtype):
            assert torch.equal(stored.isnan(), every.isnan())
            usual = ~every.isnan()
            assert torch.equal(stored[usual], every[usual])


def test_extreme_values() -> None:
    largest = float(torch.finfo(BF16).max)
    patterns = torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32).view(torch.float32)
    just_above = torch.full((100,), largest * (1 + 2.0**-12))
    beyond = torch.full((100,), -largest * (1 + 2.0**-8))  # nearest rounding makes it infinite
    for key in range(20):
        (nan, finite, infinite), _ = kept([patterns, just_above, beyond], key)
        assert nan.isnan().all()
        assert (finite == largest).all()
        assert (infinite == -float("inf")).all()


@pytest.mark.parametrize("value", [1.001, -1.001, 3.14159e-20, 1e-40, -2.7e30])
def test_one_of_the_neighbours_and_right_in_the_mean(value: float) -> None:
    number = 200_000
    wide = torch.full((number,), value)
    for (stored,) in kept([wide], key=1):
        below, above = sorted(stored.double().unique().tolist())
        assert below < float(wide[0]) < above
        assert above - below <= 2.0**-7 * max(abs(value), 2.0**-126)
        share = (float(wide[0]) - below) / (above - below)
        error = abs(float((stored.double() == above).double().mean()) - share)
        assert error < 4 * (share * (1 - share) / number) ** 0.5


def test_the_mean_error_of_many_values_is_none() -> None:
    wide = torch.randn(1_000_000, generator=generator(0))
    unit = torch.exp2(wide.abs().log2().floor()).double() * 2.0**-7
    for (stored,) in kept([wide], key=2):
        error = (stored.double() - wide.double()) / unit
        assert float(error.abs().max()) < 1
        assert abs(float(error.mean())) < 4 * float(error.std()) / len(wide) ** 0.5


def test_draws_are_independent_of_one_another() -> None:
    """Of neighbours, slots, parameters and steps: whether halves are rounded up is uncorrelated."""
    number = 100_000
    half = torch.full((number,), 1 + 2.0**-8)
    draws = [
        stored == 1
        for key in (0, 1, 2)
        for slot in kept([half, half], key, places=[0, 1])
        for stored in slot
    ]
    signs = [2 * draw.double() - 1 for draw in draws]
    limit = 5 / number**0.5
    for i, one in enumerate(signs):
        assert abs(float(one.mean())) < limit
        for lag in (1, 2, 8, 256, 16_384):
            assert abs(float((one[lag:] * one[:-lag]).mean())) < 1.2 * limit, lag
        for other in signs[:i]:
            assert abs(float((one * other).mean())) < limit
    over_time = [kept([torch.full((4,), 1 + 2.0**-8)], key)[0][0] == 1 for key in range(400)]
    ups = torch.stack(over_time).double().mean(0)
    assert bool(((ups - 0.5).abs() < 5 * 0.5 / 400**0.5).all())


# ---------------------------------------------------------------- what the bits depend on


def trained(
    params: list[Tensor], steps: range, optimizer: Any = None, name: str = "adamw", **options: Any
) -> Any:
    """Take steps with gradients that the step and the place alone decide."""
    if optimizer is None:
        optimizer = optzoo.load_recipe(name).build(
            params, engine="compiled", total_steps=20, state_dtype="bfloat16", **options
        )
    for step in steps:
        for i, p in enumerate(params):
            grad = torch.randn(p.shape, generator=generator(100 * step + i), dtype=torch.float64)
            p.grad = torch.empty_like(p).copy_(grad)
        optimizer.step()
    return optimizer


def starts() -> list[torch.nn.Parameter]:
    shapes = [(70, 900), (3,), (1,), (40_000,), (0,)]
    return [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]


def held(optimizer: Any, params: list[Any]) -> list[Tensor]:
    tensors = [t for p in params for t in optimizer.state[p].values() if t.dim()]
    return [*(p.detach().clone() for p in params), *(t.clone() for t in tensors)]


@pytest.mark.parametrize("name", ["adamw", "mars"])
def test_threads_and_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = starts()
    wanted = held(trained(params, range(3), name=name), params)
    for threads, chunk in ((2, kernels.CHUNK), (3, 4096), (1, 1000)):
        if name == "mars" and chunk != kernels.CHUNK:
            continue  # a norm adds up chunk by chunk, narrow or not
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        monkeypatch.setattr(kernels, "CHUNK", chunk)
        try:
            params = starts()
            found = held(trained(params, range(3), name=name), params)
        finally:
            torch.set_num_threads(before)
        assert all(map(torch.equal, found, wanted)), (threads, chunk)


def test_batches_change_nothing() -> None:
    """A parameter steps the same beside others as alone in its batch, at its place."""
    one, two = starts(), starts()
    together = held(trained(one, range(2)), one)
    apart = trained(two, range(0))
    for step in range(2):
        grads = []
        for i, p in enumerate(two):
            random = generator(100 * step + i)
            grads.append(torch.randn(p.shape, generator=random, dtype=torch.float64))
        for i, p in enumerate(two):
            for q in two:
                q.grad = None
            p.grad = grads[i].to(p.dtype)
            apart.step()
    assert all(map(torch.equal, held(apart, two), together))


def test_seeds_and_steps_draw_anew() -> None:
    results = []
    for seed in (0, 0, 1):
        params = starts()
        results.append(held(trained(params, range(2), rounding_seed=seed), params))
    assert all(map(torch.equal, results[0], results[1]))
    assert not all(map(torch.equal, results[0], results[2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, BF16])
def test_resumed_bit_for_bit(dtype: torch.dtype) -> None:
    """Also where parameters lie turned or with gaps, and a state comes back contiguous."""

    def fresh() -> list[torch.nn.Parameter]:
        turned = torch.ones(30, 50, dtype=dtype).t()
        gaps = torch.ones(40, 60, dtype=dtype)[:, ::2]
        return [torch.nn.Parameter(t) for t in (turned, torch.ones(20_000, dtype=dtype), gaps)]

    params = fresh()
    whole = trained(params, range(3))
    file = io.BytesIO()
    torch.save([whole.state_dict(), [p.detach() for p in params]], file)
    trained(params, range(3, 6), whole)
    for is_contiguous in (False, True):
        file.seek(0)
        saved, weights = torch.load(file, weights_only=False)
        if is_contiguous:
            for entry in saved["state"].values():
                entry |= {k: v.contiguous() for k, v in entry.items() if k in ("m", "v")}
        others = fresh()
        with torch.no_grad():
            for p, weight in zip(others, weights, strict=True):
                p.copy_(weight)
        other = trained(others, range(0))
        other.load_state_dict(saved)
        trained(others, range(3, 6), other)
        assert all(map(torch.equal, held(other, others), held(whole, params)))


# ---------------------------------------------------------------- the step


@pytest.fixture
def _without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where narrow buffers of the compiled engine are widened in copies."""
    widened = precision.Precision.batches

    def watched(self: Any, part: Any, engine: Any, *rest: Any) -> Any:
        if isinstance(engine, CompiledEngine):
            assert self.is_taken_as_kept(part, engine)
        return widened(self, part, engine, *rest)

    monkeypatch.setattr(precision.Precision, "batches", watched)


FLAT = [
    name
    for name in RECIPES
    if all(rule.program().is_flat for rule in optzoo.load_recipe(name).rules)
]
MATRICES = [name for name in RECIPES if name not in FLAT]
SEVERAL = [*FLAT[::4], "adamw", "mars", "lion", "ademamix", "schedule_free_adamw"]


@pytest.mark.usefixtures("_without_copies")
@pytest.mark.parametrize("name", sorted(set(SEVERAL)))
def test_one_step_is_the_wide_one_rounded(name: str) -> None:
    assert excess_of_one_step(optzoo.load_recipe(name)) <= 1


@pytest.mark.parametrize("name", MATRICES)
def test_one_step_on_matrices_is_the_wide_one_rounded(name: str) -> None:
    """The compiled engine hands these to torch, and narrow buffers are widened in copies."""
    assert excess_of_one_step(optzoo.load_recipe(name).with_polar_dtype("float32")) <= 1


@pytest.mark.usefixtures("_without_copies")
@pytest.mark.parametrize("name", ["adamw", "mars", "lion", "ademamix", "schedule_free_adamw"])
def test_one_step_of_narrow_parameters_is_the_wide_one_rounded(name: str) -> None:
    assert excess_of_one_step(optzoo.load_recipe(name), params=BF16) <= 1


@pytest.mark.usefixtures("_without_copies")
def test_narrow_parameters_go_on_bit_for_bit() -> None:
    ends = []
    for is_interrupted in (False, True):
        params = [torch.nn.Parameter(p.detach().to(BF16)) for p in starts()]
        optimizer = trained(params, range(3), param_rounding="stochastic")
        if is_interrupted:
            saved = optimizer.state_dict()
            optimizer = trained(params, range(0), param_rounding="stochastic")
            optimizer.load_state_dict(saved)
        trained(params, range(3, 6), optimizer)
        ends.append(held(optimizer, params))
    assert all(map(torch.equal, *ends))
    assert all(tensor.dtype == BF16 for tensor in ends[0])


def test_one_buffer_may_be_narrow() -> None:
    params = starts()
    recipe = optzoo.load_recipe("adamw")
    optimizer = recipe.build(params, engine="compiled", state_dtype={"v": "bfloat16"})
    trained(params, range(3), optimizer)
    state = optimizer.state[params[0]]
    assert (state["m"].dtype, state["v"].dtype) == (torch.float32, BF16)
    assert bool((state["v"] > 0).all())


def test_where_nothing_can_be_compiled_buffers_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise CompilationError("not today")

    monkeypatch.setattr(kernels, "load", refuse)
    results = []
    for engine in ("foreach", "compiled"):
        params = starts()
        optimizer = optzoo.load_recipe("adamw").build(params, engine=engine, state_dtype="bfloat16")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(held(trained(params, range(3), optimizer), params))
    assert all(map(torch.equal, *results))


def test_the_c_says_what_is_narrow() -> None:
    program = optzoo.load_recipe("adamw").program()
    assert "uint16_t *v_prev_at" in render(program, "c", ["v"])
    assert "float *m_prev_at" not in render(program, "c", ["v"])
    assert "real *m_prev_at" in render(program, "c", ["v"])
    assert "keys" not in render(program, "c")


# ---------------------------------------------------------------- Triton


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> str:
    """Run Triton kernels on CPU tensors, in Triton's interpreter (see conftest)."""
    devices = {**engines.ENGINES, "triton": "drawn_engines:DeviceEngine"}
    monkeypatch.setattr(engines, "ENGINES", devices)
    return "triton"


@needs_triton
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, for the NaN
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_triton_draws_the_bits_of_c(dtype: torch.dtype, triton: str) -> None:
    every = torch.arange(-(2**31), 2**31, 500_009).to(torch.int32).view(torch.float32)
    random = torch.randn(10_000, generator=generator(0))
    grads = [every.to(dtype), random.to(dtype), torch.zeros(0, dtype=dtype)]
    for key, places in ((1, [0, 1, 2]), (2**63 - 1, [7, 2**20, 1])):
        in_c = kept(grads, key, places, dtype)
        in_triton = kept(grads, key, places, dtype, triton)
        for one, other in zip(in_c, in_triton, strict=True):
            for x, y in zip(one, other, strict=True):
                assert torch.equal(x.isnan(), y.isnan())
                assert torch.equal(x.nan_to_num(), y.nan_to_num())


@needs_triton
@pytest.mark.usefixtures("_without_copies")
@pytest.mark.parametrize("name", ["adamw", "mars", "adopt", "schedule_free_adamw"])
def test_one_triton_step_is_the_wide_one_rounded(name: str, triton: str) -> None:
    assert excess_of_one_step(optzoo.load_recipe(name), triton) <= 1
    assert excess_of_one_step(optzoo.load_recipe(name), triton, params=BF16) <= 1
