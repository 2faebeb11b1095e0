"""The transformer: sizes as published, causal, initialised as stated."""

from __future__ import annotations

import math

import pytest
import torch

from optzoo.train.model.transformer import Transformer


def tiny(**options: bool) -> Transformer:
    model = Transformer(
        vocabulary=19, width=16, layers=2, heads=2, hidden=32, max_length=12, **options
    )
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


def loss_and_gradients(model: Transformer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    tokens = torch.randint(0, 19, (3, 13), generator=torch.Generator().manual_seed(0))
    objective, _ = model(tokens[:, :-1], tokens[:, 1:], 1e-3)
    objective.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return objective.detach(), found


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    objective, gradients = loss_and_gradients(tiny())
    again, recomputed = loss_and_gradients(tiny(activation_checkpointing=True))
    assert torch.equal(objective, again)
    assert gradients.keys() == recomputed.keys() == {n for n, _ in tiny().named_parameters()}
    for name, gradient in gradients.items():
        assert torch.equal(gradient, recomputed[name]), name


def test_activation_checkpointing_keeps_less_for_the_backward_pass() -> None:
    kept = []
    for option in (False, True):
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor, seen: dict[int, int] = seen) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = tiny(activation_checkpointing=option)
        tokens = torch.zeros(8, 12, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(tokens, tokens)
        kept.append(sum(seen.values()))
    assert kept[1] < 0.5 * kept[0]


def test_the_loss_is_that_of_the_logits() -> None:
    model = tiny()
    tokens = torch.randint(0, 19, (3, 13), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(tokens[:, :-1]).flatten(0, 1)
        objective, nats = model(tokens[:, :-1], tokens[:, 1:])
    expected = torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(objective, expected)
    assert nats.shape == (36,)


def test_without_qk_norm_there_are_two_norms_fewer_in_a_block() -> None:
    assert tiny().count_parameters("norm") == (2 * 4 + 1) * 16
    assert tiny(qk_norm=False).count_parameters("norm") == (2 * 2 + 1) * 16
    loss_and_gradients(tiny(qk_norm=False))


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_the_model_is_one_graph_for_torch_compile(activation_checkpointing: bool) -> None:
    objective, gradients = loss_and_gradients(tiny())
    model = tiny(activation_checkpointing=activation_checkpointing)
    model.compile(backend="aot_eager", fullgraph=True)
    again, traced = loss_and_gradients(model)
    torch.testing.assert_close(objective, again)
    assert traced.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, traced[name])
