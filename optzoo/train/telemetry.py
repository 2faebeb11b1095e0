"""What is measured beside the losses, at every `metrics.every`-th step: updates, speed, memory.

Reading only: measuring never changes what is trained. The size of an update is a function of the
run and is resumed bit for bit; speed and memory are not, and are kept on lines of their own.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optzoo.distributed.sharding import whole
from optzoo.train.noise import signal_and_noise, squared_norm
from optzoo.train.setup.hardware import Accelerator, flops_utilisation, recognise
from optzoo.train.setup.schema import Setup
from optzoo.train.setup.size import flops_per_token


class Telemetry:
    """Measures the steps of a run; `vocabulary` is that of its corpus."""

    def __init__(self, setup: Setup, vocabulary: int, parameters: Sequence[nn.Parameter]) -> None:
        self._setup = setup
        self._parameters = parameters
        self._flops = flops_per_token(setup, vocabulary)
        self._device = _accelerator(setup)
        self._due = False
        self._began = 0.0
        self._seconds = 0.0
        self._steps = 0
        self._changes: dict[str, float] = {}
        self._part: tuple[float, float] | None = None

    def start(self, number: int) -> None:
        """Begin step `number`, counted from 1."""
        self._due = number % self._setup.metrics.every == 0 or number == self._setup.num_steps
        self._changes = {}
        self._part = None
        self._began = time.perf_counter()

    def measure_part(self, share: float) -> None:
        """Where due, take the squared norm of the gradient so far: of this share of the batch."""
        if self._due:
            found = squared_norm(parameter.grad for parameter in self._parameters)
            self._part = (share, found / share**2)

    def measure_noise(self, norm: float) -> None:
        """Where a part was measured, tell signal from noise; `norm` is that of the whole batch."""
        if self._part is not None:
            share, small = self._part
            tokens = self._setup.batch.tokens
            self._changes |= signal_and_noise(small, norm**2, round(share * tokens), tokens)

    @contextlib.contextmanager
    def update(self) -> Iterator[None]:
        """Surround the optimizer's step: where due, measure how far it moves the parameters."""
        if not self._due:
            yield
            return
        before = [parameter.detach().clone() for parameter in self._parameters]
        yield
        self._changes["update_rms"] = root_mean_square(
            [p.detach() - old for p, old in zip(self._parameters, before)]
        )

    def changes(self) -> dict[str, float]:
        """Return what belongs on the line of this step."""
        return self._changes

    def finish(self) -> dict[str, Any]:
        """End the step; where due, return the speed since the last time, and the peak memory.

        `tokens_per_second` leaves evaluations and checkpoints out. `mfu` is there when the device
        is in the table of `optzoo.train.setup.hardware`, and of each device where there are
        several.
        """
        self._seconds += time.perf_counter() - self._began
        self._steps += 1
        if not self._due:
            return {}
        speed = self._steps * self._setup.batch.tokens / max(self._seconds, 1e-9)
        self._steps, self._seconds = 0, 0.0
        found: dict[str, Any] = {"tokens_per_second": speed}
        if self._device is not None:
            share = speed / _world_size()
            found["mfu"] = flops_utilisation(share, self._flops, self._device.peak)
        memory = peak_memory(self._setup.execution.device)
        return found if memory is None else {**found, "memory_bytes": memory}


def root_mean_square(tensors: Sequence[Tensor]) -> float:
    """Return the root of the mean square over all elements of all tensors, sharded ones too."""
    norm = whole(nn.utils.get_total_norm(tensors))
    return float(norm) / math.sqrt(max(1, sum(t.numel() for t in tensors)))


def peak_memory(device: str) -> int | None:
    """Return the most bytes held so far: of the GPU's allocator, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _accelerator(setup: Setup) -> Accelerator | None:
    """Return the GPU in the table of peaks; none for a CPU, and none outside bfloat16."""
    if setup.execution.device != "cuda" or setup.execution.precision != "bfloat16":
        return None
    return recognise(torch.cuda.get_device_name())


def _world_size() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_initialized() else 1
