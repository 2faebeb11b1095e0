"""The stopwatch and the protocol: things are measured in turn, round after round.

Machines are never quiet. What is compared runs side by side in one process, A B C A B C, so that a
slow moment hits all; medians and quartiles are over rounds, and ratios are medians of the ratios
within each round. Nothing here knows what is measured.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

Work = Callable[[], None]
Stopwatch = Callable[[Work], float]
"""Runs some work and returns the seconds it took."""


@dataclass(frozen=True)
class Timing:
    """Seconds per step: of each round, and of each warm-up step."""

    rounds: Sequence[float]
    warmup: Sequence[float] = field(default=())

    @property
    def median(self) -> float:
        """The median over rounds."""
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the rounds was faster than the first, a quarter slower than the second."""
        if len(self.rounds) == 1:
            return self.rounds[0], self.rounds[0]
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return low, high

    @property
    def startup(self) -> float:
        """What the warm-up took beyond its steps: compiling, and creating state late."""
        return max(0.0, sum(self.warmup) - len(self.warmup) * self.median)

    def ratio(self, other: Timing) -> float:
        """Return how many times as long as the other, the median over rounds."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def cpu_stopwatch(work: Work) -> float:
    """Time work on the CPU."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cuda_stopwatch(work: Work) -> float:
    """Time work on the current CUDA device between two events, launches included."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def processor_stopwatch(work: Work) -> float:
    """Time work by the processor time it used: with one thread, others do not disturb it."""
    start = time.process_time()
    work()
    return time.process_time() - start


def stopwatch_for(device: str, clock: str) -> Stopwatch:
    """Return the stopwatch for a device, `cpu` or `cuda`, and a clock, `wall` or `processor`."""
    if device == "cuda":
        return cuda_stopwatch
    return processor_stopwatch if clock == "processor" else cpu_stopwatch


def take_turns(
    works: Mapping[str, Work],
    *,
    rounds: int,
    steps: int,
    warmup: int,
    stopwatch: Stopwatch,
    warmup_stopwatch: Stopwatch | None = None,
    tick: Work = lambda: None,
) -> dict[str, Timing]:
    """Measure every work, `rounds` times `steps` calls, in turn.

    Compilers work in processes of their own, so that a processor's clock is not the one for the
    warm-up: it may have another. `tick` is called after every turn, the warm-up of a work being
    one. The garbage collector waits outside the turns.
    """
    before: dict[str, list[float]] = {}
    for name, work in works.items():
        before[name] = [(warmup_stopwatch or stopwatch)(work) for _ in range(warmup)]
        tick()
    seconds: dict[str, list[float]] = {name: [] for name in works}

    def turn(work: Work) -> Work:
        def call() -> None:
            for _ in range(steps):
                work()

        return call

    for _ in range(rounds):
        for name, work in works.items():
            gc.collect(0)
            gc.disable()
            try:
                seconds[name].append(stopwatch(turn(work)) / steps)
            finally:
                gc.enable()
            tick()
    return {name: Timing(seconds[name], before[name]) for name in works}


def peak_bytes(work: Work, device: str) -> int:
    """Return the most memory that work held beyond what there was when it began.

    On CUDA the allocator's peak; on the CPU the allocations that torch's profiler counts, so that
    nothing of another process is mistaken for ours.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - start
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results = profiler.profiler.kineto_results
    changes = [(e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]"]
    held = most = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change
        most = max(most, held)
    return most
