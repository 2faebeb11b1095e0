"""Drawn recipes of version 2: rows, columns, matrices, comparisons, refreshments, other sides.

As in test_drawn_programs.py: 40 recipes in every run, OPTZOO_FUZZ=2000 for more, each beside a
simulator of its own (`matrix_simulator`); and faults put into the engine, each of which must show.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from beside import TOTAL_STEPS, Problem, compare, shapes_for
from draw_matrices import draw_legal_matrices
from matrix_analysis import COMMANDS, answer, is_its_own_equal

import optzoo
from optzoo.engines.matrices import matrix_step, matrix_values, segment_blocks, stack
from optzoo.interpreters.cost import cost
from optzoo.program.expressions import Call, walk
from optzoo.program.ir import Line
from optzoo.program.ops import OPS

COUNT = int(os.environ.get("OPTZOO_FUZZ", "40"))
CHUNK = 40
CHUNKS = pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
WORDS = (
    "@ .T ** < > == row) column) block( rows cols size dot( take( identity lr0 jordan quintic "
    "polar_express [[3 refresh every offset first init polar: scale direction moved point model "
    "start: every: row0 column0 gram0 cogram0 basis0 turned0 number0 held0 1/(t sqrt(t log(t"
)
"""What version 2 adds, all of which has to be drawn."""
LEAST = 2
"""Recipes that any operation on tensors has to occur in."""


def drawn(seed: int) -> str:
    return draw_legal_matrices(Random(seed))[0]


@CHUNKS
def test_foreach_is_the_page(first: int) -> None:
    found, sensitive = [], 0
    for seed in range(first, first + CHUNK):
        outcome = compare(drawn(seed), seed, "foreach", large=seed % 10 == 0)
        sensitive += outcome.is_sensitive
        if outcome.excess > 1:
            found.append(f"seed {seed}: {outcome.where}\n{drawn(seed)}")
    assert not found
    assert sensitive <= CHUNK // 6


@CHUNKS
@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_the_other_engines_are_the_page(engine: str, first: int) -> None:
    for seed in range(first, first + CHUNK, 8):
        outcome = compare(drawn(seed), seed, engine, large=False)
        assert outcome.excess <= 1, f"seed {seed}: {outcome.where}\n{drawn(seed)}"


@CHUNKS
def test_whatever_is_drawn_can_be_asked_everything(first: int, tmp_path: Path) -> None:
    compared = 0
    for seed in range(first, first + CHUNK, 8):
        path = tmp_path / f"drawn{seed}.yaml"
        path.write_text(drawn(seed))
        told = [answer(path, command) for command in COMMANDS]
        assert told[1]
        compared += is_its_own_equal(path)
    assert compared > 0


@CHUNKS
def test_yaml_and_programs_come_back(first: int) -> None:
    for seed in range(first, first + CHUNK):
        recipe = optzoo.parse_recipe(drawn(seed))
        again = optzoo.parse_recipe(recipe.to_yaml())
        assert again.digest == recipe.digest
        program = recipe.trained_program()
        bill = cost(program)
        assert bill.state_bytes() + bill.other_bytes(8, 5) > 0 or not program.tensor_states
        assert program.text() == again.trained_program().text()


@CHUNKS
@pytest.mark.parametrize("engine", ["foreach", "compiled"])
def test_a_saved_state_goes_on_bit_for_bit(engine: str, first: int) -> None:
    """Saved before the late parameters have begun, between refreshments, and at one."""
    for seed in range(first, first + CHUNK, 4 if engine == "foreach" else 20):
        text = drawn(seed)
        problem = Problem.drawn(seed, shapes_for(text, seed))
        recipe = optzoo.parse_recipe(text)
        ends = []
        for is_interrupted in (False, True):
            params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in problem.starts]
            optimizer = recipe.build(params, engine=engine, total_steps=TOTAL_STEPS)
            for step, grads in enumerate(problem.gradients, 1):
                if is_interrupted and step in (2, 3, 6):
                    saved = optimizer.state_dict()
                    optimizer = recipe.build(params, engine=engine, total_steps=TOTAL_STEPS)
                    optimizer.load_state_dict(saved)
                for p, g in zip(params, grads, strict=True):
                    p.grad = None if g is None else torch.from_numpy(g)
                optimizer.step()
            optimizer.eval()
            ends.append([p.detach().nan_to_num() for p in params])
        assert all(map(torch.equal, *ends)), f"seed {seed}\n{recipe.text}"


@CHUNKS
def test_narrow_parameters_are_the_rounded_ones(first: int) -> None:
    """bfloat16 parameters walk as float32 ones that start there, each shown rounded."""
    for seed in range(first, first + CHUNK, 5):
        paths = []
        for dtype in (torch.float32, torch.bfloat16):
            text = drawn(seed)
            problem = Problem.drawn(seed, shapes_for(text, seed))
            params = [
                torch.nn.Parameter(torch.from_numpy(w).bfloat16().to(dtype)) for w in problem.starts
            ]
            recipe = optzoo.parse_recipe(text)
            optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
            for grads in problem.gradients:
                for p, g in zip(params, grads, strict=True):
                    p.grad = None if g is None else torch.from_numpy(g).bfloat16().to(dtype)
                optimizer.step()
            paths.append([p.detach().bfloat16() for p in params])
        for wide, narrow in zip(*paths, strict=True):
            assert torch.equal(wide.nan_to_num(), narrow.nan_to_num()), f"seed {seed}"


def test_most_of_what_is_drawn_is_legal_and_every_word_is_drawn() -> None:
    """Each operation is counted as often as it stands in a program, on tensors and on numbers."""
    texts, refused = zip(*(draw_legal_matrices(Random(seed)) for seed in range(250)), strict=True)
    assert sum(map(len, refused)) < 150
    everything = "\n".join(texts)
    assert not [word for word in WORDS.split() if word not in everything]
    on_tensors, on_numbers = Counter[str](), Counter[str]()
    for text in texts:
        program = optzoo.parse_recipe(text).program()
        on_numbers.update(_operations(program.scalars))
        on_tensors.update(_operations((*program.step, *program.pooled)))
        on_tensors.update(["model_sum"] if program.pooled else [])
    rare = {op for op in OPS if OPS[op].on_tensors and on_tensors[op] < LEAST}
    rare |= {op for op in OPS if OPS[op].on_scalars and not on_numbers[op]}
    assert not rare - {"square", "sign"}  # of numbers; test_drawn_programs.py has them


def _operations(lines: Sequence[Line]) -> set[str]:
    return {node.op for line in lines for node in walk(line.expr) if isinstance(node, Call)}


# The attack -----------------------------------------------------------------------------------


def notices(seeds: range = range(60)) -> bool:
    for seed in seeds:
        try:
            if compare(drawn(seed), seed, "foreach", large=False).excess > 1:
                return True
        except Exception:  # whatever a fault leads to, it is seen
            return True
    return False


def _one_block_short(rows: int, count: float) -> list[tuple[int, int]]:
    size = -(-rows // max(1, int(count)))
    return [(i, min(rows, i + size)) for i in range(0, rows, size)]


def _repeated_as_it_is(self: Any, name: Any, new: Any) -> None:
    tensors = self.homes[name.prev]
    matrices = new.expand(len(tensors), -1, -1) if isinstance(new, torch.Tensor) else tensors
    for tensor, matrix in zip(tensors, matrices, strict=True):
        if isinstance(new, torch.Tensor):
            tensor.copy_(matrix.mT.expand(tensor.numel(), 1).reshape(tensor.shape))


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (matrix_values, "row_blocks", _one_block_short),
        (matrix_values, "_DIMS", {"whole": (-2, -1), "row": (-2,), "column": (-1,)}),
        (segment_blocks, "finished", lambda line, gathered, sides: gathered),
        (matrix_step, "decided", lambda program, known: program.step[::-1]),
        (matrix_values, "_polar", lambda dtype, a, *numbers: a),
        (stack.Stack, "store", _repeated_as_it_is),
    ],
    ids=["blocks", "sides", "whole", "conditions", "polar", "stores"],
)
def test_faults_of_the_matrix_step_are_noticed(
    where: Any, name: str, wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, wrong)
    assert notices()


def test_the_simulator_knows_the_polar_factor() -> None:
    """Singular values near 1, vectors unchanged: the iteration against a decomposition."""
    from matrix_simulator import polar

    a = np.random.default_rng(0).normal(size=(5, 3))
    left, _, right = np.linalg.svd(a, full_matrices=False)
    for name in ("jordan", "quintic", "polar_express"):
        assert np.abs(left.T @ polar(a, name, None) @ right.T - np.eye(3)).max() < 0.35
