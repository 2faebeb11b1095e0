"""Memory that a run needs and a machine has: said before it is asked for, and when it is not there.

A model that no memory of this machine can hold is refused by arithmetic, in no time. What the
system refuses later becomes one error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from optzoo.errors import Diagnostic, InputError, OptzooError, RunError
from optzoo.recipe.recipe import Recipe
from optzoo.tables import format_size
from optzoo.train.setup.schema import Setup
from optzoo.train.setup.size import count_parameters, memory_bytes
from optzoo.train.setup.state_size import state_bytes

HELD = ("weights", "gradients", "optimizer_state")
"""What is in memory all the time, as `memory_bytes` names it."""
LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where a container says how much it may have."""
WORDS = (
    *("allocate memory", "out of memory", "not enough memory", "unable to allocate", "bad_alloc"),
    *("size calculation overflowed", "multiplication overflow", "array is too big"),
)
"""How torch, numpy and C++ say that there is not enough."""


def check_memory(recipe: Recipe, setup: Setup, vocabulary: int, kind: str) -> None:
    """Raise InputError where a model and its optimizer are larger than the memory of the device.

    Of a model that is spread over processes (`kind` fsdp) only the weights count, which each
    process makes whole. What a torch that compiles keeps for the backward pass is not known.
    """
    need = memory_bytes(setup, vocabulary, state_bytes(recipe, setup, vocabulary))
    on_device = setup.execution.device == "cuda"
    names = ("weights",) if kind == "fsdp" else HELD if setup.execution.compile else tuple(need)
    for what, has, parts in (
        ("this GPU", _gpu_memory() if on_device else None, names),
        ("this machine", physical_memory(), ("weights",) if on_device else names),
    ):
        needed = sum(need[name] for name in parts)
        if has is not None and needed > has:
            parameters = count_parameters(setup, vocabulary).total
            raise InputError(
                Diagnostic(
                    "too-large",
                    f"a model of {parameters:,} parameters in batches of "
                    f"{setup.batch.micro_sequences or setup.batch.sequences:,} sequences needs "
                    f"{format_size(needed)}, and {what} has {format_size(has)}",
                    hint="make `model` or `batch.micro_sequences` smaller; "
                    "`optzoo train ... --dry-run` shows what needs how much",
                )
            )


@contextlib.contextmanager
def enough_memory(setup: Setup) -> Iterator[None]:
    """Turn memory that the system does not give into one error. Raises RunError."""
    try:
        yield
    except OptzooError:
        raise
    except (MemoryError, RuntimeError, ValueError, OSError) as error:
        if not isinstance(error, MemoryError) and not _is_about_memory(error):
            raise
        lines = str(error).strip().splitlines() or ["it gave no more"]
        raise RunError(
            Diagnostic(
                "out-of-memory",
                f"the memory of this {'GPU' if setup.execution.device == 'cuda' else 'machine'} "
                f"is not enough: {lines[0]}",
                hint="make `model` or `batch.micro_sequences` smaller; checkpoints are unharmed",
            )
        ) from None


def _is_about_memory(error: Exception) -> bool:
    return any(word in str(error).lower() for word in WORDS)


def physical_memory() -> int | None:
    """Return the bytes that this process may have at most, None where the system does not tell."""
    limits: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(LIMIT.read_text()))
    with contextlib.suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits, default=None)


def _gpu_memory() -> int:
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
