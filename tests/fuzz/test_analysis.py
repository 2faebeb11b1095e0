"""Drawn recipes: what describe, equiv and convert say of them is what the reference does.

300 recipes in every run, OPTZOO_FUZZ=10000 for more; each check takes its share of them.
"""

from __future__ import annotations

import os
from random import Random

import analysis
import pytest
from draw import draw_legal

import optzoo

COUNT = int(os.environ.get("OPTZOO_FUZZ", "300"))
CHUNK = 60
CHUNKS = pytest.mark.parametrize("first", range(0, COUNT, CHUNK))


@CHUNKS
def test_coefficients_are_the_response_of_the_reference(first: int) -> None:
    recipes = [analysis.draw_linear(Random(seed)) for seed in range(first, first + CHUNK, 2)]
    said = [analysis.check_coefficients(r, warmup=i % 2 == 0) for i, r in enumerate(recipes)]
    assert sum(said) > len(said) // 3


@CHUNKS
def test_everything_can_be_printed(first: int) -> None:
    for seed in range(first, first + CHUNK, 5):
        analysis.check_words(optzoo.parse_recipe(draw_legal(Random(seed))[0]))


@CHUNKS
def test_a_recipe_written_otherwise_is_the_same(first: int) -> None:
    seeds = range(first + 1, first + CHUNK, 4)
    said = [analysis.check_same(draw_legal(Random(s))[0], Random(s)) for s in seeds]
    assert sum(said) > len(seeds) // 2


@CHUNKS
def test_a_recipe_with_a_number_moved_is_another(first: int) -> None:
    seeds = range(first + 2, first + CHUNK, 3)
    said = [analysis.check_different(draw_legal(Random(s))[0], Random(s)) for s in seeds]
    assert sum(said) > len(seeds) // 4


@CHUNKS
def test_what_is_converted_trains_as_its_source(first: int) -> None:
    written = 0
    for seed in range(first, first + CHUNK, 4):
        written += analysis.check_conversion(analysis.draw_linear(Random(seed + 2)))
        written += analysis.check_conversion(optzoo.parse_recipe(draw_legal(Random(seed + 1))[0]))
    assert written > 0
