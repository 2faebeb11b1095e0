"""Ways to run a program that users reach only on other devices, as engines for the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from optzoo.engines.compiled import CompiledEngine
from optzoo.engines.engine import Batch
from optzoo.engines.foreach import ForeachEngine
from optzoo.engines.gpu_kernel import DeviceKernel, DeviceTable
from optzoo.engines.render.python import step_source
from optzoo.program.arithmetic import FloatDomain
from optzoo.program.domain import evaluate
from optzoo.program.expressions import Name
from optzoo.program.ir import Program


class ListsEngine(ForeachEngine):
    """What `foreach` does off the CPU: multi-tensor operations, here on 200 elements at once."""

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        self.step_lists(batch, scalars, elements=200)


class SourceEngine(ForeachEngine):
    """The generated source of a step, run as it reads."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.source = step_source(program)
        namespace: dict[str, Any] = {}
        exec(self.source.text, namespace)
        self.function = namespace[self.source.name]

    def step(self, batch: Batch, scalars: Mapping[Name, float]) -> None:
        numbers = [evaluate(expr, FloatDomain(), scalars) for expr in self.source.coefficients]
        coefficients = torch.tensor(numbers, dtype=batch.params[0].dtype)
        slots: list[list[Tensor]] = [batch.params, batch.grads]
        slots += [batch.buffers[name] for name in self.source.buffers]
        for tensors in zip(*slots, strict=True):
            self.function(*tensors, coefficients)


class DeviceEngine(CompiledEngine):
    """The Triton kernels, which run on the CPU where Triton interprets them."""

    kinds: ClassVar[Any] = {"cpu": (DeviceTable, DeviceKernel)}


ENGINES = {
    "triton": "drawn_engines:DeviceEngine",
    "lists": "drawn_engines:ListsEngine",
    "source": "drawn_engines:SourceEngine",
}
