"""Engines in lock step with the definition (`lockstep`): every recipe and dtype."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from lockstep import largest_excess
from perturbed import largest_excess_on_matrices
from problems import RECIPES

import optzoo
from optzoo.engines import build as builder
from optzoo.engines import compiled as compiled_engine
from optzoo.engines.engine import choose_engine, has_cc
from optzoo.program.expressions import Call, Expr, Name, Num
from optzoo.program.ir import GRAD, Line, Program
from optzoo.program.tensors.named_sides import FULL

FEW = ("adamw", "mars", "lion", "schedule_free_adamw", "adopt")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Return the engine's name; a kernel that cannot be compiled here is a visible skip."""
    name: str = request.param
    if name == "compiled" and not has_cc():
        pytest.skip("no C compiler: nothing can be compiled here")
    return name


BOTH = pytest.mark.parametrize("engine", ["foreach", "compiled"], indirect=True)
COMPILED = pytest.mark.parametrize("engine", ["compiled"], indirect=True)


@pytest.mark.parametrize("name", RECIPES)
@BOTH
def test_lock_step_in_float32(engine: str, name: str) -> None:
    for rule in optzoo.load_recipe(name).rules:
        program = rule.with_polar_dtype("float32").program()
        if program.is_flat:
            assert largest_excess(engine, program, torch.float32) <= 1, rule.label
        else:
            assert largest_excess_on_matrices(engine, program) <= 1, rule.label


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


@pytest.mark.parametrize("name", ["muon", "soap", "shampoo", "adafactor", "adam_mini"])
def test_the_bound_of_matrices_finds_a_part_in_ten_thousand(name: str) -> None:
    program = optzoo.load_recipe(name).with_polar_dtype("float32").program()
    seen = {str(line.target) for line in program.step} & {"m", "v", "r", "c", "A", "B", "param"}
    for wrong, line in zip(slightly_wrong(program), program.step, strict=True):
        if str(line.target) in seen and _is_full(program, line.target):
            excess = largest_excess_on_matrices("foreach", wrong, judged_by=program)
            assert excess > 1, line


def _is_full(program: Program, target: Name) -> bool:
    shapes = {Name(state.name): state.shape for state in program.tensor_states}
    return shapes.get(target, FULL) == FULL


def _under_sign(expr: Expr) -> list[str]:
    if isinstance(expr, Call):
        if expr.op == "sign":
            return [str(arg) for arg in expr.args]
        return [n for arg in expr.args for n in _under_sign(arg)]
    return []


@COMPILED
def test_new_values_and_shapes_compile_nothing(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lr, nor t, nor a hyperparameter, nor another shape or optimizer makes a kernel."""
    recipe = optzoo.load_recipe("adamw")

    def train(sizes: list[int], lr: float, steps: int) -> None:
        params = [torch.nn.Parameter(torch.ones(size)) for size in sizes]
        optimizer = recipe.build(params, engine=engine, lr=lr, beta1=0.9 - lr)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr / (1 + step)
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()

    built: list[str] = []
    build = builder._build

    def counted(source: str, path: Path, threads: bool) -> None:
        built.append(source)
        build(source, path, threads)

    monkeypatch.setattr(builder, "_cache", lambda: tmp_path)
    monkeypatch.setattr(builder, "_build", counted)
    train([100], 0.1, 1)
    assert len(built) == 1
    train([100, 3000, 17], 0.01, 5)
    train([2049], 0.02, 2)
    assert len(built) == 1


@COMPILED
def test_layouts_and_dtypes_of_gradients_change_nothing(engine: str) -> None:
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
    monkeypatch.setenv("CC", "no-such-compiler")
    for remembered in (builder.compiler, builder.further_flags, compiled_engine._say):
        remembered.cache_clear()
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
    assert "no-such-compiler" in told[0]
    assert choose_engine("cpu", 10**9, 10**9) == "foreach"
    assert torch.equal(*results)
    monkeypatch.undo()
    builder.compiler.cache_clear()
    builder.further_flags.cache_clear()


@pytest.mark.parametrize(
    ("device", "parameters", "total_steps", "engine"),
    [
        ("cuda", 10, None, "compiled"),
        ("cpu", 10**6, 500, "compiled"),
        ("cpu", 10**6, 499, "foreach"),
        ("cpu", 10**6, None, "compiled"),
        ("cpu", 10**5, None, "foreach"),
        ("mps", 10**7, 10**7, "foreach"),
    ],
)
def test_auto(
    device: str,
    parameters: int,
    total_steps: int | None,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("optzoo.engines.engine.has_cc", lambda: True)
    monkeypatch.setattr("optzoo.engines.engine.has_triton", lambda: True)
    assert choose_engine(device, parameters, total_steps) == engine


def test_auto_is_settled_per_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optzoo.engines.engine.WORTH_COMPILING", 1000)
    monkeypatch.setattr("optzoo.engines.engine.has_cc", lambda: True)
    big, small = torch.nn.Parameter(torch.ones(50)), torch.nn.Parameter(torch.ones(5))
    groups = [{"params": [big]}, {"params": [small]}]
    optimizer = optzoo.load_recipe("adamw").build(groups, total_steps=20)
    engines = [type(run.plan.engine).__name__ for run in optimizer._all_runs()]
    assert engines == ["CompiledEngine", "ForeachEngine"]
