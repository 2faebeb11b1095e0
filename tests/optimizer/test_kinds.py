"""What parameters of models that are not ours are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import optzoo
from optzoo.optimizer.kinds import subject_of, subjects_of


class RMSNormLike(nn.Module):
    """A norm of someone else's, told by the name of its class."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2)
        self.norm2 = RMSNormLike(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.gamma = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(width, width)  # of attention: in a numbered block


class Model(nn.Module):
    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 6)
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 6))
        self.patch_embed = nn.Conv2d(3, 6, 2)
        self.blocks = nn.ModuleList([Block(6)])
        self.bn = nn.BatchNorm1d(6)
        self.lm_head = nn.Linear(6, 11)
        if tied:
            self.lm_head.weight = self.wte.weight


EXPECTED = {
    "wte.weight": "embedding",
    "pos_embed": "embedding",
    "patch_embed.weight": "matrix",
    "patch_embed.bias": "bias",
    "blocks.0.ln_1.weight": "norm",
    "blocks.0.ln_1.bias": "norm",
    "blocks.0.attention.in_proj_weight": "matrix",
    "blocks.0.attention.in_proj_bias": "bias",
    "blocks.0.attention.out_proj.weight": "matrix",
    "blocks.0.attention.out_proj.bias": "bias",
    "blocks.0.norm2.scale": "norm",
    "blocks.0.mlp.0.weight": "matrix",
    "blocks.0.mlp.0.bias": "bias",
    "blocks.0.mlp.2.weight": "matrix",
    "blocks.0.mlp.2.bias": "bias",
    "blocks.0.gamma": "norm or bias",
    "blocks.0.head.weight": "matrix",
    "blocks.0.head.bias": "bias",
    "bn.weight": "norm",
    "bn.bias": "norm",
    "lm_head.weight": "head",
    "lm_head.bias": "bias",
}


def kinds(model: nn.Module) -> dict[str, str]:
    return {str(what.name): " or ".join(what.kinds) for what, _ in subjects_of(model)}


def test_modules_tell_what_their_parameters_are() -> None:
    assert kinds(Model(tied=False)) == EXPECTED


def test_a_tied_head_is_an_embedding_and_counts_once() -> None:
    tied = {name: kind for name, kind in EXPECTED.items() if name != "lm_head.weight"}
    assert kinds(Model(tied=True)) == tied


def test_the_order_is_that_of_named_parameters() -> None:
    model = Model(tied=True)
    found = [(str(what.name), parameter) for what, parameter in subjects_of(model)]
    expected = list(model.named_parameters())
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(a is b for (_, a), (_, b) in zip(found, expected, strict=True))


def test_names_alone_tell_most_of_it() -> None:
    told = {
        name: " or ".join(subject_of(name, parameter).kinds)
        for name, parameter in Model(tied=False).named_parameters()
    }
    differing = {name for name, kind in EXPECTED.items() if told[name] != kind}
    assert differing == {"patch_embed.weight"}  # the name of its module says embedding


def test_bare_tensors_tell_their_rank() -> None:
    ranks = [subject_of(None, torch.zeros([2] * rank)).kinds for rank in range(4)]
    assert ranks == [("norm", "bias"), ("norm", "bias"), ("matrix",), ("matrix",)]


def test_the_map_onto_the_vocabulary_is_the_head_whatever_it_is_called() -> None:
    model = nn.Sequential()
    model.add_module("tokens", nn.Embedding(11, 6))
    model.add_module("out", nn.Linear(6, 11))
    assert kinds(model) == {"tokens.weight": "embedding", "out.weight": "head", "out.bias": "bias"}
    assert kinds(nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11)))["1.weight"] == "head"


def test_the_last_map_of_a_classifier_is_the_head() -> None:
    model = nn.Module()
    model.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    model.classifier = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    assert kinds(model) == {
        "features.0.weight": "matrix",
        "features.0.bias": "bias",
        "features.1.weight": "norm",
        "features.1.bias": "norm",
        "classifier.0.weight": "matrix",
        "classifier.0.bias": "bias",
        "classifier.2.weight": "head",
        "classifier.2.bias": "bias",
    }


def test_a_decoder_of_blocks_is_no_head() -> None:
    model = nn.Transformer(d_model=4, nhead=2, dim_feedforward=8, batch_first=True)
    assert "head" not in set(kinds(model).values())


def test_hugging_face_models_say_what_their_head_is() -> None:
    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.project = nn.Linear(3, 3), nn.Linear(3, 7)

        def get_output_embeddings(self) -> nn.Module:
            return self.project

    assert kinds(Told())["project.weight"] == "head"


def test_a_table_of_positions_makes_no_head() -> None:
    model = nn.Module()
    model.words, model.positions = nn.Embedding(11, 4), nn.Embedding(6, 4)
    model.widen, model.out = nn.Linear(4, 6), nn.Linear(4, 11)
    found = kinds(model)
    assert (found["widen.weight"], found["out.weight"]) == ("matrix", "head")


def test_biases_of_experts_and_norms_of_channels_are_no_matrices() -> None:
    class ChannelNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 4, 1, 1))

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.up_bias = (
                nn.Parameter(torch.ones(2, 3, 4)),
                nn.Parameter(torch.ones(2, 4)),
            )

    found = kinds(nn.ModuleDict({"a": ChannelNorm(), "b": Experts()}))
    assert found == {"a.weight": "norm", "b.up": "matrix", "b.up_bias": "bias"}
    assert subject_of("b.up_bias", torch.ones(2, 4)).kinds == ("bias",)
    assert subject_of("module.wte.weight", torch.ones(2, 4)).name == "wte.weight"


def test_wrappers_leave_names_and_kinds_alone() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._orig_mod = Model(tied=False)

    assert kinds(Wrapped()) == EXPECTED


def test_the_table_of_a_model() -> None:
    model = Model(tied=True)
    table = optzoo.routes("adamw", model)
    assert [row.name for row in table] == [name for name, _ in model.named_parameters()]
    assert {row.rule for row in table} == {"here"}
    first: Tensor = model.wte.weight
    assert (table[1].kind, table[1].shape, table[1].size) == ("embedding", tuple(first.shape), 66)
    lines = str(table).splitlines()
    assert lines[0].split() == ["name", "kind", "shape", "rule", "program"]
    assert lines[2].split() == ["wte.weight", "embedding", "11", "x", "6", "here", "adamw"]


def rules(params: Any) -> list[tuple[str, str]]:
    return [(row.name, row.rule) for row in optzoo.routes("muon", params)]


def test_the_table_takes_what_build_takes() -> None:
    model = Model(tied=False)
    compiled = torch.compile(model, backend="eager")
    assert rules(compiled) == rules(model)
    named = list(model.named_parameters())
    wanted = rules(named)  # less is known of them than of the model
    assert {rule for _, rule in wanted} == {"here", "adamw"}
    for given in (
        compiled.named_parameters(),
        [("module." + name, p) for name, p in named],
        [{"params": named[:3]}, {"params": iter(named[3:]), "lr": 0.1}],
        optzoo.load_recipe("muon").build(named).param_groups,
    ):
        assert rules(given) == wanted
    (row,) = optzoo.routes("muon", [{"params": torch.ones(2, 3)}])
    assert (row.name, row.rule) == ("parameter 0", "here")


@pytest.mark.parametrize("given", [{"a": torch.ones(2)}, "model", 3, torch.ones(2), [nn.ReLU()]])
def test_what_is_neither_a_model_nor_parameters_is_told(given: object) -> None:
    with pytest.raises(optzoo.InputError, match="is neither a model nor parameters"):
        optzoo.routes("muon", given)
