"""Drawn recipes of version 2: rows, columns, matrices, comparisons, refreshments, other sides.

As in test_drawn_programs.py: 120 recipes in every run, OPTZOO_FUZZ=2000 for more, each beside a
simulator of its own (`matrix_simulator`); and faults put into the engine, each of which must show.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from beside import SHAPES, TOTAL_STEPS, Problem, compare
from draw_matrices import draw_legal_matrices

import optzoo
from optzoo.engines.matrices import matrix_step, matrix_values, segment_blocks, stack
from optzoo.interpreters.cost import cost

COUNT = int(os.environ.get("OPTZOO_FUZZ", "40"))
CHUNK = 40
CHUNKS = pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
WORDS = (
    "sum( mean( largest( smallest( norm( row) column) block( rows cols size @ .T dot( diagonal( "
    "polar( jordan quintic polar_express take( order( where( mod( tanh( atan2( exp( log( ratio( "
    "positive( ** < > == refresh every offset first init identity polar: scale row0 column0 gram0"
)
"""What version 2 adds, all of which has to be drawn."""


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
def test_whatever_is_drawn_can_be_looked_at(first: int) -> None:
    for seed in range(first, first + CHUNK):
        recipe = optzoo.parse_recipe(drawn(seed))
        again = optzoo.parse_recipe(recipe.to_yaml())
        assert again.digest == recipe.digest
        program = recipe.trained_program()
        bill = cost(program)
        assert bill.state_bytes() + bill.other_bytes(8, 5) > 0 or not program.tensor_states
        assert program.text() in again.trained_program().text()
        if seed % 10 == 0:
            assert optzoo.describe(recipe).sentence


@CHUNKS
def test_a_saved_state_goes_on_bit_for_bit(first: int) -> None:
    for seed in range(first, first + CHUNK, 4):
        problem = Problem.drawn(seed, SHAPES)
        recipe = optzoo.parse_recipe(drawn(seed))
        ends = []
        for is_interrupted in (False, True):
            params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in problem.starts]
            optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
            for step, grads in enumerate(problem.gradients, 1):
                if is_interrupted and step in (2, 6):
                    saved = optimizer.state_dict()
                    optimizer = recipe.build(params, engine="foreach", total_steps=TOTAL_STEPS)
                    optimizer.load_state_dict(saved)
                for p, g in zip(params, grads, strict=True):
                    p.grad = None if g is None else torch.from_numpy(g)
                optimizer.step()
            ends.append([p.detach().nan_to_num() for p in params])
        assert all(map(torch.equal, *ends)), f"seed {seed}\n{recipe.text}"


def test_most_of_what_is_drawn_is_legal_and_every_word_is_drawn() -> None:
    texts, refused = zip(*(draw_legal_matrices(Random(seed)) for seed in range(250)), strict=True)
    assert sum(map(len, refused)) < 150
    everything = "\n".join(texts)
    assert not [word for word in WORDS.split() if word not in everything]


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
