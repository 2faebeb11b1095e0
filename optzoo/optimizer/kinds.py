"""What the parameters of a model are: matrix, embedding, head, norm or bias.

The one place for this fact. A model tells by the types of its modules; names of parameters tell
some of it; a bare tensor has a number of axes only, and with fewer than two it may be a norm or a
bias. A parameter of several modules (a tied embedding and head) is an embedding if any of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from optzoo.recipe.routes import Subject

BARE = ("norm", "bias")
"""What a tensor with fewer than two axes may be where nothing tells."""
HEADS = frozenset(
    [
        *("head", "heads", "lm_head", "embed_out", "output", "output_layer", "unembed"),
        *("unembedding", "classifier", "score", "logits", "fc", "decoder"),
    ]
)
"""Names, outside of numbered blocks, of linear maps that make a model's output."""
_CONTAINERS = frozenset(["head", "heads", "classifier"])
"""Names of outermost modules whose last linear map does."""
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_EMBEDDING = re.compile(
    r"embed|(?:^|_)(?:wte|wpe|emb)(?:$|_)|(?:cls|pos|mask)_token", re.IGNORECASE
)
_NORM = re.compile(r"norm|(?:^|_)(?:ln|bn|gn)(?:\d|$|_)", re.IGNORECASE)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_PARALLEL = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")
_PRECEDENCE = ("embedding", "head", "norm", "bias", "matrix")
"""What a parameter of several modules is: the first of these that one of them makes it."""


def subjects_of(model: nn.Module) -> Iterator[tuple[Subject, nn.Parameter]]:
    """Yield the parameters of a model as `named_parameters` does, each with what it is.

    Names are without the prefixes of torch.compile and of wrappers that shard or checkpoint.
    """
    inner = _unwrapped(model)
    head = {id(weight) for weight in _head_weights(inner)}
    found: dict[nn.Parameter, list[tuple[str, tuple[str, ...]]]] = {}
    for path, module in inner.named_modules(remove_duplicate=False):
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = plain_name(f"{path}.{own}" if path else own)
            kinds = _kinds_in(module, name, own, parameter, id(parameter) in head)
            found.setdefault(parameter, []).append((name, kinds))
    for _, parameter in inner.named_parameters():
        if parameter in found:
            uses = found[parameter]
            kinds = min((kinds for _, kinds in uses), key=lambda k: _PRECEDENCE.index(k[0]))
            yield Subject(uses[0][0], kinds, parameter.ndim), parameter


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of what torch.compile and data parallelism have put around it."""
    while True:
        inner = model.module if type(model).__name__ in _PARALLEL else model
        inner = getattr(inner, "_orig_mod", inner)
        assert isinstance(inner, nn.Module)
        if inner is model:
            return model
        model = inner


def subject_of(name: str | None, parameter: Tensor) -> Subject:
    """Return what a parameter is by its name, if it has one, and its number of axes."""
    rank = parameter.ndim
    if name is None:
        return Subject(None, ("matrix",) if rank > 1 else BARE, rank)
    name = plain_name(name).removeprefix("module.")  # of DistributedDataParallel
    *owners, own = name.split(".")
    owner = owners[-1] if owners else ""
    if rank < 2 and any(map(_NORM.search, owners[-1:] or [own])):
        return Subject(name, ("norm",), rank)
    if rank < 2 or "bias" in own:
        return Subject(name, ("bias",) if "bias" in own else BARE, rank)
    if _is_head(owners):
        return Subject(name, ("head",), rank)
    is_embedding = _EMBEDDING.search(owner) or _EMBEDDING.search(own)
    return Subject(name, ("embedding",) if is_embedding else ("matrix",), rank)


def plain_name(name: str) -> str:
    """Return the name of a parameter without the prefixes of wrappers."""
    return _WRAPPERS.sub("", name)


def _kinds_in(
    module: nn.Module, name: str, own: str, parameter: Tensor, is_head: bool
) -> tuple[str, ...]:
    """Return what a parameter is as one of this module, which calls it `own`."""
    if isinstance(module, _EMBEDDINGS):
        return ("embedding",)
    sides = () if is_lazy(parameter) else parameter.shape
    is_vector = sum(side > 1 for side in sides) < 2  # (1, C, 1, 1) is one too
    is_named_norm = "norm" in type(module).__name__.lower() and is_vector
    if isinstance(module, _NORMS) or is_named_norm:
        return ("norm",)
    if parameter.ndim < 2 or "bias" in own:
        return ("bias",) if "bias" in own else BARE
    if is_head:
        return ("head",)
    known = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    told = subject_of(name, parameter).kinds
    return told if told == ("embedding",) and not known else ("matrix",)


def _is_head(owners: list[str]) -> bool:
    if not owners or any(map(str.isdecimal, owners)):
        return False
    return owners[-1] in HEADS or owners[0] in _CONTAINERS


def _head_weights(model: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of the maps that make a model's output: by name, or onto a vocabulary."""
    output = getattr(model, "get_output_embeddings", None)  # of Hugging Face's models
    with suppress(NotImplementedError, AttributeError):
        told = output() if callable(output) else None
        if isinstance(told, nn.Module):
            yield from (weight for weight in told.parameters() if weight.ndim > 1)
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    words = max(tables, key=lambda table: table.num_embeddings, default=None)
    last: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        owners = plain_name(path).split(".")
        if not isinstance(module, nn.Linear):
            continue
        if owners[0] in _CONTAINERS:
            last[owners[0]] = module.weight
        if len(owners) > 1 and any(map(str.isdecimal, owners)):  # one of the blocks
            continue
        sides = (module.out_features, module.in_features)
        if words is not None and sides == (words.num_embeddings, words.embedding_dim):
            last["onto the vocabulary"] = module.weight
        if owners[-1] in HEADS:
            yield module.weight
    yield from last.values()
