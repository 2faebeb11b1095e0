"""The run of the README: it learns more than a trigram model of the same bytes knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from commands import Done, optzoo

from optzoo.data.corpus import VOCABULARY, Corpus, read_standard_library

pytestmark = pytest.mark.slow
MARGIN = 0.15  # nats per token


def interpolated_trigram_loss(corpus: Corpus) -> float:
    """Nats per token of a trigram model backed off to bigram, unigram and uniform.

    Each order is smoothed with the next lower one by Witten and Bell's rule.
    """
    size = VOCABULARY
    train = corpus.train.tokens.astype(np.int64)
    test = corpus.held_out.tokens.astype(np.int64)

    def counts(stream: npt.NDArray[np.int64], order: int) -> npt.NDArray[np.int64]:
        key = np.zeros(len(stream) - order + 1, dtype=np.int64)
        for i in range(order):
            key = key * size + stream[i : len(stream) - order + 1 + i]
        return key

    probability = np.full(len(test) - 2, 1 / size)
    for order in (1, 2, 3):
        grams = np.bincount(counts(train, order), minlength=size**order)
        by_context = grams.reshape(-1, size)
        total, kinds = by_context.sum(1), (by_context > 0).sum(1)
        key = counts(test, order)[3 - order :]
        context = key // size
        weight = total[context] / np.maximum(1, total[context] + kinds[context])
        seen = grams[key] / np.maximum(1, total[context])
        probability = weight * seen + (1 - weight) * probability
    return float(-np.log(probability).mean())


def result(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((path / "result.json").read_text())
    return loaded


def test_the_run_of_the_readme(quick_run: tuple[Path, Done]) -> None:
    """One test, because one run of more than a minute serves all of it."""
    path, done = quick_run
    trigram = interpolated_trigram_loss(read_standard_library())
    assert 1.5 < trigram < 2.0  # the yardstick itself
    loss = result(path)["views"]["eval"]["nats_per_token"]
    assert loss < trigram - MARGIN, f"{loss:.3f} against {trigram:.3f}"

    again = json.loads(optzoo("eval", str(path), "--json").stdout)
    assert again["views"]["eval"] == result(path)["views"]["eval"]

    assert "tokens/s" in done.stderr
    assert "held-out loss" in done.stderr
    assert "sample, drawn from the evaluated weights" in done.stdout
    assert f"optzoo eval {path}" in done.stdout
