"""Segments: how steps are cut, and that both who run them are the reference, however things lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import optzoo
from optzoo.engines import compiled
from optzoo.engines.build import CompilationError, load
from optzoo.engines.matrices import matrix_step, segment_blocks, segment_kernel
from optzoo.engines.render import c_segment, render
from optzoo.program.ops import REDUCTIONS
from optzoo.program.simplify import decided, without_polar_eps
from optzoo.program.tensors.segments import Pieces, Segment, cut

HEAD = """
name: drawn_by_hand
version: 2
summary: a step in pieces
reference: none
hyperparameters: {lr: {default: 0.1, in: "[0, inf)", doc: learning rate}}
"""

TURNED = """
buffers:
  A: {input: grad, decay: 0.5, gain: 1}
  turned: {refresh: {every: 1, input: A.prev.T}}
  D: {refresh: {every: 1, input: "diagonal(G.prev)"}}
  G: {input: grad @ grad.T, decay: 1, gain: 1}
update: turned.T + D
"""
"""Buffers that take what another held, turned: the memory that the other is about to overwrite."""

REDUCED = "\n".join(
    [
        "signals:",
        "  x: grad + 0.5",
        *(
            f"  {kind}_{of}: '{kind}(x{extra}) + {kind}(x*x{extra})'"
            for kind in REDUCTIONS
            for of, extra in (("w", ""), ("r", ", row"), ("c", ", column"), ("b", ", block(2)"))
        ),
        "buffers:",
        "  v: {input: 'mean(square(x), row)', decay: 0.9, gain: 0.1}",
        "  w: {input: 'largest(x)', decay: 0.9, gain: 0.1}",
        "update: x/(1 + v + w*w) + "
        + " + ".join(f"0.01*{kind}_{of}" for kind in REDUCTIONS for of in "wrcb"),
        "",
    ]
)
SIDES = (
    "update: grad*rows/size + where(rows > cols, grad.T.T @ identity(grad.T @ grad), sign(grad))\n"
)
PASSING = "buffers:\n  k: {input: grad, decay: 0, gain: 1}\nupdate: k.prev + norm(grad)\n"
BY_BLOCK = """
buffers: {m: {input: grad, decay: 0.5, gain: 1}}
preconditioner: {polar: {coefficients: jordan, blocks: 2}}
update: {mix: {m: 1}}
"""
BLOCKS = "update: 'polar(grad, [[1.5, -0.5, 0]], 1e-2, 1.1, block(3)) + polar(grad.T, jordan).T'\n"
NUMBERS = """
signals: {x: '0.5', y: "where(rows > cols, 1, grad)", z: "where(t == 1, 0, grad)"}
buffers: {b: {input: "mean(x, row) + 0*grad", decay: 0.5, gain: 1}}
update: >-
  b + grad*sum(x) + grad*sum(y) + z @ grad.T @ grad + grad*norm(where(t == 2, 3, grad), row)
  + where(rows > cols, sum(where(rows > cols, 1, grad)), mean(grad, row))*grad
