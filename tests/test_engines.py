"""Engines in lock step with the definition: one step from the same state, every recipe and dtype.

What an engine may be off by is derived, not chosen (`rounding`): twice the first-order bound of a
plain evaluation, since an engine may group sums its own way, use fused multiply-adds and read
coefficients rounded to its dtype.
"""

from __future__ import annotations

import warnings
from fractions import Fraction

import pytest
import torch
from problems import RECIPES
from rounding import Bounded, RoundingDomain
from torch import Tensor

import optzoo
from optzoo import compiled_engine
from optzoo.engine import Batch, choose_engine, engine_class
from optzoo.interpreters.compiled import CompilationError, Kernel
from optzoo.interpreters.reference import ReferenceRun
from optzoo.program.domain import run_scalars, run_step
from optzoo.program.expressions import Call, Expr, Num
from optzoo.program.ir import GRAD, Line, Program
from optzoo.program.numbers import FloatDomain

STEPS_BEFORE = 3
SIZES = (3, 20, 1, 2500, 0)
SLACK = 2
FEW = ("adamw", "mars", "lion", "schedule_free_adamw", "adopt")


def lively_state(
    program: Program, size: int, dtype: torch.dtype, seed: int
) -> tuple[ReferenceRun, list[Tensor]]:
    """Return the reference after a few steps, and its parameter, gradient and buffers as tensors.

    Numbers repeat every twenty elements: the reference is slow.
    """
    random = torch.Generator().manual_seed(seed)
    short = min(size, 20)
    start = torch.randn(short, generator=random, dtype=torch.float64)
    run = ReferenceRun(program, start.tolist(), total_steps=10)
    for _ in range(STEPS_BEFORE):
        run.step(torch.randn(short, generator=random, dtype=torch.float64).tolist())
    grad = torch.randn(short, generator=random, dtype=torch.float64)
    kept = [run.param, grad.tolist(), *run.buffers.values()]
    columns = [torch.tensor(column, dtype=torch.float64) for column in kept]
    repeats = -(-size // short) if short else 1
    return run, [column.repeat(repeats)[:size].to(dtype) for column in columns]


def largest_excess(
    engine: str, program: Program, dtype: torch.dtype, judged_by: Program | None = None
) -> float:
    """Return the largest error of one step over what it may be; `judged_by` is the exact program.

    More than 1 is wrong.
    """
    judged_by = judged_by or program
    states = [lively_state(judged_by, size, dtype, seed) for seed, size in enumerate(SIZES)]
    run = states[0][0]
    run.inputs["t"] = float(STEPS_BEFORE + 1)
    scalars = run_scalars(judged_by, FloatDomain(), run.inputs, run.memory)
    names = [state.name for state in program.tensor_states]
    params, grads, *buffers = map(list, zip(*(s[1] for s in states), strict=True))
    domain = RoundingDomain(torch.finfo(dtype).eps / 2)
    expected = []
    for _, tensors in states:
        p, g, *b = (Bounded(t.double(), torch.zeros(t.shape).double()) for t in tensors)
        new, kept = run_step(
            judged_by, domain, dict(scalars), p, g, dict(zip(names, b, strict=True))
        )
        expected.append([new, *(kept[name] for name in names)])
    batch = Batch(params, grads, dict(zip(names, buffers, strict=True)))
    own = run_scalars(program, FloatDomain(), run.inputs, run.memory)
    engine_class(engine)(program).step(batch, own)
    worst = 0.0
    for i, wanted in enumerate(expected):
        for found, want in zip(
            [params[i], *(batch.buffers[n][i] for n in names)], wanted, strict=True
        ):
            want = domain.bounded(want)
            allowed = SLACK * domain.unit * want.bound + torch.finfo(dtype).tiny
            excess = (found.double() - want.value).abs() / allowed
            assert bool(excess.isfinite().all())
            worst = max(worst, float(excess.max()) if excess.numel() else 0.0)
    return worst


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the engine's name; a kernel that cannot be compiled here is a visible skip."""
    name: str = request.param
    if name == "compiled":
        monkeypatch.setitem(compiled_engine.FEWEST, "cpu", 2)
        skip_without_compiler()
    return name


def skip_without_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:
        pytest.skip("no C++ compiler: nothing can be compiled here")


BOTH = pytest.mark.parametrize("engine", ["foreach", "compiled"], indirect=True)
COMPILED = pytest.mark.parametrize("engine", ["compiled"], indirect=True)


@pytest.mark.parametrize("name", RECIPES)
@BOTH
def test_lock_step_in_float32(engine: str, name: str) -> None:
    program = optzoo.load_recipe(name).program()
    assert largest_excess(engine, program, torch.float32) <= 1


@pytest.mark.parametrize("name", FEW)
@BOTH
def test_lock_step_in_float64(engine: str, name: str) -> None:
    program = optzoo.load_recipe(name).program()
    assert largest_excess(engine, program, torch.float64) <= 1


def slightly_wrong(program: Program) -> list[Program]:
    """Return programs with a ten-thousandth of the gradient too much in one line."""
    result = []
    for i, line in enumerate(program.step):
        assert isinstance(line.expr, Expr)
        expr = Call("add", (line.expr, Call("div", (GRAD, Num(Fraction(10000))))))
        step = (*program.step[:i], Line(line.target, expr, line.source), *program.step[i + 1 :])
        result.append(
            Program(
                program.name, program.hypers, program.states, program.scalars, step, program.views
            )
        )
    return result


@pytest.mark.parametrize("name", FEW)
def test_the_bound_finds_a_part_in_ten_thousand(name: str) -> None:
    """What is wrong by 1e-4 of the gradient is not within the bound (but for what a sign hides)."""
    program = optzoo.load_recipe(name).program()
    signs = {n for line in program.step for n in _under_sign(line.expr)}
    for wrong, line in zip(slightly_wrong(program), program.step, strict=True):
        if str(line.target) not in signs:
            assert largest_excess("foreach", wrong, torch.float32, judged_by=program) > 1, line


def _under_sign(expr: Expr) -> list[str]:
    if isinstance(expr, Call):
        if expr.op == "sign":
            return [str(arg) for arg in expr.args]
        return [n for arg in expr.args for n in _under_sign(arg)]
    return []


@COMPILED
def test_new_values_and_shapes_compile_nothing(engine: str) -> None:
    """Neither lr, nor t, nor a hyperparameter, nor another shape or optimizer makes a kernel."""
    recipe = optzoo.load_recipe("adamw")

    def train(sizes: list[int], lr: float, steps: int) -> float:
        params = [torch.nn.Parameter(torch.ones(size)) for size in sizes]
        optimizer = recipe.build(params, engine=engine, lr=lr, beta1=0.9 - lr)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr / (1 + step)
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
        (run,) = optimizer._runs
        return float(run.plan.engine.compile_seconds)

    train([100], 0.1, 1)
    frames = torch._dynamo.utils.counters["frames"]["total"]
    kernels = compiled_engine._kernel.cache_info().misses
    train([100, 3000, 17], 0.01, 5)
    train([2049], 0.02, 2)
    assert torch._dynamo.utils.counters["frames"]["total"] == frames
    assert compiled_engine._kernel.cache_info().misses == kernels


@COMPILED
def test_what_kernels_do_not_take_is_updated_too(engine: str) -> None:
    """Transposed parameters, gradients of another dtype or layout, and replaced storage."""
    start = torch.randn(40, 60, generator=torch.Generator().manual_seed(0))
    results = []
    for name in ("foreach", engine):
        plain, turned = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone().t())
        optimizer = optzoo.load_recipe("adamw").build([plain, turned], engine=name, lr=0.1)
        for step in range(4):
            plain.grad = (start * (step + 1)).t().contiguous().t()
            turned.grad = start.t() * 2
            if step == 2:
                plain.data = plain.data.clone()
            version = plain._version
            optimizer.step()
            assert plain._version > version
        results.append((plain.detach(), turned.detach()))
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_without_a_compiler_it_says_so_once_and_runs_foreach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> Kernel:
        raise CompilationError("no C++ compiler")

    monkeypatch.setattr(compiled_engine, "Kernel", refuse)
    compiled_engine._kernel.cache_clear()
    compiled_engine._say.cache_clear()
    results = []
    for name in ("foreach", "compiled"):
        param = torch.nn.Parameter(torch.ones(5000))
        optimizer = optzoo.load_recipe("lion").build([param], engine=name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                param.grad = torch.linspace(-1, 1, 5000)
                optimizer.step()
        results.append(param.detach())
        told = [str(w.message) for w in caught if "foreach" in str(w.message)]
        assert len(told) == (name == "compiled")
    compiled_engine._kernel.cache_clear()
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("device", "parameters", "total_steps", "engine"),
    [
        ("cuda", 10, None, "compiled"),
        ("cpu", 10**7, 1000, "compiled"),
        ("cpu", 10**7, 999, "foreach"),
        ("cpu", 10**12, None, "foreach"),
        ("mps", 10**7, 10**7, "foreach"),
    ],
)
def test_auto(device: str, parameters: int, total_steps: int | None, engine: str) -> None:
    assert choose_engine(device, parameters, total_steps) == engine


def test_auto_is_settled_per_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optzoo.engine.WORTH_COMPILING", 1000)
    big, small = torch.nn.Parameter(torch.ones(50)), torch.nn.Parameter(torch.ones(5))
    groups = [{"params": [big]}, {"params": [small]}]
    optimizer = optzoo.load_recipe("adamw").build(groups, total_steps=20)
    engines = [type(run.plan.engine).__name__ for run in optimizer._runs]
    assert engines == ["CompiledEngine", "ForeachEngine"]
