"""The reference as an engine: torch tensors in, Python float64 arithmetic, torch tensors out.

For comparing other engines with the definition; it is as slow as it is plain.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from optzoo.engines.engine import Batch
from optzoo.engines.torch_sides import sides_of
from optzoo.interpreters.reference import ReferenceDomain, Value
from optzoo.program.domain import evaluate, run_step
from optzoo.program.expressions import Name
from optzoo.program.ir import PARAM, Program
from optzoo.program.tensors.elements import Matrix, spread


def _elements(tensor: Tensor) -> Value:
    values: list[float] = tensor.detach().reshape(-1).to(torch.float64).tolist()
    rows, cols = sides_of(tensor)
    return tuple(values) if cols == 1 else Matrix(values, rows, cols)


def _tensor(value: Value, like: Tensor) -> Tensor:
    elements = spread(value, *sides_of(like))
    flat = torch.tensor([float(x) for x in elements], dtype=torch.float64)
    return flat.reshape(like.shape).to(like.device, like.dtype)


class ReferenceEngine:
    """Run a program with the reference interpreter; each store rounds once."""

    crosses_shards = False

    def __init__(self, program: Program) -> None:
        self.program = program
        self.domain = ReferenceDomain()

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        """Update the parameters and the buffers of a batch in place."""
        for i, (param, grad) in enumerate(zip(batch.params, batch.grads, strict=True)):
            if not param.numel():  # no element, no largest one: nothing happens to it
                continue
            buffers = {name: _elements(tensors[i]) for name, tensors in batch.buffers.items()}
            new, kept = run_step(
                self.program,
                self.domain,
                dict(scalars),
                _elements(param),
                _elements(grad),
                buffers,
            )
            param.copy_(_tensor(new, param))
            for name, value in kept.items():
                batch.buffers[name][i].copy_(_tensor(value, batch.buffers[name][i]))

    def view(self, view: str, batch: Batch, values: Mapping[Name, float]) -> list[Tensor]:
        """Return new tensors that hold a view."""
        result = []
        for i, param in enumerate(batch.params):
            names: dict[Name, Value] = dict(values)
            names |= {Name(name): _elements(t[i]) for name, t in batch.buffers.items()}
            names[PARAM] = _elements(param)
            expr = self.program.view(view).expr
            result.append(_tensor(evaluate(expr, self.domain, names), param))
        return result
