"""The eager engine: no compiler, every device, bounded temporaries.

On CPU a step walks memory in blocks that fit the cache (`foreach_blocks`). Elsewhere lists of
tensors go through torch's multi-tensor operations, `LIST_ELEMENTS` at a time: a round holds at most
one temporary of that size per operation of the program, and no copy of the model is ever made. (One
tensor larger than that is worked on whole where the program has norms or its layouts differ, and so
are the shards of a program with norms, whose processes must meet in the same order.)

Arithmetic has the dtype of the parameters, float32 or float64. In lists, element i is shaped like
parameter i; nothing crosses from one element to another, and `norm` reduces within one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from optzoo.engines.blocks import BlockStep
from optzoo.engines.elementwise import NEWER
from optzoo.engines.engine import Batch
from optzoo.engines.matrices.matrix_step import MatrixStep
from optzoo.engines.matrices.segment_blocks import SegmentBlocks
from optzoo.program.arithmetic import FLOAT
from optzoo.program.domain import evaluate, run_step
from optzoo.program.expressions import Name
from optzoo.program.ir import PARAM, Program
from optzoo.program.ops import Scope

LIST_ELEMENTS = 1 << 24
"""Elements that one round of multi-tensor operations works on: 64 MiB of float32 a temporary."""

PLAIN = (Tensor, torch.nn.Parameter)
"""Tensors with memory of their own, which can be walked; fake ones, for one, have none."""

Tensors = list[Tensor] | tuple[Tensor, ...]
Value = float | Tensors


def _sub(a: Value, b: Value) -> Value:
    if isinstance(a, list | tuple):
        return torch._foreach_sub(a, b)
    assert isinstance(b, list | tuple)
    return torch._foreach_add(torch._foreach_neg(b), a)


def _div(a: Value, b: Value) -> Value:
    if isinstance(a, list | tuple):
        return torch._foreach_div(a, b)
    assert isinstance(b, list | tuple)
    return torch._foreach_mul(torch._foreach_reciprocal(b), a)


def _commutative(function: Callable[..., Value]) -> Callable[[Value, Value], Value]:
    def apply(a: Value, b: Value) -> Value:
        return function(a, b) if isinstance(a, list | tuple) else function(b, a)

    return apply


def _fold(function: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    def apply(*args: Value) -> Value:
        result, *rest = args
        for arg in rest:
            result = function(result, arg)
        return result

    return apply


def _each(rule: Callable[..., Tensor]) -> Callable[..., Value]:
    """Return a rule that is applied tensor by tensor: torch has no multi-tensor call for it."""

    def apply(*args: Value) -> Value:
        count = next(len(arg) for arg in args if isinstance(arg, list | tuple))
        rows = [arg if isinstance(arg, list | tuple) else [arg] * count for arg in args]
        return [rule(*row) for row in zip(*rows, strict=True)]

    return apply


_minimum = _commutative(lambda a, b: torch._foreach_clamp_max(a, b))
_maximum = _commutative(lambda a, b: torch._foreach_clamp_min(a, b))

_RULES: dict[str, Callable[..., Value]] = {
    "add": _commutative(lambda a, b: torch._foreach_add(a, b)),
    "sub": _sub,
    "mul": _commutative(lambda a, b: torch._foreach_mul(a, b)),
    "div": _div,
    "neg": lambda a: torch._foreach_neg(a),
    "square": lambda a: torch._foreach_mul(a, a),
    "sqrt": lambda a: torch._foreach_sqrt(a),
    "abs": lambda a: torch._foreach_abs(a),
    "sign": lambda a: torch._foreach_sign(a),
    "min": _fold(_minimum),
    "max": _fold(_maximum),
    "norm": lambda a: list(torch._foreach_norm(a)),
    **{op: _each(rule) for op, rule in NEWER.items()},
}


class ForeachDomain:
    """Floats and lists of tensors; see the module docstring.

    Where tensors are spread over processes, `whole_norms` makes norms of whole tensors from those
    of this process's shards.
    """

    def __init__(
        self, whole_norms: Callable[[Sequence[Tensor]], list[Tensor]] | None = None
    ) -> None:
        self.whole_norms = whole_norms

    def number(self, value: Fraction) -> Value:
        """Return the nearest float64."""
        return float(value)

    def apply(self, op: str, args: Sequence[Value]) -> Value:
        """Apply an operation to numbers on the host, or to lists of tensors."""
        if not any(isinstance(arg, list | tuple) for arg in args):
            return FLOAT[op](*args)
        if op in ("min", "max"):  # numbers meet first, so that a fold starts with a tensor
            args = sorted(args, key=lambda arg: not isinstance(arg, list | tuple))
        value = _RULES[op](*args)
        if op == "norm" and self.whole_norms is not None:
            assert isinstance(value, list | tuple)
            return self.whole_norms(value)
        return value


class ForeachEngine:
    """Run a program eagerly; see the module docstring."""

    crosses_shards = True

    def __init__(self, program: Program) -> None:
        self.program = program
        self.domain = ForeachDomain()
        self.blocks = BlockStep(program) if program.is_flat else None
        self.matrices = None if program.is_flat else MatrixStep(program)
        self.matrix_blocks = None if program.is_flat else MatrixStep(program, SegmentBlocks())

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        param = batch.params[0]
        has_cache = param.device.type == "cpu" and type(param) in PLAIN
        if self.matrix_blocks is not None and has_cache:
            self.matrix_blocks.step(batch, scalars)
        elif self.matrices is not None:
            self.matrices.step(batch, scalars)
        elif self.blocks is not None and has_cache:
            self.blocks.step(batch, scalars)
        elif batch.shards is not None and self.program.scope is not Scope.ELEMENTWISE:
            self._step_round(batch, scalars)  # processes meet in the same order
        else:
            self.step_lists(batch, scalars)

    def step_lists(
        self, batch: Batch, scalars: Mapping[Name, float], elements: int = LIST_ELEMENTS
    ) -> None:
        """Take the step with multi-tensor operations on up to `elements` elements at a time.

        A tensor with more elements is cut into flat views where the program allows: without norms,
        and where the layouts of its slots agree. Otherwise it is worked on whole.
        """
        may_cut = self.program.scope is Scope.ELEMENTWISE
        for part in _rounds(batch, elements, may_cut=may_cut):
            self._step_round(part, scalars)

    def _step_round(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        dtype = batch.params[0].dtype
        grads = [grad if grad.dtype == dtype else grad.to(dtype) for grad in batch.grads]
        values: dict[Name, Value] = dict(scalars)
        buffers: dict[str, Value] = dict(batch.buffers)
        domain = ForeachDomain(batch.shards.whole_norms if batch.shards else None)
        param, kept = run_step(self.program, domain, values, batch.params, grads, buffers)
        homes = [batch.params, *(batch.buffers[name] for name in kept)]
        stored = []
        for home, new in zip(homes, [param, *kept.values()], strict=True):
            if any(new is other for other in homes):  # read before any of them is written
                assert isinstance(new, list | tuple)
                new = [tensor.clone() for tensor in new]
            stored.append((home, new))
        for home, new in stored:
            if isinstance(new, list | tuple):
                torch._foreach_copy_(home, new)
            else:
                for tensor in home:
                    tensor.fill_(new)

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view."""
        names: dict[Name, Value] = {**values, **{Name(n): b for n, b in batch.buffers.items()}}
        names[PARAM] = batch.params
        result = evaluate(self.program.view(view).expr, self.domain, names)
        assert isinstance(result, list | tuple)
        return [r.clone() if r is p else r for r, p in zip(result, batch.params, strict=True)]


def _rounds(batch: Batch, elements: int, *, may_cut: bool) -> Iterator[Batch]:
    """Yield parts of a batch of about `elements` elements, the tensors too large for one cut up."""
    names = list(batch.buffers)
    waiting: list[tuple[Tensor, ...]] = []
    size = 0
    for slots in zip(batch.params, batch.grads, *batch.buffers.values(), strict=True):
        whole = slots[0].numel()
        pieces: Iterable[tuple[Tensor, ...]] = [slots]
        if may_cut and whole > elements and all(t.is_contiguous() for t in slots):
            pieces = zip(*(t.detach().view(-1).split(elements) for t in slots), strict=True)
        for piece in pieces:
            if waiting and size + piece[0].numel() > elements:
                yield _gather(waiting, names)
                waiting, size = [], 0
            waiting.append(piece)
            size += piece[0].numel()
    if waiting:
        yield _gather(waiting, names)


def _gather(pieces: Sequence[tuple[Tensor, ...]], names: Sequence[str]) -> Batch:
    params, grads, *buffers = map(list, zip(*pieces, strict=True))
    return Batch(params, grads, dict(zip(names, buffers, strict=True)))
