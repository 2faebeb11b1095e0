"""The processes of a run: who they are, how they agree, and how one that fails stops the others.

`torchrun` tells each process its place by environment variables; a process without them is a world
of its own. The first process (rank 0) prints and writes. Everything decided here is decided alike
on every rank. Collectives of this module are on CPU tensors (gloo), whatever the model is on.

A process that fails posts its message before it goes. The others, who then lose contact in some
collective, find it there and go too, without a word: one failure is told once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from optzoo.distributed.signals import StopRequest, StopRequestedError
from optzoo.errors import Diagnostic, InputError, OptzooError, RunError

T = TypeVar("T")
TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another before it gives up."""
GRACE = 3.0  # seconds in which a failing process looks for what the others said


class World:
    """The place of this process: `rank` of `size`, and `local_rank` on its machine."""

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, store: Any = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self._store = store

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Return every rank's numbers, by rank; all ranks give equally many."""
        if self.size == 1:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyone, mine)
        return [numbers.tolist() for numbers in everyone]

    def on_first(self, work: Callable[[], T]) -> T:
        """Return what `work` returns on the first rank; raise on all what it raises there."""
        if self.size == 1:
            return work()
        outcome: list[Any] = [None]
        if self.is_first:
            try:
                outcome = [(True, work())]
            except OptzooError as error:
                outcome = [(False, (type(error), error.diagnostics))]
        dist.broadcast_object_list(outcome, src=0)
        good, value = outcome[0]
        if not good:
            kind, diagnostics = value
            raise kind(*diagnostics)
        return cast(T, value)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather([0.0])

    def check_stop(self, stop: StopRequest) -> bool:
        """Raise StopRequestedError on all ranks once any of them has been told to stop.

        Returns on all ranks whether any of them has been told to save.
        """
        is_to_save = stop.take_save()
        if self.size == 1:
            stop.check()
            return is_to_save
        told = self.gather([stop.received or 0, is_to_save])
        number = int(max(received for received, _ in told))
        if number:
            raise StopRequestedError(number)
        return any(save for _, save in told)

    def settle(self, error: Exception) -> Exception:
        """Return the error to raise here when `error` happened: told by one process only.

        The first process goes last, for it may be the one that keeps what they say.
        """
        if self.size == 1:
            return error
        settled = self._settle(error)
        if self.is_first:
            with contextlib.suppress(RuntimeError):
                others = [f"gone/{rank}" for rank in range(1, self.size)]
                deadline = time.monotonic() + GRACE
                while time.monotonic() < deadline and not self._store.check(others):
                    time.sleep(0.05)
        else:
            self._post("gone")
        return settled

    def _settle(self, error: Exception) -> Exception:
        told = isinstance(error, OptzooError)
        if told or not _is_lost_contact(error):
            self._post("failed", str(error) or type(error).__name__)
            if not self.is_first and self._posted(0) == str(error):
                return _silent(error)
        elif self._anyone_posted():
            return RunError()
        else:
            first_line = str(error).strip().splitlines()[0]
            error = RunError(
                Diagnostic(
                    "lost-contact",
                    f"the other processes do not answer ({first_line})",
                    hint="one of them was killed or hangs: see what it said, and the memory it had",
                )
            )
        if self.is_first or not isinstance(error, OptzooError):
            return error
        return type(error)(
            *(
                Diagnostic(d.code, f"rank {self.rank}: {d.message}", d.location, d.hint)
                for d in error.diagnostics
            )
        )

    def _post(self, what: str, text: str = "") -> None:
        with contextlib.suppress(RuntimeError):  # the store goes with the process that keeps it
            self._store.set(f"{what}/{self.rank}", text)

    def _posted(self, rank: int) -> str | None:
        try:
            self._store.wait([f"failed/{rank}"], timedelta(seconds=GRACE))
            text: str = self._store.get(f"failed/{rank}").decode()
        except RuntimeError:
            return None
        return text

    def _anyone_posted(self) -> bool:
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                if any(self._store.check([f"failed/{r}"]) for r in range(self.size)):
                    return True
                time.sleep(0.05)
        except RuntimeError:
            pass
        return False


def speaks() -> bool:
    """Return whether this process is the one that prints, before or after there is a world."""
    return os.environ.get("RANK", "0") in ("0", "")


@contextlib.contextmanager
def join_world() -> Iterator[World]:
    """Take this process's place among those of the run, as the launcher's environment says.

    Raises InputError where the environment is incomplete, and turns the failure of one process into
    the end of all.
    """
    world = _join()
    stopped: StopRequestedError | None = None
    try:
        try:
            yield world
        except StopRequestedError as stop:
            stopped = stop
        _leave(world)
    except Exception as error:
        settled = world.settle(error)
        if settled is error:
            raise
        raise settled from None
    if stopped is not None:
        raise stopped


def _place(name: str, default: int, *, least: int = 0) -> int:
    """Return a number of the launcher's environment. Raises InputError where it is none."""
    text = os.environ.get(name, "").strip()
    if text and not (text.isdecimal() and len(text) < 10 and int(text) >= least):
        raise InputError(
            Diagnostic(
                "no-launcher",
                f"the environment says {name}={text}, which is not a number from {least} on",
                hint=f"`torchrun` sets {name}; to train with one process, unset it",
            )
        )
    return int(text) if text else default


def _join() -> World:
    size = _place("WORLD_SIZE", 1, least=1)
    if size == 1:
        return World()
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
    if missing:
        raise InputError(
            Diagnostic(
                "no-launcher",
                f"WORLD_SIZE is {size}, and {missing[0]} is not set",
                hint="start many processes with `torchrun --standalone --nproc-per-node 2 -m "
                "optzoo train ...`",
            )
        )
    rank = _place("RANK", 0)
    local_rank = _place("LOCAL_RANK", rank)
    _place("MASTER_PORT", 0)
    if rank >= size:
        message = f"the environment says RANK={rank}, of WORLD_SIZE={size} processes"
        raise InputError(Diagnostic("no-launcher", message, hint="ranks count from 0"))
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    try:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=TIMEOUT))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
            store=PrefixStore("torch", store),
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise RunError(
            Diagnostic(
                "no-contact",
                f"the {size} processes of the run do not find one another ({first_line})",
                hint="MASTER_ADDR and MASTER_PORT name a machine and a free port that all reach",
            )
        ) from None
    return World(rank, size, local_rank, PrefixStore("optzoo", store))


def _leave(world: World) -> None:
    if world.size > 1:
        world.barrier()
        dist.destroy_process_group()


def _is_lost_contact(error: Exception) -> bool:
    """Whether an error is torch's way of saying that another process did not answer."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "connection", "nccl", "timed out", "socket")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def _silent(error: Exception) -> Exception:
    return type(error)() if isinstance(error, OptzooError) else RunError()