"""
"""Numbers of the host where a sum or a product wants every element of what they stand for."""

RECIPES = {
    "numbers": NUMBERS,
    "turned": TURNED,
    "reduced": REDUCED,
    "sides": SIDES,
    "passing": PASSING,
    "by block": BY_BLOCK,
    "blocks": BLOCKS,
}


def drawn_shapes() -> list[torch.Tensor]:
    """Return tensors that lie in every way: alike, tall, wide, long, single, turned, with gaps."""
    random = torch.Generator().manual_seed(0)

    def new(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    four = new(3, 2, 2, 4).to(memory_format=torch.channels_last)
    return [
        new(4, 3), new(4, 3), new(3, 4), new(5, 5), new(7), new(1, 6), new(6, 1), new(1).view(()),
        four, new(4, 6).T, new(6, 8)[:, ::2], new(0, 3), new(3, 130),
    ]  # fmt: skip


def stepped(recipe: str, engine: str, steps: int = 3) -> list[torch.Tensor]:
    params = [torch.nn.Parameter(t) for t in drawn_shapes()]
    optimizer = optzoo.parse_recipe(recipe).build(params, engine=engine)
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in params:
            grad = torch.randn(p.shape, generator=random, dtype=torch.float64)
            p.grad = grad.T.contiguous().T if grad.dim() == 2 else grad
        optimizer.step()
    state = optimizer.state
    held = [t for p in params for t in state[p].values() if isinstance(t, torch.Tensor)]
    return [p.detach() for p in params] + held


def test_a_step_is_cut_where_whole_matrices_have_to_be_known() -> None:
    muon = segments_of("muon")
    assert [len(segment.lines) for segment in muon] == [2, 2]
    first, last = muon
    assert [str(name) for name in first.reads] == ["m.prev", "grad"]
    assert [str(name) for name in first.stores] == ["m"]
    assert [str(name) for name in last.stores] == ["param"]
    assert not last.keeps
    mini = segments_of("adam_mini")
    assert [str(line) for line in mini[0].reductions] == ["(mean((square(grad)), row)) := "
        "mean((square(grad)), row)"]  # fmt: skip
    assert not mini[0].keeps  # the squares are gathered on the way
    assert {str(name) for name in mini[1].stores} == {"m", "param"}


def segments_of(name: str) -> list[Segment]:
    program = optzoo.load_recipe(name).program()
    return [p for p in cut(program, decided(program, {})).pieces if isinstance(p, Segment)]


def test_each_block_of_rows_has_a_polar_factor_of_its_own() -> None:
    grad = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 4)))
    blocks = [grad[:2], grad[2:4], grad[4:]]  # as even as may be
    one = optzoo.parse_recipe(HEAD + "update: polar(grad, quintic)\n")
    each = optzoo.parse_recipe(HEAD + "update: 'polar(grad, quintic, block(3))'\n")
    assert "polar(grad, quintic, block(3))" in each.program().text()
    assert each.program().digest != one.program().digest
    assert "polar(grad, quintic, 0, block(3))" in without_polar_eps(each.program()).text()
    ends = []
    for recipe, parts in ((one, blocks), (each, [grad])):
        params = [torch.nn.Parameter(torch.zeros_like(part)) for part in parts]
        for param, part in zip(params, parts, strict=True):
            param.grad = part
        recipe.build(params, engine="reference").step()
        ends.append(torch.cat([param.detach() for param in params]))
    torch.testing.assert_close(*ends, rtol=0, atol=1e-14)


def test_a_step_on_matrices_is_shown_as_c_that_compiles() -> None:
    for name in ("muon", "adafactor", "soap"):
        text = render(optzoo.load_recipe(name).trained_program(), "c")
        library = load(text)
        count = text.count("void segment_")
        assert count > 1, name
        shown = [part.split("(")[0] for part in text.split("void segment_")[1:]]
        assert all(hasattr(library, f"segment_{k}") for k in shown)
    assert "/* u := " in text
    assert "Where t == 1 does not hold." in text


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("engine", ["foreach", "compiled"])
@pytest.mark.parametrize("small", [True, False], ids=["packed", "in blocks"])
def test_who_runs_segments_is_the_reference(
    name: str, engine: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not small:
        monkeypatch.setattr(segment_blocks, "SMALL", 1)
        monkeypatch.setattr(segment_blocks, "BLOCK", 64)
        monkeypatch.setattr(c_segment, "CHUNK", 64)
        monkeypatch.setattr(segment_kernel, "CHUNK", 64)
    wanted = stepped(HEAD + RECIPES[name], "reference")
    found = stepped(HEAD + RECIPES[name], engine)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_what_is_not_finite_goes_through_reductions() -> None:
    text = HEAD + "update: 'largest(grad) + smallest(grad, row) + norm(grad)'\n"
    for engine in ("foreach", "compiled"):
        param = torch.nn.Parameter(torch.zeros(3, 40))
        param.grad = torch.ones(3, 40)
        param.grad[1, 7] = torch.nan
        optzoo.parse_recipe(text).build([param], engine=engine).step()
        assert bool(param.isnan().all()), engine


@pytest.mark.parametrize("fault", ["in place", "memory", "order"])
def test_faults_of_the_cut_are_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from optzoo.program.tensors import segments

    def backwards(program: Any, lines: Any) -> Pieces:
        found = cut(program, lines)
        return Pieces(found.pieces[::-1], found.last[::-1], found.shapes, found.at_end)

    if fault == "in place":
        monkeypatch.setattr(segments, "_origins", lambda pieces: {})
    elif fault == "memory":
        monkeypatch.setattr(matrix_step, "_apart", lambda value, stack: value)
    else:
        monkeypatch.setattr(matrix_step, "cut", backwards)
    try:
        found = stepped(HEAD + TURNED, "foreach")
    except KeyError:
        return
    wanted = stepped(HEAD + TURNED, "reference")
    assert any(not torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def test_without_a_compiler_the_eager_engine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise CompilationError("there is no C compiler")

    monkeypatch.setattr(compiled, "_say", lambda reason: None)
    monkeypatch.setattr("optzoo.engines.matrices.segment_kernel.load", refuse)
    found = stepped(HEAD + TURNED, "compiled")
    for a, b in zip(found, stepped(HEAD + TURNED, "foreach"), strict=True):
        assert torch.equal(a, b)
