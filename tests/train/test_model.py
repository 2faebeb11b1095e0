"""The transformer: sizes as published, causal, initialised as stated."""

from __future__ import annotations

import math

import pytest
import torch

from optzoo.train.model import Transformer


def tiny() -> Transformer:
    model = Transformer(vocabulary=19, width=16, layers=2, heads=2, hidden=32, max_length=12)
    model.initialize(0)
    return model


@pytest.mark.parametrize(
    ("layers", "matrices", "norms", "total"),
    [(12, 150_994_944, 50_176, 216_843_264), (24, 301_989_888, 99_328, 367_887_360)],
)
def test_parameter_counts_of_the_paper_models(
    layers: int, matrices: int, norms: int, total: int
) -> None:
    with torch.device("meta"):
        model = Transformer(
            vocabulary=32_128, width=1024, layers=layers, heads=16, hidden=4096, max_length=1024
        )
    counts: dict[str, int] = {}
    for _, kind, parameter in model.classified_parameters():
        counts[kind] = counts.get(kind, 0) + parameter.numel()
    assert counts["matrix"] == matrices
    assert counts["norm"] == norms
    assert sum(counts.values()) == total


def test_logits_do_not_see_the_future() -> None:
    model = tiny()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 19, (3, 12), generator=generator)
    with torch.no_grad():
        before = model(tokens)
        for t in range(1, 12):
            changed = tokens.clone()
            changed[:, t:] = (changed[:, t:] + 1) % 19
            after = model(changed)
            torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-6)
            assert not torch.allclose(after[:, t], before[:, t], atol=1e-4)


def test_positions_matter_and_only_relative_ones() -> None:
    model = tiny()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        swapped = model(torch.tensor([[2, 1, 3, 4, 5, 6]]))[0, -1]
        assert not torch.allclose(swapped, model(tokens)[0, -1], atol=1e-4)


def test_initialisation() -> None:
    model = Transformer(vocabulary=200, width=128, layers=3, heads=4, hidden=512, max_length=8)
    model.initialize(3)
    model.requires_grad_(False)
    for name, kind, parameter in model.classified_parameters():
        if kind == "norm":
            assert bool((parameter == 1).all())
            continue
        std = 1 / math.sqrt(parameter.shape[1])
        if name.split(".")[-2] in ("attention_out", "mlp_down"):
            std /= math.sqrt(2 * (int(name.split(".")[1]) + 1))
        assert float(parameter.abs().max()) <= 3 * std
        # cutting a normal at three deviations leaves 0.9866 of its deviation
        assert float(parameter.std()) == pytest.approx(0.9866 * std, rel=0.03)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    one, two = tiny(), tiny()
    torch.manual_seed(123)
    three = tiny()
    for a, b, c in zip(one.parameters(), two.parameters(), three.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    three.initialize(1)
    assert not torch.equal(one.head.weight, three.head.weight)
